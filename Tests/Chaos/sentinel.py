"""Three sentinels watch a master and a replica that lags; the master is killed, frozen, or cut off alive, again and
again.
"""

import asyncio

from faults import Faults
from processes import until
from stage import Stage
from storm import judge

KINDS = ["killed", "frozen", "cut off"]
EVERY = 12.0


async def sentinel(options, show, state):
    async with Stage(options, show, state, replica=True, sentinel=True) as stage:
        await stage.fill(options.sessions)
        faults = Faults(stage.cluster, stage.ledger, stage.sessions, show)
        stage.speak()
        rounds, times, missed = max(len(KINDS), int(min(options.seconds, 60) / EVERY)), [], 0
        for number in range(rounds):
            await stage.spend(3)
            seconds, behind = await one(stage, faults, KINDS[number % len(KINDS)])
            times.append(seconds)
            missed += behind
            await stage.spend(2)
        await stage.hush()
        figures = await judge(stage, lossy=True)
        return stage.ledger, {
            "failovers": rounds,
            "acknowledged and not on the new master": missed,
            "all sends answered after, longest": f"{max(times):.1f} s",
            **figures,
        }


async def one(stage, faults, kind):
    """The master goes; returns how long sends waited, and how many acknowledged messages the new one did not have."""
    cluster, ledger = stage.cluster, stage.ledger
    old, new, lag = cluster.redis, cluster.replica, stage.rng.uniform(0.2, 0.8)
    stage.say(f"{old.name}, whose replica lags by {lag:.1f} s, is {kind}")
    began = ledger.now()
    old.front.hold("replica")
    await asyncio.sleep(lag)
    if kind == "killed":
        old.process.kill()
        old.ask.close()
    elif kind == "frozen":
        old.process.stop()
    else:
        await old.front.refuse()
    old.front.cut("replica")
    await until(lambda: named(cluster, new), 30, f"the sentinels name {new.name}")
    promoted = ledger.now()
    cluster.redis, cluster.replica = new, old
    missed = await faults.missing(new)
    stage.say(
        f"the sentinels name {new.name} the master after {promoted - began - lag:.1f} s; "
        f"it lacks {missed} acknowledged messages"
    )
    if kind == "killed":
        await old.start()
    elif kind == "frozen":
        old.process.go_on()
    else:
        await old.front.open()
    await stage.answered()
    answered = ledger.now() - began
    await until(lambda: demoted(old), 40, f"{old.name} is a replica")
    await cluster.in_step(old)
    ledger.losses.append((promoted, promoted))
    # What an old master that came back took from nodes that had not heard yet is its own branch of the history.
    ledger.split.append((promoted if kind != "cut off" else began + lag, ledger.now()))
    stage.say(f"all sends were answered after {answered:.1f} s; {old.name} is a replica now")
    return answered, missed


async def named(cluster, server):
    return await cluster.master_by_sentinel() is server


async def demoted(server):
    return (await server.ask.info("replication")).get("role") == "slave"
