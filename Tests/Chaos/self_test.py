"""The test of the tests: breaks each promise once, behind the nodes' backs, and looks whether it is noticed."""

import asyncio

from ledger import Ledger, text_of
from stage import Stage
from verdict import Verdict


async def self_test(options, show, state):
    options.rooms, options.sessions = 3, 12
    # A Redis Cluster is looked into in other ways: what is planted in Redis must be noticed there too.
    in_redis = {name: plant for name, plant in PLANTS.items() if plant[0] in PLANTED_IN_REDIS}
    found = await plant_all(options, show, state, PLANTS)
    (state / "redis-cluster").mkdir(exist_ok=True)
    show.line("on a Redis Cluster:")
    for name, text in (await plant_all(options, show, state / "redis-cluster", in_redis, redis_cluster=True)).items():
        found[f"on a Redis Cluster: {name}"] = text
    return judged(found)


async def plant_all(options, show, state, plants, **cluster):
    async with Stage(options, show, state, **cluster) as stage:
        await stage.fill(options.sessions)
        found = {}
        for name, (plant, promises) in plants.items():
            fresh = Ledger()
            stage.ledger = fresh
            fresh.process_of = stage.cluster.process_of
            for session in stage.sessions:
                session.ledger = fresh
            stage.speak(rate=60)
            await asyncio.sleep(0.5)
            undo = await plant(stage)
            await asyncio.sleep(0.5)
            await stage.hush()
            await stage.settled(20)
            await look(stage)
            seen = {violation.promise for violation in fresh.violations}
            found[name] = judgement(seen, promises)
            show.line(f"  {name}: {found[name]}")
            if undo:
                await undo()
            await start_over(stage)
        return found


def judged(found):
    """The ledger of a self-test, and what was found: each plant that was not noticed as it should is a violation."""
    ledger = Ledger()
    for name, text in found.items():
        if text.startswith(("NOT NOTICED", "NOTICED")):
            ledger.broken("the test itself", "", "", f"{name}: {text}")
    return ledger, found


def judgement(seen, promises):
    if not promises:
        return "NOTICED, though there is nothing: " + ", ".join(sorted(seen)) if seen else "nothing noticed"
    return "noticed: " + ", ".join(sorted(seen)) if seen & promises else "NOT NOTICED"


async def look(stage):
    verdict = Verdict(stage.cluster, stage.ledger, stage.sessions)
    await verdict.presence(3)
    await verdict.logs()
    verdict.no_false_resets()
    verdict.processes(1e3 if getattr(stage, "tiny", False) else 1e9, 1e9)


async def start_over(stage):
    """Rooms and sessions as if nothing had happened: what was planted is not to be found again."""
    stage.tiny = False
    for session in stage.sessions:
        session.stop()
    rooms = [sorted(session.rooms) for session in stage.sessions]
    names = [(session.user, session.device) for session in stage.sessions]
    stage.sessions = []
    number = getattr(stage, "round", 0) + 1
    stage.round = number
    for (user, device), wanted in zip(names, rooms):
        session = stage.session(user, device)
        for room in wanted:
            session.want(f"{room.partition('.')[0]}.{number}")
        session.start()
    await stage.settled(20)
    # The rooms of before are given up after the linger.
    await asyncio.sleep(1.5)


def tamper(stage, change, session=None):
    """`change(frames, frame)` decides what a session, the first one, sees in place of a message."""
    session = session or stage.sessions[0]
    original, held = session.handlers["message"], []

    def message(me, frame, view):
        if me is not session:
            return original(me, frame, view)
        for one in change(held, frame):
            original(me, one, view)

    session.handlers = {**session.handlers, "message": message}


async def nothing(stage):
    pass


async def hole(stage):
    tamper(stage, lambda held, frame: held.append(1) or ([] if len(held) == 3 else [frame]))


async def repeat(stage):
    tamper(stage, lambda held, frame: held.append(1) or ([frame, frame] if len(held) == 3 else [frame]))


async def swap(stage):
    def change(held, frame):
        held.append(frame)
        if len(held) == 3:
            return []
        return [frame, held[2]] if len(held) == 4 else [frame]

    tamper(stage, change)


async def other_text(stage):
    tamper(stage, lambda held, frame: held.append(1) or [{**frame, "text": "k0 other"} if len(held) == 3 else frame])


async def last_is_missing(stage):
    tamper(stage, lambda held, frame: [])


async def lost_ack(stage):
    await stage.hush()
    await stage.settled(20)
    room, ledger = next((room, ledger) for room, ledger in stage.ledger.rooms.items() if ledger.acked)
    place = sorted(place for place, _, _ in ledger.acked.values())[-1]
    await stage.cluster.redis.ask("XDEL", f"martlet:{{{room}}}:log", text_of(place))


async def stored_twice(stage):
    await stage.hush()
    await stage.settled(20)
    room, ledger = next((room, ledger) for room, ledger in stage.ledger.rooms.items() if ledger.acked)
    await stage.cluster.redis.ask(
        "FCALL", "martlet_say", "1", f"martlet:{{{room}}}:log", "bot", next(iter(ledger.acked))
    )


async def stray_subscriber(stage):
    channel = f"martlet:{{{next(iter(stage.sessions[0].rooms))}}}"
    port, word = stage.cluster.redis.where_to_subscribe(channel)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{word} {channel}\r\n".encode())

    async def undo():
        writer.transport.abort()

    return undo


async def ghost(stage):
    room = next(iter(stage.sessions[0].rooms))
    await stage.cluster.redis.ask("HSET", f"martlet:{{{room}}}:roster", "ghost", '{"node1-00000000":["d"]}')


async def false_reset(stage):
    session = stage.sessions[0]
    view = next(iter(session.rooms.values()))
    view.reset({"position": text_of(view.last), "reason": "rewound"})


async def memory(stage):
    stage.tiny = True


async def crash(stage):
    node = stage.cluster.nodes[2]
    node.process.kill()
    node.process.expected_end = False
    await asyncio.sleep(0.5)

    async def undo():
        node.process.start()
        await node.ready()
        stage.cluster.limits_exceeded.clear()

    return undo


# name -> (what does it, promises one of which must be said to be broken)
PLANTS = {
    "nothing is wrong": (nothing, set()),
    "a message is missing": (hole, {"silent hole"}),
    "a message comes twice": (repeat, {"a repeat"}),
    "two messages change places": (swap, {"silent hole", "out of order"}),
    "a message says something else": (other_text, {"one order"}),
    "the newest messages never come": (last_is_missing, {"silent hole"}),
    "an acknowledged message is gone": (lost_ack, {"ack means stored"}),
    "a message is stored twice": (stored_twice, {"once"}),
    "somebody else is subscribed": (stray_subscriber, {"presence"}),
    "a ghost is in the roster": (ghost, {"presence"}),
    "a session is told to forget": (false_reset, {"resume"}),
    "a process is too large": (memory, {"bounds"}),
    "a node dies by itself": (crash, {"alive"}),
}
PLANTED_IN_REDIS = {nothing, lost_ack, stored_twice, stray_subscriber, ghost}
