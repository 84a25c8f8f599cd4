#!/usr/bin/env python3
"""Runs the README's bots, word for word, against real nodes: each must greet whoever says !hello, once.

    python3 Tests/Web/tutorials --url http://127.0.0.1:8080 --node NODE --swift-bot PROGRAM

A block of code belongs to this if the line above it is `<!-- tutorial: FILE -->`. The Swift bot is a target of the package, as
building another package would take minutes: its source must be the README's.
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

ROOT = pathlib.Path(__file__).resolve().parents[3]
MOST_LINES = 25


class Failure(Exception):
    """Something that the README promises did not happen."""


def blocks():
    """The README's tutorial files by name."""
    found = dict(re.findall(r"<!-- tutorial: (\S+) -->\n```\w+\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL))
    for name in ("bot.mjs", "bot.py", "main.swift"):
        if name not in found:
            raise Failure(f"the README has no block <!-- tutorial: {name} -->")
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


def main():
    parser = argparse.ArgumentParser(prog="tutorials", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--url", required=True, help="a node's or a proxy's http address")
    parser.add_argument("--node", required=True, help="Node 20 or newer")
    parser.add_argument("--swift-bot", required=True, type=pathlib.Path, help="the target tutorial-bot, built")
    arguments = parser.parse_args()
    code = blocks()
    if code["main.swift"] != (ROOT / "Tests/TutorialBot/main.swift").read_text():
        raise Failure("the README's main.swift is not Tests/TutorialBot/main.swift: make them the same")
    socket = arguments.url.replace("http", "ws", 1) + "/ws"
    bots = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("bot.mjs", "bot.py"):
            pathlib.Path(folder, name).write_text(code[name])
        urllib.request.urlretrieve(f"{arguments.url}/martlet.js", pathlib.Path(folder, "martlet.js"))
        commands = {"js-bot": [arguments.node, "bot.mjs"], "py-bot": [sys.executable, "bot.py"],
                    "swift-bot": [arguments.swift_bot.resolve()]}
        try:
            for name, command in commands.items():
                bots[name] = subprocess.Popen(
                    [*command, socket], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            talk(f"{arguments.url}/api/rooms/lobby", bots)
        finally:
            for bot in bots.values():
                bot.kill()
                bot.wait()


try:
    main()
except Failure as failure:
    print(f"tutorials: {failure}", file=sys.stderr)
    sys.exit(1)
