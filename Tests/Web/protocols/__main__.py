#!/usr/bin/env python3
"""One room on three nodes behind HAProxy, which sends every connection and every request to the next node, with clients of all
protocols: all say something, and all are shown the same in the order of the log. Then each node is killed in turn while
they talk, and all are restarted one after the other; every client goes on without a missing or repeated message.

    python3 Tests/Web/protocols --binary MARTLET --node NODE [--only NAME,…] [--port-base P]
"""
import argparse
import asyncio
import json
import os
import pathlib
import secrets
import shutil
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "Chaos"))

import tools  # noqa: E402
from cluster import Cluster  # noqa: E402
from processes import Broken  # noqa: E402
from protocols import SETTINGS  # noqa: E402

FIRST, DURING = 10, 12


class Failure(Exception):
    """Something that a client was shown, or was not."""


async def until(condition, seconds, what):
    end = asyncio.get_running_loop().time() + seconds
    while not condition():
        if asyncio.get_running_loop().time() > end:
            raise Failure(f"not within {seconds} s: {what() if callable(what) else what}")
        await asyncio.sleep(0.05)


class Client:
    """What all clients tell: what they are shown, in this order, and what became of their connection."""

    def __init__(self, name, user):
        self.name, self.user = name, user
        self.shown, self.stored, self.notes = [], set(), []
        self.is_ready, self.losses, self.upgrades, self.recoveries = False, 0, 0, 0

    def told(self, what):
        kind = what["is"]
        if kind == "message":
            self.shown.append((what["position"], what.get("user"), what.get("text")))
        elif kind == "ready":
            self.is_ready = True
        elif kind == "stored":
            self.stored.add(what["key"])
        elif kind == "lost":
            self.losses += 1
        elif kind == "upgraded":
            self.upgrades += 1
        elif kind == "connected":
            self.recoveries += bool(what.get("recovered"))
        elif kind in ("gap", "reset", "failed"):
            raise Failure(f"{self.name}: {what}")
        else:
            self.notes.append(what)


class ProcessClient(Client):
    """A client in a process of its own, which speaks lines of JSON with the test."""

    def __init__(self, name, user, *command):
        super().__init__(name, user)
        self.command = [str(word) for word in command]
        self.failure = None

    async def start(self):
        self.process = await asyncio.create_subprocess_exec(
            *self.command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True)
        self.task = asyncio.create_task(self.listen())

    async def listen(self):
        try:
            async for line in self.process.stdout:
                self.told(json.loads(line))
        except (Failure, ValueError, KeyError) as error:
            self.failure = error

    def check(self):
        if self.failure:
            raise self.failure
        if self.process.returncode is not None:
            raise Failure(f"{self.name} ended with status {self.process.returncode}")

    async def say(self, text, key):
        self.process.stdin.write(json.dumps({"text": text, "key": key}).encode() + b"\n")
        await self.process.stdin.drain()
        await until(lambda: key in self.stored or self.failure, 40, f"{self.name}: {key} is stored")
        self.check()

    async def stop(self):
        if self.process.returncode is None:
            os.killpg(self.process.pid, 9)
        await self.process.wait()
        self.task.cancel()


class PageClient(Client):
    """A client in a page of Chromium."""

    def __init__(self, name, user, browser, url, folder, call, *scripts):
        super().__init__(name, user)
        self.browser, self.url, self.folder, self.call, self.scripts = browser, url, folder, call, scripts
        self.failure = None

    async def start(self):
        self.context = await self.browser.new_context()
        page = self.page = await self.context.new_page()
        # The page comes from the test, and everything that it asks for from the nodes.
        await page.route("**/clients.html", lambda route: route.fulfill(
            status=200, content_type="text/html", body="<!doctype html><title>clients</title>"))
        page.on("pageerror", lambda error: self.fail(f"{self.name}: {error}"))
        await page.expose_function("told", self.heard)
        await page.goto(f"{self.url}/clients.html")
        for script in self.scripts:
            await page.add_script_tag(path=str(self.folder / script))
        await page.add_script_tag(path=str(HERE / "page.js"))
        await page.evaluate(self.call)

    def fail(self, text):
        self.failure = self.failure or Failure(text)

    def heard(self, what):
        try:
            self.told(what)
        except Failure as error:
            self.failure = self.failure or error

    def check(self):
        if self.failure:
            raise self.failure

    async def say(self, text, key):
        await asyncio.wait_for(self.page.evaluate("([text, key]) => say(text, key)", [text, key]), 40)
        self.stored.add(key)
        self.check()

    async def stop(self):
        await self.context.close()


