"""The faults: a schedule made from one seed before the run begins, and what each of them does to the cluster."""

import asyncio
import functools
import time

from redis_wire import RedisError
from refusing import OF_A_NODE, REFUSALS, Refusing

# name -> (weight, what it says)
KINDS = {
    "kill-node": (3, "kill -9 of a node, back after 0.2–3 s"),
    "stop-node": (2, "SIGSTOP of a node for 1–5 s"),
    "leave-node": (1, "SIGTERM of a node under load, back when it is gone"),
    "stop-redis": (1, "SIGSTOP of Redis for 1–5 s"),
    "kill-redis": (1, "kill -9 of Redis, back after 0.1–2 s"),
    "lost-tail": (1, "kill -9 of Redis that loses what it appended in its last second"),
    "cut": (2, "a node's connections to Redis are cut, some or all"),
    "delay": (2, "50–500 ms on everything between a node and Redis, for 1–4 s"),
    "half-open": (2, "a node's connection to Redis stays open and swallows all bytes, or only the replies"),
    "late-bytes": (1, "a dead command connection delivers its bytes 1–6 s later"),
    "drop-sessions": (2, "a tenth of the sessions lose their connections"),
    "slow-readers": (2, "some sessions read nothing for 2–8 s"),
    "wander": (2, "some sessions leave their room, and come back later"),
    **{name: (1, text) for name, text in REFUSALS.items()},
    "failover": (1, "a lagging replica takes over; the old master comes back as its replica"),
}
# Without these Redis keeps all it has acknowledged, so that no session may ever be told `reset`.
LOSSY = {"lost-tail", "failover"}
# A node in one of these cannot talk to Redis, and what only it knows may come too late to be put back.
AWAY = {"stop-node", "half-open", "late-bytes"}
DEFAULT = [name for name in KINDS if name != "failover" and name not in REFUSALS]


def make_schedule(rng, seconds, kinds, mean=1.1):
    """[(at, kind, numbers)]: numbers in 0..<1 that the fault takes its choices from. The last seconds are left quiet
    enough for each fault to end in time.
    """
    schedule, at = [], 1.5
    names = [name for name in KINDS if name in kinds]
    weights = [KINDS[name][0] for name in names]
    while at < seconds - 1 and names:
        schedule.append((at, rng.choices(names, weights)[0], [rng.random() for _ in range(6)]))
        at += rng.expovariate(1 / mean)
    return schedule


def between(number, low, high):
    return low + number * (high - low)


def some(items, number, share):
    """A part of the items that `number` decides."""
    count = max(1, int(len(items) * share))
    first = int(number * len(items))
    return [items[(first + index) % len(items)] for index in range(count)]


