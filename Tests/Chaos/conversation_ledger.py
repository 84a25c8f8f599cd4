"""What clients of conversations were told: amendments that were acknowledged, read positions, and what was written
where, so that it can be looked for when it was erased.
"""

import collections

from ledger import Ledger, text_of

# How long before a loss what was stored may be lost with it: a replica lags for up to 1.2 s, a tail has 1 s, and the
# answer may have been under way.
LOST_BEFORE, LOST_AFTER = 2.0, 1.0


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


class Marks:
    """Read positions as clients were told of them."""

    def __init__(self, ledger):
        self.ledger = ledger
        # (room, user) -> [(at, seq)]: what nodes said is stored.
        self.answers = collections.defaultdict(list)
        # (room, user) -> {seq: when anybody was first told of it}
        self.first = collections.defaultdict(dict)
        # What went back: (room, user, session, before, now, first told of, at, source, lines)
        self.setbacks = []
        self.count = 0

    def stored(self, room, user, place):
        now = self.ledger.now()
        self.answers[room, user].append((now, place[1]))
        self.first[room, user].setdefault(place[1], now)

    def observed(self, view, user, place, source):
        self.count += 1
        now, name = self.ledger.now(), (view.room, user)
        self.first[name].setdefault(place[1], now)
        before, _ = view.reads.get(user, ((0, 0), 0))
        if place[1] < before[1]:
            view.note(f"{source}: {user} is at {text_of(place)}, was at {text_of(before)}")
            told = min(at for seq, at in self.first[name].items() if seq >= before[1])
            self.setbacks.append(
                (view.room, user, view.session.name, before, place, told, now, source, view.lines()[-80:])
            )

    def judge(self, stored, did):
        """Says which positions went back although nothing was lost. `stored`: (room, user) -> seq, of participants.
        `did(room, user, seq)`: whether the user did what is there, which counts as read without anybody saying so.
        """
        excused = 0
        for room, user, who, before, place, told, now, source, lines in self.setbacks:
            is_own = did(room, user, before[1])
            # A node that died may not have stored what was said in its last second.
            if self.ledger.may_be_lost(told, now) or is_own and self.ledger.has_died_after(told):
                excused += 1
                continue
            text = (
                f"{user} had read up to {text_of(before)} (told first at {told:.2f} s), and up to {text_of(place)} by "
                f"`{source}` at {now:.2f} s"
            )
            promise = "own messages are read" if is_own else "read positions"
            self.ledger.broken(promise, room, who, text, lines)
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
