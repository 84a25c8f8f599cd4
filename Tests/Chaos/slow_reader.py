"""One reader that never reads, among a thousand in its room: the others' delivery times stay as they are, the node's
memory is bounded, the reader is closed with 4001 and can resume.
"""

import asyncio

from ledger import quantile
from processes import Broken, until
from stage import Stage
from storm import judge

# What is said in the hall, where everybody is, and in the side room, which fills the slow reader's queue faster.
HALL_BYTES, HALL_RATE = 1_500, 8
SIDE_BYTES, SIDE_RATE = 12_000, 25
BLOCK_SECONDS, TURNS = 3, 3
MOST_GROWTH = 30e6
MOST_RATIO = 1.5


class Clock:
    """When each message of the hall was said, and how long each delivery of it took."""

    def __init__(self):
        self.said, self.times = {}, []

    def delivered(self, view, place, message):
        said = self.said.get(message["text"][:12])
        if said is not None and view.room == "hall":
            self.times.append(view.session.loop.time() - said)


async def slow_reader(options, show, state):
    options.rooms = 0
    settings = {"MARTLET_ROOM_VIEW_INTERVAL": "30s", "MARTLET_SESSION_HEARTBEAT": "25s",
                # One says everything here.
                "MARTLET_LIMIT_COST_PER_SECOND": "1000000", "MARTLET_LIMIT_USER_BYTES_PER_SECOND": "1MiB"}
    async with Stage(options, show, state, settings=settings, nodes=1, haproxy=False) as stage:
        clock = Clock()
        for index in range(options.sessions - 1):
            session = stage.session(f"u{index}", "d")
            session.want("hall")
            session.on_message = clock.delivered
            session.start()
            if index % 50 == 49:
                await asyncio.sleep(0.05)
        talker = stage.sessions[0]
        talker.want("side")
        slow = stage.session("slow", "d")
        slow.receive_buffer = 4096
        slow.want("hall")
        slow.want("side")
        slow.start()
        await stage.settled(60)
        stage.ledger.began = stage.ledger.clock()
        node = stage.cluster.nodes[0]
        show.line(f"{options.sessions} sessions in one room on one node")
        without, with_it = [], []
        node.process.highest_rss = before = node.process.sample()
        # By turns, so that what else this machine does falls on both alike; the last turn goes on until the reader is
        # closed.
        for turn in range(TURNS):
            without += await block(stage, clock, talker, "everybody reads")
            slow.pause_reading()
            with_it += await block(stage, clock, talker, "one does not read")
            if turn < TURNS - 1:
                slow.resume_reading()
                await until(
                    lambda: slow.rooms["side"].last == talker.rooms["side"].last, 30, "the slow reader has caught up"
                )
        closed = await closed_as_slow(stage, node, slow)
        growth = node.process.highest_rss - before
        slow.receive_buffer = None
        slow.drop()
        began = stage.ledger.now()
        try:
            await until(lambda: slow.is_settled and slow.rooms["side"].last == talker.rooms["side"].last, 30, "")
        except Broken:
            stage.ledger.broken(
                "resume",
                "side",
                "slow/d",
                f"could not resume within 30 s after it was closed as slow; it was closed "
                f"with {dict(slow.closes)} meanwhile",
                slow.rooms["side"].lines(),
            )
        back = stage.ledger.now() - began
        ratio = quantile(with_it, 0.5) / max(1e-9, quantile(without, 0.5))
        if ratio > MOST_RATIO:
            stage.ledger.broken(
                "isolation", "hall", "", f"deliveries take {ratio:.2f} times as long beside a slow reader"
            )
        if growth > MOST_GROWTH:
            stage.ledger.broken("bounds", "", node.name, f"grew by {growth / 1e6:.1f} MB for one slow reader")
        if not closed:
            stage.ledger.broken("isolation", "", "slow/d", f"was not closed with 4001: {dict(slow.closes)}")
        figures = await judge(stage, node_bytes=250e6, redis_bytes=250e6)
        return stage.ledger, {
            "delivery, everybody reads": times(without),
            "delivery beside a slow reader": times(with_it),
            "ratio of the medians": f"{ratio:.2f}",
            "memory grew by": f"{growth / 1e6:.1f} MB",
            "the slow reader was closed": f"with 4001, after {closed}",
            "it was back, with all it had missed, after": f"{back:.1f} s",
            **figures,
        }


def times(values):
    return "{:.1f} / {:.1f} ms (median / 99 %), {}".format(
        1000 * quantile(values, 0.5), 1000 * quantile(values, 0.99), len(values)
    )


async def block(stage, clock, talker, text):
    """Says things in both rooms for a while; returns the times of all deliveries in the hall."""
    loop = asyncio.get_running_loop()
    clock.times = []
    began, hall, side = loop.time(), 0, 0
    while (passed := loop.time() - began) < BLOCK_SECONDS:
        while hall < passed * HALL_RATE:
            hall += 1
            key = f"h{stage.ledger.count['said']:010} "
            clock.said[key] = loop.time()
            talker.say("hall", key + "x" * HALL_BYTES)
        while side < passed * SIDE_RATE:
            side += 1
            talker.say("side", f"s{stage.ledger.count['said']:010} " + "x" * SIDE_BYTES)
        stage.progress()
        await asyncio.sleep(0.01)
    await until(lambda: talker.is_settled, 30, "what was said has its answers")
    await asyncio.sleep(0.5)
    stage.say(f"{text}: {times(clock.times)}")
    return clock.times


async def closed_as_slow(stage, node, slow):
    """Goes on until the node has closed the slow reader, which cannot see it: it does not read. Returns how long that
    took.
    """
    talker, began = stage.sessions[0], stage.ledger.now()
    while stage.ledger.now() - began < 40:
        text = (await metrics(node.port)).get('martlet_sessions_closed_total{reason="slow"}', 0)
        if text:
            return f"{stage.ledger.now() - began + BLOCK_SECONDS:.0f} s"
        talker.say("side", f"s{stage.ledger.count['said']:010} " + "x" * SIDE_BYTES)
        stage.progress()
        await asyncio.sleep(1 / SIDE_RATE)
    return None


async def metrics(port):
    from processes import status

    _, text = await status(port, "/metrics")
    found = {}
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        if name and not line.startswith("#"):
            found[name] = float(value)
    return found