class Faults:
    def __init__(self, cluster, ledger, sessions, show):
        self.cluster, self.ledger, self.sessions, self.show = cluster, ledger, sessions, show
        self.running = set()
        self.done = 0
        self.missed_by_replica = 0
        self.deadline = float("inf")
        self.loop = asyncio.get_running_loop()

    def say(self, text):
        self.ledger.happened(text)
        self.show.line(f"{self.ledger.now():7.2f} s  {text}")

    async def run(self, schedule, began):
        for at, kind, numbers in schedule:
            await asyncio.sleep(max(0, began + at - self.loop.time()))
            task = asyncio.create_task(self.one(kind, numbers))
            self.running.add(task)
            task.add_done_callback(self.running.discard)

    async def one(self, kind, numbers):
        method = getattr(self, kind.replace("-", "_"), None) or functools.partial(self.refuse, kind)
        if kind in ("stop-redis", "kill-redis", "lost-tail", "failover") or kind in set(REFUSALS) - OF_A_NODE:
            if self.cluster.redis_busy.locked():
                return
            async with self.cluster.redis_busy:
                self.done += 1
                began = self.ledger.now()
                await method(numbers)
                self.ledger.outages.append((began, self.ledger.now()))
        elif kind in ("drop-sessions", "slow-readers", "wander"):
            self.done += 1
            await method(numbers)
        else:
            node = self.cluster.nodes[int(numbers[0] * len(self.cluster.nodes))]
            if node.busy.locked():
                return
            async with node.busy:
                self.done += 1
                process, began = self.cluster.process_of(node.name), self.ledger.now()
                away = [began, float("inf")]
                if kind in AWAY:
                    self.ledger.away[process].append(away)
                await method(numbers, node)
                # It notices within Redis' deadline, and comes back.
                away[1] = self.ledger.now() + 3

    async def finish(self):
        """Waits for the faults that are still under way."""
        while self.running:
            results = await asyncio.gather(*list(self.running), return_exceptions=True)
            for result in results:
                if isinstance(result, Exception):
                    raise result

    # Nodes.

    async def kill_node(self, numbers, node):
        pause = between(numbers[1], 0.2, 3)
        self.say(f"kill -9 {node.name} (pid {node.process.pid}), back in {pause:.1f} s")
        self.ledger.deaths[self.cluster.process_of(node.name)] = self.ledger.now()
        node.process.kill()
        await asyncio.sleep(pause)
        node.process.start()
        self.ledger.happened(f"{node.name} started again (pid {node.process.pid})")
        await node.ready(60)

    async def stop_node(self, numbers, node):
        pause = between(numbers[1], 1, 5)
        self.say(f"SIGSTOP {node.name} for {pause:.1f} s")
        node.process.stop()
        await asyncio.sleep(pause)
        node.process.go_on()
        self.ledger.happened(f"SIGCONT {node.name}")
        await asyncio.sleep(0.5)

    async def leave_node(self, numbers, node):
        self.say(f"SIGTERM {node.name} (pid {node.process.pid}): drains")
        began = time.monotonic()
        self.ledger.deaths[self.cluster.process_of(node.name)] = self.ledger.now()
        node.process.terminate()
        if not await node.process.ended(30):
            self.ledger.broken("leaving", "", "", f"{node.name} has not ended 30 s after SIGTERM", node.process.tail())
            node.process.kill()
        self.ledger.happened(f"{node.name} was gone after {time.monotonic() - began:.1f} s; starts again")
        node.process.start()
        await node.ready(60)

    # Redis.

    async def stop_redis(self, numbers):
        pause = between(numbers[1], 1, 5)
        self.say(f"SIGSTOP {self.cluster.redis.name} for {pause:.1f} s")
        self.cluster.redis.process.stop()
        await asyncio.sleep(pause)
        self.cluster.redis.process.go_on()
        self.ledger.happened("SIGCONT redis")

    async def kill_redis(self, numbers):
        pause = between(numbers[1], 0.1, 2)
        self.say(f"kill -9 {self.cluster.redis.name}, back in {pause:.1f} s")
        await self.restart_redis(pause, 0)

    async def lost_tail(self, numbers):
        pause = between(numbers[1], 0.1, 2)
        await self.restart_redis(pause, 1.0)

    async def restart_redis(self, pause, lost_seconds):
        redis = self.cluster.redis
        redis.process.kill()
        redis.ask.close()
        killed, killed_at = time.monotonic(), self.ledger.now()
        lost = redis.lose_tail(lost_seconds, killed) if lost_seconds else 0
        if lost_seconds:
            self.say(
                f"kill -9 {redis.name}, its last {lost_seconds:g} s ({lost} bytes) are lost, back in {pause:.1f} s"
            )
        await asyncio.sleep(pause)
        await redis.start()
        if lost_seconds:
            self.ledger.losses.append((killed_at, self.ledger.now()))
        self.ledger.happened(f"{redis.name} answers again")

    async def failover(self, numbers):
        """The replica hears nothing for a moment, then takes over; the old master, cut off but alive, goes on for a
        while.
        """
        cluster, lag = self.cluster, between(numbers[1], 0.2, 1.2)
        old, new = cluster.redis, cluster.replica
        self.say(f"failover: {new.name} lags by {lag:.1f} s behind {old.name} and takes over")
        cluster.replication.hold("all")
        await asyncio.sleep(lag)
        stays = numbers[2] < 0.5
        if not stays:
            old.process.kill()
            old.ask.close()
        cluster.replication.cut()
        self.missed_by_replica = await self.missing(new)
        promoted = self.ledger.now()
        await new.ask("REPLICAOF", "NO", "ONE")
        cluster.point_at(new)
        cluster.redis, cluster.replica = new, old
        for node in cluster.nodes:
            # Some nodes keep on talking to the old master for a while.
            if not stays or numbers[3] < 0.5:
                node.proxy.cut()
            else:
                self.loop.call_later(between(numbers[4], 0, 1), node.proxy.cut)
        await asyncio.sleep(1.2)
        self.ledger.split.append((promoted, self.ledger.now()))
        self.ledger.losses.append((promoted, self.ledger.now()))
        self.ledger.happened(f"{new.name} is the master")
        if not old.process.is_running:
            await old.start()
        await cluster.follow(old, new)

    async def refuse(self, kind, numbers, node=None):
        """A server says no for a moment, and stays up."""
        pause = between(numbers[1], 1, 6)
        self.say(f"{kind}{f' ({node.name})' if node else ''} for {pause:.1f} s: {REFUSALS[kind]}")
        async with Refusing(kind, self.cluster, node):
            await asyncio.sleep(pause)
        self.ledger.happened(f"{kind} is over")

    async def missing(self, server, rooms=None):
        """How many acknowledged messages that Redis does not hold now, in all rooms or in these."""
        count = 0
        for room in list(self.ledger.rooms) if rooms is None else rooms:
            ledger = self.ledger.rooms[room]
            keys = {
                fields.get("text", "").partition(" ")[0]
                for _, fields in await server.ask.stream(f"martlet:{{{room}}}:log")
            }
            count += sum(1 for key in ledger.acked if key not in keys)
        return count

    # Connections between nodes and Redis.

    async def cut(self, numbers, node):
        which = ["all", "command", "subscribe"][int(numbers[1] * 3)]
        count = node.proxy.cut(which)
        self.say(f"{count} connections ({which}) of {node.name} to Redis are cut")

    async def delay(self, numbers, node):
        node.proxy.delay, pause = between(numbers[1], 0.05, 0.5), between(numbers[2], 1, 4)
        self.say(f"{node.proxy.delay * 1000:.0f} ms between {node.name} and Redis for {pause:.1f} s")
        await asyncio.sleep(pause)
        node.proxy.delay = 0.0

    async def half_open(self, numbers, node):
        which = ["all", "command", "subscribe"][int(numbers[1] * 3)]
        replies_only = numbers[2] < 0.4
        links = node.proxy.silence(which, replies_only)
        what = "swallow replies" if replies_only else "swallow all bytes"
        self.say(f"{len(links)} connections ({which}) of {node.name} to Redis stay open and {what}")
        await asyncio.sleep(between(numbers[3], 4, 8))
        for link in links:
            link.abort()

    async def late_bytes(self, numbers, node):
        links, pause = node.proxy.hold("command"), between(numbers[1], 1, 6)
        self.say(f"{len(links)} command connections of {node.name} hold all bytes for {pause:.1f} s")
        await asyncio.sleep(pause)
        held = sum(len(pipe.waiting) for link in links for pipe in (link.up,))
        for link in links:
            link.release()
        self.ledger.happened(f"{node.name}: held bytes were delivered ({held} pieces)")

    # Sessions.

    async def drop_sessions(self, numbers, failures=0):
        """`failures`: they come back as slowly as if they had tried so often in vain."""
        chosen = some(self.sessions, numbers[0], 0.1)
        self.say(f"{len(chosen)} sessions lose their connections")
        for session in chosen:
            session.failures = max(session.failures, failures)
            session.drop()

    async def slow_readers(self, numbers):
        chosen, pause = some(self.sessions, numbers[0], 0.03), between(numbers[1], 2, 8)
        self.say(f"{len(chosen)} sessions read nothing for {pause:.1f} s")
        for session in chosen:
            session.pause_reading()
        await asyncio.sleep(pause)
        for session in chosen:
            session.resume_reading()

    async def wander(self, numbers):
        chosen, pause = some(self.sessions, numbers[0], 0.05), between(numbers[1], 0.05, 3)
        left = [(session, room) for session in chosen for room in list(session.rooms)[:1] if session.unwant(room)]
        self.say(f"{len(left)} sessions leave a room for {pause:.1f} s")
        await asyncio.sleep(pause)
        for session, room in left:
            session.want(room)

    async def heal(self):
        """Everything as it was: what a fault has left behind ends here."""
        for node in self.cluster.nodes:
            node.process.go_on()
            node.proxy.delay = 0.0
            for link in list(node.proxy.links):
                if link.swallows or link.swallows_replies or link.holds:
                    link.abort()
        for session in self.sessions:
            session.resume_reading()
        try:
            await self.cluster.redis.ready()
        except RedisError:
            pass
