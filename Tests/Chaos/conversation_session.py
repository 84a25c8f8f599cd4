"""A session whose user belongs to conversations: it reads, amends, invites, and folds what it is shown, as
Sources/ChatWire/README.md says. It keeps the whole of each room that it was shown, for the verdict.
"""

import collections
import itertools
import json

from ledger import position, text_of
from session import RoomView, Send, Session

# What may be answered for good: the user was removed meanwhile, or somebody else was first.
REFUSED_SEND = {"forbidden", "notJoined", "blocked"}
REFUSED_AMENDMENT = REFUSED_SEND | {"noSuchMessage", "messageDeleted", "notAuthor", "tooManyEdits", "outcomeUnknown"}
REFUSED_REQUEST = REFUSED_SEND | {"badField", "tooManyParticipants", "notFound", "missingField"}
AMENDMENTS_AT_ONCE = 4
numbers = itertools.count(1)


class Amendment:
    """One that waits for its answer; with its key it is carried out once, however often it is asked for."""

    def __init__(self, operation, of, fields):
        self.operation, self.of, self.fields = operation, of, fields
        self.key = f"a{next(numbers)}"
        self.in_flight = False


class ConversationView(RoomView):
    """A room with everything that is known of its messages: place -> the fields of the message as it reads now."""

    def __init__(self, session, room):
        super().__init__(session, room)
        self.messages = {}
        self.amendments = collections.deque()
        # user -> (place, when): up to where others have read, as we were told.
        self.reads = {}
        self.answer = None

    # What a page says.

    def joined(self, frame):
        self.phase, self.refusals, self.answer = "joined", 0, frame
        ledger, end, messages = self.session.ledger, position(frame["position"]), frame.get("messages", [])
        ledger.stays[self.room].append([self.session.process, ledger.now(), float("inf"), self])
        if self.lost_at is not None:
            ledger.returned(self.room, self.lost_at)
            self.lost_at = None
        resumed, gap, reset = frame.get("resumed"), frame.get("gap"), frame.get("reset")
        # Where the page begins and ends, amendments included; none if it is empty.
        first = frame.get("first") or (messages[0]["position"] if messages else None)
        last = frame.get("last") or (messages[-1]["position"] if messages else None)
        self.note(
            f"joined at {frame['position']} resumed={resumed} gap={gap} reset={reset} with {len(messages)} messages "
            f"and {len(frame.get('changes', []))} changes, {first} to {last}"
        )
        if resumed is None or reset:
            if resumed is None and self.last is not None:
                self.broken("resume", "`joined` does not say `resumed`, though we said `after`")
            if reset:
                ledger.reset(self.room)
            start = (position(first)[0], position(first)[1] - 1) if first else end
            self.forget()
            self.begin(start, "reset" if reset else "fresh")
        elif gap:
            self.gap(gap)
        if first and position(first)[1] != self.last[1] + 1:
            self.broken("silent hole", f"the page of `joined` begins with {first} after {text_of(self.last)}")
        for message in messages:
            self.take(message)
        for change in frame.get("changes", []):
            self.change(change)
        if last:
            self.last = position(last)
        if (resumed is None or reset) and self.last[1] != end[1]:
            self.broken("resume", f"`joined` says {frame['position']}, its messages end at {text_of(self.last)}")
        elif self.last[1] > end[1]:
            self.broken("resume", f"`joined` says {frame['position']}, we know {text_of(self.last)}, and no `reset`")
        self.members = {member["user"] for member in frame["roster"]} if "roster" in frame else None
        self.count = frame.get("count")
        self.receipts(frame.get("reads", {}), "joined")

    def forget(self):
        self.messages.clear()
        self.reads.clear()

    def reset(self, frame):
        self.forget()
        super().reset(frame)

    # What is told one after the other.

    def show(self, message):
        if self.follows(message["position"]):
            self.take(message)

    def changed(self, frame):
        if self.follows(frame["position"]):
            place, what = position(frame["position"]), f"{frame['operation']} {frame['of']}"
            self.note(f"changed {frame['position']}: {what}")
            self.session.ledger.shown(self.room, place, what, self)
            self.change(frame)

    def follows(self, text):
        place = position(text)
        if self.last is None:
            self.broken("order", f"{text} was shown before `joined`")
            return False
        if place[1] <= self.last[1]:
            self.broken("out of order", f"{text} was shown after {text_of(self.last)}")
            return False
        if place[1] > self.last[1] + 1:
            self.broken("silent hole", f"{text} was shown after {text_of(self.last)}, without a `gap`")
        elif place < self.last:
            self.broken("order", f"{text} has an older epoch than {text_of(self.last)}")
        self.last = place
        return True

    def take(self, message):
        """A message, as it reads now."""
        place = position(message["position"])
        ledger = self.session.ledger
        self.note(f"shown {message['position']} {message.get('text', 'deleted')[:12]}")
        if "deleted" not in message:
            ledger.shown(self.room, place, message.get("text", "").partition(" ")[0], self)
        elif self.session.process is not None:
            ledger.rooms[self.room].seen_by[place].add(self.session.process)
        self.messages[place] = {name: value for name, value in message.items() if name not in ("type", "room")}
        self.segments[-1].shown.append(place)

    def change(self, frame):
        """An amendment: the message is what it says."""
        for text in frame.get("targets", [frame["of"]]):
            state = self.messages.get(position(text))
            if state is None or "deleted" in state:
                continue
            if "deleted" in frame:
                kept = {name: state[name] for name in ("position", "user", "at", "thread") if name in state}
                self.messages[position(text)] = {**kept, "deleted": frame["deleted"]}
            elif frame["operation"] == "edit":
                state.pop("text", None)
                state.update({name: frame[name] for name in ("text", "edited") if name in frame})
            elif frame["operation"] in ("react", "unreact"):
                reactions = {**state.pop("reactions", {}), **frame["reactions"]}
                reactions = {emoji: one for emoji, one in reactions.items() if one["count"]}
                state.update({"reactions": reactions} if reactions else {})
            elif frame["pinned"]:
                state["pinned"] = frame["pinned"]
            else:
                state.pop("pinned", None)

    def receipts(self, reads, source):
        for user, text in reads.items():
            place = position(text)
            self.session.ledger.marks.observed(self, user, place, source)
            self.reads[user] = (place, self.session.ledger.now())

    # How it ends.

    def out(self):
        """We are not in the room any more."""
        for stay in self.session.ledger.stays[self.room]:
            if stay[3] is self and stay[2] == float("inf"):
                stay[2] = self.session.ledger.now()

    def lost(self):
        super().lost()
        self.out()
        for amendment in self.amendments:
            amendment.in_flight = False
        if not self.wanted:
            self.sends.clear()
            self.amendments.clear()

    def put_out(self, why):
        """The node made us leave: what was not asked yet is not asked any more."""
        self.note(f"put out: {why}")
        self.out()
        self.wanted, self.phase = False, "out"
        for waiting in (self.sends, self.amendments):
            for one in [one for one in waiting if not one.in_flight]:
                waiting.remove(one)


