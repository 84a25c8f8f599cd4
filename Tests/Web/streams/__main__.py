#!/usr/bin/env python3
"""Event streams and long polls end to end: three nodes behind HAProxy, without stickiness, and nginx with its default buffering.

    python3 Tests/Web/streams --binary .build/debug/martlet [--polls 2000] [--no-browser]

A writer speaks all the time, each node is restarted in turn and one is killed. EventSource in Chromium, `curl -N`, a reader
of two rooms, and the loop of polls of the documents see the same, in the order of the log: nothing is missing and nothing
repeated. Needs redis-server, haproxy, nginx, curl and Debian's chromium, and playwright from PyPI.
"""
import argparse
import asyncio
import contextlib
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[3]
PAGE = ROOT / "Sources/ChatWire/EventStream/README.md"
ROOMS = ("lobby", "kitchen")

HAPROXY = """
defaults
    mode http
    timeout connect 2s
    timeout client 90s
    timeout server 90s
    retries 5
    option redispatch
    retry-on conn-failure empty-response 503
frontend people
    bind 127.0.0.1:{port}
    maxconn 30000
    default_backend chat
backend chat
    balance roundrobin
    option httpchk GET /readyz
    default-server check inter 100ms fall 1 rise 1
{servers}
"""
NGINX = """
daemon off; master_process off; worker_processes 1; pid {state}/nginx.pid; error_log {state}/nginx.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {state}/body; proxy_temp_path {state}/proxy; fastcgi_temp_path {state}/fastcgi;
    uwsgi_temp_path {state}/uwsgi; scgi_temp_path {state}/scgi;
    server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{behind}; }} }}
}}
"""


class Failure(Exception):
    """A check that did not hold."""


def check(condition, what):
    if not condition:
        raise Failure(what)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def eventually(condition, what, seconds=40):
    end = time.monotonic() + seconds
    while not condition():
        check(time.monotonic() < end, f"in {seconds} s it did not happen that {what}")
        time.sleep(0.05)


def find(program):
    path = shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin")
    check(path, f"{program} is not installed")
    return path


