"""The test of what the scenarios on a Redis Cluster stand on, without any node: that it forms, moves slots and fails
over, that a lagging replica really loses what it lags by, and that what must be noticed is noticed.
"""

import asyncio
import collections

from cluster_failover import compare
from cluster_reshard import LEAST_MOVES, weigh
from ledger import Ledger
from processes import Broken, Ports, until
from redis_cluster import RedisCluster, slot_of
from redis_wire import RedisError

ROOMS = [f"room{index}" for index in range(20)]
ODD_KEYS = ["plain", "martlet:{lobby}:log", "martlet:node:{martlet:nodes}:n1", "{}x", "a{b}c{d}", "{a", "{ö}ü", "{{y}}"]


async def cluster_self_test(options, show, state):
    found, judged = {}, Ledger()
    redis = RedisCluster(Ports(options.port_base), state)
    try:
        await redis.start()
        for check in (slots, stale_map, subscribers, moves_under_writes, lag_and_failover, frozen):
            await carry_out(check.__doc__, check(redis), found, show)
    finally:
        for server in redis.servers:
            server.ask.close()
            server.front.stop()
        await asyncio.gather(*(server.process.finish(5) for server in redis.servers))
    for check in (isolation_is_judged, reshard_is_judged):
        await carry_out(check.__doc__, check(), found, show)
    for name, text in found.items():
        if text != "yes":
            judged.broken("the test itself", "", "", f"{name} {text}")
    return judged, found


async def carry_out(name, check, found, show):
    try:
        await check
        found[name] = "yes"
    except (AssertionError, Broken) as error:
        found[name] = f"NO: {error}"
    show.line(f"  {name} {found[name]}")


def log(room):
    return f"martlet:{{{room}}}:log"


async def slots(redis):
    """Our slot of a key is Redis' own?"""
    for key in ODD_KEYS:
        theirs = await redis.servers[0].ask("CLUSTER", "KEYSLOT", key)
        assert slot_of(key) == theirs, f"{key} is in slot {theirs}, not {slot_of(key)}"
    assert len(redis.masters) == 3, f"{len(redis.masters)} masters"


async def stale_map(redis):
    """Who has forgotten where the slots are is sent there?"""
    await redis.ask("XADD", log("stale"), "1-1", "text", "k")
    right = redis.owners[slot_of("stale")]
    redis.owners[slot_of("stale")] = next(one for one in redis.masters if one is not right)
    assert len(await redis.ask.stream(log("stale"))) == 1 and redis.owners[slot_of("stale")] is right
    await redis.ask("DEL", log("stale"))


async def subscribers(redis):
    """Shard channels and their subscribers are counted?"""
    port, word = redis.where_to_subscribe("martlet:{lobby}")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{word} martlet:{{lobby}}\r\n".encode())
    await asyncio.wait_for(reader.readuntil(b":1\r\n"), 5)
    seen = await redis.channels("martlet:*"), await redis.subscribers("martlet:{lobby}")
    writer.transport.abort()
    assert seen == (["martlet:{lobby}"], 1), seen


async def write(redis, room, number):
    """One entry, as a client that is not told twice: who is sent on for one question goes there and says ASKING."""
    words = "XADD", log(room), f"1-{number}", "text", f"k{number}"
    for _ in range(200):
        owner = redis.owners[slot_of(room)]
        async with owner.ask.lock:
            try:
                return await owner.ask.ask(words)
            except RedisError as error:
                asked = str(error).split()
        if asked[0] == "ASK":
            there = redis.by_address(asked[2]).ask
            async with there.lock:
                await there.ask(("ASKING",))
                return await there.ask(words)
        if asked[0] not in ("MOVED", "TRYAGAIN"):
            raise Broken(" ".join(asked))
        await asyncio.sleep(0.01)
    raise Broken(f"{room}: no way to write entry {number}")


