"""kill -9 of Redis that loses its last second, again and again, while all nodes live: nothing acknowledged may be
lost.
"""

from faults import Faults
from stage import Stage
from storm import judge

LOST_SECONDS = 1.0
EVERY = 6.0


async def lost_tail(options, show, state):
    async with Stage(options, show, state) as stage:
        ledger = stage.ledger
        await stage.fill(options.sessions)
        faults = Faults(stage.cluster, ledger, stage.sessions, show)
        stage.speak()
        kills, lost = max(1, int(min(options.seconds, 60) / EVERY)), 0
        for _ in range(kills):
            await stage.spend(EVERY / 2)
            await faults.restart_redis(stage.rng.uniform(0.1, 1.5), LOST_SECONDS)
            cut = await faults.missing(stage.cluster.redis)
            lost += cut
            stage.say(f"Redis came back without {cut} acknowledged messages, as far as nobody has put them back yet")
            await stage.answered()
            await stage.spend(EVERY / 2)
        await stage.hush()
        # Not lossy: all nodes live, so nothing may be lost and nobody may be told `reset`.
        figures = await judge(stage)
        if not lost:
            ledger.broken("the test itself", "", "", "Redis never came back without an acknowledged message")
        return ledger, {"kills": kills, "acknowledged and lost by Redis": lost, **figures}
