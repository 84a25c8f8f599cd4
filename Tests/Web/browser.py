#!/usr/bin/env python3
"""Drives the chat page in headless Chromium against real nodes.

    browser.py --url http://127.0.0.1:8081 [--url http://127.0.0.1:8082] [--shots DIR] [--only NAME] [--node n1=PID ...]

The first page uses the first --url, the second page the last one. With --node the one that the first page is on is killed
(-9) in mid-talk; the --url must then be a proxy's. Needs Debian's chromium and from PyPI playwright, websockets and
axe-core-python. Exits 1 if a check fails, 2 if something that it needs is missing.
"""
import argparse
import asyncio
import json
import os
import pathlib
import secrets
import shutil
import signal
import sys
import time
import urllib.parse

try:
    import axe_core_python
    import websockets
    from playwright.async_api import async_playwright
except ImportError as error:
    print(f"browser.py needs playwright, websockets and axe-core-python from PyPI: {error}", file=sys.stderr)
    sys.exit(2)

WIDE = {"viewport": {"width": 1360, "height": 850}, "locale": "en-GB"}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True,
         "locale": "en-GB"}
MOST_ROWS = 300
MOST_FRAME_MS = 100
MOST_TASK_MS = 50

# Frame times, measured in the page from the moment that this runs.
MEASURE = """() => {
    const frames = (window.frames_ = { last: performance.now(), times: [], rows: 0 });
    const tick = (now) => {
        frames.times.push(now - frames.last);
        frames.last = now;
        frames.rows = Math.max(frames.rows, document.querySelectorAll('.row').length);
        frames.timer = requestAnimationFrame(tick);
    };
    requestAnimationFrame((now) => { frames.last = now; requestAnimationFrame(tick); });
}"""
MEASURED = """() => {
    cancelAnimationFrame(window.frames_.timer);
    const sorted = [...window.frames_.times].sort((a, b) => a - b);
    return { frames: sorted.length, worst: sorted.at(-1), p99: sorted[Math.floor(sorted.length * 0.99)],
             median: sorted[sorted.length >> 1], rows: window.frames_.rows };
}"""


def longest_task(trace):
    """The page's longest piece of work in ms of processor time, which does not depend on what else the machine does."""
    events = json.loads(trace)["traceEvents"]
    threads = {(e["pid"], e["tid"]) for e in events if e["name"] == "thread_name" and e["args"]["name"] == "CrRendererMain"}
    tasks = [e.get("tdur", 0) for e in events if e["name"] == "RunTask" and (e["pid"], e["tid"]) in threads]
    check(tasks, "the trace holds no task of the page")
    return max(tasks) / 1_000


class Failure(Exception):
    """A check that did not hold."""


def check(condition, what):
    if not condition:
        raise Failure(what)


class Wire:
    """A TCP relay between a page and a node, which can be cut and kept cut."""

    def __init__(self, url):
        parts = urllib.parse.urlsplit(url)
        self.target = (parts.hostname, parts.port or 80)
        self.writers = set()
        self.broken = False

    async def start(self):
        self.server = await asyncio.start_server(self.relay, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def relay(self, reader, writer):
        if self.broken:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection(*self.target)
        self.writers |= {writer, far_writer}

        async def pump(source, sink):
            try:
                while data := await source.read(65536):
                    sink.write(data)
                    await sink.drain()
            except (OSError, asyncio.CancelledError):
                pass
            sink.close()

        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))
        self.writers -= {writer, far_writer}

    def cut(self):
        for writer in list(self.writers):
            writer.transport.abort()

    def end(self):
        self.server.close()
        self.cut()


