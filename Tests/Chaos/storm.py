"""The main run: many sessions in many rooms talk steadily while everything breaks."""

import asyncio

from faults import DEFAULT, KINDS, LOSSY, Faults, make_schedule
from ledger import quantile
from processes import Broken
from protocols import figures as protocol_figures
from stage import Stage
from verdict import Verdict

NODE_BYTES, REDIS_BYTES = 120e6, 60e6


def parse_kinds(text):
    if text is None:
        return list(DEFAULT)
    if text == "all":
        return list(KINDS)
    names = [name for name in text.split(",") if name]
    unknown = [name for name in names if name not in KINDS]
    if unknown:
        raise Broken(f"no fault is called {', '.join(unknown)}; there are: {', '.join(KINDS)}, all")
    return names


async def storm(options, show, state):
    kinds = parse_kinds(options.faults)
    async with Stage(
        options, show, state, replica="failover" in kinds, acl="acl" in kinds, log_pipes="log-pipe" in kinds
    ) as stage:
        schedule = make_schedule(stage.rng, options.seconds, kinds)
        await stage.fill(options.sessions)
        show.line(
            f"{len(stage.sessions)} sessions in {len(stage.rooms)} rooms on {len(stage.cluster.nodes)} nodes; "
            f"{len(schedule)} faults in {options.seconds:g} s"
        )
        faults = Faults(stage.cluster, stage.ledger, stage.sessions, show)
        stage.speak()
        await watch(stage, faults, schedule)
        await stage.hush()
        stage.say("quiet: everything is whole again")
        await faults.heal()
        figures = await judge(stage, bool(LOSSY & set(kinds)))
        return stage.ledger, {"seconds": options.seconds, "faults": faults.done, **figures}


async def watch(stage, faults, schedule):
    loop, seconds = asyncio.get_running_loop(), stage.options.seconds
    began = loop.time()
    task = asyncio.create_task(faults.run(schedule, began))
    while loop.time() < began + seconds or not task.done() or faults.running:
        stage.progress()
        await asyncio.sleep(0.25)
        if loop.time() > began + seconds + 90:
            stage.ledger.broken("bounded", "", "", "the faults did not end within 90 s of the run's end")
            break
    await task
    await faults.finish()


async def judge(stage, lossy=False, node_bytes=NODE_BYTES, redis_bytes=REDIS_BYTES):
    """Waits for quiet, then compares everything with everything."""
    ledger, sessions = stage.ledger, stage.sessions
    verdict = Verdict(stage.cluster, ledger, sessions, lossy)
    for node in stage.cluster.nodes:
        try:
            await node.ready(30)
        except Broken as error:
            ledger.broken("outage", "", node.name, f"is not ready after the faults: {error}")
    await verdict.settle(40)
    await verdict.caught_up(15)
    await verdict.presence(25)
    await verdict.logs()
    verdict.no_false_resets()
    verdict.processes(node_bytes, redis_bytes)
    count = ledger.count
    return {
        "said": count["said"],
        **verdict.figures,
        "repeated sends": count["repeated sends"],
        "answered as repeated": count["acked as repeated"],
        "shown": count["shown"],
        "gaps": count["gaps"],
        "resets": count["resets"],
        "reconnects": sum(max(0, len(session.connects) - 1) for session in sessions),
        **protocol_figures(ledger, sessions),
        "ack, median / 99 % / longest": "{:.0f} / {:.0f} / {:.0f} ms".format(
            *(1000 * quantile(ledger.ack_times, part) for part in (0.5, 0.99, 1))
        ),
        **{name: number for name, number in sorted(count.items()) if name.startswith("tokens ") or name == "closed 4011"},
        "errors that clients tried again": sum(value for key, value in count.items() if key.startswith("error ")),
        **{name: number for name, number in sorted(count.items()) if name.startswith("error ")},
        "broken promises": count["violations"],
    }
