"""One user does what the limits allow, as fast as they allow, and several such things at once: nobody else may notice, and
it may cost the machine only so much. Each abused phase has an undisturbed one just before it.
"""

import asyncio
import itertools
import time

from abuse_ground import Child, Ground
from abuse_kinds import KINDS, ONCE
from abuse_verdict import (
    COLUMNS,
    COST_NOISE,
    MOST_COST,
    MOST_MORE,
    MOST_RATIO,
    MOST_RETURN,
    NODE_TOLERANCE,
    REDIS_TOLERANCE,
    Case,
    Phase,
    heading,
    line,
)
from honest import Honest, cpu_of, cpu_of_machine
from processes import Broken, status, until
from redis_wire import RedisError
from slow_reader import metrics
from stage import Stage
from storm import judge

# The defaults of a node.
SETTINGS = {
    "MARTLET_NODE_LEASE": "15s",
    "MARTLET_LINGER": "10s",
    "MARTLET_SESSION_HEARTBEAT": "25s",
    "MARTLET_ROOM_VIEW_INTERVAL": "30s",
}
# Logs of gigabytes are neither written to a disk nor rewritten: the disk is not what is measured.
REDIS_SETTINGS = {"appendonly": "no", "save": ""}
# Rooms with large messages that one session joins at once.
OUTAGE_ROOMS = (5, 8, 50)
# Kinds that are done at once in `covering`.
AT_ONCE = 6
HONEST_RATE = 40
# What must go back to what it was, and what may be left of it: (name, so much more).
GAUGES = {
    "martlet_sessions": 0,
    "martlet_rooms": 0,
    "martlet_connections": 4,
    "martlet_outbound_queue_bytes": 100_000,
    "martlet_redis_queued_bytes": 100_000,
    "martlet_waiting_sends": 50,
}
# Seconds that nodes may need to recover from a case that they did not withstand.
MOST_RECOVERY = 180
# A case whose figures may be those of something else on this machine is looked at once more.
TRIES = 2


class Row(dict):
    def __str__(self):
        return line(self)[COLUMNS[0][1] + 1 :]


def parse_only(text):
    """[(name, kinds, rooms that are joined at once)], in the order in which they are done."""
    singles = [(name, [name], 0) for name in KINDS]
    outages = [(f"outage-{count}", ["join-once"], count) for count in OUTAGE_ROOMS]
    pairs = [together(pair) for pair in itertools.combinations(KINDS, 2)]
    groups = {"singles": singles, "outage": outages, "pairs": pairs}
    groups["covering"] = [together(kinds) for kinds in covering(list(KINDS), AT_ONCE)]
    known = {case[0]: case for case in singles + outages}
    if text is None:
        return singles + outages + pairs
    chosen = []
    for word in [word for word in text.split(",") if word]:
        kinds = word.split("+")
        if word in groups:
            chosen += groups[word]
        elif word in known:
            chosen.append(known[word])
        elif len(kinds) > 1 and len(set(kinds)) == len(kinds) and set(kinds) <= set(KINDS):
            chosen.append(together(kinds))
        else:
            raise Broken(
                f"no abuse is called {word}; there are: {', '.join(groups)}, {', '.join(KINDS)}, "
                f"{', '.join(name for name, _, _ in outages)}, and several with + between them"
            )
    return chosen


def together(kinds):
    return "+".join(kinds), list(kinds), 0


def covering(kinds, size):
    """Groups of so many kinds, of which any two are together in one at least, each as new as can be."""
    left = {frozenset(pair) for pair in itertools.combinations(kinds, 2)}
    groups = []
    while left:
        group = []
        while len(group) < size:

            def news(kind, group=tuple(group)):
                return (
                    sum(1 for other in group if frozenset((kind, other)) in left),
                    sum(1 for pair in left if kind in pair),
                )

            # Of those that bring as much the first one.
            group.append(max((kind for kind in kinds if kind not in group), key=news))
        left -= {frozenset(pair) for pair in itertools.combinations(group, 2)}
        groups.append([kind for kind in kinds if kind in group])
    return groups


