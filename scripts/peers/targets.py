"""What Martlet is to reach, each target held against what was measured in the same go. Ratios count, not microseconds: of
servers that were not measured here, those to nchan elsewhere."""

from report import ELSEWHERE, NCHAN

#: How much better than Centrifugo, which is known by its ratio to nchan.
BETTER = [
    ("crowd", "node", 1 / 2.0, "CPU a delivery ≤ Centrifugo's ÷ 2"),
    ("rooms", "node", 1 / 1.5, "CPU a delivery ≤ Centrifugo's ÷ 1.5"),
    ("rooms", "redis", 1.0, "Redis a message ≤ Centrifugo's"),
    ("local", "node", 1 / 1.5, "CPU a delivery ≤ Centrifugo's ÷ 1.5"),
    ("local", "redis", 0.5, "Redis a message ≤ Centrifugo's × 0.5"),
    ("flat", "rate", 3.0, "deliveries/s ≥ Centrifugo's × 3"),
    ("flat", "redis", 6 / 31, "Redis a message ≤ Centrifugo's × 0.19"),
]
#: Of an older build in the same go (scripts/bench --before).
MOST_DEARER = 1.05
PROMPT_MICROSECONDS = 1_000


def judge(found):
    """A list of verdicts, each with the figure and the limit; `met` is None if something for it was not measured."""
    verdicts = []

    def figure(run, server, name):
        values = (found.get(run) or {}).get(server)
        return values.get(name) if values else None

    def verdict(run, what, value, limit, unit="µs", is_least=False):
        met = None if value is None or limit is None else value >= limit if is_least else value <= limit
        verdicts.append({"run": run, "target": what, "value": value, "limit": limit, "unit": unit, "met": met})

    def of(value, factor):
        return None if value is None else value * factor

    verdict("crowd", "CPU a delivery ≤ 1.3 × the floor", figure("crowd", "martlet", "node"),
            of(figure("crowd", "floor", "node"), 1.3))
    verdict("burst", "CPU a delivery ≤ 0.35 × the floor", figure("burst", "martlet", "node"),
            of(figure("burst", "floor", "node"), 0.35))
    for run, name, factor, what in BETTER:
        # How many were in flight elsewhere is not known. With many nchan gets slower, and loses some: then its better figure counts.
        runs, there = (("flat", "flat8"), "flat") if run.startswith("flat") else ((run,), run)
        theirs = ELSEWHERE["Centrifugo 6.9"][there][name] / NCHAN[there][name]
        nchan = [value for value in (figure(each, "nchan", name) for each in runs) if value is not None]
        best = (max if name == "rate" else min)(nchan) if nchan else None
        verdict(run, what, figure(run, "martlet", name), of(best, theirs * factor),
                "/s" if name == "rate" else "µs", name == "rate")
    nobody_else(found, verdict)
    latencies(found, figure, verdict)
    older(found, figure, verdict)
    standing(found, figure, verdict)
    sparing(found, verdict)
    exact(found, verdict)
    return [each for each in verdicts if each["run"] in found]


def rounds(found, run):
    values = (found.get(run) or {}).get("martlet")
    return values["all"] if values else []


def nobody_else(found, verdict):
    shares = [each["published"] / max(1, each["messages"]) for each in rounds(found, "local") if "published" in each]
    # Nodes say a word to each other now and then.
    verdict("local", "no PUBLISH for messages (of 100)", 100 * max(shares) if shares else None, 5.0, "")


def latencies(found, figure, verdict):
    for run in ("rooms", "rooms20"):
        halves = [figure(run, "martlet", name) for name in ("p50", "same p50")]
        halves = [value for value in halves if value is not None]
        verdict(run, "half of all messages are delivered within 1 ms", max(halves) if halves else None, PROMPT_MICROSECONDS)
    verdict("knee", "messages/s with p99 below 50 ms ≥ nchan's", figure("knee", "martlet", "knee"),
            figure("knee", "nchan", "knee"), "/s", True)


def older(found, figure, verdict):
    """Not dearer than the build before."""
    for run in ("crowd", "rooms", "local", "flat", "idle"):
        names = (("bytes", "bytes a connection"),) if run == "idle" else (("node", "CPU a delivery"), ("redis", "Redis a message"))
        for name, what in names:
            before = figure(run, "before", name)
            if before is not None:
                verdict(run, f"{what} ≤ {MOST_DEARER:g} × the build before", figure(run, "martlet", name),
                        before * MOST_DEARER, "bytes" if run == "idle" else "µs")


def standing(found, figure, verdict):
    idle = rounds(found, "idle")
    verdict("idle", "memory a connection ≤ 4 KB", figure("idle", "martlet", "bytes"), 4_096, "bytes")
    shares = [sum(p["cpuMicroseconds"] or 0 for p in each["processes"] if p["role"] == "node") / each["seconds"] / 1e4
              for each in idle]
    verdict("idle", "CPU ≤ 1 % of a core", max(shares) if shares else None, 1.0, "%")
    count = idle[0]["rooms"] * idle[0]["members"] if idle else 0
    verdict("idle", f"{count:,} joins at ≥ 1,500 a second (15,000 in 10 s)",
            1000 * count / figure("idle", "martlet", "joined") if idle else None, 1_500, "/s", True)
    churn = rounds(found, "churn")
    verdict("churn", "sessions that did not come and go", sum(each["begun"] - each["finished"] for each in churn)
            if churn else None, 0, "")
    # After a minute of it the allocator has what it needs; an object kept for each session would be 48 bytes and more.
    growth = [sum(max(0, p["memoryBytesAtEnd"] - p["memoryBytesAtStart"]) for p in each["processes"] if p["role"] == "node")
              / max(1, each["begun"]) for each in churn]
    verdict("churn", "memory flat: nodes grow by at most 32 bytes a session", max(growth) if growth else None, 32, "bytes")
    quiet = rounds(found, "quiet")
    for name, what in (("Alone", "one message, nobody there"), ("Held", "one message, a member there")):
        for side, whose in (("redis", "Redis'"), ("node", "the node's")):
            verdict("quiet", f"{whose} memory a room ≤ 1 KB ({what})",
                    max(each[f"{side}BytesPerRoom{name}"] for each in quiet) if quiet else None, 1_024, "bytes")


def sparing(found, verdict):
    from allocations import LIMITS
    counts = [each["allocations"] for each in rounds(found, "allocs")]
    for name, limit in LIMITS.items():
        what = "a session, from connect to close" if name == "session" else f"a delivery in {name}"
        verdict("allocs", f"allocations {what}", max(count[name] for count in counts) if counts else None, limit, "")


def exact(found, verdict):
    for run in ("crowd", "burst", "rooms", "local", "flat", "flat8", "cross", "same"):
        values = (found.get(run) or {}).get("martlet")
        if values:
            wrong = sum(values[key] for key in ("missing", "repeated", "swapped", "roomsWithoutOneOrder"))
            verdict(run, "missing, repeated, swapped, or in another order", wrong, 0, "")


def text(verdicts):
    lines = []
    for each in verdicts:
        state = {True: "met    ", False: "NOT MET", None: "unknown"}[each["met"]]
        if each["met"] is None:
            figures = "something for it was not measured"
        else:
            figures = f"{each['value']:,.4g} {each['unit']}".replace(" /s", "/s").rstrip()
            figures += f", limit {each['limit']:,.4g}"
        lines.append(f"{state}  {each['run']:6}  {each['target']}: {figures}")
    return "\n".join(lines)