class World:
    """Redis, three nodes, and the proxies, all on loopback; ended at the end of the block."""

    def __init__(self, binary):
        self.binary = binary
        self.state = tempfile.mkdtemp(prefix="martlet-streams-")
        self.processes = {}
        self.redis, self.proxy, self.nginx = free_port(), free_port(), free_port()
        self.nodes = {f"node{number}": free_port() for number in (1, 2, 3)}

    def __enter__(self):
        try:
            self.start("redis", [find("redis-server"), "--port", str(self.redis), "--save", "", "--dir", self.state])
            eventually(lambda: self.listens(self.redis), "Redis listens")
            for name in self.nodes:
                self.start_node(name)
            servers = "".join(f"    server {name} 127.0.0.1:{port}\n" for name, port in self.nodes.items())
            self.start_proxy("haproxy", HAPROXY.format(port=self.proxy, servers=servers), ["-db", "-f"])
            self.start_proxy("nginx", NGINX.format(state=self.state, port=self.nginx, behind=self.proxy), ["-c"])
            eventually(lambda: all(self.listens(port) for port in (self.proxy, self.nginx)), "the proxies listen")
            eventually(lambda: self.status(self.proxy, "/readyz") == 200, "a node is behind the proxy")
            return self
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
                process.wait()
        shutil.rmtree(self.state, ignore_errors=True)

    def start(self, name, command, environment=None):
        log = open(pathlib.Path(self.state, f"{name}.log"), "ab")
        self.processes[name] = subprocess.Popen(
            command, stdout=log, stderr=log, env={"PATH": os.environ["PATH"], **(environment or {})})

    def start_proxy(self, name, text, options):
        file = pathlib.Path(self.state, f"{name}.conf")
        file.write_text(text)
        self.start(name, [find(name), *options, str(file)])

    def start_node(self, name):
        self.start(name, [self.binary, "serve"], {
            "MARTLET_PORT": str(self.nodes[name]), "MARTLET_REDIS_URL": f"redis://127.0.0.1:{self.redis}", "MARTLET_NODE_NAME": name,
            "MARTLET_DRAIN_TIME": "1s", "MARTLET_LIMIT_COST_PER_SECOND": "10000000", "MARTLET_LIMIT_COST_BURST": "100000000",
            "MARTLET_LIMIT_REQUESTS_PER_SECOND": "10000", "MARTLET_LIMIT_REQUEST_BURST": "10000", "MARTLET_LOG_LEVEL": "notice",
            "MARTLET_NODE_LEASE": "3s", "MARTLET_HISTORY_LENGTH": "10000",
        })
        eventually(lambda: self.status(self.nodes[name], "/readyz") == 200, f"{name} is ready")

    def end_node(self, name, how):
        self.processes[name].send_signal(how)
        self.processes[name].wait(60)

    @staticmethod
    def listens(port):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    @staticmethod
    def status(port, path):
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5).status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def log(self, room):
        """Position and text of all messages in Redis."""
        text = subprocess.run(
            ["redis-cli", "-p", str(self.redis), "--json", "XRANGE", f"martlet:{{{room}}}:log", "-", "+"], check=True, capture_output=True).stdout
        return [(entry, dict(zip(fields[::2], fields[1::2]))) for entry, fields in json.loads(text)]

    def say(self, room, text, key=None, port=None, user="writer"):
        """Posts a message until it is stored; its key makes a repetition harmless."""
        body = json.dumps({"user": user, "text": text, "key": key or f"{user} {text}"}).encode()
        while True:
            try:
                request = urllib.request.Request(
                    f"http://127.0.0.1:{port or self.proxy}/api/rooms/{room}/messages", body, {"Content-Type": "application/json"})
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return json.load(answer)["position"]
            except urllib.error.HTTPError as error:
                check(error.code in (429, 500, 502, 503, 504), f"a send was answered {error.code}: {error.read()!r}")
            except OSError:
                pass
            time.sleep(0.1)


class Follower(threading.Thread):
    """Notes the positions of what it is shown, by room."""

    def __init__(self, name):
        super().__init__(daemon=True, name=name)
        self.seen = {room: [] for room in ROOMS}
        self.returns = 0
        self.problem = None
        self.stopped = False

    def run(self):
        try:
            while not self.stopped:
                self.follow()
                self.returns += 1
        except Exception as error:  # told by the main thread
            self.problem = error

    def note(self, frame):
        self.seen[frame["room"]].append(frame["position"])


class Curl(Follower):
    """`curl -N`, started again with the last id whenever it ends."""

    def __init__(self, name, base, rooms):
        super().__init__(name)
        self.base, self.rooms = base, rooms
        self.id = ""
        self.process = None

    def follow(self):
        query = "&".join(f"room={room}" for room in self.rooms)
        command = ["curl", "-sN", "-H", f"Last-Event-ID: {self.id}", f"{self.base}/api/events?user={self.name}&{query}"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        name = ""
        for line in self.process.stdout:
            line = line.rstrip("\n")
            if line.startswith("id: "):
                self.id = line[4:]
            elif line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                frame = json.loads(line[6:])
                if name == "message":
                    self.note(frame)
                check(name not in ("gap", "reset") and "gap" not in frame and "reset" not in frame, f"{self.name} was told {frame}")
        self.process.wait()
        time.sleep(0.05)

    def stop(self):
        self.stopped = True
        if self.process:
            self.process.kill()


class Poller(Follower):
    """The loop of the documents, word for word."""

    def __init__(self, name, base, room):
        super().__init__(name)
        self.base, self.room = base, room
        code = next(block for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S) if "def follow" in block)
        exec(code, vars(self).setdefault("names", {}))

    def follow(self):
        for message in self.names["follow"](self.base, self.room):
            self.seen[self.room].append(message["position"])
            if self.stopped:
                return

    def stop(self):
        self.stopped = True


