"""Writes down what a version leaves in Redis, asks of it and publishes, as the fixtures of the next version's tests
(Tests/Upgrade): scripts/chaos upgrade-record --binary FILE --out FOLDER. One JSON array a line, so that people can
review it:

    state.jsonl     commands that make the keys as they were when all nodes were killed, but for the heartbeats
    calls.jsonl     [command, reply]: a command of each form that nodes sent, and what the version's own function
                    library answers to it, one after the other on that state
    channel.jsonl   [channel, payload]: what was published
    functions.txt   the function library
"""

import asyncio
import json
import pathlib
import re

from ledger import Ledger
from processes import Broken, until
from redis_server import RedisServer
from redis_wire import Redis, RedisError
from stage import Stage
from upgrade_dialogue import Line

PREFIX = "martlet:"
# What a connection says of itself, or that asks a server and no key.
ABOUT_CONNECTIONS = {
    "AUTH",
    "CLIENT",
    "COMMAND",
    "CONFIG",
    "FUNCTION",
    "HELLO",
    "INFO",
    "MONITOR",
    "PING",
    "PSUBSCRIBE",
    "ROLE",
    "SELECT",
    "SUBSCRIBE",
    "TIME",
    "UNSUBSCRIBE",
}
WORD = re.compile(r"[A-Za-z_]{2,}|~")
# Arguments that say which form of a function is meant.
FORMS = {"delta", "all", "newest", "before", "after", "around"}
RAISING = ["martlet_once", "martlet_leave", "martlet_enter"]
BUSY = 60
# What any program may ask.
FROM_OUTSIDE = [
    ["FCALL", "martlet_say", "1", PREFIX + "{lobby}:log", "bot", "from outside"],
    ["FCALL", "martlet_say", "1", PREFIX + "{lobby}:log", "bot", "said once", '{"build":417}', "bot-0"],
    ["FCALL", "martlet_say", "1", PREFIX + "{lobby}:log", "bot", "said once", '{"build":417}', "bot-0"],
]


async def upgrade_record(options, show, state):
    if not options.out:
        raise Broken("upgrade-record needs --out FOLDER")
    out = pathlib.Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    # So that logs are trimmed; and nodes look at each other often.
    settings = {"MARTLET_HISTORY_BYTES": "64KiB"}
    async with Stage(options, show, state, nodes=4, haproxy=False, proxied=False, settings=settings) as stage:
        redis = stage.cluster.redis
        monitor, channel = Listener(redis.port, "MONITOR"), Listener(redis.port, "PSUBSCRIBE", PREFIX + "*")
        await monitor.start()
        await channel.start()
        await life(stage)
        ours = redis.ask.writer.get_extra_info("sockname")[1]
        for node in stage.cluster.nodes:
            node.process.kill()
        await asyncio.sleep(0.2)
        commands = await dump(redis.ask)
        library = await source(redis.ask)
        calls = one_of_each_form(commands_of(monitor.lines, ours))
        # First what leaves the epochs of rooms as they are: an append with an older one is refused.
        calls.sort(key=lambda words: RAISING.index(words[1]) if words[1] in RAISING else -1)
        calls = [up_to_date(words, commands) for words in calls] + FROM_OUTSIDE
        replies = await replay(state, stage.cluster.ports.take(), library, commands, calls)
        write(out / "state.jsonl", commands)
        write(out / "calls.jsonl", list(zip(calls, replies)))
        published = [message[2:] for message in channel.lines if message[0] == "pmessage"]
        probes = [message for message in published if "~probe" in message[0]]
        published = [message for message in published if message not in probes[1:]]
        write(out / "channel.jsonl", published)
        (out / "functions.txt").write_text(library)
        figures = {"commands of the state": len(commands), "calls": len(calls), "payloads": len(published)}
        return Ledger(), figures


