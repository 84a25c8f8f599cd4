"""What happens to the cost of a delivery when there is twice as much of something: rooms, members of each, nodes. A table, a
verdict, and a plot. All else stays, so load grows as well. And where the knee is: the same rooms saying ever more."""

from report import figures, number, table
from runs import ROOMS, Run

STEPS = (1, 2, 4, 8)
#: A line is flat if its end is at most so much above its beginning.
FLAT = 1.25
#: Beyond the knee: a hundredth of the deliveries are later than this.
LATE_MICROSECONDS = 50_000


def series(quick):
    """By what doubles: runs with how many of it they have."""
    rate = ["--rate", "2", "--nodes-per-room", "2"]
    found = {"rooms": [], "members": [], "nodes": [], "rate": []}
    for step in STEPS[:3] if quick else (1, 2, 4, 8, 16, 32):
        found["rate"].append((10 * step, Run(f"rate-{10 * step}", "", ROOMS + ["--rate", str(10 * step)])))
    for step in STEPS[:3] if quick else STEPS:
        found["rooms"].append((50 * step, Run(
            f"rooms-{50 * step}", "", ["--rooms", str(50 * step), "--members", "10"] + rate)))
        found["members"].append((5 * step, Run(
            f"members-{5 * step}", "", ["--rooms", "50", "--members", str(5 * step)] + rate)))
        # A node has its share of rooms, and each room is on two.
        if 2 * step <= 8:
            found["nodes"].append((2 * step, Run(
                f"nodes-{2 * step}", "", ["--rooms", str(50 * step), "--members", "10"] + rate, nodes=2 * step)))
    return found


def measure(measure_all, server, quick, rounds):
    """By what doubles: how many, µs of the nodes' CPU a delivery, µs of Redis a message, deliveries a second."""
    wanted = series(quick)
    results = measure_all([run for line in wanted.values() for _, run in line], [server], rounds)
    lines = {}
    for name, line in wanted.items():
        points = []
        for count, run in line:
            values = figures(results[run.name][server.name])
            if values and values.get("node"):
                points.append({"count": count, "node": values["node"], "redis": values.get("redis"),
                               "rate": values.get("rate"),
                               "p99": max(values.get("p99") or 0, values.get("same p99") or 0)})
        lines[name] = points
    return lines, results


def flat(lines):
    """Those that should be flat; with the rate everything gets cheaper, as what comes at once leaves at once."""
    return [(name, points) for name, points in lines.items() if name != "rate"]


def knee(lines):
    """Deliveries a second up to which few are late, and whether more were tried."""
    points = sorted(lines["rate"], key=lambda point: point["count"])
    good = [point for point in points if point["p99"] <= LATE_MICROSECONDS]
    return (max(point["rate"] for point in good) if good else 0, len(good) < len(points))


def verdicts(lines):
    found = []
    for name, points in flat(lines):
        for what, title in (("node", "CPU a delivery"), ("redis", "Redis a message")):
            values = [point[what] for point in points if point.get(what)]
            if len(values) > 1:
                times = points[-1]["count"] // points[0]["count"]
                found.append({
                    "run": "double", "target": f"{times} × the {name}: {title} at most {FLAT} × as much", "unit": "×",
                    "value": values[-1] / values[0], "limit": FLAT, "met": values[-1] <= FLAT * values[0]})
    return found


def text(lines):
    rows = []
    for name, points in lines.items():
        for point in points:
            rows.append([name, point["count"], number(point["rate"]), number(point["node"]), number(point["redis"]),
                         number(point["p99"] / 1000)])
    head = ["what doubles", "of it", "deliveries/s", "nodes' µs a delivery", "Redis µs a message", "p99 ms"]
    rate, is_known = knee(lines)
    more = "at the next step it is not" if is_known else "more was not tried"
    return table(head, rows) + (f"\n\nknee: up to {number(rate)} deliveries/s the 99th percentile is below "
                                f"{LATE_MICROSECONDS // 1000} ms, {more}")