def all_clients(arguments, cluster, room, browser, folder):
    """All of them, by name. Each user's name tells the client."""
    url = f"http://127.0.0.1:{cluster.port}"
    python = [sys.executable, "-B"]
    tcp = [f"127.0.0.1:{node.stomp_port}" for node in cluster.nodes]

    def page(name, user, call, *scripts):
        words = call.format(room=json.dumps(room), user=json.dumps(user))
        return PageClient(name, user, browser, url, folder, words, *scripts)

    def script(name):
        return HERE / name

    made = [
        ProcessClient("martlet.js", "mia", arguments.node, script("martlet_client.mjs"),
                      url.replace("http", "ws") + "/ws", room, "mia"),
        page("socket.io polling", "ivo", "socketIO({room}, {user}, ['polling'])", "socket.io.min.js"),
        page("socket.io upgraded", "ida", "socketIO({room}, {user})", "socket.io.min.js"),
        ProcessClient("python-socketio", "pia", *python, script("socketio_client.py"), url, room, "pia"),
        ProcessClient("stomp.py websocket", "tom", *python, script("stomp_client.py"), "ws", room, "tom",
                      f"127.0.0.1:{cluster.port}"),
        ProcessClient("stomp.py tcp", "tea", *python, script("stomp_client.py"), "tcp", room, "tea", *tcp),
        page("stomp.js sockjs", "sam", "stompOverSockJS({room}, {user})", "sockjs.min.js", "stomp.js"),
        page("EventSource", "eve", "eventSource({room}, {user})"),
        ProcessClient("curl", "kim", *python, script("curl_client.py"), url, room, "kim"),
        ProcessClient("long polling", "lou", *python, script("poll_client.py"), url, room, "lou"),
    ]
    wanted = arguments.only.split(",") if arguments.only else [client.name for client in made]
    unknown = set(wanted) - {client.name for client in made}
    if unknown:
        raise Failure(f"no client is called {', '.join(unknown)}; they are {', '.join(client.name for client in made)}")
    return [client for client in made if client.name in wanted]


async def talk(clients, word, count, pause=0.0):
    """Each says so many messages, one after the other, all at the same time."""
    async def one(client):
        for number in range(count):
            await client.say(f"{client.user} {word} {number}", f"{client.user}-{word}-{number}")
            await asyncio.sleep(pause)

    await asyncio.gather(*(one(client) for client in clients))


async def log_of(cluster, room):
    entries = await cluster.redis.ask.stream(f"martlet:{{{room}}}:log")
    return [(place, fields.get("user"), fields.get("text")) for place, fields in entries]


def compare(client, log):
    """What it was shown is the log, from its first message on, each once."""
    shown = client.shown
    # This library handles each event in a thread of its own, so the order in which they end says nothing.
    if client.name == "python-socketio":
        shown = sorted(shown, key=lambda entry: [int(number) for number in entry[0].split("-")])
    if shown == log:
        return
    places = [place for place, _, _ in shown]
    twice = sorted({place for place in places if places.count(place) > 1})
    missing = [entry for entry in log if entry[0] not in set(places)]
    wrong = next((pair for pair in zip(shown, log) if pair[0] != pair[1]), None)
    raise Failure(
        f"{client.name} was shown {len(shown)} messages, the log has {len(log)}; twice: {twice[:5]}; missing: "
        f"{missing[:5]}; the first difference: {wrong}")


async def agree(cluster, room, clients, expected):
    """All are shown everything, and the log has all that was said, once, each user's messages in their order."""
    await until(
        lambda: all(len(client.shown) >= expected for client in clients), 40,
        lambda: "all are shown everything: " + ", ".join(f"{client.name} {len(client.shown)}" for client in clients)
        + f" of {expected}")
    log = await log_of(cluster, room)
    if len(log) != expected:
        raise Failure(f"the log has {len(log)} messages, {expected} were said")
    if len({(user, text) for _, user, text in log}) != expected:
        raise Failure("a message is in the log twice")
    for client in clients:
        client.check()
        compare(client, log)