async def life(stage):
    """Three nodes and one that dies, some rooms; at the end nobody has left those in which people are."""
    first, second, third, fourth = stage.cluster.nodes
    await death(stage, fourth)
    lines = {}
    for user, device, node in (
        ("ana", "laptop", first),
        ("ana", "phone", second),
        ("bea", "only", second),
        ("cat", "only", third),
        ("dan", "only", third),
        ("eve", "only", first),
    ):
        lines[user, device] = await Line(node, user, device).open()
    ana, phone, bea = lines["ana", "laptop"], lines["ana", "phone"], lines["bea", "only"]
    cat, dan, eve = lines["cat", "only"], lines["dan", "only"], lines["eve", "only"]
    await talk(ana, phone, bea, dan)
    for line in (ana, bea):
        await line.ask("join", "busy", history=0)
    await asyncio.gather(*(ana.ask("send", "busy", text=f"busy {number}") for number in range(BUSY)))
    await cat.ask("join", "alone", history=0)
    for number in range(3):
        await cat.ask("send", "alone", text=f"alone {number}", key=f"cat-{number}", again=False)
    await eve.ask("join", "quiet", history=0)
    await eve.ask("send", "quiet", text="then I go", key="eve-0", again=False)
    await eve.ask("leave", "quiet")
    await eve.ask("join", "silent", history=0)
    await bea.ask("leave", "busy")
    ask = stage.cluster.redis.ask
    await ask("FCALL", "martlet_say", "1", PREFIX + "{outside}:log", "bot", "nobody is here")

    async def left():
        gone = await ask("PTTL", PREFIX + "{quiet}:log") > 0
        return gone and await ask("HLEN", PREFIX + "{busy}:nodes") == 1

    await until(left, 20, "the nodes have left the rooms in which nobody of theirs is")
    # All that nodes do by themselves, at least once.
    await asyncio.sleep(7)


async def death(stage, node):
    """A node dies with a room, and the others sweep it."""
    line = await Line(node, "fay", "only").open()
    await line.ask("join", "lobby", history=0)
    await line.ask("leave", "lobby")
    await line.ask("join", "swept", history=0)
    await line.ask("send", "swept", text="before the death", key="fay-0", again=False)
    node.process.kill()

    async def swept():
        return await stage.cluster.redis.ask("ZCARD", PREFIX + "nodes") == 3

    await until(swept, 20, "the dead node is swept")


async def talk(ana, phone, bea, dan):
    """What is said and done in the room that nodes share."""
    for line in (ana, phone, bea, dan):
        await line.ask("join", "lobby", history=0)
    await ana.ask("join", "long", history=0)
    texts = ["hello", 'quotes " and \\ and a\nline feed', "Grüße 로비 👋🏽", "", "to be repeated", "the last but one"]
    for number, text in enumerate(texts):
        speaker, key = (ana, f"ana-{number}") if number % 2 == 0 else (bea, f"bea-{number}")
        content = {"text": text} if text else {"data": {"build": 417, "list": [1, 2.5, None, {"deep": True}]}}
        await speaker.ask("send", "lobby", key=key, again=False, **content)
    # The other node may not know it yet: then Redis is asked.
    await phone.ask("send", "lobby", text="to be repeated", key="ana-4", again=True)
    await phone.ask("send", "lobby", text="a key of long ago", key="ana-9", again=True)
    for line in (ana, bea):
        line.signal("lobby", "typing")
    await bea.ask("leave", "lobby")
    await bea.ask("join", "lobby", history=2)
    for limits in ({"limit": 3}, {"limit": 2, "before": bea_position(bea)}):
        await bea.ask("history", "lobby", **limits)
    await bea.ask("roster", "lobby")
    await ana.ask("send", "lobby", text="without a key")
    for number in range(3):
        await ana.ask("send", "long", text=f"{number} " + "x" * 3000)
    await dan.ask("send", "lobby", text="from the third node", key="dan-0", again=False)


def bea_position(bea):
    return next(frame["position"] for frame in reversed(bea.frames) if frame["type"] == "joined")


class Listener:
    """A connection to Redis on which only Redis speaks."""

    def __init__(self, port, *words):
        self.redis, self.words, self.lines = Redis(port, deadline=10), words, []

    async def start(self):
        await self.redis(*self.words)
        self.task = asyncio.create_task(self.read())

    async def read(self):
        while True:
            try:
                self.lines.append(await self.redis.reply())
            except (EOFError, OSError):
                return


QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
ESCAPE = re.compile(r"\\(x[0-9a-f]{2}|.)")
ESCAPES = {"n": b"\n", "r": b"\r", "t": b"\t", "a": b"\a", "b": b"\b"}


