"""The test of `conversations`: what it records of a short talk without faults is spoiled in one place after the other,
and each must be noticed.
"""

import collections
import copy
import json

from conversation_fold import Room
from conversation_ledger import Setback
from conversation_record import Recorder
from conversation_verdict import ConversationVerdict
from conversations import ConversationStage
from ledger import position, text_of
from processes import until
from self_test import judged, judgement

# Of everything that is spoiled there must be some.
NEEDED = {"edited", "deleted", "reactions", "pinned", "thread"}


async def conversations_self_test(options, show, state):
    async with ConversationStage(options, show, state, replica=True) as stage:
        await stage.fill(options.sessions)
        stage.speak()
        await stage.spend(4)
        await until(lambda: has_all(stage), 20, "something of everything was said")
        await stage.hush()
        await stage.settled(20)
        verdict = ConversationVerdict(stage.cluster, stage.ledger, stage.sessions, lossy=True)
        await verdict.caught_up(15)
        record = await Recorder(stage, stage.rooms, stage.users).record()
        found = {}
        for name, (plant, promises) in PLANTS.items():
            spoiled, ledger = copy.deepcopy(record), fresh(stage.ledger)
            plant(spoiled, ledger)
            ConversationVerdict(stage.cluster, ledger, stage.sessions, lossy=True).judge(spoiled)
            seen = {violation.promise for violation in ledger.violations}
            found[name] = judgement(seen, promises)
            show.line(f"  {name}: {found[name]}")
            if not promises:
                for violation in ledger.violations[:5]:
                    show.line(f"    {violation.line()}")
        return judged(found)


def has_all(stage):
    """Whether somebody sees a message that was edited, one that was deleted, and so on, and somebody has read."""
    views = [view for session in stage.sessions for view in session.rooms.values()]
    names = {name for view in views for state in view.messages.values() for name in state}
    has_tombstone = any(
        "deleted" in state and place > min(view.messages) for view in views for place, state in view.messages.items()
    )
    return NEEDED <= names and has_tombstone and stage.ledger.count["reads stored"] > 5


def fresh(ledger):
    """The ledger as it is, for a judgement of its own."""
    made = copy.copy(ledger)
    made.violations, made.count, made.on_violation = [], collections.Counter(), lambda violation: None
    made.marks = copy.copy(ledger.marks)
    made.marks.ledger, made.marks.setbacks = made, list(ledger.marks.setbacks)
    return made


def nothing(record, ledger):
    pass


def folded(record):
    """(room, its fold), those with the most messages first."""
    rooms = [(name, Room(one)) for name, one in record["rooms"].items()]
    return sorted(rooms, key=lambda pair: -len(pair[1].messages))


def first_with(record, field):
    """(room, place) of a message with that field."""
    return next(
        (name, place)
        for name, room in folded(record)
        for place, state in room.messages.items()
        if field in state
    )


def inbox_counts_one_more(record, ledger):
    next(one for _, _, conversations in record["inboxes"] for one in conversations)["unread"] += 1


def joined_counts_one_less(record, ledger):
    frame = next(frame for _, _, _, frame in record["joins"] if frame.get("unread"))
    frame["unread"] -= 1


def amendments_are_unread(record, ledger):
    """A count by seqs alone, as if nothing had been amended."""
    rooms = dict(folded(record))
    for _, user, conversations in record["inboxes"]:
        for one in conversations:
            room = rooms[one["room"]]
            one["unread"] = max(0, room.last[1] - room.mark(user))


def conversation_is_missing(record, ledger):
    next(conversations for _, _, conversations in record["inboxes"] if conversations).pop()


def in_page(field, change):
    """The message with that field, as one node shows it over HTTP."""

    def plant(record, ledger):
        room, place = first_with(record, field)
        messages = next(messages for _, name, messages in record["pages"] if name == room)
        change(next(one for one in messages if one["position"] == text_of(place)))

    return plant


def more_reactions(message):
    next(iter(message["reactions"].values()))["count"] += 1


def deleted_text(message):
    message["text"] = "k1 again"


def page_misses_a_message(record, ledger):
    next(messages for _, _, messages in record["pages"] if messages).pop(0)


def in_view(change):
    """What a session has of a message that was changed."""

    def plant(record, ledger):
        messages = next(one[5] for one in record["views"] if any("reactions" in state for state in one[5].values()))
        change(messages, next(place for place, state in messages.items() if "reactions" in state))

    return plant


def index_misses_a_room(record, ledger):
    next(rooms for rooms in record["indexes"].values() if rooms).pop()


def index_has_a_room_too_many(record, ledger):
    room, one = next(iter(record["rooms"].items()))
    user = next(user for user in record["indexes"] if room in record["indexes"][user])
    del one["participants"][user]


def mark_goes_back(record, ledger):
    """Redis has an older position than a client was told."""
    room, user = next(name for name in ledger.marks.answers if name[1] in record["rooms"][name[0]]["reads"])
    record["rooms"][room]["reads"][user] = "1-0.0"