class Bench:
    """What all checks share: the browser, the nodes' addresses, pages that fail on any error in their console."""

    def __init__(self, browser, arguments):
        self.browser = browser
        self.urls = arguments.url
        self.shots = arguments.shots
        self.files = arguments.files and pathlib.Path(arguments.files)
        self.nodes = dict(pair.split("=", 1) for pair in arguments.node)
        self.token = secrets.token_hex(3)
        self.errors = []
        self.contexts = []

    def room(self, name):
        return f"{name} {self.token}"

    async def page(self, user, room, url=None, **context):
        ctx = await self.browser.new_context(**(context or WIDE))
        self.contexts.append(ctx)
        if self.files:
            await ctx.route("**/*", self.from_disk)
        page = await ctx.new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: self.errors.append(f"{user}: {error}"))
        page.on("console", lambda message: self.note(user, message))
        query = urllib.parse.urlencode({"user": user, "room": room, "device": f"{user}'s laptop"})
        await page.goto(f"{url or self.urls[0]}/?{query}")
        await page.wait_for_selector("#link[data-state=online]", state="attached")
        await holds(page, "/here · on/.test(document.getElementById('subtitle').textContent)")
        return page

    async def from_disk(self, route):
        path = urllib.parse.urlsplit(route.request.url).path.lstrip("/") or "index.html"
        file = self.files / path
        if not file.is_file():
            await route.continue_()
            return
        # Only the text changes: type and policy stay the node's.
        response = await route.fetch()
        await route.fulfill(response=response, body=file.read_bytes())

    def note(self, user, message):
        # A connection that we cut ourselves is an error to the browser, not to us.
        if message.type == "error" and "WebSocket connection" not in message.text and "ERR_" not in message.text:
            self.errors.append(f"{user}: {message.text}")

    async def picture(self, page, name):
        if self.shots:
            await page.wait_for_timeout(250)
            await page.screenshot(path=f"{self.shots}/{name}.png")

    async def close(self):
        for context in self.contexts:
            await context.close()
        self.contexts = []

    async def talker(self, user, room, device="test"):
        base = self.urls[-1].replace("http", "ws", 1)
        query = urllib.parse.urlencode({"user": user, "device": device})
        socket = await websockets.connect(
            f"{base}/ws?{query}", subprotocols=["martlet.v1"], max_size=None, compression=None)
        await socket.send(json.dumps({"type": "join", "ref": "j", "room": room}))
        while json.loads(await asyncio.wait_for(socket.recv(), 15)).get("type") != "joined":
            pass
        return socket

    async def fill(self, room, texts, users=1, window=100):
        """Says all texts through some sessions of their own, each with so many unanswered."""
        async def one(number, mine):
            socket = await self.talker(f"talker {number}", room)
            waiting = 0
            for index, text in enumerate(mine):
                await socket.send(json.dumps({"type": "send", "ref": index, "room": room, "text": text}))
                waiting += 1
                while waiting >= window:
                    waiting -= await self.answer(socket)
                if index >= 300:
                    await asyncio.sleep(0.011)  # The node lets a session say 400 at once, then 100 a second.
            while waiting > 0:
                waiting -= await self.answer(socket)
            await socket.close()
        await asyncio.gather(*(one(number, texts[number::users]) for number in range(users)))

    @staticmethod
    async def answer(socket):
        frame = await asyncio.wait_for(socket.recv(), 30)
        check(not frame.startswith('{"type":"error"'), f"a talker was refused: {frame}")
        return frame.startswith(('{"type":"sent"', '{"type": "sent"'))


async def say(page, text):
    await page.fill("#text", text)
    await page.press("#text", "Enter")


async def texts(page):
    return await page.eval_on_selector_all("#rows .row .text", "all => all.map((one) => one.textContent)")


async def until(condition, what, seconds=15):
    end = time.monotonic() + seconds
    while not await condition():
        check(time.monotonic() < end, f"in {seconds} s it did not happen that {what}")
        await asyncio.sleep(0.05)


async def holds(page, expression, argument=None, seconds=15):
    """Asks from outside: the page's own policy forbids what Playwright's wait_for_function does inside it."""
    await until(lambda: page.evaluate(expression, argument), f"{expression} holds ({argument})", seconds)


