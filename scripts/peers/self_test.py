"""Proves that a measurement would notice: faults are planted in what the floor delivers, and in figures that are judged."""

import os
import socket
import sys
import xml.etree.ElementTree

import doubling
import report
import targets
from servers import Floor
from stage import StageError, family, run_json

SMALL = ["--rooms", "4", "--members", "6", "--rate", "50", "--seconds", "1", "--warmup", "0"]


def run(stage):
    """Exit code 0: every fault was noticed, and nothing where there was none."""
    failures = []

    def expect(what, holds):
        if not holds:
            failures.append(what)

    accounts(stage, expect)
    processes(stage, expect)
    reports(expect)
    plots(expect)
    for failure in failures:
        print(f"self-test: {failure}", file=sys.stderr)
    print(f"self-test: {'FAILED' if failures else 'passed'}")
    return 1 if failures else 0


def accounts(stage, expect):
    """Rooms on one node, where the floor has one order, so that only what was planted is wrong."""
    floor = Floor()
    wrong = {"": None, "drop": "missing", "repeat": "repeated", "swap": "swapped"}
    for fault, found_as in wrong.items():
        nodes = floor.start(stage, 2, (fault,) if fault else ())
        command = [stage.martlet, "bench", "--json", "--protocol", "raw", "--one-node"] + SMALL
        for port in floor.ports(stage, 2):
            command += ["--url", f"ws://127.0.0.1:{port}"]
        found = run_json(command, 60)
        stage.end(nodes)
        for name in ("missing", "repeated", "swapped"):
            # A message that is still held back at the end is missing.
            may = name == found_as or (fault == "swap" and name == "missing")
            expect(f"{fault or 'no fault'}: {found[name]} {name}", found[name] > 0 if name == found_as else may or not found[name])
        expect(f"{fault or 'no fault'}: ok is {found['ok']}", found["ok"] is (not fault))
        expect(f"{fault or 'no fault'}: {found['deliveries']} deliveries of about 1,200", 1_000 < found["deliveries"] < 1_300)
        several = found["roomsWithoutOneOrder"]
        expect(f"{fault or 'no fault'}: {several} rooms with several orders", several > 0 if fault in ("drop", "swap") else not several)


def processes(stage, expect):
    """What is started is ended, with its children."""
    shell = stage.start("family", ["sh", "-c", "sleep 100 & sleep 100"])
    stage.wait_until(shell, "two children", lambda: len(family(shell.pid)) == 3)
    members = family(shell.pid)
    stage.end([shell])
    expect("a process or a child of it lives on", not any(is_alive(pid) for pid in members))
    try:
        stage.wait_for_port(stage.start("dead", ["sh", "-c", "echo why >&2; exit 3"]), stage.port)
        expect("a server that ended is waited for", False)
    except StageError as error:
        expect(f"a server that ended does not say why: {error}", "why" in str(error) and "3" in str(error))
    with socket.create_server(("127.0.0.1", stage.port + 1)):
        try:
            stage.redis()
            expect("a port that is taken is not noticed", False)
        except StageError as error:
            expect(f"the port that is taken is not named: {error}", str(stage.port + 1) in str(error))


def is_alive(pid):
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def load(node, redis=None, **more):
    found = {"nodeMicrosecondsPerDelivery": node, "redisMicrosecondsPerMessage": redis, "messages": 100, "missing": 0,
             "repeated": 0, "swapped": 0, "roomsWithoutOneOrder": 0, "troubles": {}, "deliveriesPerSecond": 1000}
    return {**found, **more}