async def browse(base, commands):
    """Two EventSources of a page in Chromium. `commands` is told what to do with the page until it says that it is over."""
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=find("chromium"), args=["--no-sandbox", "--disable-dev-shm-usage"])
        page = await browser.new_page()
        await page.goto(f"{base}/openapi.json")
        await page.evaluate("""(rooms) => {
            window.seen = Object.fromEntries(rooms.map((room) => [room, []]));
            window.opened = 0;
            window.source = new EventSource(`/api/events?user=browser&${rooms.map((room) => `room=${room}`).join('&')}`);
            source.onopen = () => { opened += 1; };
            source.onmessage = ({ data }) => { const { room, position } = JSON.parse(data); seen[room].push(position); };
        }""", list(ROOMS))
        await commands(page)
        await browser.close()


class Browser(Follower):
    def __init__(self, base):
        super().__init__("browser")
        self.base = base
        self.ready = False

    def run(self):
        try:
            asyncio.run(browse(self.base, self.watch))
        except Exception as error:
            self.problem = error

    async def watch(self, page):
        while not self.stopped:
            self.seen, opened, state = await page.evaluate("[seen, opened, source.readyState]")
            self.ready = self.ready or opened > 0
            self.returns = max(0, opened - 1)
            check(state != 2, "the browser has given the stream up")
            await asyncio.sleep(0.1)

    def stop(self):
        self.stopped = True


def at_once(world):
    """`curl -N` through nginx with its default buffering shows a message when it is said."""
    process = subprocess.Popen(
        ["curl", "-sN", f"http://127.0.0.1:{world.nginx}/api/events?user=eve&room=hall"], stdout=subprocess.PIPE, text=True)
    try:
        for line in process.stdout:
            if line.startswith("event: joined"):
                break
        slowest = 0
        for number in range(20):
            began = time.monotonic()
            world.say("hall", f"{number}")
            while not next(process.stdout).startswith("event: message"):
                pass
            slowest = max(slowest, time.monotonic() - began)
        check(slowest < 1, f"a message took {slowest:.3f} s through nginx")
        print(f"ok: curl -N through nginx: from the post to the event {slowest * 1_000:.0f} ms at most, of 20")
    finally:
        process.kill()


def restarts(world, with_browser):
    """A rolling restart and a crash, under streams and polls."""
    base = f"http://127.0.0.1:{world.proxy}"
    followers = [
        Curl("one", base, ROOMS[:1]), Curl("two", base, ROOMS), Curl("nginx", f"http://127.0.0.1:{world.nginx}", ROOMS),
        Poller("poll", base, ROOMS[0]), Poller("poll2", base, ROOMS[1]),
    ]
    if with_browser:
        followers.append(Browser(base))
    for room in ROOMS:
        world.say(room, "first")
    for follower in followers:
        follower.start()
    eventually(lambda: all(getattr(follower, "ready", True) for follower in followers), "the browser's stream is open")
    # A poll and a stream begin at the newest message: each follower has to have seen one before they are compared.
    count = 0

    def everybody_sees():
        nonlocal count
        count += 1
        for room in ROOMS:
            world.say(room, f"hello {count}")
        return all(follower.seen[room] or follower.problem for follower in followers for room in rooms_of(follower))

    def rooms_of(follower):
        return getattr(follower, "rooms", (follower.room,) if hasattr(follower, "room") else ROOMS)

    eventually(everybody_sees, "everybody hears something")
    stop = threading.Event()
    said = 0

    def talk():
        nonlocal said
        while not stop.is_set():
            for room in ROOMS:
                world.say(room, f"{said}")
            said += 1
            time.sleep(0.01)

    writer = threading.Thread(target=talk, daemon=True)
    writer.start()
    for name in world.nodes:
        world.end_node(name, signal.SIGTERM)
        time.sleep(0.5)
        world.start_node(name)
        time.sleep(1)
    world.end_node("node2", signal.SIGKILL)
    time.sleep(4)
    world.start_node("node2")
    stop.set()
    writer.join()
    for room in ROOMS:
        world.say(room, "last")
    logs = {room: [position for position, _ in world.log(room)] for room in ROOMS}

    def is_done(follower):
        return follower.problem or all(follower.seen[room][-1:] == logs[room][-1:] for room in rooms_of(follower))

    try:
        eventually(lambda: all(is_done(follower) for follower in followers), "everybody hears the last message")
    finally:
        for follower in followers:
            follower.stop()
    for follower in followers:
        check(not follower.problem, f"{follower.name}: {follower.problem!r}")
        for room in rooms_of(follower):
            seen, log = follower.seen[room], logs[room]
            check(seen == log[log.index(seen[0]):], f"{follower.name} in {room}: {len(seen)} seen, {len(set(seen))} of them different, of {len(log)}")
        check(follower.returns > 0 or isinstance(follower, Poller), f"{follower.name} never had to come back")
    names = ", ".join(f"{follower.name} came back {follower.returns} times" for follower in followers if not isinstance(follower, Poller))
    print(f"ok: a restart of all nodes and a crash, {len(logs[ROOMS[0]])} messages in each of two rooms, none missing or repeated: {names}")


