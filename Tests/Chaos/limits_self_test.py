"""The test of two tests: what abuse and refusals look for is planted, one thing after the other, and must be noticed; and
where nothing is planted, nothing may be.
"""

import asyncio
import copy
import itertools

from abuse import AT_ONCE, covering
from abuse_kinds import KINDS
from abuse_verdict import Case, Phase
from honest import cpu_of
from ledger import Ledger, text_of
from refusals import DRAIN, LastWords, Outage
from self_test import judged, judgement, look, start_over
from stage import Stage

OUTAGE_SECONDS = 4.5


async def limits_self_test(options, show, state):
    options.rooms, options.sessions = 3, 12
    found = abuse_plants(show)
    settings = {
        "MARTLET_LOG_LEVEL": "debug",
        "MARTLET_LOG_QUEUE_BYTES": "8KiB",
        "MARTLET_DRAIN_TIME": f"{DRAIN:g}s",
    }
    async with Stage(options, show, state, settings=settings, haproxy=False, acl=True, log_pipes=True) as stage:
        await stage.fill(options.sessions)
        found.update(await refusal_plants(stage))
        found.update(await last_words_plants(stage))
    return judged(found)


# Abuse: numbers in, words out.


def quiet_case():
    before = Phase()
    before.seconds, before.times, before.lag = 10.0, [0.002] * 98 + [0.004] * 2, [0.001] * 100
    before.cpu = {"node1": 0.2, "node2": 0.2, "redis": 0.1}
    case = Case("planted", before, copy.deepcopy(before), ["node1", "node2"])
    case.memory = {name: (50e6, 60e6, 52e6) for name in ("node1", "node2", "redis")}
    return case


def slower(case):
    case.during.times = [0.002] * 98 + [0.050] * 2


def never_delivered(case):
    case.during.times[-2:] = [12.0, 12.0]


def dear_for_a_node(case):
    case.during.cpu["node2"] = 1.8


def dear_for_redis(case):
    case.during.cpu["redis"] = 1.8


def reconnected(case):
    case.during.reconnects = 1


def red(case):
    case.during.not_ready = ["node1 says 503"]


def lost(case):
    case.during.honest_losses = 1


def refused(case):
    case.during.honest_errors = 1


def members_closed(case):
    case.during.members_lost = 3


def broke(case):
    case.during.violations = 1


def node_keeps(case):
    case.memory["node1"] = (50e6, 300e6, 120e6)


def redis_keeps(case):
    case.memory["redis"] = (50e6, 300e6, 70e6)


def rooms_stay(case):
    case.left_over = ["12 martlet_rooms"]


ABUSE_PLANTS = {
    "nothing is wrong": (lambda case: None, set()),
    "others are slower": (slower, {"isolation"}),
    "something never comes": (never_delivered, {"isolation"}),
    "it is dear for a node": (dear_for_a_node, {"bounds"}),
    "it is dear for Redis": (dear_for_redis, {"bounds"}),
    "a connection to Redis is lost": (reconnected, {"isolation"}),
    "a node is not ready": (red, {"readiness"}),
    "somebody else's connection is lost": (lost, {"isolation"}),
    "somebody else is refused": (refused, {"isolation"}),
    "members of the room are closed": (members_closed, {"isolation"}),
    "a promise to somebody else is broken": (broke, {"isolation"}),
    "a node keeps memory": (node_keeps, {"bounds"}),
    "Redis keeps memory": (redis_keeps, {"bounds"}),
    "rooms stay": (rooms_stay, {"bounds"}),
}


def abuse_plants(show):
    found = {}
    for name, (plant, promises) in ABUSE_PLANTS.items():
        case = quiet_case()
        plant(case)
        found[f"abuse: {name}"] = judgement({promise for promise, _ in case.faults()}, promises)
        show.line(f"  abuse: {name}: {found[f'abuse: {name}']}")
    name, pairs = "abuse: any two kinds are together", set(itertools.combinations(KINDS, 2))
    for group in covering(list(KINDS), AT_ONCE):
        pairs -= set(itertools.combinations(group, 2))
    found[name] = judgement({" without ".join(pair) for pair in pairs}, set())
    show.line(f"  {name}: {found[name]}")
    return found


