"""Handshakes with tokens that a node has never seen: whether those who talk on the same loop notice. Two sessions talk while
another process opens and closes WebSockets as fast as it can, first all with one token, then each with another; and once
more, until the 99th percentile is one of more than a few deliveries."""

import multiprocessing
import os
import selectors
import socket
import subprocess
import time

import servers
from quiet import Session
from stage import StageError

#: How much later than beside handshakes with a known token a delivery may come, at the 99th percentile.
MOST_LATER_MS = 5
#: Times that both are done.
ROUNDS = 5
#: Connections that the load has open at once.
AT_ONCE = 32
SETTINGS = {
    "MARTLET_LIMIT_HANDSHAKES_PER_SECOND": "1000000", "MARTLET_LIMIT_CONNECTIONS_PER_ADDRESS": "1000000",
    "MARTLET_LIMIT_BYTES_PER_SECOND_PER_ADDRESS": "1GiB", "MARTLET_LIMIT_SESSIONS_PER_USER": "1000",
}


def run(command):
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise StageError(f"{' '.join(command[:3])}: {done.stderr.strip()[-300:]}")
    return done.stdout


def measure(stage, count):
    """What deliveries cost in time: with nothing beside them, with `count` handshakes of one token, and of `count` tokens."""
    private, public = stage.path("es256.pem"), stage.path("es256.pub")
    run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", private])
    run(["openssl", "pkey", "-in", private, "-pubout", "-out", public])
    sign = [stage.martlet, "token", "sign", "--key", private]
    tokens = run(sign + ["--user", "load", "--count", str(ROUNDS * count)]).split()
    redis = stage.redis()
    nodes = servers.Martlet().start(stage, 1, {**SETTINGS, "MARTLET_TOKEN_PUBLIC_KEYS": public})
    port = stage.port + 1
    try:
        pair = [Session(port, user, run(sign + ["--user", user]).strip()) for user in ("ana", "bo")]
        for session in pair:
            session.hear("welcome")
            session.say({"type": "join", "ref": 1, "room": "talk"})
            session.hear("joined")
        alone, beside = Talk(), {"sameToken": Talk(), "newTokens": Talk()}
        talk(alone, pair, nodes[0].pid, lambda: False, seconds=3)
        for number in range(ROUNDS):
            for name, those in (("sameToken", tokens[:1] * count), ("newTokens", tokens[number * count:][:count])):
                receiver, sender = multiprocessing.Pipe(duplex=False)
                load = multiprocessing.get_context("fork").Process(target=shake, args=(port, those, sender), daemon=True)
                load.start()
                try:
                    talk(beside[name], pair, nodes[0].pid, load.is_alive)
                finally:
                    load.kill()
                    load.join()
                if not receiver.poll():
                    raise StageError(f"{name}: the load ended without a word")
                beside[name].accepted += receiver.recv()
        for session in pair:
            session.close()
        return {"handshakes": ROUNDS * count, "alone": alone.told(), **{name: one.told() for name, one in beside.items()}}
    finally:
        stage.end(nodes)
        stage.end([redis])


class Talk:
    """Latencies of one message after the other, in milliseconds, and the CPU time of the node beside it."""

    def __init__(self):
        self.took, self.seconds, self.cpu, self.accepted = [], 0.0, 0.0, 0

    def told(self):
        ordered = sorted(self.took)
        return {"messages": len(ordered), "p50": at(ordered, 0.5), "p99": at(ordered, 0.99), "most": at(ordered, 1),
                "seconds": round(self.seconds, 2), "cpu": round(self.cpu, 3), "accepted": self.accepted}


def talk(one, pair, pid, goes_on, seconds=0):
    """Adds to a talk, as long as the load goes on, and so many seconds at least."""
    speaker, listener = pair
    begin, cpu = time.monotonic(), processor(pid)
    while goes_on() or time.monotonic() < begin + seconds:
        sent, text = time.monotonic(), f"{len(one.took)}"
        speaker.say({"type": "send", "ref": len(one.took), "room": "talk", "text": text})
        while listener.hear("message")["text"] != text:
            pass
        one.took.append((time.monotonic() - sent) * 1_000)
        speaker.hear("sent")
        time.sleep(0.002)
        if time.monotonic() > begin + 120:
            raise StageError("the handshakes are not done in 120 s")
    one.seconds += time.monotonic() - begin
    one.cpu += processor(pid) - cpu


def at(ordered, part):
    if not ordered:
        raise StageError("nothing was said in the time")
    return round(ordered[min(len(ordered) - 1, int(part * len(ordered)))], 2)


def processor(pid):
    """Seconds of CPU that a process has used."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def shake(port, tokens, result):
    """Opens a WebSocket with each token, and closes it when it is answered. Tells how many were accepted."""
    accepted, waiting, rest = 0, selectors.DefaultSelector(), iter(tokens)

    def begin():
        token = next(rest, None)
        if token is None:
            return False
        each = socket.create_connection(("127.0.0.1", port), timeout=30)
        each.sendall(
            b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\nAuthorization: Bearer "
            + token.encode() + b"\r\n\r\n")
        waiting.register(each, selectors.EVENT_READ)
        return True

    for _ in range(AT_ONCE):
        begin()
    while waiting.get_map():
        for key, _ in waiting.select():
            accepted += b" 101 " in key.fileobj.recv(4_096)[:16]
            waiting.unregister(key.fileobj)
            key.fileobj.close()
            begin()
    result.send(accepted)


def verdict(found):
    """The target, the figure, and whether it was reached."""
    later = round(found["newTokens"]["p99"] - found["sameToken"]["p99"], 2)
    complete = all(found[name]["accepted"] == found["handshakes"] for name in ("sameToken", "newTokens"))
    return {"laterMs": later, "limitMs": MOST_LATER_MS, "complete": complete, "met": complete and later <= MOST_LATER_MS}


def text(found, judged):
    lines = [f"{'beside':<34}{'messages':>9}{'p50 ms':>9}{'p99 ms':>9}{'most ms':>9}{'CPU µs a handshake':>20}"]
    for name, what in (("alone", "nothing"), ("sameToken", f"{found['handshakes']:,} handshakes, one token"),
                       ("newTokens", f"{found['handshakes']:,} handshakes, new tokens")):
        each = found[name]
        cost = "" if name == "alone" else f"{each['cpu'] / found['handshakes'] * 1e6:.0f}"
        lines.append(f"{what:<34}{each['messages']:>9,}{each['p50']:>9}{each['p99']:>9}{each['most']:>9}{cost:>20}")
    lines.append("")
    if not judged["complete"]:
        lines.append("not all handshakes were accepted")
    lines.append(f"{'met' if judged['met'] else 'NOT MET'}: new ES256 tokens delay a delivery by {judged['laterMs']} ms at p99 "
                 f"(at most {judged['limitMs']} ms)")
    return "\n".join(lines)