def own_message_is_unread(record, ledger):
    """Redis has an older position than that of what a user has said last."""
    for name, room in folded(record):
        for user in room.record["participants"]:
            if room.newest_of(user) > 1:
                record["rooms"][name]["reads"][user] = "1-1.0"
                return


def receipt_goes_back(knew, later):
    """A session is told of an older position than before, so many seconds after anybody was told of the newer one.
    `knew`: by a node that had told the newer one.
    """

    def plant(record, ledger):
        (room, user), all_told = next((name, all_told) for name, all_told in ledger.marks.first.items() if len(all_told) > 1)
        before, now, told = (1, max(all_told)), (1, min(all_told)), ledger.now() - later
        ledger.marks.setbacks.append(
            Setback(room, user, "planted", before, now, told, ledger.now(), "receipts", "some node", knew, [])
        )

    return plant


def erased_text_stays(record, ledger):
    room, place = first_with(record, "deleted")
    key = dict(folded(record))[room].by_place[place].key
    record["dump"]["redis1/martlet:somewhere"] = json.dumps(["text", f"{key} {next(iter(ledger.secrets[key]))}"])


def deleted_message_is_back(record, ledger):
    room, place = first_with(record, "deleted")
    one = record["rooms"][room]
    state = json.loads(one["overlay"].pop(str(place[1])))
    one["log"].append([text_of(place), {"user": state["user"], "at": str(state["at"]), "text": "k1 again"}])


def tombstone_is_gone(record, ledger):
    # Before the first entry of a log nothing is missed.
    room, place = next(
        (name, place)
        for name, room in folded(record)
        for place, state in room.messages.items()
        if "deleted" in state and place != room.entries[0].place
    )
    del record["rooms"][room]["overlay"][str(place[1])]


def gone(what):
    """An entry that was acknowledged is not in the log."""

    def plant(record, ledger):
        for one in record["rooms"].values():
            for index, (name, fields) in enumerate(one["log"]):
                if ("op" in fields) == (what == "amendment") and fields.get("key"):
                    del one["log"][index]
                    return

    return plant


def stored_twice(record, ledger):
    for one in record["rooms"].values():
        name, fields = next((name, fields) for name, fields in reversed(one["log"]) if "op" not in fields)
        epoch, seq = position(one["log"][-1][0])
        one["log"].append([f"{epoch}-{seq + 1}", dict(fields)])
        return


# name -> (what does it, promises one of which must be said to be broken)
PLANTS = {
    "nothing is wrong": (nothing, set()),
    "an inbox counts one more": (inbox_counts_one_more, {"unread"}),
    "`joined` counts one less": (joined_counts_one_less, {"unread"}),
    "amendments are counted as unread": (amendments_are_unread, {"unread"}),
    "a conversation is not in an inbox": (conversation_is_missing, {"inbox"}),
    "a page has the text before an edit": (in_page("edited", lambda one: one.update(text="k1 old")), {"fold"}),
    "a page does not say that it was edited": (in_page("edited", lambda one: one.pop("edited")), {"fold"}),
    "a page has the text of a deleted message": (in_page("deleted", deleted_text), {"fold"}),
    "a page counts one reaction more": (in_page("reactions", more_reactions), {"fold"}),
    "a page shows no pin": (in_page("pinned", lambda one: one.pop("pinned")), {"fold"}),
    "a page counts no replies": (in_page("replies", lambda one: one.pop("replies")), {"fold"}),
    "a page misses a message": (page_misses_a_message, {"fold"}),
    "a session has missed a reaction": (in_view(lambda all, place: all[place].pop("reactions")), {"live fold"}),
    "a session has missed a message": (in_view(lambda all, place: all.pop(place)), {"silent hole"}),
    "a user's index misses a room": (index_misses_a_room, {"participants"}),
    "a user's index has a room too many": (index_has_a_room_too_many, {"participants"}),
    "a stored read position goes back": (mark_goes_back, {"read positions"}),
    "a node takes a receipt back": (receipt_goes_back(True, 0.1), {"read positions", "own messages are read"}),
    "a node never hears of a receipt": (receipt_goes_back(False, 2), {"read positions", "own messages are read"}),
    "a node hears of a receipt half a second later": (receipt_goes_back(False, 0.5), set()),
    "a user has not read what the user has said": (own_message_is_unread, {"own messages are read"}),
    "erased text is in some key": (erased_text_stays, {"erased"}),
    "a deleted message is in the log again": (deleted_message_is_back, {"erased"}),
    "a tombstone is gone": (tombstone_is_gone, {"contiguous"}),
    "an acknowledged message is gone": (gone("message"), {"ack means stored"}),
    "an acknowledged amendment is gone": (gone("amendment"), {"ack means stored"}),
    "a message is stored twice": (stored_twice, {"once"}),
}