# Refusals: an outage in which nothing happens, with a /readyz that says what is planted.


class Planted:
    """Stands for a fault, and for what /readyz says about it: red and green so long after it began and ended."""

    def __init__(self, stage, red_after=0.3, green_after=0.3, green_at=None, act=None):
        self.stage, self.red_after, self.green_after, self.green_at, self.act = (
            stage,
            red_after,
            green_after,
            green_at,
            act,
        )
        self.clock = asyncio.get_running_loop().time
        self.began = self.ended = None
        self.acting = None

    async def __aenter__(self):
        self.began = self.clock()
        if self.act:
            self.acting = asyncio.create_task(self.act(self.stage))

    async def __aexit__(self, *error):
        self.ended = self.clock()
        if self.acting:
            await self.acting

    def busy(self, pid):
        """The CPU of a node that takes a core more from the fault on."""
        return cpu_of(pid) + (self.clock() - self.began if self.began is not None else 0)

    async def ready(self, node):
        await asyncio.sleep(0)
        if self.began is None:
            return True
        if self.ended is not None and self.clock() >= self.ended + self.green_after:
            return True
        after = self.clock() - self.began
        if self.green_at is not None and self.green_at <= after and self.ended is None:
            return True
        return after < self.red_after


def staying(stage):
    """A session, one of its rooms, and another session in that room."""
    for session in stage.sessions:
        for other in stage.sessions:
            for room in set(session.rooms) & set(other.rooms):
                if session.user != other.user:
                    return session, room, other
    raise AssertionError("nobody is in a room with somebody else")


async def false_leave(stage):
    session, room, other = staying(stage)
    frame = {"type": "presence", "room": room, "joined": [], "left": [other.user], "count": 1}
    session.handlers["presence"](session, frame, session.rooms[room])
    frame = {
        "type": "presence",
        "room": room,
        "joined": [other.user],
        "left": [],
        "count": session.rooms[room].count + 1,
    }
    session.handlers["presence"](session, frame, session.rooms[room])


async def false_leave_in_redis(stage):
    session, room, _ = staying(stage)
    ask, base = stage.cluster.redis.ask, f"martlet:{{{room}}}:presence"
    last = (await ask("XREVRANGE", base, "+", "-", "COUNT", "1"))[0][0]
    epoch, _, number = last.partition("-")
    fields = ("user", session.user, "device", session.device, "node", "node1-00000000", "at", "1")
    await ask("XADD", base, f"{epoch}-{int(number) + 1}", "kind", "expire", *fields)
    await ask("XADD", base, f"{epoch}-{int(number) + 2}", "kind", "join", *fields)


async def closed(stage):
    stage.sessions[0].drop()


