"""The masters of a Redis Cluster are killed and frozen, one at a time, while their replicas lag: rooms in their slots
wait for the replica to take over, rooms in all other slots must not notice.
"""

import asyncio
import collections
import random

from faults import Faults
from processes import until
from redis_cluster import slot_of
from stage import Stage
from storm import judge
from verdict import PREFIX

KINDS = ["killed", "frozen"]
EVERY = 12.0
# So that every master has some twenty.
LEAST_ROOMS = 60
# What the rooms of other masters may pause, as a part of what those of the failed one did: it is some seconds, and a
# node that waits with all its rooms for one master would make it as long for all of them.
FAR_LESS = 0.3

# What the new master did not have; the longest pauses of the failed master's rooms and of the others'; and how long
# those that lost their connections meanwhile needed back into rooms of the others: that is told and not judged, for who
# comes anew needs a proxy that finds a green node, and perhaps the nodes' keys.
Outage = collections.namedtuple("Outage", "missed failed others back")


async def cluster_failover(options, show, state):
    options.rooms = max(options.rooms, LEAST_ROOMS)
    async with Stage(options, show, state, redis_cluster=True) as stage:
        await stage.fill(options.sessions)
        faults = Faults(stage.cluster, stage.ledger, stage.sessions, show)
        stage.speak()
        # Not the talk's dice: how often it throws them is a matter of time.
        rng = random.Random(options.seed)
        rounds, told = max(len(KINDS), int(min(options.seconds, 60) / EVERY)), []
        for number in range(rounds):
            await stage.spend(3)
            told.append(await one(stage, faults, rng, KINDS[number % len(KINDS)]))
            await stage.spend(2)
        await stage.hush()
        await stage.cluster.redis.agree()
        figures = await judge(stage, lossy=True)
        return stage.ledger, {
            "failovers": rounds,
            "acknowledged and not on the new master": sum(outage.missed for outage in told),
            "longest pause, rooms of the failed master": seconds(outage.failed for outage in told),
            "longest pause, rooms of the others": seconds(outage.others for outage in told),
            "longest way back into rooms of the others": seconds(outage.back for outage in told),
            **figures,
        }


def seconds(values):
    return " / ".join(f"{value:.2f} s" for value in values)


async def one(stage, faults, rng, kind):
    """A master goes and comes back; returns the Outage."""
    redis, ledger = stage.cluster.redis, stage.ledger
    old = rng.choice(redis.masters)
    new, slot, lag = await redis.replica_of(old), redis.owners.index(old), rng.uniform(0.2, 0.8)
    rooms = redis.by_master(stage.rooms)
    nodes_too = " and the nodes' keys" if redis.owners[slot_of(PREFIX + "nodes")] is old else ""
    stage.say(
        f"{old.name}, which has {len(rooms[old])} rooms{nodes_too} and whose replica lags by {lag:.1f} s, is {kind}"
    )
    old.front.hold("replica")
    await asyncio.sleep(lag)
    began = ledger.now()
    if kind == "killed":
        old.process.kill()
        old.ask.close()
        await old.front.refuse()
    else:
        old.process.stop()
        old.front.cut("replica")
    # Amid the outage, and back before or after its end. What is told a frozen master then (who left) it takes in when
    # it is no master any more; and what it publishes of it still reaches, by the servers' bus, who is subscribed at the
    # new one, for it takes that for its replica.
    for _ in range(2):
        await asyncio.sleep(rng.uniform(0, 1))
        await faults.drop_sessions([rng.random()], failures=4)
    await until(lambda: redis.takes_over(new, slot), 30, f"{new.name} takes over")
    promoted = ledger.now()
    await redis.agree()
    missed = await faults.missing(redis, rooms[old])
    if missed and int(stage.cluster.settings.get("MARTLET_ACK_REPLICAS", 0)) > 0:
        text = f"{new.name}, the only replica of {old.name}, took over without {missed} acknowledged messages"
        ledger.broken("acknowledged by replicas", "", "", text)
    stage.say(
        f"{new.name} took over after {promoted - began:.1f} s; it lacks {missed} acknowledged messages, as far as "
        "nobody has put them back yet"
    )
    ledger.losses.append((promoted, promoted))
    await stage.spend(rng.uniform(0, 2))
    await come_back(stage, old, kind)
    await stage.answered()
    failed, others = compare(ledger, rooms, old, began, ledger.now())
    others_rooms = [room for server, some in rooms.items() if server is not old for room in some]
    returns = [took for room in others_rooms for at, took in ledger.rooms[room].returns if at >= began]
    return Outage(missed, failed, others, max(returns, default=0))


async def come_back(stage, old, kind):
    redis, began = stage.cluster.redis, stage.ledger.now()
    if kind == "killed":
        await old.front.open()
        await old.start()
    else:
        old.process.go_on()
    await until(old.is_replica, 40, f"{old.name} is a replica")
    await redis.agree()
    if kind == "frozen":
        # What it found in its sockets, before it heard of the other, is its own branch of the history.
        stage.ledger.split.append((began, stage.ledger.now()))
    stage.say(f"{old.name} is a replica now")


def compare(ledger, rooms, failed, began, end):
    """Returns the longest pause in the rooms of the failed master, and of any other; says if the others noticed."""
    pauses = {server: pause(ledger, some, began, end) for server, some in rooms.items()}
    outage = pauses.pop(failed)[0]
    for server, (silence, wait, view) in pauses.items():
        if max(silence, wait) > FAR_LESS * outage:
            ledger.broken(
                "isolation",
                view.room if view else "",
                view.session.name if view else "",
                f"{failed.name} failed, and its rooms paused for {outage:.2f} s; in those of {server.name} there was "
                f"no ack for {silence:.2f} s, and one took {wait:.2f} s",
                view.lines() if view else (),
            )
        for room in rooms[server]:
            told = [at for at in ledger.rooms[room].resets if began <= at <= end]
            if told:
                ledger.broken(
                    "isolation",
                    room,
                    "",
                    f"{failed.name} failed, the room is {server.name}'s, and {len(told)} sessions were told `reset`",
                )
    return outage, max(max(silence, wait) for silence, wait, _ in pauses.values())


def pause(ledger, rooms, began, end):
    """The longest time in which these rooms, all together, got no ack, the longest that anybody waited for one, and
    the room as they saw it.
    """
    answers = [one for room in rooms for one in ledger.rooms[room].answers if began <= one[0] <= end]
    times = sorted([began] + [one[0] for one in answers] + [end])
    silence = max(after - before for before, after in zip(times, times[1:]))
    return silence, *max((one[1:] for one in answers), key=lambda one: one[0], default=(0.0, None))