def unquoted(text):
    """A word as MONITOR shows it: bytes that are not printable ASCII are escaped."""
    raw, at = b"", 0
    for found in ESCAPE.finditer(text):
        word = found.group(1)
        raw += text[at : found.start()].encode()
        raw += bytes.fromhex(word[1:]) if len(word) == 3 else ESCAPES.get(word, word.encode())
        at = found.end()
    return (raw + text[at:].encode()).decode()


def commands_of(lines, ours):
    """What the nodes asked, in order: not what functions called, and not what we asked."""
    for line in lines:
        found = re.match(r"[\d.]+ \[\d+ ([^\]]+)\] (.*)", line)
        if not found or found.group(1) == "lua" or found.group(1).endswith(f":{ours}"):
            continue
        words = [unquoted(one) for one in QUOTED.findall(found.group(2))]
        if words[0].upper() not in ABOUT_CONNECTIONS and "~probe" not in " ".join(words):
            yield words


def one_of_each_form(commands):
    """The last command of each form, if there is one of the room in which most happens. A form is the command with its
    words, the kinds of its keys, and how many values it has.
    """
    last = {}
    for words in commands:
        form = tuple(form_of(word, index) for index, word in enumerate(words))
        lobby = "{lobby}" in " ".join(words)
        if form not in last or lobby or "{lobby}" not in " ".join(last[form]):
            last.pop(form, None)
            last[form] = words
    return list(last.values())


def up_to_date(words, commands):
    """`once` with the epoch that the room had at the end, as its node would have sent it then."""
    if words[1] != "martlet_once":
        return words
    last = next(command[2] for command in commands if command[:2] == ["XSETID", words[3]])
    return words[:8] + [last.partition("-")[0]] + words[9:]


def form_of(word, index):
    if word.startswith(PREFIX):
        return "key:" + word.rpartition(":")[2] if word.count(":") > 1 else "key"
    if word.startswith("{"):
        return word[: len('{"type":"signal"')]
    return word if index < 2 or WORD.fullmatch(word) and (word.isupper() or word in FORMS) else "*"


async def dump(ask):
    """The commands that make all keys of the prefix again, without the heartbeats."""
    commands = []
    for key in await ask.keys(PREFIX + "*"):
        kind = await ask("TYPE", key)
        if kind == "stream":
            commands += await dump_stream(ask, key)
        elif kind == "hash":
            pairs = sorted((await ask.hash(key)).items())
            commands.append(["HSET", key, *(word for pair in pairs for word in pair)])
        elif kind == "list":
            commands.append(["RPUSH", key, *await ask("LRANGE", key, "0", "-1")])
        elif kind == "set":
            commands.append(["SADD", key, *sorted(await ask("SMEMBERS", key))])
        elif kind == "zset":
            flat = await ask("ZRANGE", key, "0", "-1", "WITHSCORES")
            commands.append(["ZADD", key, *(word for pair in zip(flat[1::2], flat[::2]) for word in pair)])
        left = await ask("PTTL", key)
        if left > 0 and kind != "string":
            commands.append(["PEXPIRE", key, str(left)])
    return commands


async def dump_stream(ask, key):
    flat = await ask("XINFO", "STREAM", key)
    info = dict(zip(flat[::2], flat[1::2]))
    last = info["last-generated-id"]
    commands = [["XADD", key, name, *fields] for name, fields in await ask("XRANGE", key, "-", "+")]
    if not commands:
        commands = [["XADD", key, last, "-", "-"], ["XDEL", key, last]]
    numbers = ("ENTRIESADDED", str(info["entries-added"]), "MAXDELETEDID", info["max-deleted-entry-id"])
    return commands + [["XSETID", key, last, *numbers]]


async def source(ask):
    listed = await ask("FUNCTION", "LIST", "LIBRARYNAME", "martlet", "WITHCODE")
    return dict(zip(listed[0][::2], listed[0][1::2]))["library_code"]


async def replay(state, port, library, commands, calls):
    """What the version's own library answers to the calls."""
    redis = RedisServer("replay", port, state)
    try:
        await redis.start()
        await redis.ask("FUNCTION", "LOAD", library)
        for words in commands:
            await redis.ask(*words)
        replies = []
        for words in calls:
            try:
                replies.append(await redis.ask(*words))
            except RedisError as error:
                replies.append({"error": str(error)})
        return replies
    finally:
        redis.ask.close()
        await redis.process.finish(5)


def write(path, values):
    with path.open("w") as out:
        for value in values:
            print(json.dumps(value, ensure_ascii=False), file=out)
