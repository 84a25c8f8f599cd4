#!/usr/bin/env python3
"""Runs the chat widget of Sources/ChatGateway/Web/README.md, word for word, in headless Chromium on an origin of its own.

    python3 Tests/Web/widget --url http://127.0.0.1:8081 --node n1=PID --node n2=PID [--shots DIR]

The --url must be a proxy's before both nodes: the one that the first page is on is stopped (SIGSTOP) for a while. Needs
Debian's chromium and playwright from PyPI. Exits 1 if a check fails.
"""
import argparse
import asyncio
import functools
import http.server
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

from playwright.async_api import async_playwright

ROOT = pathlib.Path(__file__).resolve().parents[3]
PAGE = ROOT / "Sources/ChatGateway/Web/README.md"
MOST_LINES = 60
# From a send on a frozen node until it is shown on another one.
MOST_SECONDS = 10


class Failure(Exception):
    """A check that did not hold."""


def check(condition, what):
    if not condition:
        raise Failure(what)


def widget(node, room):
    """The page's file, for this node and a room of the test's own."""
    found = re.search(r"<!-- tutorial: widget.html -->\n```html\n(.*?)```", PAGE.read_text(), re.DOTALL)
    check(found, f"{PAGE.name} has no block <!-- tutorial: widget.html -->")
    lines = found[1].splitlines()
    check(len(lines) <= MOST_LINES, f"the widget has {len(lines)} lines; it says {MOST_LINES}")
    text = found[1]
    for old, new in (("'http://127.0.0.1:8080'", json.dumps(node)), ("'lobby'", json.dumps(room))):
        check(text.count(old) == 1, f"{old} is there once")
        text = text.replace(old, new)
    return text


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A web server that is not Martlet's, and that says nothing of each request."""

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        pass


class Widget:
    """One open widget."""

    def __init__(self, page):
        self.page = page

    async def rows(self, kind=":not(.waiting)"):
        return await self.page.eval_on_selector_all(f"#log > div{kind}", "all => all.map((one) => one.textContent)")

    async def here(self):
        return await self.page.text_content("#here")

    async def state(self):
        """What the client says of itself, and its node."""
        words = re.search(r", (\w+) on (\S+)\. ", await self.here() or "")
        return (words[1], words[2]) if words else ("", "")

    async def say(self, text):
        await self.page.fill("[name=text]", text)
        await self.page.press("[name=text]", "Enter")


async def until(condition, what, seconds=15):
    end = time.monotonic() + seconds
    while not await condition():
        check(time.monotonic() < end, f"in {seconds} s it did not happen that {what}")
        await asyncio.sleep(0.05)


async def shows(one, text, seconds=15):
    async def shown():
        return any(text in row for row in await one.rows())
    await until(shown, f"{text} is shown", seconds)


def post(node, room, user, text):
    url = f"{node}/api/rooms/{urllib.parse.quote(room)}/messages"
    body = json.dumps({"user": user, "text": text}).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=10) as answer:
        answer.read()


async def talk(ana, bo, node, room):
    """Names, messages, typing, who is here, history as one scrolls up."""
    for one in (ana, bo):
        async def all_here(one=one):
            return "Here: ana, bo" in await one.here() or "Here: bo, ana" in await one.here()
        await until(all_here, "both are here")
        await shows(one, "line 99")
    await ana.page.type("[name=text]", "he", delay=30)

    async def typing():
        return await bo.page.text_content("#typing") == "ana typing…"
    await until(typing, "bo sees that ana types")
    await ana.say("hello <b>bo</b>")
    await shows(bo, "ana hello <b>bo</b>")
    check(await bo.page.locator("#log b b").count() == 0, "what people write is only ever text")
    await bo.say("안녕하세요")
    await shows(ana, "bo 안녕하세요")
    check(await ana.rows(".waiting") == [], "nothing waits")

    async def first():
        await ana.page.evaluate("document.getElementById('log').scrollTop = 0")
        return (await ana.rows())[0] == "past line 0"
    await until(first, "scrolling up shows the first line")
    rows = await ana.rows()
    check(rows == [f"past line {number}" for number in range(100)] + rows[100:], f"each line once, in order: {rows[:5]}")
    check(len(rows) == 102, f"{len(rows)} lines")
    print("ok   names, messages, typing, who is here, history")


async def freeze(ana, bo, nodes):
    """The node that ana is on is stopped: what she says is shown to bo within ten seconds, once, and so is the next."""
    _, name = await ana.state()
    check(name in nodes, f"ana is on {name}, which is not among --node")
    os.kill(nodes[name], signal.SIGSTOP)
    states = []
    try:
        began = time.monotonic()
        await ana.say("said to a frozen node")
        async def shown():
            state, _ = await ana.state()
            if state not in states:
                states.append(state)
            return any("said to a frozen node" in row for row in await bo.rows())
        await until(shown, "bo sees it", MOST_SECONDS)
        took = time.monotonic() - began
        await until(lambda: on_another(ana, name), "ana is on another node", MOST_SECONDS - took)
        check("unsure" in states, f"the state said that the node does not answer: {states}")
        await ana.say("and on it goes")
        await shows(bo, "and on it goes", 3)
        print(f"ok   {name} was frozen: what was said to it is shown by another node after {took:.1f} s")
    finally:
        os.kill(nodes[name], signal.SIGCONT)
    await asyncio.sleep(1)
    for one in (ana, bo):
        rows = await one.rows()
        for text in ("said to a frozen node", "and on it goes"):
            check(sum(text in row for row in rows) == 1, f"{text} is there once: {rows[-4:]}")
    check(await ana.rows(".waiting") == [], "nothing waits")


async def on_another(one, name):
    state, node = await one.state()
    return state == "online" and node not in ("", name)


async def main():
    parser = argparse.ArgumentParser(prog="widget", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--url", required=True, help="the proxy's http address")
    parser.add_argument("--node", action="append", required=True, metavar="NAME=PID", help="a node that may be stopped")
    parser.add_argument("--shots", help="a folder for screenshots")
    arguments = parser.parse_args()
    nodes = {name: int(pid) for name, pid in (pair.split("=", 1) for pair in arguments.node)}
    room = f"widget {secrets.token_hex(3)}"
    chromium = shutil.which("chromium")
    check(chromium, "Debian's chromium is not here (apt-get install chromium)")
    for number in range(100):
        post(arguments.url, room, "past", f"line {number}")
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "widget.html").write_text(widget(arguments.url, room))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        origin = f"http://127.0.0.1:{server.server_address[1]}"
        errors = []
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"])

            async def opened(user):
                page = await browser.new_page()
                page.on("pageerror", lambda error: errors.append(f"{user}: {error}"))
                await page.goto(f"{origin}/widget.html?user={user}")
                return Widget(page)

            ana, bo = await opened("ana"), await opened("bo")
            await talk(ana, bo, arguments.url, room)
            if arguments.shots:
                os.makedirs(arguments.shots, exist_ok=True)
                await ana.page.screenshot(path=f"{arguments.shots}/widget.png")
            await freeze(ana, bo, nodes)
            await browser.close()
        server.shutdown()
        check(not errors, f"the pages' errors: {errors[:3]}")


try:
    asyncio.run(main())
except Failure as failure:
    print(f"widget: {failure}", file=sys.stderr)
    sys.exit(1)
