"""Event streams (`GET /api/events`) with sends by POST, as EventSource does it: one stream for all rooms, another stream if
the rooms change, and `Last-Event-ID` after a loss.
"""

import asyncio
import json
import urllib.parse

import http_wire
from ledger import position, text_of
from transport import ForeignSession, Posting

SILENCE = 20


class EventStream(Posting):
    def __init__(self, owner, port):
        super().__init__(owner, port)
        self.stream = None
        self.rooms = [view.room for view in owner.rooms.values() if view.wanted]
        self.refs = {}
        # A `joined` whose messages are still coming, as (frame, how many, the id behind it).
        self.filling = None
        if owner.cursor_rooms != self.rooms:
            owner.cursor_rooms, owner.cursor = self.rooms, None

    def path(self):
        fields = [("user", self.owner.user), ("device", self.owner.device), ("history", self.owner.history)]
        fields += [("room", room) for room in self.rooms]
        known = [self.owner.after(self.owner.rooms[room]) for room in self.rooms]
        if self.owner.cursor is None and any(known):
            fields.append(("after", ",".join(text_of(place) if place else "" for place in known)))
        return "/api/events?" + urllib.parse.urlencode(fields)

    async def run(self):
        fields = {"Accept": "text/event-stream"}
        if self.owner.cursor is not None:
            fields["Last-Event-ID"] = self.owner.cursor
        async with asyncio.timeout(10):
            self.stream = await http_wire.open_stream(self.port, "GET", self.path(), fields)
        if self.stream.status != 200:
            return self.end(None, f"HTTP {self.stream.status}")
        buffer = b""
        while True:
            await self.reads.wait()
            # A comment comes every fifteen seconds.
            async with asyncio.timeout(SILENCE if self.owner.is_reading else None):
                piece = await self.stream.read()
            if not piece:
                return self.end(None, "the stream ended")
            self.heard()
            *blocks, buffer = (buffer + piece).split(b"\n\n")
            for block in blocks:
                if not self.is_closed:
                    self.take(block.decode())

    def take(self, block):
        """One event: its fields `id`, `event` and `data`; comments are ignored."""
        fields = {}
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            if name:
                fields[name] = value.removeprefix(" ")
        if "data" not in fields:
            return
        frame = json.loads(fields["data"])
        kind = fields.get("event", "message")
        if kind == "joined":
            return self.begin(frame, fields.get("id"))
        if self.filling:
            return self.fill(kind, frame, fields.get("id"))
        self.pass_on(kind, frame, fields.get("id"))

    def begin(self, frame, cursor):
        frame["messages"] = []
        frame["ref"] = self.refs.pop(frame["room"], None)
        self.filling = (frame, frame.pop("following"), cursor)
        self.filled()

    def fill(self, kind, frame, cursor):
        joined, left, _ = self.filling
        if kind != "message" or frame["room"] != joined["room"]:
            raise ValueError(f"{kind} among the {left} messages that follow `joined`")
        joined["messages"].append(frame)
        self.filling = (joined, left - 1, cursor)
        self.filled()

    def filled(self):
        frame, left, cursor = self.filling
        if left == 0:
            self.filling = None
            self.pass_on("joined", frame, cursor)

    def pass_on(self, kind, frame, cursor):
        if kind == "closed":
            return self.end(frame.get("code"), frame.get("name"))
        if kind == "failure":
            frame["ref"] = self.refs.pop(frame.get("ref"), None)
        self.say(frame)
        if cursor is not None:
            self.owner.cursor = cursor
            self.check(kind, frame)

    def check(self, kind, frame):
        """The ID of an event is the place that the session has reached with it, in every room."""
        places = self.owner.cursor.rpartition(":")[2].split(",")
        for room, place in zip(self.rooms, places, strict=True):
            view = self.owner.rooms.get(room)
            if view is None or view.phase != "joined" or not place or view.last is None:
                continue
            if position(place)[1] != view.last[1]:
                view.broken("cursor", f"the id of {kind} says {place}, but we were shown {text_of(view.last)}")

    # Requests. The rooms are those of the URL.

    def ask_join(self, request):
        if request["room"] in self.rooms:
            self.refs[request["room"]] = request["ref"]
        else:
            self.move()

    def ask_leave(self, request):
        self.say({"type": "left", "ref": request["ref"], "room": request["room"]})
        self.move()

    def move(self):
        """Another stream takes the place of this one."""
        self.owner.draining_until = self.owner.ledger.now()
        self.end(None, "other rooms")

    def shut(self):
        if self.stream:
            self.stream.close()

    def pause(self):
        super().pause()
        if self.stream:
            self.stream.writer.transport.pause_reading()

    def resume(self):
        super().resume()
        if self.stream and not self.stream.writer.transport.is_closing():
            self.stream.writer.transport.resume_reading()


class EventsSession(ForeignSession):
    protocol = "event stream"
    transport = EventStream
    # The POST goes to any node, and its answer may be faster than the stream of another one.
    shows_before_answer = False
    window = 2

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        # The last ID, and the rooms that it is for.
        self.cursor, self.cursor_rooms = None, None