class ConversationSession(Session):
    """`ledger`: a ConversationLedger."""

    # What the scenario asks for.

    def want(self, room):
        view = self.rooms.get(room)
        if view is None or (view.phase == "out" and not view.wanted):
            view = self.rooms[room] = ConversationView(self, room)
        view.wanted = True
        self.pump()
        return view

    def unwant(self, room):
        view = self.rooms.get(room)
        if view is None or view.amendments or not super().unwant(room):
            return False
        view.out()
        return True

    def say(self, room, text, **more):
        view = self.rooms[room]
        send = Send(text.partition(" ")[0], text, self.ledger.clock())
        send.more = more
        self.ledger.count["said"] += 1
        view.sends.append(send)
        self.pump_room(view)

    def amend(self, view, operation, of, **fields):
        self.ledger.count["amendments asked"] += 1
        view.amendments.append(Amendment(operation, of, fields))
        self.pump_room(view)

    def read(self, view, place):
        self.ledger.count["reads asked"] += 1
        view.note(f"read {text_of(place)}")
        self.ask("read", view, what=("read", place), position=text_of(place))

    def converse(self, view, operation, **fields):
        self.ledger.count["conversation orders"] += 1
        view.note(f"{operation} {fields}")
        self.ask("conversation", view, what=("conversation", operation, fields), operation=operation, **fields)

    @property
    def waiting(self):
        return super().waiting + sum(len(view.amendments) for view in self.rooms.values())

    # What goes out.

    def ask(self, type_, view, **fields):
        what = fields.get("what")
        return super().ask(type_, view, **fields, **(what.more if isinstance(what, Send) else {}))

    def pump_room(self, view):
        super().pump_room(view)
        if self.welcome is None or view.phase != "joined" or view.paused_until > self.loop.time():
            return
        flying = sum(1 for one in view.amendments if one.in_flight)
        for one in view.amendments:
            if flying >= AMENDMENTS_AT_ONCE:
                break
            if not one.in_flight:
                one.in_flight = True
                flying += 1
                view.note(f"amend {one.key}: {one.operation} {text_of(one.of)}")
                self.ask(
                    "amend", view, what=one, operation=one.operation, of=text_of(one.of), key=one.key, **one.fields
                )

    # What comes in.

    def received(self, payload):
        # Also of a room that we know nothing of yet.
        if payload.startswith(b'{"type":"notice"'):
            return self.noticed(json.loads(payload))
        super().received(payload)

    def noticed(self, frame):
        self.ledger.count[f"notices {frame['kind']}"] += 1
        if frame["kind"] == "invited" and not self.stopped:
            self.want(frame["room"])

    def left(self, frame, view):
        if "ref" in frame:
            self.refs.pop(frame["ref"], None)
            if view.phase == "leaving":
                view.note("left")
                view.phase = "out"
                if view.wanted:
                    del self.rooms[view.room]
                    self.want(view.room)
            return
        self.ledger.count["put out of a room"] += 1
        view.put_out(frame.get("reason"))

    def changed(self, frame, view):
        if view.phase in ("joined", "leaving"):
            view.changed(frame)

    def sent(self, frame, view):
        asked = self.refs.get(frame["ref"])
        if asked is None or asked[0] is view:
            return super().sent(frame, view)
        # Of the room as it was before the user was removed and came back.
        del self.refs[frame["ref"]]
        asked[0].sends.remove(asked[1])
        self.ledger.acked(view.room, asked[1], position(frame["position"]), self, bool(frame.get("repeated")))

    def amended(self, frame, view):
        view, one = self.refs.pop(frame["ref"])
        place = position(frame["position"])
        view.note(f"amended {frame['position']} {one.key}")
        if one in view.amendments:
            view.amendments.remove(one)
        if not frame.get("unchanged"):
            self.ledger.amended(view, one, place)
        self.pump_room(view)

    def was_read(self, frame, view):
        view, what = self.refs.pop(frame["ref"])
        self.ledger.count["reads stored"] += 1
        self.ledger.marks.stored(view.room, self.user, position(frame["position"]))

    def conversed(self, frame, view):
        view, what = self.refs.pop(frame["ref"])
        self.ledger.count[f"{what[1]} answered"] += 1

    def receipts(self, frame, view):
        if view.phase in ("joined", "leaving"):
            view.receipts(frame["reads"], "receipts")

    def refused(self, frame):
        asked = self.refs.get(frame.get("ref"))
        name = frame.get("name")
        if asked is None:
            return super().refused(frame)
        view, what = asked
        if isinstance(what, Amendment):
            return self.amendment_refused(frame, view, what)
        if isinstance(what, Send):
            if name in REFUSED_SEND or view is not self.rooms.get(view.room):
                self.forget(frame)
                if what in view.sends:
                    view.sends.remove(what)
                return
        elif isinstance(what, tuple):
            self.forget(frame)
            if not frame.get("retry") and name not in REFUSED_REQUEST:
                view.broken("settled", f"{what} failed for good: {frame}")
            return
        elif what in ("join", "leave") and name in REFUSED_SEND:
            self.forget(frame)
            return view.put_out(name)
        super().refused(frame)

    def forget(self, frame):
        view, what = self.refs.pop(frame["ref"])
        self.ledger.count[f"refused {frame.get('name')}"] += 1
        view.note(f"{what if isinstance(what, (str, tuple)) else what.key}: {frame.get('name')} {frame.get('message')}")

    def amendment_refused(self, frame, view, one):
        self.forget(frame)
        if frame.get("retry") and view is self.rooms.get(view.room) and view.wanted:
            one.in_flight = False
            view.paused_until = self.loop.time() + 0.05 * 2 ** min(view.refusals, 6)
            view.refusals += 1
            return self.pump_later(view.paused_until)
        if one in view.amendments:
            view.amendments.remove(one)
        if not frame.get("retry") and frame.get("name") not in REFUSED_AMENDMENT:
            view.broken("settled", f"{one.operation} of {text_of(one.of)} failed for good: {frame}")

    handlers = {
        **Session.handlers,
        "left": left,
        "changed": changed,
        "sent": sent,
        "amended": amended,
        "read": was_read,
        "conversation": conversed,
        "receipts": receipts,
        "error": refused,
        "rules": lambda session, frame, view: None,
        "sanction": lambda session, frame, view: None,
        "participantsChanged": lambda session, frame, view: None,
    }
