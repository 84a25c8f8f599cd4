"""How often nodes allocate memory for a delivery, a message, a session: the microbenchmark of the hot paths. Unlike times the
counts are nearly the same on every machine, so they have limits that a change must not exceed."""

import struct
import time

from runs import ROOMS
from stage import run_json

#: Of both nodes together. A little above what is counted today; lower them when it gets better.
LIMITS = {
    "crowd": 0.1,
    "rooms": 4.6,
    "local": 3.2,
    "session": 680.0,
}
LOADS = {
    "crowd": ["--members", "1000", "--rate", "20"],
    "rooms": ROOMS + ["--rate", "10"],
    "local": ROOMS + ["--rate", "10", "--one-node"],
}


def environment(stage):
    path = stage.path("allocations")
    with open(path, "wb") as file:
        file.write(bytes(8))
    return {"LD_PRELOAD": stage.path("allocations.so"), "ALLOCATIONS_FILE": path}


def counted(stage):
    with open(stage.path("allocations"), "rb") as file:
        return struct.unpack("=Q", file.read(8))[0]


def measure(stage, urls):
    """Allocations a delivery in each load, and for a session from its connection to its end. What both a long and a short load
    need is left out by taking their difference."""
    found = {}
    for name, options in LOADS.items():
        # What the node does every second, whatever is said, must not weigh.
        counts = [load(stage, urls, options, seconds) for seconds in (1, 13)]
        deliveries = counts[1]["deliveries"] - counts[0]["deliveries"]
        found[name] = round((counts[1]["allocations"] - counts[0]["allocations"]) / max(1, deliveries), 3)
    counts = [sessions(stage, urls, seconds) for seconds in (1, 4)]
    found["session"] = round((counts[1][0] - counts[0][0]) / max(1, counts[1][1] - counts[0][1]), 1)
    return {"allocations": found}


def load(stage, urls, options, seconds):
    """Counts from when all have joined, as joining in a crowd is told in batches of any size."""
    command = [stage.martlet, "bench", "--json", "--warmup", "0", "--seconds", str(seconds)] + urls + options
    before = 0

    def joined(line):
        nonlocal before
        if "connections after" in line:
            time.sleep(1)
            before = counted(stage)

    outcome = run_json(command, 120, joined)
    return {"deliveries": outcome["deliveries"], "allocations": counted(stage) - before}


def sessions(stage, urls, seconds):
    before = counted(stage)
    outcome = run_json([stage.martlet, "bench", "--json", "--warmup", "0", "--seconds", str(seconds), "--churn", "200",
                        "--rooms", "100"] + urls, 120)
    return counted(stage) - before, outcome["finished"]
