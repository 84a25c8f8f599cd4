"""What was measured, as tables: what a delivery costs, how that compares with the floor and with nchan, and which targets are
met. Pure: results in, text out."""

from statistics import median

# One table of all servers, measured on one machine of this kind (two cores, two nodes, Redis 7.0): µs of CPU of both nodes for
# a delivery, µs of Redis for a message. Servers that are not in Debian or PyPI enter by their ratio to nchan in it.
ELSEWHERE = {
    "Centrifugo 6.9": {
        "crowd": {"node": 13.3}, "rooms": {"node": 48.8, "redis": 115}, "local": {"node": 43.4, "redis": 114},
        "flat": {"node": 14.4, "redis": 31, "rate": 95_000}, "cross": {"p50": 145, "p99": 313}, "idle": {"bytes": 51_000}},
    "Socket.IO 4.8 pub/sub": {
        "crowd": {"node": 16.2}, "rooms": {"node": 45.1, "redis": 48}, "local": {"node": 50.2, "redis": 45},
        "flat": {"node": 12.9, "redis": 2.9, "rate": 110_000}, "cross": {"p50": 170, "p99": 424},
        "idle": {"bytes": 17_600}},
    "Socket.IO 4.8 streams": {
        "crowd": {"node": 18.2}, "rooms": {"node": 62.0, "redis": 123}, "local": {"node": 64.4, "redis": 138},
        "flat": {"node": 19.1, "redis": 12, "rate": 69_000}, "cross": {"p50": 206, "p99": 954}},
}
NCHAN = {
    "crowd": {"node": 8.0}, "rooms": {"node": 34.5, "redis": 316}, "local": {"node": 22.4, "redis": 225},
    "flat": {"node": 9.3, "redis": 180, "rate": 53_000}, "cross": {"p50": 220, "p99": 369}, "idle": {"bytes": 11_200}}

#: What `martlet bench` calls each figure; those under a latency are in it.
FIGURES = {
    "node": "nodeMicrosecondsPerDelivery", "redis": "redisMicrosecondsPerMessage", "rate": "deliveriesPerSecond",
    "bytes": "bytesPerConnection", "joined": "joinedMilliseconds"}
LOADS = ("crowd", "burst", "rooms", "rooms20", "local", "flat", "flat8", "knee", "cross", "same")


def figures(rounds):
    """The medians of what rounds of one run on one server found; None: it failed in all of them."""
    found = [each for each in rounds if "failed" not in each]
    if not found:
        return None
    values = {}
    for name, key in FIGURES.items():
        several = [each[key] for each in found if each.get(key) is not None]
        if several:
            values[name] = median(several)
    for place in ("p50", "p99"):
        for name, key in (("", "otherNode"), ("same ", "sameNode")):
            several = [each[key][place] for each in found if each.get(key)]
            if several:
                values[name + place] = median(several)
    knees = [each["knee"] for each in found if each.get("knee") is not None]
    if knees:
        values["knee"] = median(knees)
    for key in ("missing", "repeated", "swapped", "roomsWithoutOneOrder"):
        values[key] = sum(each.get(key, 0) for each in found)
    values["troubles"] = {}
    for each in found:
        for trouble, count in each.get("troubles", {}).items():
            values["troubles"][trouble] = values["troubles"].get(trouble, 0) + count
    values["beware"] = next((each["beware"] for each in found if each.get("beware")), None)
    values["all"] = found
    return values


def summary(results):
    """Figures by run and server."""
    return {run: {server: figures(rounds) for server, rounds in servers.items()} for run, servers in results.items()}


def derived(found):
    """What servers that are not here would have shown, by their ratio to nchan elsewhere."""
    rows = {}
    for server, runs in ELSEWHERE.items():
        for run, values in runs.items():
            ours = (found.get(run) or {}).get("nchan") or {}
            for name, value in values.items():
                if ours.get(name) and NCHAN[run].get(name):
                    rows.setdefault(server, {}).setdefault(run, {})[name] = ours[name] * value / NCHAN[run][name]
    return rows


def number(value):
    if value is None:
        return "–"
    if abs(value) >= 10_000:
        return f"{value / 1000:,.0f} k"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"


def cell(run, values):
    if values is None:
        return "failed"
    if not values:
        return ""
    if run in ("cross", "same"):
        place = "" if run == "cross" else "same "
        if values.get(place + "p50") is None:
            return "–"
        return f"{number(values[place + 'p50'])} / {number(values.get(place + 'p99'))}"
    if run == "idle":
        return number(values.get("bytes"))
    if run == "knee":
        return f"{number(values.get('knee'))}/s"
    text = number(values.get("node"))
    if values.get("redis") is not None:
        text += f" · {number(values['redis'])}"
    late = latency(values)
    if late:
        text += f" · {late}"
    if run in ("flat", "flat8") and values.get("rate") is not None:
        text = f"{number(values['rate'])}/s · {text}"
    return text


def latency(values):
    """Milliseconds within which half of all, and 99 of 100, were delivered, on whichever node was later."""
    both = [max((values.get(name + place) or 0 for name in ("", "same ")), default=0) for place in ("p50", "p99")]
    return f"{both[0] / 1000:.2g} / {both[1] / 1000:.2g} ms" if any(both) else ""