STYLE = """
.page { fill: #ffffff; }
text { font: 13px system-ui, sans-serif; fill: #1f2328; }
.small { font-size: 11px; fill: #59636e; }
.title { font-size: 14px; font-weight: 600; }
.grid { stroke: #d1d9e0; stroke-width: 1; }
.line { fill: none; stroke-width: 2; }
.rooms { stroke: #0a58ca; } .members { stroke: #b35900; } .nodes { stroke: #1a7f4b; }
.dot.rooms, .name.rooms { fill: #0a58ca; stroke: none; } .dot.members, .name.members { fill: #b35900; stroke: none; }
.dot.nodes, .name.nodes { fill: #1a7f4b; stroke: none; }
@media (prefers-color-scheme: dark) {
  .page { fill: #10141c; }
  text { fill: #e6edf3; } .small { fill: #9198a1; } .grid { stroke: #3d444d; }
  .rooms { stroke: #6cb0ff; } .members { stroke: #f0a04b; } .nodes { stroke: #56d08a; }
  .dot.rooms, .name.rooms { fill: #6cb0ff; } .dot.members, .name.members { fill: #f0a04b; }
  .dot.nodes, .name.nodes { fill: #56d08a; }
}
"""
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 400, 280, 44, 48, 74, 40


def svg(lines):
    """Two panels that readers of light and of dark pages can read."""
    panels = [panel(lines, 0, "node", "Nodes' CPU, µs a delivery"),
              panel(lines, WIDTH, "redis", "Redis' core, µs a message")]
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH} {HEIGHT}" width="{2 * WIDTH}" '
            f'height="{HEIGHT}" role="img" aria-label="{described(lines)}">\n<style>{STYLE}</style>\n'
            f'<rect class="page" width="{2 * WIDTH}" height="{HEIGHT}" rx="14"/>\n'
            + "\n".join(panels) + "\n</svg>\n")


def described(lines):
    parts = []
    for name, points in flat(lines):
        if points:
            first, last = points[0], points[-1]
            parts.append(f"{first['count']} to {last['count']} {name}: {first['node']:.1f} to {last['node']:.1f} µs a "
                         f"delivery, Redis {number(first['redis'])} to {number(last['redis'])} µs a message")
    return "; ".join(parts)


def panel(lines, left, what, title):
    most = max([point[what] for _, points in flat(lines) for point in points if point.get(what)] or [1])
    step = next(size for size in (1, 2, 5, 10, 20, 25, 50, 100, 200, 500, 1000, 10**6) if most / size <= 5)
    top = step * (int(most / step) + 1)
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(index):
        return left + LEFT + width * index / (len(STEPS) - 1)

    def y(value):
        return TOP + height * (1 - value / top)

    parts = [f'<text class="title" x="{left + LEFT}" y="22">{title}</text>']
    for value in range(0, top + 1, step):
        parts.append(f'<line class="grid" x1="{x(0):.0f}" x2="{x(len(STEPS) - 1):.0f}" y1="{y(value):.1f}" '
                     f'y2="{y(value):.1f}"/><text class="small" x="{x(0) - 8:.0f}" y="{y(value) + 4:.1f}" '
                     f'text-anchor="end">{value}</text>')
    for index, times in enumerate(STEPS):
        parts.append(f'<text class="small" x="{x(index):.0f}" y="{HEIGHT - 18}" text-anchor="middle">× {times}</text>')
    names = []
    for name, points in flat(lines):
        places = [(x(index), y(point[what])) for index, point in enumerate(points) if point.get(what)]
        if not places:
            continue
        parts.append(f'<polyline class="line {name}" points="'
                     + " ".join(f"{across:.1f},{down:.1f}" for across, down in places) + '"/>')
        parts += [f'<circle class="dot {name}" cx="{across:.1f}" cy="{down:.1f}" r="3.5"/>' for across, down in places]
        names.append([places[-1][1] + 4, places[-1][0] + 9, name])
    names.sort()
    for index in range(1, len(names)):
        # Names of lines that end at the same place stand below each other.
        if abs(names[index][1] - names[index - 1][1]) < 60:
            names[index][0] = max(names[index][0], names[index - 1][0] + 15)
    parts += [f'<text class="name {name}" x="{across:.0f}" y="{down:.1f}">{name}</text>' for down, across, name in names]
    return "\n".join(parts)