async def shows(page, text):
    await holds(page, "(text) => [...document.querySelectorAll('#rows .text')].some((one) => one.textContent === text)", text)


async def check_talk(bench):
    """Two people on two nodes talk: each line once, in one order; typing; who is here, with devices."""
    room = bench.room("talk")
    ana = await bench.page("ana", room)
    bo = await bench.page("bo", room, url=bench.urls[-1])
    for page in (ana, bo):
        await until(lambda: names_are(page, ["ana", "bo"]), "both are listed")
    await holds(ana, "document.getElementById('members').textContent.includes(\"bo's laptop\")")
    await bo.type("#text", "th", delay=30)
    await holds(ana, "document.getElementById('typing').textContent === 'bo is typing'")
    await bench.picture(ana, "typing")
    await bo.fill("#text", "")
    odd = ["안녕하세요 👋", "👨‍👩‍👧‍👦", "مرحبا بالعالم", "<img src=x onerror=alert(1)> & <b>bold</b>", "w" * 600,
           "see https://example.org/a?b=c&d=e.", "two\nlines", "a\u0301 e\u200bx \u202eflip"]
    for index, text in enumerate(odd):
        await say(ana if index % 2 else bo, text)
        await shows(bo if index % 2 else ana, text)
    async def talks(page, name):
        for index in range(10):
            await say(page, f"{name} {index}")

    await asyncio.gather(talks(ana, "ana"), talks(bo, "bo"))
    await until(lambda: same(ana, bo, len(odd) + 20), "both show the same lines")
    check((await texts(ana))[:len(odd)] == odd, "every text came as it was written")
    check(await ana.locator(".row img, .row b").count() == 0, "what people write is only ever text")
    check(await ana.locator("#waiting .row").count() == 0, "nothing waits")
    check(await ana.locator(".row.mine .stored").count() >= 10, "stored lines are marked")
    await bench.picture(ana, "talk")
    await bo.context.close()
    bench.contexts.remove(bo.context)
    await until(lambda: names_are(ana, ["ana"]), "the one who left is not listed any more")


async def names_are(page, names):
    shown = await page.eval_on_selector_all("#members .member-name bdi", "all => all.map((one) => one.textContent)")
    return sorted(shown) == names


async def same(one, other, length):
    left, right = await texts(one), await texts(other)
    return len(left) == length and left == right


async def check_policy(bench):
    """The page and its files come with a policy that allows the node's own files and nothing else."""
    context = await bench.browser.new_context()
    bench.contexts.append(context)
    page = await context.new_page()
    loaded = []
    page.on("response", lambda response: loaded.append(response))
    await page.goto(bench.urls[0], wait_until="networkidle")
    check(len(loaded) >= 8, f"only {len(loaded)} files were loaded")
    for response in loaded:
        check(response.ok and response.url.startswith(bench.urls[0]), f"{response.status} {response.url}")
    headers = await loaded[0].all_headers()
    policy = headers.get("content-security-policy", "")
    for part in ("default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"):
        check(part in policy, f"the policy says {part}: {policy}")
    check("unsafe-" not in policy, f"the policy allows nothing inline: {policy}")
    check(headers.get("x-content-type-options") == "nosniff", "types are not guessed")


