#!/usr/bin/env python3
"""Runs the bots of the documents, word for word, against real nodes: each must greet whoever says !hello, once. Then runs
the commands for redis-cli and curl, and checks the options of all other commands (commands.py).

    python3 Tests/Web/tutorials --url http://127.0.0.1:8080 --redis-port 6390 --node NODE --binary MARTLET
    python3 Tests/Web/tutorials --url http://127.0.0.1:8080 --redis-port 6390 --cluster     # commands for a Redis Cluster alone

A block of code is a bot if the line above it is `<!-- tutorial: FILE -->`. The Swift bot is a target of the package, as
building another package would take minutes: its source must be that of the page.
"""
import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

import commands

ROOT = commands.ROOT
#: The page that holds each bot.
PAGES = {"bot.mjs": "README.md", "bot.py": "Sources/ChatWire/README.md", "main.swift": "Sources/MartletClient/README.md"}
MOST_LINES = 25


class Failure(Exception):
    """Something that a page promises did not happen."""


def blocks():
    """The bots by name."""
    found = {}
    for name, page in PAGES.items():
        block = re.search(rf"<!-- tutorial: {re.escape(name)} -->\n```\w+\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
        if not block:
            raise Failure(f"{page} has no block <!-- tutorial: {name} -->")
        found[name] = block[1]
        lines = len(found[name].splitlines())
        if lines > MOST_LINES:
            raise Failure(f"{name} has {lines} lines; a tutorial's bot has {MOST_LINES} at most")
    return found


def request(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data=data), timeout=10) as answer:
        return json.load(answer)


def until(what, condition, bots, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        for name, bot in bots.items():
            if bot.poll() is not None:
                raise Failure(f"{name} ended with status {bot.returncode}: {bot.communicate()[0]}")
        if time.monotonic() > end:
            raise Failure(f"in {seconds} s it did not happen that {what}")
        time.sleep(0.1)


def talk(api, bots):
    """Says !hello twice, and reads what the bots make of it."""
    def here():
        return sorted(member["user"] for member in request(f"{api}/roster")["roster"])

    def greetings(user):
        said = request(f"{api}/messages?limit=100")["messages"]
        return sorted(message["user"] for message in said if message.get("text") == f"Hello, {user}!")

    until("all bots are in the room", lambda: here() == sorted(bots), bots)
    for user in ("ana", "민준"):
        request(f"{api}/messages", {"user": user, "text": "nothing for a bot"})
        request(f"{api}/messages", {"user": user, "text": "!hello"})
        until(f"all greeted {user}, once", lambda user=user: greetings(user) == sorted(bots), bots)
        print(f"ok   {', '.join(sorted(bots))} greeted {user}")


def run_bots(url, node, swift_bot):
    code = blocks()
    if code["main.swift"] != (ROOT / "Tests/TutorialBot/main.swift").read_text():
        raise Failure(f"main.swift of {PAGES['main.swift']} is not Tests/TutorialBot/main.swift: make them the same")
    socket = url.replace("http", "ws", 1) + "/ws"
    bots = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("bot.mjs", "bot.py"):
            pathlib.Path(folder, name).write_text(code[name])
        urllib.request.urlretrieve(f"{url}/martlet.js", pathlib.Path(folder, "martlet.js"))
        programs = {"js-bot": [node, "bot.mjs"], "py-bot": [sys.executable, "bot.py"], "swift-bot": [swift_bot]}
        try:
            for name, program in programs.items():
                bots[name] = subprocess.Popen(
                    [*program, socket], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            talk(f"{url}/api/rooms/lobby", bots)
        finally:
            for bot in bots.values():
                bot.kill()
                bot.wait()


def main():
    parser = argparse.ArgumentParser(prog="tutorials", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--url", required=True, help="a node's or a proxy's http address")
    parser.add_argument("--redis-port", required=True, type=int, help="the port of the nodes' Redis")
    parser.add_argument("--cluster", action="store_true", help="the Redis is a Cluster: only the commands for one")
    parser.add_argument("--node", help="Node 20 or newer")
    parser.add_argument("--binary", type=pathlib.Path, help="martlet, with tutorial-bot and martlet-sim beside it")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.cluster:
            commands.run_cluster(arguments.redis_port, arguments.url, folder)
            return
        if not arguments.node or not arguments.binary:
            parser.error("the bots need --node and --binary")
        binary = arguments.binary.resolve()
        commands.check_options(binary)
        run_bots(arguments.url, arguments.node, binary.parent / "tutorial-bot")
        commands.run_all(arguments.redis_port, arguments.url, folder)


try:
    main()
except (Failure, commands.CommandFailure) as failure:
    print(f"tutorials: {failure}", file=sys.stderr)
    sys.exit(1)
