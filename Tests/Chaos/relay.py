"""Events out while everything breaks: relays are killed and frozen at random, nodes and Redis as in the storm. In the end
every position of every log has to be in the event streams and in the archive, in order per room, and once if repetitions
by ID do not count. Compared by reading Redis and the database here, not by what relays say.
"""

import asyncio
import contextlib
import hashlib
import json
import pathlib
import signal
import sqlite3
import subprocess
import tempfile

from faults import DEFAULT, Faults, make_schedule
from processes import Process, until
from stage import Stage
from storm import judge, parse_kinds, watch

PARTITIONS = 16
# Nothing is trimmed, so that the logs say what there has to be.
SETTINGS = {"MARTLET_HISTORY_LENGTH": "100000", "MARTLET_HISTORY_BYTES": "256MiB"}
# A tail that Redis loses is lost to the event streams, too: what nodes put back is delivered again.
FAULTS = DEFAULT


class SQLiteArchive:
    QUERY = "SELECT room, epoch, seq, user, coalesce(text, '') FROM messages ORDER BY room, epoch, seq"

    def __init__(self, stage):
        self.path = stage.cluster.state / "archive.db"
        self.address = f"sqlite:{self.path}"

    async def start(self):
        pass

    def rows(self):
        """As the database has them; none before a relay has made the table."""
        if not self.path.exists():
            return []
        with contextlib.closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as database:
            return database.execute(self.QUERY).fetchall()

    def end(self):
        pass


