"""What was said, acknowledged and shown, and which promises were broken while it happened."""

import collections
import time

SLOW_ACK = 8.0


def position(text):
    epoch, _, seq = text.partition("-")
    return int(epoch), int(seq)


def text_of(place):
    return "none" if place is None else f"{place[0]}-{place[1]}"


class Violation:
    def __init__(self, promise, room, session, text, at, history):
        self.promise, self.room, self.session, self.text, self.at, self.history = (
            promise,
            room,
            session,
            text,
            at,
            history,
        )

    def line(self):
        who = f" {self.session}" if self.session else ""
        where = f" in {self.room}" if self.room else ""
        return f"{self.at:7.2f} s  [{self.promise}]{where}{who}: {self.text}"


class RoomLedger:
    def __init__(self):
        # key -> (position, session, time): what a node acknowledged.
        self.acked = {}
        # position -> key: what anybody was shown there, or was told in an ack.
        self.content = {}
        # position -> processes that showed it to somebody, as far as they are known: each of them remembers it.
        self.seen_by = collections.defaultdict(set)
        # Times at which somebody was told `reset`.
        self.resets = []
        # (time, seconds, view): when an ack came, how long its sender, still connected, had waited for it, and the room
        # as the sender saw it.
        self.answers = []
        # (time, seconds): when somebody whose connection was lost was in the room again, and after how long.
        self.returns = []


class Ledger:
    """One for a run. Everything of a session goes through here, so that the first broken promise is known at once."""

    def __init__(self, clock=time.monotonic):
        self.clock, self.began = clock, clock()
        self.rooms = collections.defaultdict(RoomLedger)
        self.count = collections.Counter()
        # Messages shown to sessions of each protocol.
        self.protocols = collections.Counter()
        self.violations = []
        self.suppressed = 0
        # Acknowledged, lost by Redis, and said so: (time, room, session, key, position, history).
        self.lost = []
        # (time, text): faults as they were done, for reading beside the histories.
        self.timeline = []
        self.on_violation = lambda violation: None
        # The process behind a node's name now: another after each start.
        self.process_of = lambda name: name
        # (at, back): Redis lost what it had last acknowledged, and when it, or another, answered again.
        self.losses = []
        # (from, to): no Redis answered.
        self.outages = []
        # process -> [(from, to)]: when it was stopped, or could not talk to Redis.
        self.away = collections.defaultdict(list)
        # process -> when it ended.
        self.deaths = {}
        # (from, to): what an old master acknowledged after another Redis had taken over.
        self.split = []
        self.delivery = []
        self.ack_times = []
        # Answers that took very long: (seconds, room, session, key, history).
        self.slow = []

    def now(self):
        return self.clock() - self.began

    def said_at(self, session):
        """When its node said what the session has read just now: before it died. What it said may lie in sockets."""
        return min(self.now(), self.deaths.get(session.process, float("inf")))

    def happened(self, text):
        self.timeline.append((self.now(), text))

    def broken(self, promise, room, session, text, history=()):
        """A promise was broken. `history`: lines that explain it."""
        self.count["violations"] += 1
        if len(self.violations) >= 200:
            self.suppressed += 1
            return
        violation = Violation(promise, room, session, text, self.now(), list(history))
        self.violations.append(violation)
        self.on_violation(violation)

    # What sessions tell.

    def shown(self, room, place, key, view):
        """A message was shown. Every position holds one message, for everybody, for ever."""
        self.count["shown"] += 1
        self.protocols[view.session.protocol] += 1
        seen_by = self.rooms[room].seen_by[place]
        if view.session.process is not None:
            seen_by.add(view.session.process)
        known = self.rooms[room].content.setdefault(place, key)
        if known != key:
            self.broken(
                "one order",
                room,
                view.session.name,
                f"{text_of(place)} is {key} here and {known} for others",
                view.lines(),
            )

    def acked(self, room, send, place, session, repeated):
        self.count["acked"] += 1
        if repeated:
            self.count["acked as repeated"] += 1
        self.rooms[room].acked[send.key] = (place, session.name, self.said_at(session))
        known = self.rooms[room].content.setdefault(place, send.key)
        if known != send.key:
            self.broken(
                "one order",
                room,
                session.name,
                f"the ack of {send.key} says {text_of(place)}, which is {known} for others",
                session.rooms[room].lines(),
            )
        took = self.clock() - send.first_written
        self.ack_times.append(took)
        if not send.interrupted:
            self.rooms[room].answers.append((self.now(), took, session.rooms[room]))
        if took > SLOW_ACK:
            self.slow.append((took, room, session.name, send.key, session.rooms[room].lines()[-80:]))

    def returned(self, room, lost_at):
        self.rooms[room].returns.append((self.now(), self.now() - lost_at))

    def reset(self, room):
        self.count["resets"] += 1
        self.rooms[room].resets.append(self.now())

    def report(self, violation):
        """The violation with its history, for people."""
        lines = [violation.line()]
        lines += [f"    {line}" for line in violation.history[-60:]]
        around = [(at, text) for at, text in self.timeline if violation.at - 15 <= at <= violation.at + 2]
        if around:
            lines.append("  faults around it:")
            lines += [f"    {at:7.2f} s  {text}" for at, text in around[-20:]]
        return lines


def quantile(values, part):
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
