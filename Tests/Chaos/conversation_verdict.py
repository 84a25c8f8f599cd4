"""Is what nodes say of conversations what the log amounts to? Judges a record (conversation_record.py) by an
independent fold (conversation_fold.py) and by what clients were told (conversation_ledger.py).
"""

from conversation_fold import LIVE_FIELDS, PAGE_FIELDS, Room, differences
from ledger import position, text_of
from verdict import Verdict


class ConversationVerdict(Verdict):
    """`lossy`: whether Redis may have lost its last second."""

    def judge(self, record):
        self.rooms_now = {room: Room(one) for room, one in record["rooms"].items()}
        self.checks = 0
        for room, folded in self.rooms_now.items():
            for promise, text in folded.problems:
                self.ledger.broken(promise, room, "", text)
        self.check_inboxes(record)
        self.check_joins(record)
        self.check_pages(record)
        self.check_indexes(record)
        self.check_marks()
        self.check_views(record)
        self.check_sends()
        self.check_amendments()
        self.check_erased(record)
        self.figures["checks"] = self.checks

    def expect(self, holds, promise, room, who, text, history=()):
        self.checks += 1
        if not holds:
            self.ledger.broken(promise, room, who, text, history)

    def conversations_of(self, user):
        return {room for room, folded in self.rooms_now.items() if user in folded.record["participants"]}

    # 1. Unread messages.

    def check_inboxes(self, record):
        counted = 0
        for node, user, conversations in record["inboxes"]:
            who = f"{user} by {node}"
            if not isinstance(conversations, list):
                self.ledger.broken("inbox", "", who, f"was refused: {conversations}")
                continue
            named = {one["room"] for one in conversations}
            expected = self.conversations_of(user)
            text = f"the inbox has {sorted(named)}, the user is a participant of {sorted(expected)}"
            self.expect(named == expected, "inbox", "", who, text)
            for one in conversations:
                if one["room"] in expected:
                    counted += 1
                    self.check_line(one, self.rooms_now[one["room"]], user, who)
        self.figures["unread counts in inboxes"] = counted

    def check_line(self, line, room, user, who):
        name, unread = line["room"], room.unread(user)
        text = f"{line['unread']} unread in the inbox, {unread} by the log and the mark {room.mark(user)}"
        self.expect(line["unread"] == unread, "unread", name, who, text)
        newest = room.newest_message
        shown = line.get("last", {}).get("position")
        text = f"the newest message in the inbox is {shown}, in the log {text_of(newest)}"
        self.expect(shown == (newest and text_of(newest)), "inbox", name, who, text)
        if newest and shown == text_of(newest):
            for wrong in differences(room.messages[newest], line["last"], ("user", "at", "text")):
                self.expect(False, "inbox", name, who, f"of the newest message {wrong}")

    def check_joins(self, record):
        ahead, counted, told_of = 0, 0, set()
        for node, user, name, frame in record["joins"]:
            room, who = self.rooms_now[name], f"{user} by {node}"
            if user not in room.record["participants"]:
                continue
            counted += 1
            if "unread" not in frame:
                self.ledger.broken("unread", name, who, "a participant is not told in `joined` what is unread")
                continue
            reads = {one: position(text)[1] for one, text in frame.get("reads", {}).items()}
            own = position(frame["read"])[1] if "read" in frame else 0
            unread = room.after(own)
            text = f"{frame['unread']} unread in `joined`, {unread} by the log after {own}, which it says is read"
            self.expect(frame["unread"] == unread, "unread", name, who, text)
            # Who says something has read up to there, which a node that dies may not have stored.
            for one in room.record["participants"]:
                stored, said, told = room.mark(one), room.newest_of(one), reads.get(one, 0)
                is_right = told == stored or stored < told <= said
                ahead += is_right and told > stored
                # All sessions of a node are told the same.
                if not is_right and (node, name, one) in told_of:
                    continue
                told_of.add((node, name, one))
                text = f"`joined` says that {one} has read up to {told}; Redis has {stored}, {one} has said {said} last"
                self.expect(is_right, "receipts", name, who, text)
            self.expect(own == reads.get(user, 0), "receipts", name, who, f"`read` is {own}, `reads` {reads.get(user)}")
            for message in frame.get("messages", []):
                self.check_message(room, message, LIVE_FIELDS, "fold", who, name)
        self.figures["unread counts in `joined`"] = counted
        if ahead:
            self.figures["read positions by what was said, not stored"] = ahead

    # 2. Folded pages.

    def check_pages(self, record):
        shown = 0
        for node, name, messages in record["pages"]:
            room = self.rooms_now[name]
            if not isinstance(messages, list):
                self.ledger.broken("fold", name, node, f"no history: {messages}")
                continue
            places = [position(message["position"]) for message in messages]
            expected = sorted(room.messages, key=lambda place: place[1])
            missing = [text_of(place) for place in expected if place not in set(places)]
            strange = [text_of(place) for place in places if place not in room.messages]
            text = f"pages miss {missing[:5]} and have {strange[:5]}, which are no messages, or are out of order"
            self.expect(places == expected, "fold", name, node, text)
            for message in messages:
                shown += 1
                self.check_message(room, message, PAGE_FIELDS, "fold", node, name)
        self.figures["messages in pages over HTTP"] = shown

    def check_message(self, room, message, fields, promise, who, name, history=()):
        place = position(message["position"])
        if place not in room.messages:
            text = f"{message['position']} is shown, and is no message of the log"
            return self.expect(False, promise, name, who, text, history)
        wrong = differences(room.messages[place], message, fields)
        self.expect(not wrong, promise, name, who, f"{message['position']}: {'; '.join(wrong)}", history)

    # 3. Participants.

    def check_indexes(self, record):
        for user, rooms in record["indexes"].items():
            for room in sorted(set(rooms) | self.conversations_of(user)):
                inside = room in self.conversations_of(user)
                text = f"is {'a' if inside else 'no'} participant, and the index of the user says otherwise"
                self.expect((room in rooms) == inside, "participants", room, user, text)

    # 4. Read positions.

    def check_marks(self):
        stored = {}
        for name, room in self.rooms_now.items():
            for user in room.record["participants"]:
                stored[name, user] = room.mark(user)
        self.checks += self.ledger.marks.count + 2 * len(stored)
        self.figures["read positions told"] = self.ledger.marks.count
        excused = self.ledger.marks.judge(stored, lambda name, user, seq: self.rooms_now[name].is_by(user, seq))
        self.figures["of these that went back with what was lost"] = excused
        for (name, user), seq in stored.items():
            self.check_own_mark(name, user, seq)

    def check_own_mark(self, name, user, seq):
        """Who has said something has read up to there. A node that died within a second may not have stored that."""
        room = self.rooms_now[name]
        entry = room.newest_by(user)
        if entry is None or entry.place[1] <= seq or entry.key not in self.ledger.rooms[name].acked:
            return
        _, who, at = self.ledger.rooms[name].acked[entry.key]
        if self.ledger.may_be_lost(at) or self.ledger.has_died_after(at):
            return
        text = f"{user} has said {text_of(entry.place)}, acknowledged at {at:.2f} s; the stored read position is {seq}"
        self.ledger.broken("own messages are read", name, who, text, self.history(name, who))

    # 5. What live sessions have.

    def check_views(self, record):
        for who, user, name, start, gaps, messages in record["views"]:
            room, lines = self.rooms_now[name], self.history(name, who)
            self.expect(
                user in room.record["participants"], "participants", name, who, "is in the room, but no participant"
            )
            for place in room.messages:
                if place[1] <= start[1] or any(after < place[1] < before for after, before in gaps):
                    continue
                self.expect(place in messages, "silent hole", name, who, f"was never shown {text_of(place)}", lines)
            for place, message in messages.items():
                self.check_message(room, message, LIVE_FIELDS, "live fold", who, name, lines)
        self.figures["live views"] = len(record["views"])
        self.figures["messages in them"] = sum(len(one[5]) for one in record["views"])

    def check_sends(self):
        lost = 0
        for name, room in self.rooms_now.items():
            keys = {entry.key: entry.place for entry in room.entries if not entry.operation and entry.key}
            for key, (place, who, at) in self.ledger.rooms[name].acked.items():
                self.checks += 1
                if keys.get(key) == place:
                    continue
                if key in keys:
                    text = f"{key} is at {text_of(keys[key])}, acknowledged at {text_of(place)}"
                    self.ledger.broken("ack", name, who, text)
                    continue
                lost += 1
                self.missing(name, key, place, who, at)
        self.figures["sends acknowledged"] = sum(len(self.ledger.rooms[name].acked) for name in self.rooms_now)
        self.figures["of these lost by Redis for good"] = lost

    def check_amendments(self):
        lost = count = 0
        for name, room in self.rooms_now.items():
            for key, (place, operation, of, view, at) in self.ledger.amendments[name].items():
                count += 1
                self.checks += 1
                entry = room.by_place.get(place)
                if entry and entry.operation == operation and entry.of == of:
                    continue
                lost += 1
                self.missing(name, f"{key} ({operation} {text_of(of)})", place, view.session.name, at)
        self.figures["amendments acknowledged"] = count
        self.figures["of these amendments lost by Redis for good"] = lost

    def missing(self, name, key, place, who, at):
        """What was acknowledged is not there. That is right only if Redis lost it, and no node that still knew it lived
        to put it back.
        """
        if not (self.lossy and self.ledger.may_be_lost(at)):
            text = f"{key}, acknowledged at {text_of(place)} ({at:.2f} s), is not in the log"
            return self.ledger.broken("ack means stored", name, who, text, self.history(name, who))
        self.announced(name, key, place, who, at)

    def stayed(self, room, process, lost, back):
        return self.ledger.stayed(room, process, lost, back + 3)

    # 6. Erased text.

    def check_erased(self, record):
        secrets = {}
        for name, room in self.rooms_now.items():
            for place, state in room.messages.items():
                if "deleted" in state:
                    for secret in self.ledger.secrets.get(room.by_place[place].key, ()):
                        secrets[secret] = (name, place)
        for where, text in record["dump"].items():
            for secret, (name, place) in secrets.items():
                self.checks += 1
                if secret in text:
                    self.ledger.broken(
                        "erased", name, "", f"{where} still has {secret}, of {text_of(place)}, which was deleted"
                    )
        self.figures["texts that were erased"] = len(secrets)
        self.figures["keys in which they were looked for"] = len(record["dump"])
