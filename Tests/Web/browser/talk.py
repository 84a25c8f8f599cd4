"""Talking: two people, rooms, drafts, unread marks, scrolling back, lost connections, a killed node."""
import asyncio
import os
import signal
import time

from bench import MOST_ROWS, Wire, check, holds, say, shows, texts, until


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


async def check_frozen(bench):
    """A node that does not answer is said to be one within seconds; what was written goes to another connection in ten."""
    room = bench.room("frozen")
    frozen, dials = set(), []

    def wire(page_side):
        node_side = page_side.connect_to_server()
        dials.append(page_side)
        place = len(dials)

        def forward(side):
            return lambda text: None if place in frozen else side.send(text)

        page_side.on_message(forward(node_side))
        node_side.on_message(forward(page_side))

    ana = await bench.page("ana", room, wire=wire)
    bo = await bench.page("bo", room, url=bench.urls[-1])
    await say(ana, "before")
    await shows(bo, "before")
    frozen.add(len(dials))
    began = time.monotonic()
    await say(ana, "to nobody")
    await ana.wait_for_selector("#link[data-state=unsure]", state="attached")
    await holds(ana, "/does not answer/.test(document.getElementById('banner-text').textContent)", seconds=2)
    await bench.picture(ana, "unsure")
    await shows(bo, "to nobody")
    took = time.monotonic() - began
    check(took < 10, f"it took {took:.1f} s")
    await until(lambda: same(ana, bo, 2), "both show both lines, once")
    check(await ana.locator("#banner").is_hidden(), "the banner goes")
    print(f"    shown to the other after {took:.1f} s")


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