async def moves_under_writes(redis):
    """Slots move under a steady writer, and nothing is lost?"""
    written, done = dict.fromkeys(ROOMS, 0), False

    async def writer():
        while not done:
            for room in ROOMS:
                await write(redis, room, written[room] + 1)
                written[room] += 1
            await asyncio.sleep(0.001)

    task = asyncio.create_task(writer())
    for turn, room in enumerate(ROOMS * 2):
        slot = slot_of(room)
        targets = [one for one in redis.masters if one is not redis.owners[slot]]
        await redis.move(slot, targets[turn % 2], at_once=1, pause=0.01)
    done = True
    await task
    await redis.agree()
    for room in ROOMS:
        ids = [name for name, _ in await redis.ask.stream(log(room))]
        assert ids == [f"1-{number + 1}" for number in range(written[room])], f"{room} is not what was written: {ids}"
    keys = await redis.ask.keys("martlet:{*}:log")
    assert keys == sorted(map(log, ROOMS)), f"keys are {keys}"


async def lag_and_failover(redis):
    """A killed master's replica takes over without what it lagged by, and the master comes back as its replica?"""
    room, old = ROOMS[0], redis.owners[slot_of(ROOMS[0])]
    new = await redis.replica_of(old)
    await redis.ask("XADD", log(room), "2-1", "text", "before")
    await old.ask("WAIT", 1, 2000)
    old.front.hold("replica")
    await redis.ask("XADD", log(room), "3-1", "text", "unheard")
    old.process.kill()
    old.ask.close()
    await old.front.refuse()
    await until(lambda: redis.takes_over(new, slot_of(room)), 20, f"{new.name} takes over")
    await redis.agree()
    last = (await redis.ask.stream(log(room)))[-1][0]
    assert last == "2-1", f"the new master's log ends at {last}"
    others = [one for one in redis.awake if one is not new]
    assert len(redis.masters) == 3 and old not in others
    await old.front.open()
    await old.start()
    await until(old.is_replica, 20, f"{old.name} is a replica")
    await redis.agree()
    assert await redis.replica_of(new) is old


async def frozen(redis):
    """A frozen master's replica takes over, and the master becomes its replica when it goes on?"""
    old = redis.masters[0]
    new, slot = await redis.replica_of(old), redis.owners.index(old)
    old.process.stop()
    await until(lambda: redis.takes_over(new, slot), 20, f"{new.name} takes over")
    await redis.agree()
    old.process.go_on()
    await until(old.is_replica, 20, f"{old.name} is a replica")
    await redis.agree()


# The judgement, with a ledger made up.


def made_up(waits):
    """A ledger in which each room got an ack every tenth of a second for ten seconds, and none between 1 s and 1 s plus
    its wait.
    """
    ledger = Ledger()
    for room, wait in waits.items():
        times = [tenth / 10 for tenth in range(100) if not 1 < tenth / 10 < 1 + wait]
        first = min(at for at in times if at > 1)
        ledger.rooms[room].answers = [(at, wait if at == first else 0.01, None) for at in times]
    return ledger


Named = collections.namedtuple("Named", "name")


def judged_isolation(waits, reset=None):
    failed, other = map(Named, ("redis1", "redis2"))
    ledger = made_up(waits)
    if reset:
        ledger.rooms[reset].resets.append(3)
    compare(ledger, {failed: ["a"], other: ["b"]}, failed, 0.5, 9.5)
    return [violation.promise for violation in ledger.violations]


async def isolation_is_judged():
    """A pause or a reset in the rooms of another master is noticed, and only that?"""
    assert judged_isolation({"a": 4, "b": 0.3}) == []
    assert judged_isolation({"a": 4, "b": 0.3}, reset="a") == []
    assert judged_isolation({"a": 4, "b": 0.3}, reset="b") == ["isolation"]
    assert judged_isolation({"a": 4, "b": 3}) == ["isolation"]


async def reshard_is_judged():
    """A gap, too few moves, or moves that no message met, are noticed?"""
    moves = [(1, 1.5, ["a"], 7)] * LEAST_MOVES
    for few, room, gaps, expected in (
        (moves, "a", 0, []),
        (moves, "a", 1, ["no silent loss"]),
        (moves, "b", 0, ["the test itself"]),
        (moves[1:], "a", 0, ["the test itself"]),
    ):
        ledger = made_up({room: 0})
        ledger.count["gaps"] = gaps
        weigh(ledger, few)
        promises = [violation.promise for violation in ledger.violations]
        assert promises == expected, f"{promises}, not {expected}"
