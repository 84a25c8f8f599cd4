"""The test of `--protocols`: in a session of each protocol is planted what must be noticed."""

import json

from ledger import text_of
from self_test import judged, plant_all, tamper


async def protocols_self_test(options, show, state):
    options.rooms, options.sessions = 2, 2 * len(options.protocols)
    found = await plant_all(options, show, state, plants(options.protocols))
    return judged(found)


def plants(kinds):
    """name -> (what does it, promises one of which must be said to be broken)"""
    made = {"nothing is wrong": (nothing, set())}
    for kind in kinds:
        name = kind.protocol
        made[f"{name}: a message is missing"] = (on_messages(kind, hole), {"silent hole"})
        made[f"{name}: a message comes twice"] = (on_messages(kind, repeat), {"a repeat"})
        made[f"{name}: two messages change places"] = (on_messages(kind, swap), {"silent hole", "out of order"})
        made[f"{name}: a send is not stored, though answered"] = (false_answer(kind), {"ack means stored"})
        made[f"{name}: it resumes too far back"] = (resumed_at(kind, -1), {"a repeat", "out of order", "resume"})
        made[f"{name}: it resumes too far ahead"] = (resumed_at(kind, 1), {"silent hole", "resume"})
    return made


async def nothing(stage):
    pass


def first_of(stage, kind):
    return next(session for session in stage.sessions if type(session) is kind)


def on_messages(kind, change):
    async def plant(stage):
        tamper(stage, change, first_of(stage, kind))

    return plant


def hole(held, frame):
    held.append(frame)
    return [] if len(held) == 3 else [frame]


def repeat(held, frame):
    held.append(frame)
    return [frame, frame] if len(held) == 3 else [frame]


def swap(held, frame):
    held.append(frame)
    if len(held) == 3:
        return []
    return [frame, held[2]] if len(held) == 4 else [frame]


def false_answer(kind):
    """A send never reaches a node, and is answered with the place of the last message."""

    async def plant(stage):
        session = first_of(stage, kind)
        view = next(view for view in session.rooms.values() if view.phase == "joined" and view.last is not None)
        socket = session.socket
        send = socket.send

        def swallow(text):
            request = json.loads(text)
            if request["type"] != "send":
                return send(text)
            socket.send = send
            answer = {"type": "sent", "ref": request["ref"], "room": request["room"], "position": text_of(view.last)}
            session.loop.call_soon(session.received, json.dumps(answer).encode())

        socket.send = swallow
        session.say(view.room, "k999999 never sent")

    return plant


def resumed_at(kind, distance):
    """The connection is lost, and the client asks for what came behind another place than the one that it has reached."""

    async def plant(stage):
        session = first_of(stage, kind)

        def after(view):
            if view.last is None:
                return None
            # Once: it would not come into its room otherwise.
            del session.after
            return (view.last[0], max(0, view.last[1] + distance))

        session.after = after
        # Connection state recovery: the offset says where it is. One that nobody has seen is not heeded, so the client
        # has to join by itself then.
        if getattr(session, "private", None):
            room, _, place = session.offset.rpartition("~")
            epoch, _, seq = place.partition("-")
            session.offset = f"{room}~{epoch}-{int(seq) + distance}"
            if distance > 0:
                session.private = None
        # Event streams: the place is in the URL then.
        session.cursor = None
        session.drop()

    return plant
