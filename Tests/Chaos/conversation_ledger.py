"""What clients of conversations were told: amendments that were acknowledged, read positions, and what was written
where, so that it can be looked for when it was erased.
"""

import collections
import dataclasses

from ledger import Ledger, text_of

# How long before a loss what was stored may be lost with it: a replica lags for up to 1.2 s, a tail has 1 s, and the
# answer may have been under way.
LOST_BEFORE, LOST_AFTER = 2.0, 1.0
# How much later one node may hear than another what was read, while it can talk to Redis.
HEARD_LATER = 1.0


class ConversationLedger(Ledger):
    def __init__(self):
        super().__init__()
        self.marks = Marks(self)
        # room -> [[process, from, to, view]]: when a session of that process was in the room.
        self.stays = collections.defaultdict(list)
        # room -> {key: (place, operation, of, who, at)}: amendments that were acknowledged.
        self.amendments = collections.defaultdict(dict)
        # key of a message -> what only its text, or the text of one of its edits, has in it.
        self.secrets = collections.defaultdict(set)

    def amended(self, view, amendment, place):
        self.count["amendments acknowledged"] += 1
        what = f"{amendment.operation} {text_of(amendment.of)}"
        self.amendments[view.room][amendment.key] = (place, amendment.operation, amendment.of, view, self.now())
        known = self.rooms[view.room].content.setdefault(place, what)
        if known != what:
            self.broken(
                "one order",
                view.room,
                view.session.name,
                f"the answer to {amendment.key} says {text_of(place)}, which is {known} for others",
                view.lines(),
            )

    def may_be_lost(self, at, until=None):
        """Whether Redis lost what was stored at that time (and, if said, had done so before `until`)."""
        return any(
            lost - LOST_BEFORE <= at <= back + LOST_AFTER and (until is None or lost <= until)
            for lost, back in self.losses
        )

    def has_died_after(self, at, seconds=1.0):
        """Whether a node ended within so many seconds after that time."""
        return any(at <= death <= at + seconds for death in self.deaths.values())

    def stayed(self, room, process, lost, back):
        """Whether the process had a session in the room all that time: otherwise it may have forgotten the room."""
        return any(one == process and begin < lost and end > back for one, begin, end, _ in self.stays[room])


@dataclasses.dataclass
class Setback:
    """A session was told of an older position of the user than before."""

    room: str
    user: str
    session: str
    before: tuple
    now: tuple
    # When anybody was first told of the newer one, and when the session was told of the older one.
    told: float
    at: float
    source: str
    # The process that told of the older one, and whether it had told anybody of the newer one itself.
    process: str
    knew: bool
    lines: list


class Marks:
    """Read positions as clients were told of them."""

    def __init__(self, ledger):
        self.ledger = ledger
        # (room, user) -> [(at, seq)]: what nodes said is stored.
        self.answers = collections.defaultdict(list)
        # (room, user) -> {seq: when anybody was first told of it}
        self.first = collections.defaultdict(dict)
        # (process, room, user) -> the highest seq that the process told anybody of.
        self.by_process = collections.defaultdict(int)
        self.setbacks = []
        self.count = 0

    def stored(self, room, user, place):
        now = self.ledger.now()
        self.answers[room, user].append((now, place[1]))
        self.first[room, user].setdefault(place[1], now)

    def observed(self, view, user, place, source):
        self.count += 1
        now, name = self.ledger.said_at(view.session), (view.room, user)
        self.first[name].setdefault(place[1], now)
        before, _ = view.reads.get(user, ((0, 0), 0))
        process = view.session.process
        if place[1] < before[1]:
            view.note(f"{source}: {user} is at {text_of(place)}, was at {text_of(before)}")
            told = min(at for seq, at in self.first[name].items() if seq >= before[1])
            knew, lines = self.by_process[process, *name] >= before[1], view.lines()[-80:]
            self.setbacks.append(
                Setback(view.room, user, view.session.name, before, place, told, now, source, process, knew, lines)
            )
        self.by_process[process, *name] = max(self.by_process[process, *name], place[1])

    def judge(self, stored, did):
        """Says which positions went back although nothing was lost. `stored`: (room, user) -> seq, of participants.
        `did(room, user, seq)`: whether the user did what is there, which counts as read without anybody saying so.
        """
        excused = 0
        for one in self.setbacks:
            is_own = did(one.room, one.user, one.before[1])
            # A node that died may not have stored what was said in its last second.
            if self.ledger.may_be_lost(one.told, one.at) or is_own and self.ledger.has_died_after(one.told):
                excused += 1
                continue
            if self.is_late(one):
                excused += 1
                continue
            text = (
                f"{one.user} had read up to {text_of(one.before)} (told first at {one.told:.2f} s), and up to "
                f"{text_of(one.now)} by `{one.source}` of {one.process} at {one.at:.2f} s"
            )
            promise = "own messages are read" if is_own else "read positions"
            self.ledger.broken(promise, one.room, one.session, text, one.lines)
        for (room, user), answers in self.answers.items():
            if (room, user) not in stored:
                continue
            at, seq = max(answers, key=lambda answer: answer[1])
            if seq <= stored[room, user]:
                continue
            if self.ledger.may_be_lost(min(at for at, one in answers if one >= seq)):
                excused += 1
                continue
            text = f"{user} was answered at {at:.2f} s that {seq} is stored as read; Redis has {stored[room, user]}"
            self.ledger.broken("read positions", room, user, text)
        return excused

    def is_late(self, setback):
        """Whether another node said it, which may not have heard yet of what was read: clients keep the furthest."""
        away = any(begin < setback.at and end > setback.told for begin, end in self.ledger.away[setback.process])
        return not setback.knew and (away or setback.at <= setback.told + HEARD_LATER)
