"""The test of a test: what upgrade looks for is planted, one fault after the other, in a mixed cluster, and must be
noticed; and where nothing is planted, nothing may be. Without --from or --old-binary both versions are the current one.
"""

import asyncio
import re

from ledger import Ledger
from older_version import older_binary
from rolling import DRAIN_SECONDS, roll
from self_test import judged, judgement
from stage import Stage
from upgrade import MOST_SWEEP, NEWER, OLDER, PREFIX, Upgrade
from upgrade_record import source

STRANGER = "node9-deadbeef"


async def upgrade_self_test(options, show, state):
    options.rooms, options.sessions = 3, 12
    older = older_binary(options) if options.old_binary or options.from_commit else options.binary
    settings = {"MARTLET_DRAIN_TIME": f"{DRAIN_SECONDS}s"}
    found = {}
    async with Stage(options, show, state, settings=settings, binary=older) as stage:
        await stage.fill(options.sessions)
        await roll(stage, stage.cluster.nodes[2], options.binary)
        for name, (plant, promises) in PLANTS.items():
            fresh = Ledger()
            stage.ledger = fresh
            fresh.process_of = stage.cluster.process_of
            run = Upgrade(stage, {OLDER: older, NEWER: options.binary}, [])
            run.version[stage.cluster.nodes[2].name] = NEWER
            for session in stage.sessions:
                session.ledger = fresh
            undo = await plant(run)
            await run.both_ways()
            await run.note_library()
            await run.examine()
            await run.understood()
            await run.swept(STRANGER, OLDER, [], fresh.now() + 1 - MOST_SWEEP)
            await run.nothing_left()
            if undo:
                await undo()
            await asyncio.gather(*(node.ready(30) for node in stage.cluster.nodes))
            await stage.settled(30)
            found[name] = judgement({violation.promise for violation in fresh.violations}, promises)
            show.line(f"  {name}: {found[name]}")
    return judged(found)


async def nothing(run):
    pass


async def stale_list(run):
    """What a version leaves behind that names a node's list of rooms as the other one does not."""
    key = f"{PREFIX}{{node:{STRANGER}}}:rooms"
    await run.cluster.redis.ask("SADD", key, "lobby")

    async def undo():
        await run.cluster.redis.ask("DEL", key)

    return undo


async def not_swept(run):
    key = f"{PREFIX}{{nobody}}:nodes"
    await run.cluster.redis.ask("HSET", key, STRANGER, "1")

    async def undo():
        await run.cluster.redis.ask("DEL", key)

    return undo


async def dies(run):
    """The newer node dies, and the older ones sweep it: nothing of it stays."""
    await run.die(run.nodes_of(NEWER)[0])


async def other_place(run):
    """The newer node keeps its list of rooms at a place that the older ones do not know, and dies."""
    node, ask = run.nodes_of(NEWER)[0], run.cluster.redis.ask
    node.proxy.change = lambda data: data.replace(b":rooms\r\n", b":place\r\n")
    await run.die(node)
    node.proxy.change = None

    async def undo():
        for key in await ask.keys(PREFIX + "*"):
            if "{lonely" in key or key.endswith(":place"):
                await ask("DEL", key)

    return undo


async def load(run, change):
    """Loads the function library with a change of its source; returns what loads the right one again."""
    code = await source(run.cluster.redis.ask)
    await run.cluster.redis.ask("FUNCTION", "LOAD", "REPLACE", change(code))

    async def undo():
        await run.cluster.redis.ask("FUNCTION", "LOAD", "REPLACE", code)

    return undo


def with_version(code, version):
    return re.sub(r"local VERSION = \d+", f"local VERSION = {version}", code)


async def other_library(run):
    """A newer library whose answer to `enter` and `view` has two elements in another order."""
    was, becomes = "int(room.base), int(room.history), room.links", "int(room.history), room.links, int(room.base)"
    assert was in (await source(run.cluster.redis.ask)), "the library has another form than this test expects"
    return await load(run, lambda code: with_version(code, 99).replace(was, becomes))


async def older_library(run):
    await run.note_library()
    return await load(run, lambda code: with_version(code, 1))


def changed_channel(was, becomes):
    async def plant(run):
        """What the newer node publishes has a name that the older ones do not know, of the same length."""
        proxy = run.nodes_of(NEWER)[0].proxy
        proxy.change = lambda data: data.replace(was, becomes)

        async def undo():
            proxy.change = None

        return undo

    return plant


async def foreign_key(run):
    key = f"{PREFIX}{{nobody}}:log"
    await run.cluster.redis.ask("SET", key, "no stream")

    async def undo():
        await run.cluster.redis.ask("DEL", key)

    return undo


# name -> (how it is planted, promises one of which must be said to be broken)
PLANTS = {
    "nothing is wrong": (nothing, set()),
    "a node dies": (dies, set()),
    "a version keeps a node's list of rooms elsewhere": (other_place, {"upgrade"}),
    "a list of rooms stays behind": (stale_list, {"upgrade"}),
    "a dead node stays in a room": (not_swept, {"upgrade"}),
    "the function library answers in another form": (other_library, {"two versions"}),
    "the function library becomes older": (older_library, {"upgrade"}),
    "a version does not understand signals": (
        changed_channel(b'"type":"signal"', b'"type":"sognal"'),
        {"two versions"},
    ),
    "a version does not understand messages": (
        changed_channel(b'"type":"message"', b'"type":"massage"'),
        {"two versions", "upgrade"},
    ),
    "a key has another type": (foreign_key, {"upgrade"}),
}