async def check_composing(bench):
    """Enter that ends a Korean syllable sends nothing; Shift+Enter makes a line; drafts stay with their room."""
    page = await bench.page("ana", bench.room("compose"))
    await page.fill("#text", "한")
    await page.evaluate("""() => document.getElementById('text').dispatchEvent(
        new KeyboardEvent('keydown', { key: 'Enter', isComposing: true, bubbles: true, cancelable: true }))""")
    await page.wait_for_timeout(200)
    check(await page.input_value("#text") == "한", "Enter while composing sends nothing")
    await page.press("#text", "Shift+Enter")
    check(await page.input_value("#text") == "한\n", "Shift+Enter makes a line")
    await page.click("#add-room")
    await page.fill("#join-name", bench.room("other"))
    await page.keyboard.press("Enter")
    await holds(page, "document.getElementById('title').textContent.startsWith('other')")
    check(await page.input_value("#text") == "", "a draft stays with its room")
    await page.keyboard.press("Alt+ArrowUp")
    await holds(page, "document.getElementById('title').textContent.startsWith('compose')")
    check(await page.input_value("#text") == "한\n", "and is there again")
    check(await page.evaluate("document.activeElement.id") == "text", "the keyboard is where one writes")
    long = "x" * 70_000
    await page.fill("#text", long)
    await page.press("#text", "Enter")
    await page.wait_for_selector("#composer-error:not([hidden])")
    check(await page.input_value("#text") == long, "a text that is too long is refused and kept")


async def check_unread(bench):
    """Messages of a room that is not open are counted; opening it shows where the new ones begin, and clears the mark."""
    first, second = bench.room("first"), bench.room("second")
    page = await bench.page("ana", first)
    await page.click("#add-room")
    await page.fill("#join-name", second)
    await page.keyboard.press("Enter")
    await holds(page, "/here · on/.test(document.getElementById('subtitle').textContent)")
    await bench.fill(first, ["one", "two", "three"])
    await holds(page, "document.querySelector('.room.unread .badge')?.textContent.startsWith('3')")
    check((await page.title()).startswith("(3) second"), f"the title counts: {await page.title()}")
    await bench.picture(page, "unread")
    await page.click(".room.unread")
    await page.wait_for_selector(".new")
    await holds(page, "document.querySelector('.room.unread') === null")
    check(await texts(page) == ["one", "two", "three"], "they are shown")
    await page.reload()
    await holds(page, "document.querySelectorAll('.room').length === 2")
    check(await page.locator(".room.unread").count() == 0, "what was read stays read")


async def check_history(bench):
    """Five hundred messages load as one scrolls up, each once, and down again; the document stays small."""
    room = bench.room("history")
    await bench.fill(room, [f"line {number}" for number in range(500)], users=1, window=50)
    page = await bench.page("ana", room)
    await shows(page, "line 499")
    seen = {}
    await page.hover("#log")

    async def walk(step, target, what):
        end = time.monotonic() + 60
        while target not in seen:
            check(time.monotonic() < end, f"{what} took longer than 60 s; the last lines seen: {list(seen)[-3:]}")
            await page.mouse.wheel(0, step)
            await page.wait_for_timeout(40)
            now = [int(text.split()[1]) for text in await texts(page)]
            check(now == list(range(now[0], now[0] + len(now))), f"the lines in sight follow each other: {now[:5]}…{now[-5:]}")
            check(len(now) <= MOST_ROWS, f"{len(now)} rows are in the document")
            seen.update(dict.fromkeys(now))

    await walk(-700, 0, "going up")
    check(sorted(seen) == list(range(500)), "every line was there")
    await holds(page, "document.getElementById('top').textContent.includes('begins')")
    await bench.picture(page, "history-top")
    check(await page.locator("#to-newest").is_visible(), "there is a way back to the newest")
    seen.clear()
    await walk(700, 499, "going down")
    await page.mouse.wheel(0, -3_000)
    await bench.fill(room, ["line 500"])
    await holds(page, "document.getElementById('to-newest-text').textContent === '1 new'")
    await bench.picture(page, "newer-below")
    await page.click("#to-newest")
    await shows(page, "line 500")


