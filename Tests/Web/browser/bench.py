"""What all checks share: pages that fail on any error in their console, sessions that talk, a wire that can be cut."""
import asyncio
import json
import pathlib
import secrets
import time
import urllib.parse

import axe_core_python
import websockets

WIDE = {"viewport": {"width": 1360, "height": 850}, "locale": "en-GB"}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True,
         "locale": "en-GB"}
MOST_ROWS = 300
AXE = next(pathlib.Path(axe_core_python.__file__).parent.rglob("axe.min.js")).read_text()


class Failure(Exception):
    """A check that did not hold."""


async def audit(page, name):
    """What axe-core finds in a page: its faults, a line each, and how many of its rules are passed. What moves has come to rest,
    as colours are measured."""
    await page.wait_for_timeout(300)
    await page.evaluate(AXE)
    result = await page.evaluate("axe.run(document)")
    faults = []
    for fault in result["violations"]:
        where = fault["nodes"][0]
        faults.append(f"{name}: {fault['impact']}: {fault['id']} at {where['target']}: {where['failureSummary']}")
    return faults, len(result["passes"])


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
        self.redis_port = arguments.redis_port
        self.nodes = dict(pair.split("=", 1) for pair in arguments.node)
        self.token = secrets.token_hex(3)
        self.errors = []
        self.contexts = []

    def room(self, name):
        return f"{name} {self.token}"

    async def page(self, user, room, url=None, wire=None, **context):
        """A page in a room. `wire` gets the page's WebSocket and may change what goes through it."""
        ctx = await self.browser.new_context(**(context or WIDE))
        self.contexts.append(ctx)
        if self.files:
            await ctx.route("**/*", self.from_disk)
        page = await ctx.new_page()
        page.set_default_timeout(15_000)
        if wire:
            await page.route_web_socket("**/ws?*", wire)
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
        socket.limits = json.loads(await asyncio.wait_for(socket.recv(), 15))["limits"]
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
                if index >= socket.limits["requestBurst"] - 100:
                    await asyncio.sleep(1.1 / socket.limits["requestsPerSecond"])
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
