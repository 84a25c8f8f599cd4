"""The standard runs: what is said where, and how one is measured on one kind of server."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field

from stage import HERE, Redis, StageError, run_json


@dataclass
class Run:
    """`options` go to `martlet bench` as they are."""

    name: str
    title: str
    options: list = field(default_factory=list)
    nodes: int = 2
    #: Only on these; empty: on all.
    only: tuple = ()
    #: Set for runs that hold connections and say nothing.
    is_idle: bool = False
    #: Override the seconds, and those before them, that everybody gets; not with --quick.
    seconds: float = 0
    warmup: float = 0


ROOMS = ["--rooms", "100", "--members", "10"]
# nchan leaves Nagle's algorithm on; without --quick-ack one message in flight would be one every 40 ms.
ONE = ["--members", "2", "--flat-out", "1", "--quick-ack"]
#: Messages a second in each of 100 rooms, and how late the last one in a hundred may be.
KNEE_RATES = (10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 120, 140, 160)
KNEE_MICROSECONDS = 50_000
RUNS = [
    Run("crowd", "one room of 1,000 over two nodes, 20 messages/s", ["--members", "1000", "--rate", "20"]),
    Run("burst", "the same in bursts of eight", ["--members", "1000", "--rate", "160", "--burst", "8"],
        # 160,000 deliveries a second are more than the others can do.
        only=("floor", "martlet", "nchan")),
    Run("rooms", "100 rooms of 10 spread over two nodes, 10 messages/s each", ROOMS + ["--rate", "10"]),
    Run("rooms20", "the same with 20 messages/s each", ROOMS + ["--rate", "20"], only=("martlet", "nchan")),
    Run("local", "the rooms of 10 messages/s, each room on one node", ROOMS + ["--rate", "10", "--one-node"]),
    Run("flat", "100 rooms of 10, flat out, eight in flight from each member", ROOMS + ["--flat-out", "80"]),
    Run("flat8", "the same, eight in flight in each room", ROOMS + ["--flat-out", "8"]),
    Run("knee", "the same rooms at ever more messages/s, until p99 is 50 ms", ROOMS, only=("martlet", "nchan")),
    Run("cross", "one message in flight between two nodes", ONE),
    Run("same", "one message in flight on one node", ONE + ["--one-node"]),
    Run("idle", "idle connections on one node, in 15 rooms", ["--rooms", "15", "--idle"], nodes=1, is_idle=True),
    Run("churn", "connect, join, leave, close, 1,000 a second", ["--rooms", "100", "--churn", "1000"],
        only=("martlet",), seconds=60, warmup=60),
    Run("allocs", "allocations a delivery and a session", only=("martlet",)),
    Run("quiet", "10,000 rooms with one message each", only=("martlet",), nodes=1),
]


class Measure:
    """Measures any run on any server, one at a time on the same stage."""

    def __init__(self, stage, seconds, warmup, quick):
        self.stage = stage
        self.seconds = seconds
        self.warmup = warmup
        self.quick = quick

    def of(self, run, server):
        """What `martlet bench` found, as it says it, with what it cannot know. Starts the server, and ends it."""
        before = list(self.stage.processes)
        redis = None
        try:
            redis = self.stage.redis() if server.uses_redis else None
            if run.name == "allocs":
                import allocations
                server.start(self.stage, run.nodes, allocations.environment(self.stage))
                return allocations.measure(self.stage, self.urls(server, run))
            nodes = server.start(self.stage, run.nodes)
            # What starting left to do is not to be measured.
            time.sleep(0.5)
            if run.name == "quiet":
                import quiet
                return quiet.measure(self.stage, nodes[0], 1_000 if self.quick else 10_000)
            if run.name == "knee":
                return self.knee(run, server, nodes, redis)
            return self.load(run, server, nodes, redis)
        finally:
            self.stage.end([process for process in reversed(self.stage.processes) if process not in before])

    def knee(self, run, server, nodes, redis):
        """The last rate that was delivered in time; what was found at it, and p99 at each rate."""
        best, steps = None, []
        for rate in KNEE_RATES:
            found = self.load(run, server, nodes, redis, ["--rate", str(rate)])
            late = max((found[place]["p99"] for place in ("otherNode", "sameNode") if found.get(place)), default=0)
            lost = found["missing"] > 0
            steps.append({"perSecond": 100 * rate, "p99": late, "missing": found["missing"]})
            if late > KNEE_MICROSECONDS or lost:
                break
            best = found
        best = best or {**found, "missing": 0}
        return {**best, "knee": max((step["perSecond"] for step in steps if step["p99"] <= KNEE_MICROSECONDS
                                     and not step["missing"]), default=0), "steps": steps}

    def load(self, run, server, nodes, redis, more=()):
        seconds, warmup = self.seconds, self.warmup
        if not self.quick:
            seconds, warmup = run.seconds or seconds, run.warmup or warmup
        command = [self.stage.martlet, "bench", "--json", "--protocol", server.protocol, "--seconds", str(seconds),
                   "--warmup", str(warmup)]
        command += self.urls(server, run)
        if run.is_idle:
            command += ["--members", str(max(1, server.idle // (10 if self.quick else 1) // 15))]
        for pid in server.pids(nodes):
            command += ["--server-pid", str(pid)]
        if redis:
            command += ["--redis-pid", str(redis.pid)]
        published = self.published(redis)
        found = run_json(command + run.options + list(more), seconds + warmup + 240)
        if redis:
            found["published"] = self.published(redis) - published
        return found

    def urls(self, server, run):
        return [word for port in server.ports(self.stage, run.nodes)
                for word in ("--url", f"ws://127.0.0.1:{port}{server.path}")]

    def published(self, redis):
        if not redis:
            return 0
        client = Redis(self.stage.port)
        try:
            return client.calls("publish")
        finally:
            client.close()


def build_tools(stage):
    compiler = os.environ.get("CC") or next((each for each in ("cc", "clang") if shutil.which(each)), None)
    if not compiler:
        raise StageError("no C compiler: apt-get install gcc, or set CC")
    for name, target, options in (("floor", "floor", []), ("allocations", "allocations.so", ["-shared", "-fPIC"])):
        command = [compiler, "-O2", "-D_GNU_SOURCE", *options, "-o", stage.path(target), os.path.join(HERE, name + ".c")]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise StageError(f"{' '.join(command)}: {done.stderr.strip()}")


def measure_all(measure, runs, servers, rounds, note=lambda text: print(text, file=sys.stderr)):
    """Results by run and server, a list of one for each round. Servers take turns within each run, so that whatever else the
    machine does meets all of them."""
    results = {}
    for number in range(rounds):
        for run in runs:
            for server in servers:
                if run.only and server.name not in run.only:
                    continue
                round_ = f" (round {number + 1} of {rounds})" if rounds > 1 else ""
                note(f"bench: {run.name} on {server.name}{round_}")
                try:
                    found = measure.of(run, server)
                except StageError as error:
                    note(f"bench: {run.name} on {server.name}: {error}")
                    found = {"failed": str(error)}
                results.setdefault(run.name, {}).setdefault(server.name, []).append(found)
    return results