async def run(arguments, state, browser, folder):
    options = argparse.Namespace(
        binary=arguments.binary, set=[f"{name}={value}" for name, value in SETTINGS.items()], protocols=[True],
        port_base=arguments.port_base)
    cluster = Cluster(options, state, proxied=False, settings={"MARTLET_LIMIT_REQUESTS_PER_SECOND": "1000"})
    room = f"all {secrets.token_hex(3)}"
    clients = []
    try:
        await cluster.start()
        clients = all_clients(arguments, cluster, room, browser, folder)
        for client in clients:
            await client.start()
        await until(lambda: all(client.is_ready for client in clients), 30, lambda: "in the room are only " + ", ".join(
            client.name for client in clients if client.is_ready) + str([client.notes[-2:] for client in clients]))
        await talk(clients, "says", FIRST)
        await agree(cluster, room, clients, FIRST * len(clients))
        print(f"ok   {len(clients)} clients said {FIRST} messages each, and were shown all of them in the log's order")
        await deaths(cluster, room, clients)
        await restarts(cluster, room, clients)
        for client in clients:
            if client.name == "socket.io upgraded" and not client.upgrades:
                raise Failure(f"{client.name} never had a WebSocket")
            print(f"     {client.name}: {len(client.shown)} messages, none missing or twice; lost its connection "
                  f"{client.losses} times" + (f", {client.recoveries} recovered" if client.recoveries else ""))
    except Failure:
        for client in clients:
            for note in client.notes[-5:]:
                print(f"     {client.name}: {note}", file=sys.stderr)
        raise
    finally:
        for client in clients:
            await client.stop()
        await cluster.stop()


async def restarts(cluster, room, clients):
    """A rolling restart: each node drains, ends and comes back while all talk."""
    expected = (FIRST + DURING * len(cluster.nodes)) * len(clients)
    for node in cluster.nodes:
        talking = asyncio.create_task(talk(clients, f"when {node.name} drains", DURING, pause=0.2))
        await asyncio.sleep(0.4)
        node.process.terminate()
        if not await node.process.ended(30):
            raise Failure(f"{node.name} has not ended 30 s after SIGTERM")
        node.process.start()
        await node.ready(60)
        await talking
        expected += DURING * len(clients)
        await agree(cluster, room, clients, expected)
    print("ok   all nodes were restarted one after the other while all talked; nobody misses a message or was shown one twice")


async def deaths(cluster, room, clients):
    """Each node dies once while all talk, and comes back."""
    expected = FIRST * len(clients)
    for node in cluster.nodes:
        talking = asyncio.create_task(talk(clients, f"at the end of {node.name}", DURING, pause=0.1))
        await asyncio.sleep(0.4)
        node.process.kill()
        await asyncio.sleep(1)
        node.process.start()
        await node.ready(60)
        await talking
        expected += DURING * len(clients)
        await agree(cluster, room, clients, expected)
        print(f"ok   {node.name} was killed while all talked; nobody misses a message or was shown one twice")


async def main():
    parser = argparse.ArgumentParser(prog="protocols", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--binary", required=True, help="this martlet")
    parser.add_argument("--node", required=True, help="Node 20 or newer")
    parser.add_argument("--only", help="only these clients, with commas between them")
    parser.add_argument("--port-base", type=int, default=27000, help="takes free ports from here on (27000)")
    arguments = parser.parse_args()
    folder = tools.clients()
    from playwright.async_api import async_playwright
    async with async_playwright() as playwright:
        # A page from the test is of no network, and would not be let into this one.
        flags = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-features=LocalNetworkAccessChecks"]
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        with tempfile.TemporaryDirectory(prefix="martlet-protocols-") as state:
            try:
                await run(arguments, pathlib.Path(state), browser, folder)
            except (Failure, Broken) as error:
                print(f"FAILED: {error}", file=sys.stderr)
                for log in sorted(pathlib.Path(state).glob("node*.log")):
                    print(f"--- the end of {log.name}", *log.read_text().splitlines()[-8:], sep="\n", file=sys.stderr)
                return 1
            finally:
                await browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