async def check_flood(bench):
    """Ten thousand messages arrive; no frame takes over 100 ms, the document stays small, the last line is in sight."""
    room = bench.room("flood")
    page = await bench.page("ana", room)
    await page.wait_for_timeout(1_000)
    total = 10_000
    await bench.browser.start_tracing(page=page, categories=["toplevel", "disabled-by-default-devtools.timeline"])
    await page.evaluate(MEASURE)
    began = time.monotonic()
    await bench.fill(room, [f"message {number}: {'lorem ipsum ' * (number % 6)}" for number in range(total)], users=8)
    took = time.monotonic() - began
    await holds(page, "[...document.querySelectorAll('#rows .meta')].at(-1).title.endsWith('-10000')", seconds=60)
    await page.wait_for_timeout(300)
    measured = await page.evaluate(MEASURED)
    report = {key: round(value, 1) for key, value in measured.items()}
    task = longest_task(await bench.browser.stop_tracing())
    load, cores = os.getloadavg()[0], os.cpu_count()
    print(f"    {total} messages in {took:.1f} s; frames: {json.dumps(report)}; longest task {task:.1f} ms of processor time; "
          f"load {load:.1f} on {cores} cores")
    check(measured["rows"] <= MOST_ROWS, f"{measured['rows']} rows were in the document")
    check(task <= MOST_TASK_MS, f"a task took {task:.0f} ms of processor time")
    # With more to do than cores, frames wait for a core, whatever the page does.
    if load <= 1.5 * cores:
        check(measured["worst"] <= MOST_FRAME_MS, f"a frame took {measured['worst']:.0f} ms")
    else:
        print("    the frames' times are not judged: the machine is busy with other things")
    check(await page.evaluate("(() => { const log = document.getElementById('log');"
                              " return log.scrollHeight - log.scrollTop - log.clientHeight < 5; })()"), "the newest is in sight")
    announced = await page.text_content("#announcer")
    check(len(announced) < 300, f"a screen reader is not flooded: {announced[:80]}")
    await bench.picture(page, "flood")


async def check_cut(bench):
    """A lost connection is said, what was written waits, and the return says what came meanwhile; nothing twice."""
    room = bench.room("cut")
    wire = Wire(bench.urls[0])
    await wire.start()
    try:
        ana = await bench.page("ana", room, url=wire.url)
        bo = await bench.page("bo", room, url=bench.urls[-1])
        await say(ana, "before")
        await shows(bo, "before")
        wire.broken = True
        wire.cut()
        await ana.wait_for_selector("#banner:not([hidden])")
        await say(ana, "written without a connection")
        await ana.wait_for_selector("#waiting .pending")
        for index in range(3):
            await say(bo, f"meanwhile {index}")
        await bench.picture(ana, "offline")
        wire.broken = False
        await shows(ana, "written without a connection")
        await shows(bo, "written without a connection")
        await holds(ana, "/3 messages came meanwhile, none is missing/.test(document.getElementById('rows').textContent)")
        check(await ana.locator("#banner").is_hidden(), "the banner goes")
        await until(lambda: empty(ana, "#waiting .row"), "nothing waits any more")
        check(await texts(ana) == await texts(bo), "both show the same lines")
        await bench.picture(ana, "back")
        for number in range(10):
            await say(ana, f"between cuts {number}")
            wire.cut()
            await ana.wait_for_timeout(120)
        await until(lambda: same(ana, bo, 15), "after ten cuts both show the same 15 lines", 30)
    finally:
        wire.end()


async def empty(page, selector):
    return await page.locator(selector).count() == 0


async def check_kill(bench):
    """The node under the first page is killed in mid-talk; both go on without a missing or repeated line."""
    if not bench.nodes:
        print("    skipped: no --node NAME=PID was given")
        return
    room = bench.room("kill")
    ana = await bench.page("ana", room)
    bo = await bench.page("bo", room, url=bench.urls[-1])
    for index in range(20):
        await say(ana, f"ana {index}")
        await say(bo, f"bo {index}")
        if index == 10:
            name = await ana.text_content("#link-text")
            check(name in bench.nodes, f"the first page is on {name}, which is not among --node")
            os.kill(int(bench.nodes[name]), signal.SIGKILL)
            print(f"    killed {name}")
    await until(lambda: same(ana, bo, 40), "both show the same 40 lines", 60)
    for name in ("ana", "bo"):
        own = [text for text in await texts(bo) if text.startswith(name)]
        check(own == [f"{name} {index}" for index in range(20)], f"{name}'s lines are there once and in order: {own}")
    await bench.picture(ana, "killed")


