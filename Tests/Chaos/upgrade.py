"""A rolling upgrade under load: a cluster of an older version is replaced node by node by the current one, goes back,
and forward again. While it is mixed people talk, come and go, and resume; nodes of both versions die, and only nodes of
the other version are there to sweep them. Nothing is lost, repeated or reordered, and nothing stays behind in Redis.
"""

import asyncio
import json
import os
import re
import subprocess

from faults import LOSSY, Faults, make_schedule
from ledger import quantile
from older_version import older_binary
from processes import Broken, status, until
from rolling import DRAIN_SECONDS, roll
from stage import Stage
from storm import judge, parse_kinds
from upgrade_dialogue import Dialogue

OLDER, NEWER = "older", "newer"
# What happens at random while the cluster is mixed, unless --faults says something else.
OF_SESSIONS = ["drop-sessions", "wander", "slow-readers"]
MIXED = OF_SESSIONS + ["cut"]
# Seconds until the others have swept a dead node: its lease is 4 s, and this machine may be busy.
MOST_SWEEP = 15.0
# Sessions that nobody else shares a room with, so that only a node's list of rooms names those rooms.
LONELY = 5
PREFIX = "martlet:"
# Every other key of the prefix belongs to a node, whatever its version calls it.
ROOM_KEY = re.compile(re.escape(PREFIX) + r"\{.+\}:(log|nodes|epochs|meta|presence|roster|keys)")
IGNORED = re.compile(r"martlet_redis_ignored_total\{([^}]*)\} ([0-9.e+]+)")


class Step:
    """One node changes its version; then the cluster may stay mixed, and a node may die."""

    def __init__(self, index, version, dies=None):
        self.index, self.version, self.dies = index, version, dies


# Whoever dies is alone in its version, so that nodes of the other one sweep it.
FORWARD = [Step(0, NEWER, dies=0), Step(1, NEWER, dies=2), Step(2, NEWER)]
BACK = [Step(0, OLDER, dies=0), Step(1, OLDER, dies=2), Step(2, OLDER)]
AGAIN = [Step(0, NEWER), Step(1, NEWER), Step(2, NEWER)]


async def upgrade(options, show, state):
    kinds = parse_kinds(options.faults) if options.faults else MIXED
    if options.redis_cluster:
        kinds = [kind for kind in kinds if kind in OF_SESSIONS]
    binaries = {OLDER: older_binary(options), NEWER: options.binary}
    async with Stage(
        options,
        show,
        state,
        settings={"MARTLET_DRAIN_TIME": f"{DRAIN_SECONDS}s"},
        binary=binaries[OLDER],
        redis_cluster=options.redis_cluster,
        replica="failover" in kinds,
        acl="acl" in kinds,
        log_pipes="log-pipe" in kinds,
    ) as stage:
        await stage.fill(options.sessions)
        run = Upgrade(stage, binaries, kinds)
        stage.speak()
        await stage.spend(2)
        await run.note_library()
        for words, steps in (("forward", FORWARD), ("back", BACK), ("forward again", AGAIN)):
            stage.say(f"the cluster goes {words}")
            for step in steps:
                await run.take(step)
        await stage.hush()
        await run.faults.heal()
        figures = await judge(stage, bool(LOSSY & set(kinds)))
        await run.nothing_left()
        return stage.ledger, {**run.figures(), **figures, "broken promises": stage.ledger.count["violations"]}