def many_polls(world, count):
    """Many polls on one room of one node: one message wakes all, and a session beside them hardly notices."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 65_536) if hard != resource.RLIM_INFINITY else 65_536
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    name, port = "node1", world.nodes["node1"]
    pid = world.processes[name].pid

    def cpu():
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def poll(ready):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /api/rooms/crowd/messages?wait=50s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        ready()
        answer = await reader.read()
        writer.close()
        return answer.split(b"\r\n\r\n", 1)

    def waiting():
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20).read().decode()
        return int(re.search(r"^martlet_polls (\d+)$", text, re.M)[1])

    def commands():
        text = subprocess.run(["redis-cli", "-p", str(world.redis), "info", "commandstats"], check=True, capture_output=True, text=True).stdout
        return sum(int(calls) for calls in re.findall(r"calls=(\d+)", text))

    async def run():
        tasks = []
        for _ in range(count):
            tasks.append(asyncio.create_task(poll(lambda: None)))
            if len(tasks) % 200 == 0:
                await asyncio.sleep(0.02)
        while await asyncio.to_thread(waiting) < count:
            await asyncio.sleep(0.1)
        before, calls, began = cpu(), await asyncio.to_thread(commands), time.monotonic()
        await asyncio.to_thread(world.say, "crowd", "wake up", None, port)
        answers = await asyncio.gather(*tasks)
        return answers, time.monotonic() - began, cpu() - before, await asyncio.to_thread(commands) - calls

    answers, seconds, used, calls = asyncio.run(run())
    bodies = {body for head, body in answers}
    check(all(head.startswith(b"HTTP/1.1 200") for head, _ in answers), "all are answered 200")
    check(len(bodies) == 1 and b"wake up" in bodies.pop(), "all get the same page")
    eventually(lambda: waiting() == 0, "nobody waits any more")
    print(f"ok: {count} polls on one room were answered {seconds:.2f} s after the post, for {used:.2f} s of CPU time and {calls} commands of Redis")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", required=True, help="the martlet program")
    parser.add_argument("--polls", type=int, default=2_000, help="polls on one room")
    parser.add_argument("--no-browser", action="store_true", help="leave Chromium out")
    options = parser.parse_args()
    failed = False
    with World(options.binary) as world:
        for step in (at_once, lambda world: restarts(world, not options.no_browser), lambda world: many_polls(world, options.polls)):
            try:
                step(world)
            except Exception as error:
                failed = True
                print(f"FAILED: {error!r}", file=sys.stderr)
        if failed:
            for log in sorted(pathlib.Path(world.state).glob("*.log")):
                print(f"--- the end of {log.name}\n{log.read_text()[-2_000:]}", file=sys.stderr)
    sys.exit(failed)


if __name__ == "__main__":
    main()