def table(head, rows):
    widths = [max(len(str(row[column])) for row in [head] + rows) for column in range(len(head))]

    def line(row):
        cells = [str(each).ljust(width) if not index else str(each).rjust(width)
                 for index, (each, width) in enumerate(zip(row, widths))]
        return "| " + " | ".join(cells) + " |"

    rule = "|" + "|".join("-" * (width + 2) if not index else "-" * (width + 1) + ":"
                          for index, width in enumerate(widths)) + "|"
    return "\n".join([line(head), rule] + [line(row) for row in rows])


def servers_of(found):
    names = []
    for servers in found.values():
        names += [name for name in servers if name not in names]
    return names


def costs(found):
    runs = [run for run in (*LOADS, "idle") if run in found]
    rows = [[server] + [cell(run, found[run].get(server, {})) for run in runs] for server in servers_of(found)]
    for server, values in derived(found).items():
        rows.append(["(" + server + ")"] + [cell(run, values.get(run, {})) for run in runs])
    units = {"knee": "messages/s", "flat": "deliveries/s · µs", "flat8": "deliveries/s · µs", "cross": "p50/p99 µs", "same": "p50/p99 µs", "idle": "bytes each"}
    return table(["µs a delivery · Redis µs a message · p50 / p99"] + [f"{run} {units.get(run, '')}".strip() for run in runs], rows)


def ratio(run, ours, theirs):
    """Cells of ratios: CPU of the nodes, and of Redis; for latencies p50, for idle connections bytes."""
    if not ours or not theirs:
        return ""
    name = {"cross": "p50", "same": "same p50", "idle": "bytes"}.get(run, "node")
    parts = [ours[each] / theirs[each] if ours.get(each) and theirs.get(each) else None for each in (name, "redis")]
    if name != "node":
        parts = parts[:1]
    return " · ".join("–" if each is None else f"{each:.2f}" for each in parts if each is not None or not parts.index(each))


def ratios(found, base):
    runs = [run for run in (*LOADS, "idle") if base in found.get(run, {})]
    rows = [[server] + [ratio(run, found[run].get(server), found[run].get(base)) for run in runs]
            for server in servers_of(found) if server != base]
    return table([f"÷ {base}"] + runs, rows) if runs and rows else ""


def steady(found, run):
    """CPU a delivery of Martlet ÷ that of the build before, each first divided by what the generator took for a delivery in the
    same measurement. The generator is the same program and does the same work for both, so what slows the whole machine down for
    a while, as others do on a shared one, is not counted. The median of the rounds; None if it is not known."""
    ours, before = ((found.get(run) or {}).get(name) for name in ("martlet", "before"))
    pairs = list(zip(ours["all"], before["all"])) if ours and before else []
    shares = [[each.get("nodeMicrosecondsPerDelivery", 0) / each["generatorMicrosecondsPerDelivery"]
               if each.get("generatorMicrosecondsPerDelivery") else 0 for each in pair] for pair in pairs]
    known = [one / other for one, other in shares if one and other]
    return median(known) if known else None


def steadily(found):
    known = {run: value for run in LOADS if (value := steady(found, run))}
    return table(["÷ before, by the generator's CPU", *known], [["martlet", *(f"{value:.2f}" for value in known.values())]]) if known else ""


def accounts(found):
    rows, late = [], []
    for run in (run for run in LOADS if run in found):
        for server, values in found[run].items():
            if values is None:
                rows.append([server, run, "", "", "", "", "failed"])
                continue
            late += [f"{run} on {server}"] if values["beware"] else []
            notes = [f"{count} × {trouble}" for trouble, count in values["troubles"].items()]
            bad = [values[key] for key in ("missing", "repeated", "swapped", "roomsWithoutOneOrder")]
            if any(bad) or notes:
                rows.append([server, run, *bad, "; ".join(notes)])
    head = ["accounts that are not exact", "run", "missing", "repeated", "swapped", "rooms with several orders", "notes"]
    lines = [table(head, rows)] if rows else []
    lines.append(("of all others" if rows else "accounts: on every server and in every run")
                 + ": nothing missing, repeated or swapped, one order in every room")
    if late:
        lines.append("beware, the generator was late itself, so latencies and rates say little: " + ", ".join(late))
    return "\n".join(lines)


def is_exact(results):
    """Whether Martlet kept its promises in every run, and every run that was asked for on it could be measured."""
    mine = [each for servers in results.values() for each in servers.get("martlet", [])]
    return all("failed" not in each and not each.get("troubles") and not any(
        each.get(key) for key in ("missing", "repeated", "swapped", "roomsWithoutOneOrder")) for each in mine)


def text(results, more=()):
    import targets
    found = summary(results)
    parts = [costs(found), ratios(found, "before"), steadily(found), ratios(found, "floor"), ratios(found, "nchan"), accounts(found), *more]
    parts.append(targets.text(targets.judge(found)))
    return "\n\n".join(part for part in parts if part)


def machine(results):
    """One object: medians, ratios, verdicts, and everything that was measured."""
    import targets
    found = summary(results)
    medians = {run: {server: {name: value for name, value in values.items() if name != "all"} if values else None
                     for server, values in servers.items()} for run, servers in found.items()}
    return {"medians": medians, "derived": derived(found), "targets": targets.judge(found), "runs": results}
