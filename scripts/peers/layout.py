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
#: Samples a second of each thread.
RATE = 4_999
SAMPLED = re.compile(r"\s*(\d+)\s+\[\.\]\s+(\S+)\s+martlet\s*$")


def write(stage, seconds):
    """Returns how many functions the file has now, and how many of them were not sampled: those that it had before stay
    behind the others, as samples miss what runs for a few nanoseconds."""
    perf = shutil.which("perf", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if not perf:
        raise StageError("no perf here: apt-get install linux-perf")
    placed = placed_functions(stage.martlet)
    ranked = [name for name, _ in sampled(stage, perf, seconds).most_common() if name in placed]
    if not ranked:
        raise StageError(f"perf has seen no function of {stage.martlet}")
    kept = []
    if os.path.exists(FILE):
        left = placed - set(ranked)
        with open(FILE, encoding="ascii") as file:
            kept = [name for name in file.read().split() if name in left]
    with open(FILE, "w", encoding="ascii") as file:
        file.write("\n".join(ranked + kept) + "\n")
    return len(ranked) + len(kept), len(kept)


def placed_functions(program):
    """Those that have a section of their own, which functions of packages have not: naming one would move its whole file."""
    placed, whole = set(), set()
    for path in glob.glob(os.path.join(os.path.dirname(program), "*.build", "**", "*.o"), recursive=True):
        found = subprocess.run(["nm", "--defined-only", "--format=sysv", path], capture_output=True, text=True, check=True)
        for fields in (line.split("|") for line in found.stdout.splitlines()):
            section = fields[-1].strip()
            if section.startswith(".text"):
                (whole if section == ".text" else placed).add(fields[0].strip())
    if not placed:
        raise StageError(f"there are no object files beside {program}; --layout takes what swift build has built here")
    return placed - whole


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