class Upgrade:
    def __init__(self, stage, binaries, kinds):
        self.stage, self.binaries, self.kinds = stage, binaries, kinds
        self.ledger, self.cluster = stage.ledger, stage.cluster
        self.version = {node.name: OLDER for node in self.cluster.nodes}
        self.faults = Faults(self.cluster, self.ledger, stage.sessions, stage.show)
        # (version that died, seconds until it was swept)
        self.sweeps = []
        self.rolls = self.dialogues = 0
        self.libraries = []

    def broken(self, text, history=()):
        self.ledger.broken("upgrade", "", "", text, history)

    @property
    def is_mixed(self):
        return len(set(self.version.values())) > 1

    async def take(self, step):
        stage, node = self.stage, self.cluster.nodes[step.index]
        self.ledger.deaths[self.cluster.process_of(node.name)] = self.ledger.now()
        stage.say(f"{node.name} becomes {step.version}")
        await roll(stage, node, self.binaries[step.version])
        self.version[node.name] = step.version
        self.rolls += 1
        await self.note_library()
        if not self.is_mixed:
            return await stage.spend(1)
        await self.both_ways()
        if step.dies is not None:
            await self.stay(stage.options.seconds)
            await self.examine()
            await self.understood()
            await self.die(self.cluster.nodes[step.dies])
            await self.both_ways()

    def nodes_of(self, version):
        return [node for node in self.cluster.nodes if self.version[node.name] == version]

    # While the cluster is mixed.

    async def both_ways(self):
        """One node of each version, asked directly, in both roles."""
        older, newer = self.nodes_of(OLDER)[0], self.nodes_of(NEWER)[0]
        for left, right in ((older, newer), (newer, older)):
            await Dialogue(self.stage, left, right).run()
            self.dialogues += 1

    async def stay(self, seconds):
        """People talk, come and go, are cut off and resume."""
        self.stage.say(f"the cluster stays mixed for {seconds:g} s: {self.versions()}")
        await self.spread()
        loop = asyncio.get_running_loop()
        began = loop.time()
        task = asyncio.create_task(self.faults.run(make_schedule(self.stage.rng, seconds, self.kinds), began))
        while loop.time() < began + seconds or not task.done() or self.faults.running:
            self.stage.progress()
            await asyncio.sleep(0.25)
            if loop.time() > began + seconds + 90:
                raise Broken("the faults of the mixed cluster did not end within 90 s")
        await task
        await self.faults.finish()
        for node in self.cluster.nodes:
            await node.ready(60)
        await self.connected()

    async def spread(self):
        """A node that has just started has no sessions. Some of the others lose their connections, and HAProxy gives
        them to it.
        """
        sessions = self.stage.sessions
        here = {
            node.name: [one for one in sessions if one.welcome and one.welcome["node"] == node.name]
            for node in self.cluster.nodes
        }
        share = len(sessions) // len(self.cluster.nodes)
        moved = [one for crowd in here.values() for one in crowd[share:]]
        for session in moved:
            session.drop()
        await self.connected()
        self.stage.say(f"{len(moved)} sessions have moved to nodes that had fewer")

    def versions(self):
        return ", ".join(f"{name} {version}" for name, version in self.version.items())

    async def connected(self):
        await until(
            lambda: all(session.welcome for session in self.stage.sessions), 30, "all sessions are connected again"
        )

    async def examine(self):
        """`martlet doctor` of the newer version finds nothing that must be done, and names the versions."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MARTLET_")}
        environment.update({k: v for k, v in self.cluster.settings.items() if k.startswith("MARTLET_REDIS_")})
        environment["MARTLET_REDIS_URL"] = self.cluster.redis_url(self.cluster.nodes[0])
        process = await asyncio.create_subprocess_exec(
            self.binaries[NEWER], "doctor", "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
        )
        out, error = await process.communicate()
        try:
            findings = json.loads(out)["findings"]
        except (ValueError, KeyError):
            return self.broken(f"martlet doctor ended with status {process.returncode}", error.decode().splitlines())
        must = [f"{one['area']} {one['place'] or ''}: {one['problem']}" for one in findings if one["level"] == "must"]
        if must:
            self.broken(f"martlet doctor says of a mixed cluster that {len(must)} things must be done", must)
        told = {await self.version_told(node) for node in self.cluster.nodes}
        text = "\n".join(one["problem"] for one in findings if one["area"] == "nodes")
        missing = sorted(version for version in told if version not in text)
        if missing:
            self.broken(f"martlet doctor does not name {missing}, which run", text.splitlines())

    async def understood(self):
        """No node has left out anything that another one stored or published. (A version may not count it.)"""
        for node in self.cluster.nodes:
            code, text = await status(node.port, "/metrics")
            if code != 200:
                raise Broken(f"{node.name} does not answer /metrics: {text}")
            found = [(kind, number) for kind, number in IGNORED.findall(text) if float(number) > 0]
            if found:
                self.broken(f"{node.name} ({self.version[node.name]}) ignored what it read from Redis: {found}")

    async def version_told(self, node):
        """What a node's heartbeat says."""
        identity, ask = await self.id_of(node), self.cluster.redis.ask
        for key in await self.node_keys():
            if identity in key and await ask("TYPE", key) == "string":
                return json.loads(await ask("GET", key))["version"]
        raise Broken(f"{node.name} has no heartbeat")

    async def note_library(self):
        """The function library never becomes older, also when nodes of the older version start again."""
        redis = self.cluster.redis
        masters = redis.masters if self.cluster.is_redis_cluster else [redis]
        version = min([await master.ask("FCALL", "martlet_version", "0") for master in masters])
        if self.libraries and version < self.libraries[-1]:
            self.broken(f"the function library went from version {self.libraries[-1]} back to {version}")
        if self.libraries[-1:] != [version]:
            self.libraries.append(version)

    # A death.

    async def id_of(self, node):
        living = await self.cluster.redis.ask("ZRANGE", PREFIX + "nodes", "0", "-1")
        return next((name for name in reversed(living) if name.rpartition("-")[0] == node.name), None)

    async def die(self, node):
        """kill -9; the others sweep it. Then it starts again, in its version."""
        version, identity = self.version[node.name], await self.id_of(node)
        if identity is None or len(self.nodes_of(version)) > 1:
            raise Broken(f"{node.name} is not the only node that is {version}, or has no heartbeat")
        lonely = await self.lonely(node)
        self.stage.say(f"kill -9 {node.name} ({version}); nodes of the other version sweep it")
        killed = self.ledger.now()
        self.ledger.deaths[self.cluster.process_of(node.name)] = killed
        for session in lonely:
            session.stop()
            self.stage.sessions.remove(session)
        node.process.kill()
        await self.swept(identity, version, [room for session in lonely for room in session.rooms], killed)
        node.process.start()
        await node.ready(60)
        await self.connected()

    async def lonely(self, node):
        """Sessions that are alone in their rooms, on this node only; each has said something there."""
        made = []
        for index in range(LONELY):
            name = f"lonely{len(self.sweeps)}-{self.rolls}-{index}"
            session = self.stage.session(name, "d", [node.port])
            session.want(name)
            session.start()
            made.append(session)
        await until(lambda: all(session.is_settled for session in made), 20, "the lonely sessions are in their rooms")
        for session in made:
            session.say(session.user, f"{session.user}-message")
        await until(lambda: all(session.is_settled for session in made), 20, "the lonely sessions have their answers")
        return made

    async def swept(self, identity, version, rooms, killed):
        """Waits until nothing in Redis names the node."""
        while traces := await self.traces({identity}, rooms):
            self.stage.progress()
            took = self.ledger.now() - killed
            if took > MOST_SWEEP:
                return self.broken(f"{took:.1f} s after {identity} ({version}) died its traces are still there", traces)
            await asyncio.sleep(0.25)
        took = self.ledger.now() - killed
        self.sweeps.append((version, took))
        self.stage.say(f"{identity} was swept after {took:.1f} s")

    async def traces(self, identities, rooms=()):
        """Where Redis still has these nodes, and members in rooms in which nobody is."""
        ask, found = self.cluster.redis.ask, []
        for name in await ask("ZRANGE", PREFIX + "nodes", "0", "-1"):
            if name in identities:
                found.append(f"{PREFIX}nodes lists {name}")
        found += [f"{key} exists" for key in await self.node_keys() if any(name in key for name in identities)]
        for key in await ask.keys(PREFIX + "{*}:nodes"):
            found += [f"{key} has {name}" for name in await ask.hash(key) if name in identities]
        for key in await ask.keys(PREFIX + "{*}:roster"):
            for user, where in (await ask.hash(key)).items():
                found += [f"{key} has {user} on {name}" for name in json.loads(where) if name in identities]
        for room in rooms:
            for kind in ("nodes", "roster"):
                if await ask("EXISTS", f"{PREFIX}{{{room}}}:{kind}"):
                    found.append(f"{PREFIX}{{{room}}}:{kind} exists, and nobody is in {room}")
        return found

    async def node_keys(self):
        keys = await self.cluster.redis.ask.keys(PREFIX + "*")
        return [key for key in keys if key != PREFIX + "nodes" and not ROOM_KEY.fullmatch(key)]

    async def nothing_left(self):
        """At the end every key that a node owns belongs to a node that runs."""
        living = await self.cluster.redis.ask("ZRANGE", PREFIX + "nodes", "0", "-1")
        stray = [key for key in await self.node_keys() if not any(name in key for name in living)]
        if stray:
            self.broken(f"{len(stray)} keys of nodes that are gone are left", stray)

    def figures(self):
        times = {
            version: [seconds for died, seconds in self.sweeps if died == version] for version in (OLDER, NEWER)
        }
        return {
            "nodes replaced": self.rolls,
            "dialogues of two versions": self.dialogues,
            "versions of the function library": " → ".join(map(str, self.libraries)),
            "older nodes swept by newer ones": f"{len(times[OLDER])}, within {quantile(times[OLDER], 1):.1f} s",
            "newer nodes swept by older ones": f"{len(times[NEWER])}, within {quantile(times[NEWER], 1):.1f} s",
        }
