"""What a room's log amounts to, told without any node: a fold of its entries, and counts of what users have not read.

It reads what XRANGE and HGETALL say, and takes from `overlay` the tombstones alone: what amendments made of messages is
worked out from the amendments, and how many there were is counted here.
"""

import datetime
import json

from ledger import position, text_of

# What pages and live sessions must agree on with the fold; pages have the threads besides.
LIVE_FIELDS = ("user", "at", "text", "thread", "edited", "deleted", "reactions", "pinned")
PAGE_FIELDS = LIVE_FIELDS + ("replies",)


def time_text(milliseconds):
    at = datetime.datetime.fromtimestamp(int(milliseconds) / 1000, datetime.timezone.utc)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{int(milliseconds) % 1000:03}Z"


class Entry:
    """An entry of the log, or the tombstone in its place."""

    def __init__(self, place, fields, deed=None):
        self.place, self.fields, self.deed = place, fields, deed

    @property
    def operation(self):
        return self.fields.get("op")

    @property
    def of(self):
        return position(self.fields["of"])

    @property
    def key(self):
        return self.fields.get("key")

    @property
    def targets(self):
        """The messages that a `delete` erases."""
        listed = self.fields.get("data")
        return [position(text) for text in json.loads(listed)] if listed else [self.of]


def tombstones(overlay):
    for name, text in overlay.items():
        if not name.isdigit() or '"deleted":{' not in text:
            continue
        state = json.loads(text)
        fields = {word: str(state[word]) for word in ("user", "at", "key", "thread", "op", "of") if word in state}
        yield Entry((int(state["epoch"]), int(name)), fields, state["deleted"])


class Room:
    """A room as Redis holds it. `record`: `log`, `overlay`, `participants`, `reads` and `meta` as Redis tells them."""

    def __init__(self, record):
        live = [Entry(position(name), fields) for name, fields in record["log"]]
        self.entries = sorted(live + list(tombstones(record["overlay"])), key=lambda entry: entry.place[1])
        self.by_place = {entry.place: entry for entry in self.entries}
        self.record = record
        # What the log itself says that cannot be.
        self.problems = []
        self.messages = {}
        self.replies = {}
        self.check_order()
        self.fold()

    def check_order(self):
        before = None
        for entry in self.entries:
            if before and (entry.place[1] != before[1] + 1 or entry.place < before):
                self.problems.append(("contiguous", f"the log has {text_of(entry.place)} after {text_of(before)}"))
            before = entry.place
        keys = {}
        for entry in self.entries:
            name = (entry.fields.get("user"), entry.key)
            if entry.key and name in keys:
                where = f"{text_of(keys[name])} and {text_of(entry.place)}"
                self.problems.append(("once", f"{entry.key} of {name[0]} is in the log at {where}"))
            keys[name] = entry.place

    def fold(self):
        for entry in self.entries:
            if entry.operation:
                self.amend(entry)
            else:
                self.add(entry)
        for place, state in self.messages.items():
            listed = self.replies.get(place, [])
            count = sum(1 for one in listed if "deleted" not in self.messages[one])
            if count and "deleted" not in state:
                state["replies"] = count
            if "deleted" in state and self.by_place[place].deed is None:
                self.problems.append(("erased", f"{text_of(place)} was deleted, and is still in the log"))
            if "deleted" not in state and self.by_place[place].deed is not None:
                self.problems.append(("erased", f"{text_of(place)} is a tombstone, but no entry deletes it"))

    def add(self, entry):
        fields = entry.fields
        state = {"user": fields.get("user"), "at": time_text(fields["at"])}
        for name in ("text", "thread"):
            if name in fields:
                state[name] = fields[name]
        self.messages[entry.place] = state
        if "thread" in fields:
            self.replies.setdefault(position(fields["thread"]), []).append(entry.place)

    def amend(self, entry):
        deed = {"by": entry.fields["user"], "at": time_text(entry.fields["at"])}
        if entry.operation == "delete":
            for target in entry.targets:
                self.delete(target, deed)
            return
        state = self.messages.get(entry.of)
        if state is None:
            return self.problems.append(("fold", f"{text_of(entry.place)} amends {entry.fields['of']}, no message"))
        if "deleted" in state:
            text = f"{text_of(entry.place)} ({entry.operation}) amends {entry.fields['of']}, which was deleted before"
            return self.problems.append(("erased", text))
        # An erased edit: its message is deleted by a later entry.
        if entry.deed is None:
            getattr(self, entry.operation)(state, entry.fields, deed)

    def delete(self, target, deed):
        state = self.messages.get(target)
        if state is None or "deleted" in state:
            return
        kept = {name: state[name] for name in ("user", "at", "thread") if name in state}
        state.clear()
        state.update(kept, deleted=deed)

    def edit(self, state, fields, deed):
        state.pop("text", None)
        if "text" in fields:
            state["text"] = fields["text"]
        state["edited"] = {"version": state.get("edited", {"version": 0})["version"] + 1, **deed}

    def react(self, state, fields, deed):
        self.set_users(state, fields["text"], lambda users: users + [fields["user"]])

    def unreact(self, state, fields, deed):
        self.set_users(state, fields["text"], lambda users: [user for user in users if user != fields["user"]])

    def set_users(self, state, emoji, change):
        reactions = state.setdefault("reactions", {})
        users = change(reactions.pop(emoji, {"users": []})["users"])
        if users:
            reactions[emoji] = {"count": len(users), "users": users}
        if not reactions:
            del state["reactions"]

    def pin(self, state, fields, deed):
        state["pinned"] = deed

    def unpin(self, state, fields, deed):
        state.pop("pinned", None)

    # Reading.

    @property
    def last(self):
        return self.entries[-1].place if self.entries else (0, 0)

    @property
    def newest_message(self):
        return max(self.messages, key=lambda place: place[1], default=None)

    def newest_by(self, user):
        """The newest message that the user has said; None: none."""
        said = [entry for entry in self.entries if not entry.operation and entry.fields.get("user") == user]
        return said[-1] if said else None

    def newest_of(self, user):
        """Its seq; 0: none."""
        said = self.newest_by(user)
        return said.place[1] if said else 0

    def is_by(self, user, seq):
        """Whether the user has said or done what is there."""
        return any(entry.place[1] == seq and entry.fields.get("user") == user for entry in self.entries)

    def mark(self, user):
        """Up to where Redis says that the user has read: a seq; 0 if a mark is missing or counts no more."""
        text = self.record["reads"].get(user)
        if not text:
            return 0
        epoch, seq = position(text.partition(".")[0])
        history = int(self.record["meta"].get("history", 0))
        return seq if seq <= self.last[1] and epoch >= history else 0

    def after(self, seq):
        """The number of messages after that seq, erased ones too, and no amendments."""
        return sum(1 for place in self.messages if place[1] > seq)

    def unread(self, user):
        """What the inbox has to say: who has said the newest message has read the room up to there."""
        newest = self.newest_message
        own = newest[1] if newest and self.messages[newest]["user"] == user else 0
        return self.after(max(self.mark(user), own))


def differences(expected, shown, fields):
    """What is wrong with a message as somebody was shown it: one text for each field that differs."""
    wrong = []
    for name in fields:
        if expected.get(name) != shown.get(name):
            wrong.append(f"{name} is {shown.get(name)!r}, the log says {expected.get(name)!r}")
    return wrong
