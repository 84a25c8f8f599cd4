"""Ten thousand messages.

What is judged is the processor time that the page's thread needs for each frame (everything it did since the frame before:
sockets, scripts, styles, layout, painting), from Chromium's own trace. With a core to itself no frame takes longer than that;
how long it waits for a core says something about the machine, not about the page. The frames by the clock are printed.
"""
import json
import time

from bench import MOST_ROWS, check, holds

TOTAL = 10_000
MOST_FRAME_MS = 100
SENDERS = 4
CATEGORIES = ["devtools.timeline", "disabled-by-default-devtools.timeline"]

# Frame times, measured in the page from the moment that this runs.
MEASURE = """() => {
    const frames = (window.frames_ = { last: performance.now(), times: [], rows: 0 });
    const tick = (now) => {
        frames.times.push(now - frames.last);
        frames.last = now;
        frames.rows = Math.max(frames.rows, document.querySelectorAll('.row').length);
        frames.timer = requestAnimationFrame(tick);
    };
    requestAnimationFrame((now) => { frames.last = now; requestAnimationFrame(tick); });
}"""
MEASURED = """() => {
    cancelAnimationFrame(window.frames_.timer);
    const sorted = [...window.frames_.times].sort((a, b) => a - b);
    return { frames: sorted.length, worst: sorted.at(-1), p99: sorted[Math.floor(sorted.length * 0.99)],
             median: sorted[sorted.length >> 1], rows: window.frames_.rows };
}"""


def frame_costs(trace):
    """For each frame of the page the processor time in ms that its thread spent since the frame before."""
    events = json.loads(trace)["traceEvents"]
    threads = {(e["pid"], e["tid"]) for e in events if e["name"] == "thread_name" and e["args"]["name"] == "CrRendererMain"}
    longest = []
    for thread in threads:
        own = [e for e in events if (e["pid"], e["tid"]) == thread]
        drawn = sorted(e["ts"] for e in own if e["name"] == "FireAnimationFrame")
        tasks = sorted((e["ts"], e["dur"], e["tdur"]) for e in own if e["name"] == "RunTask" and "tdur" in e and "dur" in e)
        costs, cost, frame = [], 0, 0
        for start, length, used in tasks:
            cost += used
            if frame < len(drawn) and start <= drawn[frame] <= start + length:
                costs.append(cost / 1_000)
                cost = 0
            while frame < len(drawn) and drawn[frame] <= start + length:
                frame += 1
        longest = max(longest, costs, key=len)
    check(len(longest) > 20, f"the trace holds only {len(longest)} frames of the page")
    return sorted(longest)


async def check_flood(bench):
    """Ten thousand messages arrive; no frame takes over 100 ms, the document stays small, the last line is in sight."""
    room = bench.room("flood")
    page = await bench.page("ana", room)
    await page.wait_for_timeout(500)
    await bench.browser.start_tracing(page=page, categories=CATEGORIES)
    await page.evaluate(MEASURE)
    began, busy = time.monotonic(), cpu_times()
    await bench.fill(room, [f"message {number}: {'lorem ipsum ' * (number % 6)}" for number in range(TOTAL)], users=SENDERS)
    await holds(page, f"[...document.querySelectorAll('#rows .meta')].at(-1).title.endsWith('-{TOTAL}')", seconds=90)
    took, idle = time.monotonic() - began, idle_share(busy, cpu_times())
    await page.wait_for_timeout(300)
    measured = await page.evaluate(MEASURED)
    costs = frame_costs(await bench.browser.stop_tracing())
    clock = {key: round(value, 1) for key, value in measured.items() if key != "rows"}
    print(f"    {TOTAL} messages in {took:.1f} s, at most {measured['rows']} rows in the document\n"
          f"    processor time for a frame: worst {costs[-1]:.1f} ms, median {costs[len(costs) // 2]:.1f} ms\n"
          f"    by the clock: {json.dumps(clock)}; {idle:.0%} of the machine was idle")
    check(measured["rows"] <= MOST_ROWS, f"{measured['rows']} rows were in the document")
    check(costs[-1] <= MOST_FRAME_MS, f"a frame took {costs[-1]:.0f} ms of processor time")
    check(await page.evaluate("(() => { const log = document.getElementById('log');"
                              " return log.scrollHeight - log.scrollTop - log.clientHeight < 5; })()"), "the newest is in sight")
    announced = await page.text_content("#announcer")
    check(len(announced) < 300, f"a screen reader is not flooded: {announced[:80]}")
    await bench.picture(page, "flood")


def cpu_times():
    """The whole machine's processor times since it started: user, nice, system, idle, waiting …"""
    with open("/proc/stat", encoding="ascii") as file:
        return [int(field) for field in file.readline().split()[1:]]


def idle_share(before, after):
    spent = [late - early for early, late in zip(before, after)]
    return (spent[3] + spent[4]) / max(1, sum(spent))
