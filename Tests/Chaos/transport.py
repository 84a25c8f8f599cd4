"""What is common to the transports of other protocols than martlet.v1. A session speaks to its transport in the frames of
martlet.v1, and the transport translates them into its protocol and back. So every session keeps one and the same ledger.
"""

import asyncio
import json
import re
import urllib.parse

import http_wire
from session import Session

NO_ANSWER = "noAnswer"


class Transport:
    """Has the surface of `wire.WebSocket`: `send`, `drop`, `pause`, `resume` and `heard_at`."""

    def __init__(self, owner, port):
        self.owner, self.port = owner, port
        self.loop = asyncio.get_running_loop()
        self.heard_at = self.loop.time()
        self.is_closed = False
        self.tasks = set()
        self.reads = asyncio.Event()
        self.reads.set()

    @classmethod
    async def connect(cls, owner, port):
        made = cls(owner, port)
        made.spawn(made.run)
        return made

    async def run(self):
        """Connects, and translates what comes until the end."""
        raise NotImplementedError

    def send(self, text):
        """Translates a request, a JSON text of martlet.v1."""
        request = json.loads(text)
        getattr(self, "ask_" + request["type"])(request)

    def spawn(self, work, *arguments):
        task = self.loop.create_task(self.guarded(work, *arguments))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def guarded(self, work, *arguments):
        try:
            await work(*arguments)
        except (OSError, EOFError) as error:
            self.end(None, f"{type(error).__name__}: {error}")
        except (ValueError, KeyError, TypeError, IndexError) as error:
            self.owner.ledger.broken("protocol", "", self.owner.name, f"not readable: {error!r}")
            self.end(None, "an answer that is not readable")

    def say(self, frame):
        """Passes a frame to the session."""
        if not self.is_closed:
            self.owner.received(json.dumps(frame).encode())

    def heard(self):
        self.heard_at = self.loop.time()

    def end(self, code, text):
        if self.is_closed:
            return
        self.is_closed = True
        here = asyncio.current_task() if asyncio._get_running_loop() else None
        for task in self.tasks:
            if task is not here:
                task.cancel()
        self.shut()
        # As a connection does: not before whoever asked for the end is done.
        self.loop.call_soon(self.owner.closed, code, text)

    def shut(self):
        """Closes what is open."""

    def drop(self):
        self.end(None, "dropped")

    def pause(self):
        self.reads.clear()

    def resume(self):
        self.reads.set()


class ForeignSession(Session):
    """A session of another protocol. `protocol`: the name in figures; `transport`: its class."""

    protocol = None
    transport = None

    async def open(self, port):
        return await self.transport.connect(self, port)

    def refused(self, frame):
        asked = self.refs.get(frame.get("ref"))
        if asked and frame.get("name") == NO_ANSWER and hasattr(asked[1], "interrupted"):
            # A connection was lost, though not the session's.
            asked[1].interrupted = True
        super().refused(frame)

    handlers = {**Session.handlers, "error": refused}


class OverWebSocket(Transport):
    """A transport with a `wire.WebSocket`, from some time on."""

    def __init__(self, owner, port):
        super().__init__(owner, port)
        self.socket = None

    def shut(self):
        if self.socket:
            self.socket.drop()

    def pause(self):
        super().pause()
        if self.socket:
            self.socket.pause()

    def resume(self):
        super().resume()
        if self.socket:
            self.socket.resume()


class Posting(Transport):
    """Sends by `POST /api/rooms/{room}/messages`, each on a connection of its own."""

    SECONDS = 8

    def ask_send(self, request):
        self.spawn(self.post, request)

    async def post(self, request):
        ref, room = request["ref"], request["room"]
        body = {"user": self.owner.user, "text": request["text"], "key": request["key"]}
        try:
            answer = await http_wire.ask(
                self.port,
                "POST",
                f"/api/rooms/{urllib.parse.quote(room, safe='')}/messages",
                {"Content-Type": "application/json"},
                json.dumps(body).encode(),
                self.SECONDS,
            )
        except OSError as error:
            return self.say(no_answer(ref, str(error)))
        if answer.status in (200, 201):
            self.say({"type": "sent", "ref": ref, **json.loads(answer.body)})
        elif answer.fields.get("content-type", "").startswith("application/json"):
            self.say({"type": "error", "ref": ref, **json.loads(answer.body)["error"]})
        else:
            # A proxy's own answer: it found no node, or lost it.
            self.say(no_answer(ref, f"HTTP {answer.status}"))


def no_answer(ref, text):
    return {"type": "error", "ref": ref, "code": 0, "name": NO_ANSWER, "message": text, "retry": True}


def name_of(node):
    """A node's configured name, of an ID that ends with the random part of its start."""
    return re.sub(r"-[0-9a-f]{8}$", "", node)