def reports(expect):
    results = {
        "crowd": {"floor": [load(4.0), load(6.0), load(5.0)], "martlet": [load(6.4, 100)], "nchan": [load(16.0, 500)]},
        "local": {"martlet": [load(10, 20, published=50)], "nchan": [{"failed": "x"}]},
    }
    found = report.summary(results)
    expect("the median counts", found["crowd"]["floor"]["node"] == 5.0)
    expect("what failed in all rounds has no figures", found["local"]["nchan"] is None)
    expect("others follow by their ratio to nchan", abs(report.derived(found)["Centrifugo 6.9"]["crowd"]["node"] - 26.6) < 1e-9)
    verdicts = {(each["run"], each["target"]): each for each in targets.judge(found)}
    met = {run + ": " + what: each["met"] for (run, what), each in verdicts.items()}
    expect("1.28 × the floor is met", met["crowd: CPU a delivery ≤ 1.3 × the floor"] is True)
    expect("half of Centrifugo is met", met["crowd: CPU a delivery ≤ Centrifugo's ÷ 2"] is True)
    expect("without nchan nothing is known", met["local: CPU a delivery ≤ Centrifugo's ÷ 1.5"] is None)
    expect("PUBLISH is noticed", met["local: no PUBLISH for messages (of 100)"] is False)
    dearer = {"rooms": {"martlet": [load(10, 50, otherNode={"p50": 1_100, "p99": 3_000})], "before": [load(9, 50)]}}
    judged = {each["target"]: each["met"] for each in targets.judge(report.summary(dearer))}
    expect("1.11 × the build before is not met", judged["CPU a delivery ≤ 1.05 × the build before"] is False)
    expect("as much of Redis is met", judged["Redis a message ≤ 1.05 × the build before"] is True)
    expect("1.1 ms are not met", judged["half of all messages are delivered within 1 ms"] is False)
    slow, quick = load(20, generatorMicrosecondsPerDelivery=10), load(9, generatorMicrosecondsPerDelivery=5)
    shaken = {"rooms": {"martlet": [slow, quick, quick], "before": [load(9, generatorMicrosecondsPerDelivery=5)] * 3}}
    expect("a slow machine counts for no more than a quick one", report.steady(report.summary(shaken), "rooms") == 1.0)
    expect("what the generator took is not known", report.steady(report.summary(dearer), "rooms") is None)
    expect("the ratio by the generator is shown", "1.00" in report.steadily(report.summary(shaken)))
    expect("latency stands beside the cost", "10.0 · 50.0 · 1.1 / 3 ms" in report.text(dearer))
    results["crowd"]["martlet"] = [load(6.6, 100)]
    again = targets.judge(report.summary(results))
    expect("1.32 × the floor is not met", again[0]["met"] is False)
    expect("all is well", report.is_exact(results))
    for key in ("missing", "repeated", "swapped", "roomsWithoutOneOrder"):
        expect(f"{key} is noticed", not report.is_exact({"crowd": {"martlet": [load(1, 1, **{key: 1})]}}))
    expect("a peer's faults are not ours", report.is_exact({"crowd": {"nchan": [load(1, 1, missing=1)]}}))
    expect("a run that failed is noticed", not report.is_exact({"crowd": {"martlet": [{"failed": "x"}]}}))
    text = report.text(results)
    for wanted in ("1.32", "failed", "NOT MET  crowd", "(Centrifugo 6.9)"):
        expect(f"the report has no {wanted}", wanted in text)


def plots(expect):
    points = [{"count": count, "node": cost, "redis": 2 * cost, "rate": 100 * count, "p99": 20_000 * count} for count, cost in ((1, 10.0), (2, 12.0), (4, 13.0))]
    lines = {"rooms": points, "members": [], "nodes": points[:2], "rate": points}
    expect("the knee is found", doubling.knee(lines) == (200, True))
    expect("a knee that was not reached is none", doubling.knee({"rate": points[:2]}) == (200, False))
    verdicts = doubling.verdicts(lines)
    expect("a line that climbs is noticed", [each["met"] for each in verdicts] == [False, False, True, True])
    drawing = xml.etree.ElementTree.fromstring(doubling.svg(lines))
    expect("the plot has all points", sum(each.tag.endswith("circle") for each in drawing.iter()) == 10)