async def check_access(bench):
    """axe-core finds no serious fault: entering, talk, dialog, phone; light and dark. The keyboard reaches everything."""
    axe = next(pathlib.Path(axe_core_python.__file__).parent.rglob("axe.min.js")).read_text()
    room = bench.room("access")
    await bench.fill(room, ["hello", "https://example.org", "مرحبا", "🎉"])
    faults = []

    async def audit(page, name):
        await page.wait_for_timeout(300)
        await page.evaluate(axe)
        result = await page.evaluate("axe.run(document)")
        minor = [f["id"] for f in result["violations"] if f["impact"] not in ("serious", "critical")]
        print(f"    {name}: {len(result['passes'])} rules pass; minor: {minor or 'none'}")
        for fault in result["violations"]:
            if fault["impact"] in ("serious", "critical"):
                where = fault["nodes"][0]
                faults.append(f"{name}: {fault['id']} at {where['target']}: {where['failureSummary']}")

    for theme in ("light", "dark"):
        context = await bench.browser.new_context(**WIDE, color_scheme=theme)
        bench.contexts.append(context)
        page = await context.new_page()
        await page.goto(bench.urls[0])
        await audit(page, f"entering, {theme}")
        await bench.picture(page, f"enter-{theme}")
        page = await bench.page("ana", room, **WIDE, color_scheme=theme)
        await say(page, "mine")
        await shows(page, "mine")
        await audit(page, f"talk, {theme}")
        await page.click("#add-room")
        await audit(page, f"dialog, {theme}")
        await page.keyboard.press("Escape")
        phone = await bench.page("bo", room, **PHONE, color_scheme=theme)
        await audit(phone, f"phone, {theme}")
        await bench.picture(phone, f"phone-{theme}")
        await phone.click("#people-toggle")
        await audit(phone, f"phone, people, {theme}")
        await phone.click("#people-close")
        await phone.click("#to-rooms")
        await audit(phone, f"phone, rooms, {theme}")
        wide = await phone.evaluate("document.documentElement.scrollWidth <= innerWidth")
        check(wide, "nothing is wider than a phone")
    check(not faults, "\n      ".join(["serious faults:", *faults]))
    page = await bench.page("che", room)
    reached = set()
    for _ in range(40):
        await page.keyboard.press("Tab")
        reached.add(await page.evaluate("document.activeElement.id || document.activeElement.className"))
    for wanted in ("add-room", "room", "theme", "sign-out", "leave-room", "log", "text", "send"):
        check(wanted in reached, f"the keyboard reaches {wanted}: {sorted(reached)}")


TALK = [
    ("Zoë", "Morning! Are all three nodes up?"),
    ("김민준", "네, 세 개 다 올라왔어요. 방금 확인했습니다 🎉"),
    ("김민준", "재시작하는 동안에도 빠진 메시지는 없었어요."),
    ("נועה", "מצוין! אצלי הכול עובד, גם מהטלפון."),
    ("Zoë", "I killed node-2 in the middle of a sentence and did not notice. See https://example.org/martlet/runs/42"),
    ("Samuel", "🚀"),
    ("Samuel", "Then let us move the team over this afternoon. I will write the note; could somebody check the proxy's "
               "timeouts before that?"),
]


