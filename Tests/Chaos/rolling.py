"""A rolling restart of all nodes under load: nothing is lost or repeated, no send fails for good, and the sessions'
reconnects are spread over the drain time.
"""

import asyncio

from processes import until
from stage import Stage
from storm import judge

DRAIN_SECONDS = 5


async def rolling(options, show, state):
    async with Stage(options, show, state, settings={"MARTLET_DRAIN_TIME": f"{DRAIN_SECONDS}s"}) as stage:
        await stage.fill(options.sessions)
        stage.speak()
        await stage.spend(2)
        moves, figures = [], {}
        for node in stage.cluster.nodes:
            moves += await roll(stage, node)
            await stage.spend(1)
        await stage.hush()
        figures["reconnects, by tenths of the drain time"] = histogram(stage, moves)
        figures.update(await judge(stage))
        return stage.ledger, figures


async def roll(stage, node, binary=None):
    """SIGTERM, gone, started (as another binary, if one is given), ready. Returns when each of its sessions was back
    elsewhere, as a part of the drain time.
    """
    clock, here = stage.ledger.now, [s for s in stage.sessions if s.welcome and s.welcome["node"] == node.name]
    stage.say(f"SIGTERM {node.name}, which has {len(here)} sessions")
    before, began = {session: len(session.connects) for session in here}, clock()
    node.process.terminate()
    while node.process.is_running and clock() - began < DRAIN_SECONDS + 15:
        stage.progress()
        await asyncio.sleep(0.1)
    gone = clock() - began
    if node.process.is_running:
        stage.ledger.broken("leaving", "", node.name, f"has not ended {gone:.1f} s after SIGTERM", node.process.tail())
        node.process.kill()
    elif node.process.child.returncode != 0:
        stage.ledger.broken(
            "leaving", "", node.name, f"ended with status {node.process.child.returncode}", node.process.tail()
        )
    if binary:
        node.process.argv[0] = str(binary)
    node.process.start()
    ready = await node.ready(30)
    await until(lambda: all(session.welcome for session in stage.sessions), 20, "all sessions are connected again")
    stage.say(f"{node.name} was gone after {gone:.1f} s, ready again {ready:.1f} s later")
    return [
        (session.connects[before[session]][0] - began) / DRAIN_SECONDS
        for session in here
        if len(session.connects) > before[session]
    ]


def histogram(stage, moves):
    bins = [0] * 11
    for part in moves:
        bins[max(0, min(10, int(part * 10)))] += 1
    total = len(moves) or 1
    for index, count in enumerate(bins):
        label = f"{index * 10:3} – {index * 10 + 10:3} %" if index < 10 else "     later  "
        stage.show.line(f"  {label} {'#' * round(100 * count / total)} {count}")
    # Evenly spread would be a tenth in each; more than three tenths in one is a herd.
    if len(moves) >= 100 and max(bins) > 0.3 * total:
        stage.ledger.broken("leaving", "", "", f"the reconnects are not spread over the drain time: {bins}")
    return " ".join(map(str, bins[:10])) + f", later {bins[10]}"