async def lost_ack(stage):
    await asyncio.sleep(1)
    room, ledger = next((room, ledger) for room, ledger in stage.ledger.rooms.items() if len(ledger.acked) > 2)
    # One in the middle: what is older than the log's first message counts as trimmed.
    place = sorted(place for place, _, _ in ledger.acked.values())[len(ledger.acked) // 2]
    await stage.cluster.redis.ask("XDEL", f"martlet:{{{room}}}:log", text_of(place))


async def frozen(stage):
    """A node does nothing for as long as a session waits for it; it lives on."""
    node = stage.cluster.nodes[0]
    node.process.stop()
    await asyncio.sleep(OUTAGE_SECONDS - 0.5)
    node.process.go_on()


async def told(stage):
    """As a node would say it when its log is read again."""
    node = stage.cluster.nodes[0]
    with open(f"/proc/self/fd/{node.process.pipe.write_end}", "wb") as pipe:
        pipe.write(b"2026-01-01T00:00:00.000Z warning lines of the log were dropped count=17\n")


async def frozen_for_good(stage):
    """A node that is asked to leave does not."""
    node = stage.cluster.nodes[0]
    node.process.stop()
    await asyncio.sleep(DRAIN + 6)
    node.process.go_on()


# name -> (the fault that it stands for, how it is planted, promises one of which must be said to be broken)
REFUSAL_PLANTS = {
    "nothing is wrong": ("maxmemory", {}, set()),
    "/readyz is never red": ("maxmemory", {"red_after": 1e9}, {"readiness"}),
    "/readyz is red late": ("maxmemory", {"red_after": 3.8}, {"readiness"}),
    "/readyz is green late": ("maxmemory", {"green_after": 4.0}, {"readiness"}),
    "/readyz is green in between": ("maxmemory", {"green_at": 2.0}, {"readiness"}),
    "somebody is said to have left": ("maxmemory", {"act": false_leave}, {"presence"}),
    "Redis holds that somebody left": ("maxmemory", {"act": false_leave_in_redis}, {"presence"}),
    "a session is closed": ("maxmemory", {"act": closed}, {"outage"}),
    "an acknowledged message is gone": (
        "maxmemory",
        {"act": lost_ack},
        {"ack means stored", "contiguous", "silent hole"},
    ),
    "a node without descriptors is as before": ("descriptors", {"red_after": 1e9}, set()),
    "a node without descriptors spins": ("descriptors", {"red_after": 1e9, "spins": True}, {"bounds"}),
    "a node whose log nobody reads stands still": ("log-pipe", {"red_after": 1e9, "act": frozen}, {"isolation"}),
    "a node whose log nobody reads does not leave": (
        "log-pipe",
        {"red_after": 1e9, "act": frozen_for_good, "leaves": True},
        {"leaving"},
    ),
    "a log says what is missing": ("log-pipe", {"red_after": 1e9, "act": told}, set()),
    "a log does not say what is missing": ("log-pipe", {"red_after": 1e9}, {"bounds"}),
}


# name -> (how the node ends, promises one of which must be said to be broken)
LAST_WORDS_PLANTS = {
    "a node that leaves says what is missing in its log": (lambda process: process.terminate, set()),
    "a node ends without a word on what is missing in its log": (lambda process: process.kill, {"bounds"}),
}


def new_ledger(stage):
    fresh = Ledger()
    fresh.process_of = stage.cluster.process_of
    stage.ledger = fresh
    for session in stage.sessions:
        session.ledger = fresh
    return fresh


async def last_words_plants(stage):
    found = {}
    for name, (how, promises) in LAST_WORDS_PLANTS.items():
        fresh = new_ledger(stage)
        stage.speak(rate=60)
        node = stage.cluster.nodes[0]
        await LastWords(stage, node).run(how(node.process))
        await stage.hush()
        await stage.settled(20)
        found[f"refusals: {name}"] = judgement({violation.promise for violation in fresh.violations}, promises)
        stage.show.line(f"  refusals: {name}: {found[f'refusals: {name}']}")
    return found


async def refusal_plants(stage):
    """On a stage that runs; each with a ledger of its own."""
    found = {}
    for name, (kind, how, promises) in REFUSAL_PLANTS.items():
        fresh = new_ledger(stage)
        stage.speak(rate=60)
        how = dict(how)
        leaves, spins = how.pop("leaves", False), how.pop("spins", False)
        fault = Planted(stage, **how)
        node = stage.cluster.nodes[0] if kind in ("descriptors", "log-pipe") else None
        outage = Outage(stage, kind, node, leaves, fault=fault, probe=fault.ready)
        if spins:
            outage.cpu = fault.busy
        await outage.run(OUTAGE_SECONDS)
        await stage.hush()
        await stage.settled(20)
        await look(stage)
        seen = {violation.promise for violation in fresh.violations}
        found[f"refusals: {name}"] = judgement(seen, promises)
        stage.show.line(f"  refusals: {name}: {found[f'refusals: {name}']}")
        await start_over(stage)
    return found
