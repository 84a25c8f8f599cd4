"""A node dies with all its sessions, which come back at once to the others: one read of Redis for each room and node,
not for each session, and no herd on presence.
"""

import asyncio

from processes import until
from stage import Stage, Talk
from storm import judge

ROOMS = 100
MOST_SECONDS = 90
# Quiet rooms are not looked at, and a node that this machine gives no time to is not taken for dead: what is counted
# comes from the sessions' return alone.
SETTINGS = {
    "MARTLET_SESSION_HEARTBEAT": "25s",
    "MARTLET_ROOM_VIEW_INTERVAL": "10m",
    "MARTLET_REDIS_DEADLINE": "10s",
    "MARTLET_NODE_LEASE": "30s",
}


def counted(stage):
    """What the nodes asked of Redis, by function or command, as it passed the proxies."""
    total = {}
    for node in stage.cluster.nodes:
        for word, count in node.proxy.counts.items():
            total[word] = total.get(word, 0) + count
    return total


async def mass_return(options, show, state):
    # A descriptor for each session here, and as many in the node that gets them.
    count = min(options.sessions, options.file_limit - 1_000)
    if count < options.sessions:
        show.line(f"only {count} sessions: this machine allows {options.file_limit} files a process (ulimit -n)")
    options.rooms = min(ROOMS, count)
    async with Stage(options, show, state, settings=SETTINGS, haproxy=False) as stage:
        first, *others = stage.cluster.nodes
        # One talker for each room, on the nodes that stay.
        talkers = []
        for index, room in enumerate(stage.rooms):
            talker = stage.session(f"talker{index}", "t", [others[index % len(others)].port])
            talker.want(room)
            talker.start()
            talkers.append(talker)
        await fill(stage, count, [first.port] + [node.port for node in others])
        stage.show.line(
            f"{count} sessions in {len(stage.rooms)} rooms on {first.name}, one talker a room on the others"
        )
        stage.talk = Talk(talkers, stage.rng, 50)
        stage.talk.start()
        stage.ledger.began = stage.ledger.clock()
        await stage.spend(2)
        figures = await die(stage, first, count)
        await stage.hush()
        first.process.start()
        await first.ready(30)
        return stage.ledger, {**figures, **await judge(stage, node_bytes=600e6, redis_bytes=150e6)}


async def fill(stage, count, ports):
    arriving = []
    for index in range(count):
        session = stage.session(f"u{index}", "d", ports)
        session.port_index = 0
        session.history = 0
        session.want(stage.rooms[index % len(stage.rooms)])
        session.start()
        arriving.append(session)
        if len(arriving) >= 200:
            await until(lambda: all(one.is_settled for one in arriving), 60, "the sessions so far are in their rooms")
            arriving = []
            stage.progress()
    await stage.settled(60)


async def die(stage, node, count):
    for one in stage.cluster.nodes:
        one.proxy.counts.clear()
    await stage.cluster.redis.ask("CONFIG", "RESETSTAT")
    for index, session in enumerate(stage.sessions):
        if session.port_index % len(session.ports) == 0 and len(session.ports) > 1:
            # The next port in the list is where it goes: half of them to each of the others.
            session.port_index = (index // len(stage.rooms)) % 2
    began = stage.ledger.now()
    node.process.kill()
    stage.say(f"kill -9 {node.name}: {count} sessions come back at once to {len(stage.cluster.nodes) - 1} nodes")
    await asyncio.sleep(0.05)
    returning = [session for session in stage.sessions if len(session.ports) > 1]
    while not all(session.is_settled for session in returning):
        if stage.ledger.now() - began > MOST_SECONDS:
            stage.ledger.broken("mass return", "", "", f"not all sessions are back after {MOST_SECONDS} s")
            break
        stage.progress()
        await asyncio.sleep(0.1)
    took = stage.ledger.now() - began
    stage.say(f"all are back after {took:.1f} s")
    counts, stats = counted(stage), await stage.cluster.redis.ask.info("commandstats")
    rooms, nodes = len(stage.rooms), len(stage.cluster.nodes) - 1
    enters, views, presence = (counts.get(f"martlet_{word}", 0) for word in ("enter", "view", "presence"))
    # A node enters a room, and may have to read it once more for positions that it does not remember.
    if enters + views > 2 * rooms * nodes:
        stage.ledger.broken(
            "mass return", "", "", f"{enters} enters and {views} views for {rooms} rooms on {nodes} nodes"
        )
    # Joins are gathered for a tenth of a second, for each room and node; twice, for bad luck with the timing.
    most_presence = 2 * rooms * nodes * (1 + took / 0.1)
    if presence > most_presence:
        stage.ledger.broken("mass return", "", "", f"{presence} presence commands, {most_presence:.0f} are allowed")
    fcalls = sum(
        int(value.split("calls=")[1].split(",")[0]) for key, value in stats.items() if key.startswith("cmdstat_fcall")
    )
    return {
        "sessions that came back": count,
        "all back after": f"{took:.1f} s",
        "rooms × remaining nodes": rooms * nodes,
        "enters": enters,
        "views (reads)": views,
        "presence commands": presence,
        "rosters read": counts.get(":roster", 0),
        "functions that Redis ran": fcalls,
        "commands that Redis ran": sum(
            int(value.split("calls=")[1].split(",")[0]) for key, value in stats.items() if key.startswith("cmdstat_")
        ),
    }