class PostgresArchive(SQLiteArchive):
    QUERY = (
        "SELECT json_build_array(room, epoch, seq, \"user\", coalesce(text, '')) FROM messages "
        "ORDER BY room, epoch, seq"
    )

    def __init__(self, stage):
        port = stage.cluster.ports.take()
        self.address = f"postgresql://martlet@127.0.0.1:{port}/postgres"
        # Not in the state directory, which PostgreSQL's user may not enter. The script removes it.
        directory = pathlib.Path(tempfile.gettempdir(), f"martlet-postgres-{port}")
        script = pathlib.Path(__file__).parents[2] / "scripts" / "postgres"
        self.server = Process("postgres", [script, directory, port], stage.cluster.state / "postgres.log")

    async def start(self):
        self.server.start()

        async def answers():
            return self.ask("SELECT 1").returncode == 0

        await until(answers, 60, "PostgreSQL answers", pause=0.2)

    def ask(self, query):
        return subprocess.run(
            ["psql", self.address, "--no-psqlrc", "--tuples-only", "--no-align", "--command", query],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def rows(self):
        return [tuple(json.loads(line)) for line in self.ask(self.QUERY).stdout.splitlines() if line]

    def end(self):
        if self.server.is_running:
            self.server.signal(signal.SIGTERM)
            self.server.child.wait(20)


class Relays:
    """Relays of one cluster, some of which are killed or frozen from time to time."""

    def __init__(self, stage, archive, count=2, **settings):
        self.stage = stage
        self.done = {"relay killed": 0, "relay frozen": 0}
        env = {
            "MARTLET_REDIS_URL": f"redis://127.0.0.1:{stage.cluster.redis.port}",
            "MARTLET_ARCHIVE": archive.address,
            "MARTLET_RELAY_LEASE": "2s",
            "MARTLET_RELAY_SCAN": "5s",
            "MARTLET_RELAY_STREAM_LENGTH": "1000000",
            **settings,
        }
        self.all = [
            Process(f"relay{index + 1}", [stage.cluster.binary, "relay"], stage.cluster.state / f"relay{index + 1}.log", env)
            for index in range(count)
        ]
        self.task = None

    def start(self, with_faults=True):
        for relay in self.all:
            relay.start()
        if with_faults:
            self.task = asyncio.create_task(self.run())

    async def run(self):
        rng = self.stage.rng
        while True:
            await asyncio.sleep(rng.uniform(0.5, 3))
            relay = rng.choice(self.all)
            if rng.random() < 0.7:
                relay.kill()
                self.done["relay killed"] += 1
                await asyncio.sleep(rng.uniform(0, 2))
                relay.start()
            else:
                relay.signal(signal.SIGSTOP)
                self.done["relay frozen"] += 1
                try:
                    await asyncio.sleep(rng.uniform(0.5, 5))
                finally:
                    relay.signal(signal.SIGCONT)

    async def rest(self):
        """No more faults; all relays run."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        for relay in self.all:
            if not relay.is_running:
                relay.start()

    def end(self):
        for relay in self.all:
            if relay.is_running:
                relay.kill()


async def relay(options, show, state):
    kinds = parse_kinds(options.faults) if options.faults else FAULTS
    async with Stage(options, show, state, settings=SETTINGS) as stage:
        database = PostgresArchive(stage) if options.postgres else SQLiteArchive(stage)
        relays = Relays(stage, database)
        try:
            await database.start()
            relays.start()
            await stage.fill(options.sessions)
            faults = Faults(stage.cluster, stage.ledger, stage.sessions, show)
            stage.speak()
            await watch(stage, faults, make_schedule(stage.rng, options.seconds, kinds))
            await stage.hush()
            await faults.heal()
            await relays.rest()
            stage.say("quiet: everything is whole again")
            # What is kept in memory grows with the history.
            figures = await judge(stage, bool({"lost-tail"} & set(kinds)), node_bytes=400e6, redis_bytes=400e6)
            delivered = await compare(stage, database)
        finally:
            relays.end()
            database.end()
        return stage.ledger, {"seconds": options.seconds, "faults": faults.done, **relays.done, **delivered, **figures}


async def unnoted(options, show, state):
    """Nodes die as soon as they have said that a message is stored, before they can have told relays of it. No scan of all
    rooms helps, as there is none in that time: the node that sweeps the dead one has to note its rooms.
    """
    async with Stage(options, show, state, settings=SETTINGS) as stage:
        database = PostgresArchive(stage) if options.postgres else SQLiteArchive(stage)
        relays = Relays(stage, database, MARTLET_RELAY_SCAN="1h")
        try:
            await database.start()
            relays.start(with_faults=False)
            await stage.fill(options.sessions)
            stage.speak()
            await stage.spend(8)  # Until nodes know of relays, and relays have scanned twice.
            for number in range(options.outages):
                await kill_behind_answer(stage, stage.cluster.nodes[number % len(stage.cluster.nodes)], number)
            await stage.hush()
            stage.say("quiet: everything is whole again")
            figures = await judge(stage, node_bytes=400e6, redis_bytes=400e6)
            delivered = await compare(stage, database)
        finally:
            relays.end()
            database.end()
        return stage.ledger, {"kills": options.outages, **delivered, **figures}


async def kill_behind_answer(stage, node, number):
    """Somebody on that node says something in a room of its own, and the node is killed when it has answered."""
    here = await until_found(lambda: [s for s in stage.sessions if s.welcome and s.welcome["node"] == node.name])
    session, room = stage.rng.choice(here), f"unnoted{number}"
    view = session.want(room)
    await until(lambda: view.phase == "joined" and session.is_settled, 30, f"{session.user} is in {room}", pause=0.002)
    session.say(room, f"kill{number} once")
    await until(lambda: not view.sends, 30, "the message has its answer", pause=0.0005)
    stage.ledger.deaths[stage.cluster.process_of(node.name)] = stage.ledger.now()
    node.process.kill()
    stage.say(f"kill -9 {node.name}, which had just answered {session.user} in {room}")
    node.process.start()
    await node.ready(60)
    await stage.spend(0.5)


async def until_found(find):
    await until(find, 60, "somebody is connected to the node", pause=0.05)
    return find()


async def logs(redis):
    """Room → [(position, user, text)], as Redis holds them."""
    rooms = {}
    for key in await redis.ask.keys("martlet:{*}:log"):
        entries = await redis.ask.stream(key)
        rooms[key[len("martlet:{") : -len("}:log")]] = [
            (place, fields.get("user", ""), fields.get("text", "")) for place, fields in entries
        ]
    return rooms


async def streams(redis):
    """Room → events in the order of their stream, repetitions included; and the gaps."""
    rooms, gaps = {}, []
    for partition in range(PARTITIONS):
        for _, fields in await redis.ask.stream(f"martlet:events:{{{partition}}}:log"):
            data = json.loads(fields["event"])["data"]
            if fields["type"] == "gap":
                gaps.append(fields["id"])
            else:
                rooms.setdefault(fields["room"], []).append(
                    (data["position"], data["user"], data.get("text", ""), fields["id"])
                )
    return rooms, gaps


def archived(database):
    rooms = {}
    for room, epoch, seq, user, text in database.rows():
        rooms.setdefault(room, []).append((f"{epoch}-{seq}", user, text))
    return rooms


def checksum(rooms):
    digest = hashlib.sha256()
    for room in sorted(rooms):
        for line in rooms[room]:
            digest.update(repr((room, *line)).encode())
    return digest.hexdigest()[:16]


async def compare(stage, database):
    ledger, redis = stage.ledger, stage.cluster.redis
    wanted = await logs(redis)

    async def is_there():
        found, _ = await streams(redis)
        kept = archived(database)
        return all(
            {line[0] for line in wanted[room]} <= {line[0] for line in found.get(room, [])}
            and {line[0] for line in wanted[room]} <= {line[0] for line in kept.get(room, [])}
            for room in wanted
        )

    with contextlib.suppress(Exception):
        await until(is_there, 60, "everything is in the streams and in the archive", pause=0.5)
    found, gaps = await streams(redis)
    kept = archived(database)
    repeated = foreign = 0
    first_times = {}
    for room, events in found.items():
        seen = {}
        for position, user, text, identifier in events:
            if identifier in seen:
                repeated += 1
                if seen[identifier] != (position, user, text):
                    ledger.broken("events", room, "", f"{identifier} came with two contents")
            seen.setdefault(identifier, (position, user, text))
        first_times[room] = list(seen.values())
    for room, lines in wanted.items():
        places = {line[0] for line in lines}
        for name, rooms in (("the event stream", first_times), ("the archive", kept)):
            there = rooms.get(room, [])
            # What Redis had delivered and then lost with its tail was said, and is no error.
            foreign += sum(1 for line in there if line[0] not in places)
            shown = [line for line in there if line[0] in places]
            if shown != lines:
                missing = [line[0] for line in lines if line not in shown]
                ledger.broken(
                    "events",
                    room,
                    "",
                    f"{name} has {len(shown)} of {len(lines)} messages"
                    + (f", without {missing[:3]}" if missing else ", in another order"),
                )
    for gap in gaps:
        ledger.broken("events", gap.split("~")[0], "", f"a gap, although nothing was trimmed: {gap}")
    same = {room: [line for line in first_times.get(room, []) if line in set(wanted[room])] for room in wanted}
    stored = {room: [line for line in kept.get(room, []) if line in set(wanted[room])] for room in wanted}
    return {
        "messages in the logs": sum(map(len, wanted.values())),
        "checksum of logs, streams, archive": f"{checksum(wanted)} {checksum(same)} {checksum(stored)}",
        "events that came again": repeated,
        "events of a tail that Redis lost": foreign,
    }
