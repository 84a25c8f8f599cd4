"""A server says no for long, again and again, under load: no session is lost, nobody is said to have left, nothing that
was acknowledged is gone, and /readyz says in time what is and what is not.
"""

import asyncio
import pathlib
import re
import sys

from honest import cpu_of
from processes import TIED, Broken, status, until
from readiness_watch import PATIENCE
from refusing import OF_A_NODE, REFUSALS, Refusing
from stage import Stage
from storm import judge

# Seconds until /readyz is red after a fault began, and green after it ended.
MOST_RED, MOST_GREEN = 3.0, 3.0
# While messages cannot be stored /readyz may not be green for longer than this, once it was red.
MOST_WRONG_GREEN = 1.0
# A node whose log nobody reads, or that has no descriptors, acknowledges what is said to it at least this often.
MOST_SILENCE = 5.0
# What a node without descriptors may take of a core beside its work.
MOST_SPIN = 0.5
# After an outage: for longer than a lease, so that whoever sweeps has looked.
QUIET = 5.0
# Between the losses of Redis that a node whose log nobody reads has something to say about.
CUT_EVERY, LAST_CUT = 2.0, 4.0
DRAIN = 3.0
DROPPED = re.compile(rb"(?i)(drop|lost|left out|discard|not written|suppress)")


def chosen(text):
    if text in (None, "all"):
        return list(REFUSALS)
    names = [name for name in text.split(",") if name]
    unknown = [name for name in names if name not in REFUSALS]
    if unknown:
        raise Broken(f"no refusal is called {', '.join(unknown)}; there are: {', '.join(REFUSALS)}, all")
    return names


async def refusals(options, show, state):
    names = chosen(options.faults)
    # What nobody reads soon is more than may wait.
    settings = {
        "MARTLET_LOG_LEVEL": "debug",
        "MARTLET_LOG_QUEUE_BYTES": "8KiB",
        "MARTLET_DRAIN_TIME": f"{DRAIN:g}s",
    }
    async with Stage(options, show, state, settings=settings, haproxy=False, acl=True, log_pipes=True) as stage:
        await stage.fill(options.sessions)
        show.line(
            f"{len(stage.sessions)} sessions in {len(stage.rooms)} rooms on {len(stage.cluster.nodes)} nodes; "
            f"{options.outages} outages of {options.seconds:g} s for each of {', '.join(names)}"
        )
        stage.speak()
        await stage.spend(2)
        figures = {}
        for name in names:
            told = []
            for turn in range(options.outages):
                node = stage.cluster.nodes[turn % len(stage.cluster.nodes)] if name in OF_A_NODE else None
                outage = Outage(stage, name, node, leaves=name == "log-pipe" and turn + 1 == options.outages)
                await outage.run(options.seconds)
                told.append(outage)
                if outage.leaves:
                    await LastWords(stage, node).run(node.process.terminate)
            await aftershock(stage, name)
            figures[name] = summary(told)
            show.line(f"  {name}: {figures[name]}")
        await stage.hush()
        return stage.ledger, {**figures, **await judge(stage, node_bytes=200e6, redis_bytes=200e6)}


async def aftershock(stage, name):
    """What a node still takes for unanswered it sends again when its connections are lost: that must be nothing."""
    stage.say(f"all connections to Redis are cut once, after {name}")
    for node in stage.cluster.nodes:
        node.proxy.cut("all")
    await stage.spend(2)
    await stage.answered()


def summary(outages):
    """How all outages of one kind went, in a line."""
    faults = sum(outage.faults for outage in outages)
    words = [f"{len(outages)} outages, {faults} promises broken"]
    for text, values in (
        ("red after at most", [outage.red_after for outage in outages]),
        ("green after at most", [outage.green_after for outage in outages]),
    ):
        known = [value for value in values if value is not None]
        if known:
            words.append(f"{text} {max(known):.1f} s")
    refused = sum(outage.refused for outage in outages)
    words.append(f"{refused} answers said that it failed and may be tried again")
    words.append(f"{sum(outage.acked for outage in outages)} acknowledged meanwhile")
    return ", ".join(words)