async def abuse(options, show, state):
    cases = parse_only(options.only)
    options.rooms = 0
    async with Stage(options, show, state, settings=SETTINGS, nodes=2, haproxy=False, proxied=False) as stage:
        for name, value in REDIS_SETTINGS.items():
            await stage.cluster.redis.ask("CONFIG", "SET", name, value)
        show.line(
            f"{len(cases)} cases, each {options.seconds:g} s undisturbed and {options.seconds:g} s abused, about "
            f"{len(cases) * (2 * options.seconds + 20) / 60:.0f} minutes. Allowed: {MOST_RATIO:g} times the 99th "
            f"percentile + {1000 * MOST_MORE:.0f} ms; {MOST_COST / 1e4:.0f} % of a core of each process "
            f"(+ {COST_NOISE / 1e4:.0f} % noise); {MOST_RETURN} s until memory is back, within "
            f"{NODE_TOLERANCE / 1e6:.0f} MB of a node and {REDIS_TOLERANCE / 1e6:.0f} MB of Redis beside what is stored."
        )
        run = Run(stage, options)
        try:
            rows = await run.all(cases)
        finally:
            await run.end()
        figures = await judge(stage, node_bytes=4e9, redis_bytes=16e9)
        return stage.ledger, {**rows, **figures}


class Run:
    def __init__(self, stage, options):
        self.stage, self.show, self.seconds = stage, stage.show, options.seconds
        self.nodes = stage.cluster.nodes
        self.ground = Ground(stage)
        self.honest = Honest(stage, min(options.rate, HONEST_RATE))
        self.abuser = None

    async def all(self, cases):
        await self.honest.come([node.port for node in self.nodes])
        self.stage.ledger.began = self.stage.ledger.clock()
        rows = {}
        self.show.line(heading())
        for name, kinds, rooms in cases:
            for turn in range(TRIES):
                case = await self.case(name, kinds, rooms)
                if not case.faults() or not case.may_be_noise or turn + 1 == TRIES:
                    break
                self.show.line(f"{line(case.row())}; once more, because {'; '.join(case.beware())}")
            rows[name] = Row(case.row())
            self.show.line(line(rows[name]))
            for words in case.beware():
                self.show.line(f"    beware: {words}")
            for promise, text in case.faults():
                self.stage.ledger.broken(promise, "", "", f"{name}: {text}")
        return rows

    async def case(self, name, kinds, rooms):
        loads = {**KINDS, **ONCE}
        needs = set().union(*(loads[kind][0].needs for kind in kinds))
        await self.ground.need(needs, **({"rooms": rooms} if rooms else {}))
        # What was asked for beforehand has come to rest.
        await asyncio.sleep(1)
        before = await self.phase(name, "undisturbed", {})
        gauges, memory, stored = await self.gauges(), await self.memory(), await self.ground.stored()
        child = self.abuser = await Child(
            self.ground.describe(kinds, **{"rooms at once": rooms}), self.stage.state / "abuser.log"
        ).start()
        try:
            during = await self.phase(name, "abused", {"abuser": child.pid}, child)
            budgets = len({"address" if kind.startswith("get-") else "user" for kind in kinds})
            case = Case(name, before, during, [node.name for node in self.nodes], budgets)
            case.generator = during.generator
        finally:
            child.kill()
        await self.back(case, gauges, memory, stored)
        await self.recovered(case)
        await self.ground.clean()
        return case

    async def recovered(self, case):
        """Before the next case everybody else is well again; if need be with help."""
        try:
            await until(self.is_well, 5, "", pause=0.5)
        except Broken:
            began = time.monotonic()
            await self.ground.take_away()
            await until(self.is_well, MOST_RECOVERY, f"all is well again after {case.name}", pause=0.5)
            self.show.line(
                f"    after {case.name} others were served again when its rooms were taken away, and "
                f"{time.monotonic() - began:.0f} s later"
            )

    async def is_well(self):
        """What the last case has done to others is over: nodes are ready, and what is said has its answer at once."""
        ready = [await node.is_ready() for node in self.nodes]
        return all(ready) and sum(session.waiting for session in self.honest.sessions) < len(self.honest.sessions)

    # A phase.

    async def phase(self, name, what, pids, child=None):
        ledger, loop, made = self.stage.ledger, asyncio.get_running_loop(), Phase()
        if self.ground.crowd:
            pids = {**pids, "crowd": self.ground.crowd.pid}
        pids = {
            **pids,
            "redis": self.stage.cluster.redis.process.pid,
            **{node.name: node.process.pid for node in self.nodes},
        }
        counters, lost = await self.counters(), await self.ground.members_lost()
        losses, errors, broken = self.honest.losses, self.honest.errors, ledger.count["violations"]
        self.honest.into(made)
        for node in self.nodes:
            node.process.highest_rss = 0
        self.redis_at_most = 0
        began, used, machine = time.monotonic(), {key: cpu_of(pid) for key, pid in pids.items()}, cpu_of_machine()
        own = time.process_time()
        went, looked, asked = child is None, 0.0, []
        while (passed := time.monotonic() - began) < self.seconds + (1 if child else 0):
            if not went and passed >= 1:
                child.order("go")
                went = True
            if loop.time() - looked >= 0.5:
                looked = loop.time()
                asked = [task for task in asked if not task.done()]
                if len(asked) < 2 * len(self.nodes):
                    asked += [asyncio.create_task(self.look(node, made)) for node in self.nodes]
                    asked.append(asyncio.create_task(self.look_at_redis()))
            self.show.progress(
                f"{ledger.now():7.0f} s  {name}, {what}: {passed:.0f} of {self.seconds:g} s, {len(made.times)} deliveries, "
                f"{ledger.count['violations']} broken"
            )
            await asyncio.sleep(0.1)
        made.seconds = time.monotonic() - began
        made.cpu = {key: cpu_of(pid) - used[key] for key, pid in pids.items()}
        busy, whole = cpu_of_machine()
        ours = sum(made.cpu.values()) + time.process_time() - own
        made.foreign = max(0.0, busy - machine[0] - ours) / max(1e-9, whole - machine[1])
        if child is not None:
            made.generator = await child.stop()
        else:
            # What comes between two phases belongs to neither.
            self.honest.into(Phase())
        await asyncio.gather(*asked, return_exceptions=True)
        after = await self.counters()
        made.reconnects = after["martlet_redis_reconnects_total"] - counters["martlet_redis_reconnects_total"]
        made.refused = after["martlet_limit_refusals_total"] - counters["martlet_limit_refusals_total"]
        made.members_lost = await self.ground.members_lost() - lost
        if child is not None:
            self.honest.into(Phase())
            await self.all_delivered(made)
        made.honest_losses = self.honest.losses - losses
        made.honest_errors = self.honest.errors - errors
        made.violations = ledger.count["violations"] - broken
        return made

    async def all_delivered(self, phase):
        """What was said under abuse counts too when it comes late."""
        try:
            await self.stage.answered(30)
        except Broken as error:
            self.stage.ledger.broken("settled", "", "", f"sends of others under abuse: {error}")
        # Whoever said it was shown it, by now the others of the room were too.
        await asyncio.sleep(0.5)
        self.honest.missed(phase.times)

    async def look(self, node, phase):
        code, text = await status(node.port, seconds=3)
        if code != 200:
            phase.not_ready.append(f"{node.name} says {code} {text[:80]}")

    async def look_at_redis(self):
        try:
            info = await self.stage.cluster.redis.ask.info("memory")
            self.redis_at_most = max(self.redis_at_most, int(info["used_memory"]))
        except RedisError:
            pass

    async def scrape(self, names):
        """The sum over all nodes and labels of each of these."""
        sums = dict.fromkeys(names, 0.0)
        for node in self.nodes:

            async def found():
                text = await metrics(node.port)
                return text if "martlet_sessions" in text else None

            got = {}

            async def come():
                got.update(await found() or {})
                return bool(got)

            await until(come, MOST_RECOVERY, f"{node.name} tells its metrics", pause=0.3)
            for key, value in got.items():
                name = key.partition("{")[0]
                if name in sums:
                    sums[name] += value
        return sums

    async def counters(self):
        return await self.scrape(["martlet_redis_reconnects_total", "martlet_limit_refusals_total"])

    async def gauges(self):
        return await self.scrape(list(GAUGES))

    # What is left.

    async def memory(self):
        info = await self.ground.ask.info("memory")
        return {"redis": int(info["used_memory"]), **{node.name: node.process.sample() for node in self.nodes}}

    async def back(self, case, gauges, memory, stored):
        """Waits until all is as it was before, a minute at most."""
        began, most = time.monotonic(), {node.name: node.process.highest_rss for node in self.nodes}
        while True:
            now, here, kept = await self.memory(), await self.gauges(), await self.ground.stored()
            case.stored = max(0, kept - stored)
            # What was said stays for as long as the settings say: it is told, not judged.
            now["redis"] -= case.stored
            case.memory = {
                name: (memory[name], max(most.get(name, self.redis_at_most), now[name]), now[name]) for name in memory
            }
            case.left_over = [
                f"{here[name] - gauges[name]:.0f} {name}"
                for name, more in GAUGES.items()
                if here[name] > gauges[name] + more
            ]
            case.returned = time.monotonic() - began
            over = case.returned >= MOST_RETURN
            if over or not case.left_over and not any("later" in text for _, text in case.faults()):
                return
            self.show.progress(
                f"{self.stage.ledger.now():7.0f} s  {case.name}: {', '.join(case.left_over) or 'memory'} left"
            )
            await asyncio.sleep(2)

    async def end(self):
        await self.honest.go()
        if self.abuser:
            self.abuser.kill()
        await self.ground.end()
        # Nobody is in the rooms of the crowd any more, and the nodes leave them after their linger.
        await asyncio.sleep(1)
