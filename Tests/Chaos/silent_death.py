"""The other end of a node's connections to Redis stops without closing: the node must notice, say so on /readyz, and
repair.
"""

import asyncio

from processes import status
from stage import Stage
from storm import judge

# What may be silent, and whether only Redis' words get lost. `subscribe` is the field's classic: everything looks
# healthy, and nothing is delivered any more.
CASES = [("subscribe", False), ("subscribe", True), ("command", False), ("all", False)]
# Redis has two seconds for an answer; then the connection counts as dead.
MOST_SECONDS = 8.0


async def silent_death(options, show, state):
    async with Stage(options, show, state) as stage:
        await stage.fill(options.sessions)
        stage.speak()
        figures = {}
        for which, replies_only in CASES:
            await stage.spend(2)
            name = f"{which}, {'only the replies' if replies_only else 'all bytes'} swallowed"
            figures[name] = await one(stage, which, replies_only)
        await stage.hush()
        return stage.ledger, {**figures, **await judge(stage)}


async def one(stage, which, replies_only):
    node, clock = stage.cluster.nodes[0], asyncio.get_running_loop().time
    links = node.proxy.silence(which, replies_only)
    stage.say(f"{len(links)} connections ({which}) of {node.name} fall silent without closing")
    began, red_at, green_at, away_at = clock(), None, None, None
    latest = {}
    for session in stage.sessions:
        if session.welcome and session.welcome["node"] == node.name:
            session.on_message = lambda view, place, message: latest.setdefault(view.room, clock())
    while clock() < began + 3 * MOST_SECONDS and green_at is None:
        # As a proxy asks: no answer within a second is no green.
        code, _ = await status(node.port, seconds=1.0)
        now = clock()
        if code != 200 and red_at is None:
            red_at = now
        # The node has given the silent connections up.
        if away_at is None and all(link.node.transport.is_closing() for link in links):
            away_at = now
        if away_at is not None and code == 200 and now - began > 0.5:
            green_at = now
        await asyncio.sleep(0.05)
    for link in links:
        link.abort()
    for session in stage.sessions:
        session.on_message = lambda view, place, message: None
    if away_at is None or green_at is None or green_at - began > MOST_SECONDS:
        stage.ledger.broken(
            "no silent death",
            "",
            node.name,
            f"{which}: given up after {seconds(began, away_at)}, ready again "
            f"after {seconds(began, green_at)}; {MOST_SECONDS:g} s are allowed",
            node.process.tail(20),
        )
    if red_at is None:
        stage.ledger.broken(
            "readiness", "", node.name, f"{which}: /readyz was never red while messages did not go round"
        )
    await stage.answered()
    text = (
        f"red after {seconds(began, red_at)}, connections given up after {seconds(began, away_at)}, green again after "
        f"{seconds(began, green_at)}"
    )
    stage.say(text)
    return text


def seconds(began, at):
    return "never" if at is None else f"{at - began:.2f} s"