async def check_tour(bench):
    """A talk in four scripts, wide and on a phone, light and dark: the pictures for the README."""
    lobby, other = ("lobby", "Deploys") if bench.shots else (bench.room("lobby"), bench.room("Deploys"))
    devices = [("Zoë", "Mac"), ("김민준", "phone"), ("김민준", "laptop"), ("נועה", "phone"), ("Samuel", "Linux PC")]
    sockets = {(user, device): await bench.talker(user, lobby, device) for user, device in devices}
    spoken = {user: socket for (user, _), socket in sockets.items()}

    async def talk(user, room, text):
        await spoken[user].send(json.dumps({"type": "send", "ref": 1, "room": room, "text": text}))
        while not await bench.answer(spoken[user]):
            pass

    for theme in ("light", "dark"):
        page = await bench.page("ana", lobby, **WIDE, color_scheme=theme)
        await page.click("#add-room")
        await page.fill("#join-name", other)
        await page.keyboard.press("Enter")
        await holds(page, "/here · on/.test(document.getElementById('subtitle').textContent)")
        await page.click(".room")
        if theme == "light":
            for user, text in TALK:
                await talk(user, lobby, text)
            await say(page, "I can do that. Two minutes ☕")
            await say(page, "Done: an hour for the WebSocket, two seconds to connect.")
        await bench.fill(other, [f"build {number} is green" for number in (417, 418)])
        await spoken["Zoë"].send(json.dumps({"type": "signal", "room": lobby, "name": "typing"}))
        await holds(page, "document.getElementById('typing').textContent === 'Zoë is typing'")
        await holds(page, "document.querySelectorAll('.device').length >= 6")
        await bench.picture(page, f"tour-wide-{theme}")
        phone = await bench.page("ana", lobby, **PHONE, color_scheme=theme)
        await bench.picture(phone, f"tour-phone-{theme}")
        await page.context.close()
        bench.contexts.remove(page.context)
    for socket in sockets.values():
        await socket.close()


CHECKS = {name.removeprefix("check_"): value for name, value in list(globals().items()) if name.startswith("check_")}


async def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--url", action="append", required=True, help="a node's or a proxy's http address")
    parser.add_argument("--node", action="append", default=[], metavar="NAME=PID", help="a node that may be killed")
    parser.add_argument("--only", action="append", choices=sorted(CHECKS), help="these checks only")
    parser.add_argument("--files", help="a folder whose files are shown instead of the node's own of that name")
    parser.add_argument("--shots", help="a folder for screenshots")
    arguments = parser.parse_args()
    chromium = shutil.which("chromium")
    if not chromium:
        print("browser.py needs Debian's chromium (apt-get install chromium)", file=sys.stderr)
        sys.exit(2)
    if arguments.shots:
        os.makedirs(arguments.shots, exist_ok=True)
    failed = 0
    async with async_playwright() as playwright:
        # A page from a file is of no network, and would not be let into this one.
        flags = ["--no-sandbox", *(["--disable-features=LocalNetworkAccessChecks"] if arguments.files else [])]
        browser = await playwright.chromium.launch(executable_path=chromium, args=flags)
        bench = Bench(browser, arguments)
        # The kill comes last: what follows would miss the node.
        for name in sorted(arguments.only or CHECKS, key=lambda name: name == "kill"):
            began = time.monotonic()
            try:
                await CHECKS[name](bench)
                check(not bench.errors, f"the page's console: {bench.errors[:3]}")
                print(f"ok   {name} ({time.monotonic() - began:.1f} s): {CHECKS[name].__doc__}", flush=True)
            except Exception as error:  # One check's failure, of whatever kind, must not hide the others'.
                failed += 1
                print(f"FAIL {name} ({time.monotonic() - began:.1f} s): {CHECKS[name].__doc__}\n     {error}", flush=True)
                for context in bench.contexts[-2:]:
                    for page in context.pages:
                        await bench.picture(page, f"failed-{name}-{bench.contexts.index(context)}")
            bench.errors.clear()
            await bench.close()
        await browser.close()
    sys.exit(1 if failed else 0)


asyncio.run(main())
