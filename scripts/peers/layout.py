"""Which functions of a node run for each message: the order in which the linker lays them out (`Package.swift`), so that they
share pages and cache lines. Sampled with perf on two nodes under the standard loads."""

import collections
import glob
import os
import re
import shutil
import signal
import subprocess
import sys

import servers
from runs import ROOMS
from stage import ROOT, StageError, run_json

FILE = os.path.join(ROOT, "Sources", "martlet", "hot-functions.txt")
LOADS = [
    ROOMS + ["--flat-out", "80"],
    ROOMS + ["--flat-out", "8", "--one-node"],
    ROOMS + ["--rate", "20"],
    ["--members", "1000", "--rate", "20"],
    ["--rooms", "100", "--churn", "500"],
]
#: Samples a second of each thread, and how many a function needs: one alone may be chance.
RATE, FEWEST = 4_999, 2
SAMPLED = re.compile(r"\s*(\d+)\s+\[\.\]\s+(\S+)\s+martlet\s*$")


def write(stage, seconds):
    """Returns how many functions the file has now, and how many of them it had before."""
    perf = shutil.which("perf", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if not perf:
        raise StageError("no perf here: apt-get install linux-perf")
    ours = own_functions(stage.martlet)
    ranked = [name for name, samples in sampled(stage, perf, seconds).most_common() if samples >= FEWEST and name in ours]
    if not ranked:
        raise StageError(f"perf has seen no function of {stage.martlet}")
    before = set()
    if os.path.exists(FILE):
        with open(FILE, encoding="ascii") as file:
            before = set(file.read().split())
    with open(FILE, "w", encoding="ascii") as file:
        file.write("\n".join(ranked) + "\n")
    return len(ranked), len(before & set(ranked))


def own_functions(program):
    """Those of our own modules. Functions of packages have no sections of their own: naming one would move its whole file."""
    names = set()
    for module in os.listdir(os.path.join(ROOT, "Sources")) + ["RedisSchema"]:
        objects = glob.glob(os.path.join(os.path.dirname(program), f"{module}.build", "*.o"))
        if objects:
            found = subprocess.run(["nm", "--defined-only", "-j", *objects], capture_output=True, text=True, check=True)
            names.update(found.stdout.split())
    if not names:
        raise StageError(f"there are no object files beside {program}; --layout takes what swift build has built here")
    return names


def sampled(stage, perf, seconds):
    redis = stage.redis()
    server = servers.Martlet()
    nodes = server.start(stage, 2)
    data = stage.path("perf.data")
    recorder = stage.start("perf", [
        perf, "record", "-q", "-e", "cpu-clock:u", "-F", str(RATE), "-o", data, "-p", ",".join(str(each.pid) for each in nodes)])
    stage.wait_until(recorder, "the first samples", lambda: os.path.exists(data))
    for load in LOADS:
        print(f"bench: sampling {' '.join(load)}", file=sys.stderr)
        run_json([stage.martlet, "bench", "--json", "--seconds", str(seconds), "--warmup", "1", *load] + [
            word for port in server.ports(stage, 2) for word in ("--url", f"ws://127.0.0.1:{port}")], seconds + 240)
    recorder.send_signal(signal.SIGINT)
    recorder.wait(60)
    report = subprocess.run(
        [perf, "report", "-i", data, "--stdio", "--no-demangle", "-F", "sample,sym,dso"], capture_output=True, text=True)
    counts = collections.Counter()
    for line in report.stdout.splitlines():
        found = SAMPLED.match(line)
        if found:
            counts[found[2]] += int(found[1])
    stage.end([recorder, *nodes, redis])
    return counts
