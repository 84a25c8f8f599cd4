"""A lagging replica takes over, again and again, under load: what the nodes remember is put back, the rest is
announced.
"""

from faults import Faults
from stage import Stage
from storm import judge


async def failover(options, show, state):
    async with Stage(options, show, state, replica=True) as stage:
        await stage.fill(options.sessions)
        faults = Faults(stage.cluster, stage.ledger, stage.sessions, show)
        stage.speak()
        times, lost, rounds = [], 0, max(1, int(min(options.seconds, 60) / 8))
        for _ in range(rounds):
            await stage.spend(3)
            began = stage.ledger.now()
            await faults.failover([stage.rng.random() for _ in range(6)])
            lost += faults.missed_by_replica
            await stage.answered()
            times.append(stage.ledger.now() - began)
            await stage.spend(2)
        await stage.hush()
        figures = await judge(stage, lossy=True)
        return stage.ledger, {
            "failovers": rounds,
            "acknowledged and not on the replica": lost,
            "all sends answered after, longest": f"{max(times):.1f} s",
            **figures,
        }