class Outage:
    """One fault, from its begin until all is as before."""

    def __init__(self, stage, name, node=None, leaves=False, fault=None, probe=None):
        self.stage, self.ledger, self.name, self.node, self.leaves = stage, stage.ledger, name, node, leaves
        self.fault = fault or Refusing(name, stage.cluster, node)
        # For the self-test: what is asked instead of /readyz.
        self.planted_probe = probe
        self.probe = probe or self.ready
        self.clock = asyncio.get_running_loop().time
        self.nodes = [node] if node else stage.cluster.nodes
        # node -> [(time, /readyz is 200)], only changes.
        self.seen = {one.name: [] for one in self.nodes}
        self.red_after = self.green_after = None
        self.faults = self.refused = self.acked = 0
        self.watching = True
        self.cpu = cpu_of

    def broken(self, promise, text, session="", history=()):
        self.faults += 1
        self.ledger.broken(promise, "", session, f"{self.name}: {text}", history)

    async def ready(self, node):
        return (await status(node.port, seconds=PATIENCE))[0] == 200

    async def run(self, seconds):
        ledger = self.ledger
        where = f" of {self.node.name}" if self.node else ""
        self.stage.say(f"{self.name}{where} for {seconds:g} s: {REFUSALS.get(self.name, 'planted')}")
        errors, acked = self.errors(), ledger.count["acked"]
        for node in self.nodes:
            await self.well(node)
        before = await self.begin()
        watch = asyncio.create_task(self.watch())
        try:
            async with self.fault:
                began = self.clock()
                await self.last(seconds)
            ended = self.clock()
            self.refused, self.acked = self.errors() - errors, ledger.count["acked"] - acked
            ledger.happened(f"{self.name} is over")
            if not self.leaves:
                await self.until_green(ended)
        finally:
            # Not cancelled: what waits with a deadline may miss that.
            self.watching = False
            await watch
        self.judge_readiness(began, ended)
        if self.leaves:
            await self.come_back()
        try:
            await self.stage.answered()
        except Broken as error:
            self.broken("outage", str(error))
        await self.stage.spend(QUIET)
        await self.end(before)

    async def well(self, node):
        """Every outage begins with nodes that are ready; one that is not has been told of, and begins anew."""
        try:
            await until(lambda: self.probe(node), 10, "", pause=0.2)
        except Broken:
            self.stage.say(f"{node.name} is not ready and is started again")
            self.ledger.deaths[self.stage.cluster.process_of(node.name)] = self.ledger.now()
            node.process.kill()
            node.process.start()
            await node.ready(60)
            await self.stage.settled(60)

    def errors(self):
        return sum(number for name, number in self.ledger.count.items() if name.startswith("error "))

    # Meanwhile.

    async def watch(self):
        if self.planted_probe is None:
            return await self.watch_readiness()
        while self.watching:
            for node in self.nodes:
                green = await self.planted_probe(node)
                changes = self.seen[node.name]
                if not changes or changes[-1][1] != green:
                    changes.append((self.clock(), green))
            await asyncio.sleep(0.05)

    async def watch_readiness(self):
        names = {node.port: node.name for node in self.nodes}
        child = await asyncio.create_subprocess_exec(
            *TIED,
            sys.executable,
            str(pathlib.Path(__file__).with_name("readiness_watch.py")),
            *map(str, names),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            line = asyncio.ensure_future(child.stdout.readline())
            while self.watching:
                await asyncio.wait([line], timeout=0.05)
                if line.done():
                    at, port, ready = line.result().split()
                    self.seen[names[int(port)]].append((float(at), ready == b"1"))
                    line = asyncio.ensure_future(child.stdout.readline())
            line.cancel()
        finally:
            child.kill()
            await child.wait()

    async def last(self, seconds):
        end = self.clock() + seconds
        if self.name == "log-pipe":
            return await self.unread(end)
        if self.name == "descriptors":
            return await self.crowded(end)
        while self.clock() < end:
            self.stage.progress()
            await asyncio.sleep(min(0.25, max(0.0, end - self.clock())))

    async def serving(self, end, each, healthy):
        """The node acknowledges what is said to it, and answers /healthz if it is `healthy`, until the end."""
        last, said = self.clock(), False
        count = self.acks_of_node()
        while self.clock() < end:
            each()
            self.stage.progress()
            if healthy and (await status(self.node.port, "/healthz", 2.0))[0] != 200 and not said:
                said = True
                self.broken(
                    "isolation", f"/healthz of {self.node.name} did not answer", history=self.node.process.tail(5)
                )
            now = self.acks_of_node()
            if now != count:
                count, last = now, self.clock()
            elif self.clock() - last > MOST_SILENCE:
                self.broken("isolation", f"{self.node.name} acknowledged nothing for {MOST_SILENCE:g} s")
                last = float("inf")
            await asyncio.sleep(0.1)

    def acks_of_node(self):
        """How much was acknowledged to sessions that are on the node."""
        return self.node_acks

    async def unread(self, end):
        """Connections to Redis are cut now and then, as the node has something to say about that."""
        cut_at = [self.clock() + 0.5]

        def cut():
            if cut_at[0] <= self.clock() < end - LAST_CUT:
                cut_at[0] = self.clock() + CUT_EVERY
                self.node.proxy.cut("all")

        await self.serving(end - (DRAIN + 5 if self.leaves else 0), cut, True)
        if self.leaves:
            self.stage.say(f"SIGTERM {self.node.name}, whose log nobody reads")
            self.ledger.deaths[self.stage.cluster.process_of(self.node.name)] = self.ledger.now()
            self.node.process.terminate()
            if not await self.node.process.ended(DRAIN + 5):
                self.broken("leaving", f"{self.node.name} had not ended {DRAIN + 5:g} s after SIGTERM")
                self.node.process.kill()

    async def crowded(self, end):
        used, began = self.cpu(self.node.process.pid), self.clock()
        idle = self.usual_cpu
        await self.serving(end, lambda: None, False)
        share = (self.cpu(self.node.process.pid) - used) / max(0.1, self.clock() - began) - idle
        if share > MOST_SPIN:
            self.broken(
                "bounds", f"{self.node.name} took {100 * share:.0f} % of a core more while it had no descriptors"
            )

    async def until_green(self, ended):
        while self.clock() < ended + 30:
            if all(changes and changes[-1][1] for changes in self.seen.values()) and self.clock() > ended + 0.5:
                return
            self.stage.progress()
            await asyncio.sleep(0.05)

    async def come_back(self):
        self.node.process.start()
        await self.node.ready(60)

    # What was seen.

    async def begin(self):
        """Everybody as they are now, to be compared with afterwards."""
        self.left = []
        self.node_acks = 0
        here = {session: len(session.connects) for session in self.stage.sessions if session.welcome}
        users = {}
        for session in here:
            for view in session.rooms.values():
                if view.wanted and view.phase == "joined":
                    users.setdefault((view.room, session.user), []).append(session)
        for session in self.stage.sessions:
            session.on_presence = self.presence
        if self.node:
            used, began = self.cpu(self.node.process.pid), self.clock()
            acked, self.plain_acked = self.ledger.acked, self.ledger.acked

            def count(room, send, place, session, repeated):
                if session.welcome and session.welcome["node"] == self.node.name:
                    self.node_acks += 1
                acked(room, send, place, session, repeated)

            self.ledger.acked = count
            await self.stage.spend(2)
            self.usual_cpu = (self.cpu(self.node.process.pid) - used) / max(0.1, self.clock() - began)
        if self.node and self.node.process.pipe:
            log = self.node.process.log
            self.logged = log.stat().st_size if log.exists() else 0
        return here, users, await self.presence_ends({room for room, _ in users})

    def presence(self, view, joined, left):
        for user in left:
            self.left.append((view, user))

    async def presence_ends(self, rooms):
        ends = {}
        for room in rooms:
            last = await self.stage.cluster.redis.ask(
                "XREVRANGE", f"martlet:{{{room}}}:presence", "+", "-", "COUNT", "1"
            )
            ends[room] = last[0][0] if last else "0-0"
        return ends

    async def end(self, before):
        here, users, ends = before
        for session in self.stage.sessions:
            session.on_presence = lambda view, joined, left: None
        if self.node:
            del self.ledger.acked
        stayed = {session for session, count in here.items() if len(session.connects) == count}
        if len(stayed) < len(here) and not self.leaves:
            lost = sorted(session.name for session in set(here) - stayed)
            self.broken("outage", f"{len(lost)} sessions lost their connections, {lost[0]} among them")
        # One finding, however many there are of its kind.
        told = {}
        for view, user in self.left:
            if stayed & set(users.get((view.room, user), ())):
                told.setdefault((view.room, user), view)
        if told:
            (room, user), view = next(iter(told.items()))
            self.broken(
                "presence",
                f"{user} is said to have left {room}, and stayed; {len(told)} such leaves in all",
                view.session.name,
                view.lines(),
            )
        await self.presence_streams(stayed, ends)
        # A node that ends while its pipe is full cannot say anything: see LastWords.
        if self.node and self.node.process.pipe and self.name == "log-pipe" and not self.leaves:
            await self.dropped_is_told()

    async def presence_streams(self, stayed, ends):
        """What is written about who went, in Redis."""
        wrong = []
        names = {(room, session.user, session.device) for session in stayed for room in session.rooms}
        for room, last in ends.items():
            entries = await self.stage.cluster.redis.ask("XRANGE", f"martlet:{{{room}}}:presence", f"({last}", "+")
            for name, flat in entries:
                fields = dict(zip(flat[::2], flat[1::2]))
                who = (room, fields.get("user"), fields.get("device"))
                if fields.get("kind") in ("leave", "expire") and who in names:
                    names.discard(who)
                    wrong.append(f"{room} says `{fields['kind']}` of {who[1]}/{who[2]} ({name}), who stayed")
        if wrong:
            self.broken("presence", f"{wrong[0]}; {len(wrong)} such entries in all")

    async def dropped_is_told(self):
        """The log says how many of its lines are missing."""
        with self.node.process.log.open("rb") as log:
            log.seek(self.logged)
            lines = log.read().split(b"\n")
        if not any(dropped_of(line) for line in lines):
            self.broken(
                "bounds",
                f"the log of {self.node.name} does not say how many lines were dropped",
                history=[line.decode("utf-8", "replace") for line in lines[-6:]],
            )

    def judge_readiness(self, began, ended):
        """Only what stops all messages must be told by /readyz; every node must be green again."""
        must_be_red = self.name not in OF_A_NODE
        reds, greens = [], []
        for name, changes in self.seen.items():
            # As it stood when the fault began, and then as it changed.
            during = [(began, green) for at, green in changes if at < began][-1:]
            during += [(at, green) for at, green in changes if began <= at < ended]
            red = next((at - began for at, green in during if not green), None)
            if must_be_red:
                if red is None or red > MOST_RED:
                    self.broken("readiness", f"/readyz of {name} was {seconds('red', red)}; {MOST_RED:g} s are allowed")
                else:
                    self.judge_steady(name, during, ended)
            if red is not None:
                reds.append(red)
            if self.leaves:
                continue
            last = changes[-1] if changes else (ended, False)
            green = max(0.0, last[0] - ended) if last[1] else None
            if green is None or green > MOST_GREEN:
                self.broken(
                    "readiness", f"/readyz of {name} was {seconds('green', green)}; {MOST_GREEN:g} s are allowed"
                )
            else:
                greens.append(green)
        self.red_after = max(reds, default=None)
        self.green_after = max(greens, default=None)

    def judge_steady(self, name, during, ended):
        """Red once, it stays so until the fault is over."""
        wrong, was_red = 0.0, False
        for (at, green), (until, _) in zip(during, during[1:] + [(ended, None)]):
            was_red = was_red or not green
            if was_red and green:
                wrong += until - at
        if wrong > MOST_WRONG_GREEN:
            self.broken("readiness", f"/readyz of {name} was green for {wrong:.1f} s while nothing could be stored")


class LastWords:
    """A node that lost lines of its log is asked to leave, and its log is read again before it ends: then the log says
    how many lines are missing. (A node that ends while its pipe is full cannot say so.)
    """

    def __init__(self, stage, node):
        self.stage, self.ledger, self.node = stage, stage.ledger, node

    async def run(self, end):
        """`end` makes the node leave."""
        process = self.node.process
        process.pipe.stop()
        logged = process.log.stat().st_size
        dropped = await self.drop_lines()
        self.stage.say(f"{self.node.name} leaves after {dropped} lines of its log were dropped; then its log is read")
        self.ledger.deaths[self.stage.cluster.process_of(self.node.name)] = self.ledger.now()
        end()
        await until(self.is_leaving, DRAIN + 5, f"{self.node.name} is leaving", pause=0.02)
        process.pipe.go_on()
        if not await process.ended(DRAIN + 5):
            text = f"{self.node.name} had not ended {DRAIN + 5:g} s after it was asked to"
            self.broken("leaving", text, process.tail())
            process.kill()
        await asyncio.sleep(0.1)
        with process.log.open("rb") as log:
            log.seek(logged)
            self.judge(dropped, log.read().split(b"\n"))
        process.start()
        await self.node.ready(60)
        await self.stage.answered()

    def broken(self, promise, text, history):
        self.ledger.broken(promise, "", "", f"log-pipe: {text}", history)

    async def is_leaving(self):
        return not self.node.process.is_running or not await self.node.is_ready()

    async def drop_lines(self):
        """Cuts the node's connections to Redis, which it logs, until lines are dropped; returns how many."""
        before, end = await self.dropped(), self.ledger.now() + 60
        while self.ledger.now() < end:
            self.node.proxy.cut("all")
            await self.stage.spend(0.5)
            now = await self.dropped()
            if now > before:
                return now - before
        raise Broken(f"{self.node.name} dropped no line of its log within 60 s, though nobody reads it")

    async def dropped(self):
        code, text = await status(self.node.port, "/metrics")
        found = re.search(r"(?m)^martlet_log_dropped_total(?:\{[^}]*\})? (\d+)", text)
        if code != 200 or not found:
            raise Broken(f"{self.node.name} does not say how many lines of its log were dropped: {code}")
        return int(found.group(1))

    def judge(self, dropped, lines):
        told = sum(dropped_of(line) for line in lines)
        if told < dropped:
            self.broken(
                "bounds",
                f"the log of {self.node.name} says that {told} lines were dropped, and it was {dropped} or more",
                [line.decode("utf-8", "replace") for line in lines[-6:]],
            )


def dropped_of(line):
    """How many lines were dropped, as a line of a node's log says; 0 if it says something else."""
    number = re.search(rb"[=\s\"](\d+)", line[found.end() :]) if (found := DROPPED.search(line)) else None
    return int(number.group(1)) if number and b"line" in line else 0


def seconds(word, after):
    return f"never {word}" if after is None else f"{word} after {after:.1f} s"
