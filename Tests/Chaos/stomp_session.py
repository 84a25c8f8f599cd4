"""STOMP 1.2 over a WebSocket and over TCP. A subscription begins behind a position that was read over HTTP, as STOMP has
no words for recent messages, and is made again behind the last position after a loss (`martlet-after`).

Sends that are refused for now are told on `/user/queue/errors`; without that subscription an ERROR would end the connection.
"""

import asyncio
import json
import urllib.parse

import http_wire
from ledger import position
from transport import ForeignSession, OverWebSocket, Transport, name_of
from wire import WebSocket

BEAT = 3
ERRORS = "/errors"
ESCAPES = {"\\r": "\r", "\\n": "\n", "\\c": ":", "\\\\": "\\"}


def escape(text):
    return text.replace("\\", "\\\\").replace("\r", "\\r").replace("\n", "\\n").replace(":", "\\c")


def unescape(text):
    parts, at = [], 0
    while at < len(text):
        pair = text[at : at + 2]
        if text[at] != "\\":
            parts.append(text[at])
            at += 1
        else:
            parts.append(ESCAPES[pair])
            at += 2
    return "".join(parts)


class Stomp(Transport):
    def __init__(self, owner, port):
        super().__init__(owner, port)
        self.buffer = b""
        self.asked = {}

    # Frames.

    def frame(self, command, body=b"", **fields):
        lines = [command]
        for name, value in fields.items():
            text = str(value)
            lines.append(f"{name.replace('_', '-')}:{text if command == 'CONNECT' else escape(text)}")
        if body:
            lines.append(f"content-length:{len(body)}")
        self.put("\n".join(lines + ["", ""]).encode() + body + b"\0")

    def put(self, data):
        raise NotImplementedError

    def take(self, data):
        """Bytes came: frames, parts of them, or line ends between them."""
        self.heard()
        self.buffer += data
        try:
            while not self.is_closed:
                self.buffer = self.buffer.lstrip(b"\r\n")
                end = self.buffer.find(b"\n\n")
                if end < 0:
                    return
                lines = self.buffer[:end].decode().split("\n")
                fields = {}
                for line in lines[1:]:
                    name, _, value = line.partition(":")
                    if lines[0] != "CONNECTED":
                        name, value = unescape(name), unescape(value)
                    fields.setdefault(name, value)
                start = end + 2
                if "content-length" in fields:
                    stop = start + int(fields["content-length"])
                    if len(self.buffer) <= stop:
                        return
                    if self.buffer[stop] != 0:
                        raise ValueError("no NUL behind the content-length")
                else:
                    stop = self.buffer.find(b"\0", start)
                    if stop < 0:
                        return
                body, self.buffer = self.buffer[start:stop], self.buffer[stop + 1 :]
                self.taken(lines[0], fields, body)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            self.owner.ledger.broken("protocol", "", self.owner.name, f"not readable: {error!r} {data[:80]!r}")
            self.end(None, "a frame that is not readable")

    def hello(self):
        self.frame(
            "CONNECT",
            accept_version="1.2",
            host="martlet",
            login=self.owner.user,
            passcode="",
            device=self.owner.device,
            heart_beat=f"{1000 * BEAT},{1000 * BEAT}",
        )

    def taken(self, command, fields, body):
        if command == "CONNECTED":
            _, theirs = fields.get("heart-beat", "0,0").split(",")
            every = max(1000 * BEAT, int(theirs)) / 1000
            self.spawn(self.beat, every)
            self.frame("SUBSCRIBE", id=ERRORS, destination="/user/queue/errors")
            # The session's name begins with the node's.
            node = name_of(fields["session"].rpartition("-")[0])
            self.say({"type": "welcome", "node": node, "heartbeat": BEAT})
        elif command == "MESSAGE":
            self.message(fields, body)
        elif command == "RECEIPT":
            self.receipt(self.asked.pop(int(fields["receipt-id"])), fields)
        elif command == "ERROR":
            self.error(fields, body)
        else:
            raise ValueError(f"a frame {command}")

    async def beat(self, every):
        while True:
            await asyncio.sleep(every * 0.8)
            self.put(b"\n")

    # What the node says.

    def message(self, fields, body):
        room = fields["subscription"]
        if room == ERRORS:
            return self.refused(fields, body)
        if "martlet-event" in fields:
            return self.say(json.loads(body))
        text = body.decode()
        if fields.get("destination") != f"/topic/{room}":
            raise ValueError(f"the destination {fields.get('destination')!r} on the subscription {room!r}")
        frame = {"type": "message", "room": room, "position": fields["message-id"], "text": text}
        if fields.get("user") == self.owner.user:
            self.owner.own[text.partition(" ")[0]] = fields["message-id"]
        self.say(frame)

    def receipt(self, request, fields):
        frame = {"ref": request["ref"], "room": request["room"]}
        if request["type"] == "join":
            self.say({**frame, **request["joined"], "type": "joined"})
        elif request["type"] == "leave":
            self.say({**frame, "type": "left"})
        else:
            # A receipt says no position; the message itself was shown before.
            place = self.owner.own.pop(request["key"], None)
            if place is None:
                self.spawn(self.find, request)
            else:
                self.say({**frame, "type": "sent", "position": place, "repeated": request["again"]})

    async def find(self, request):
        """A message that was repeated, and that a `reset` has skipped: it is in the log."""
        page = await self.page(request["room"], limit=100)
        places = [one["position"] for one in page["messages"] if one.get("text", "").partition(" ")[0] == request["key"]]
        if not places or not request["again"]:
            raise ValueError(f"a receipt for {request['key']}, which was not shown and is at {places}")
        frame = {"type": "sent", "ref": request["ref"], "room": request["room"], "repeated": True}
        self.say({**frame, "position": places[0]})

    def refused(self, fields, body):
        request = self.asked.pop(int(fields["receipt-id"]))
        frame = {"type": "error", "ref": request["ref"], "code": 0, "name": fields["code"]}
        self.say({**frame, "message": body.decode(), "retry": fields["retry"] == "true"})

    def error(self, fields, body):
        request = self.asked.pop(int(fields.get("receipt-id") or -1), None)
        text = f"{fields.get('message')}: {body[:200].decode(errors='replace')}"
        if request is not None:
            self.say(
                {
                    "type": "error",
                    "ref": request["ref"],
                    "code": 0,
                    "name": fields.get("message"),
                    "message": text,
                    "retry": True,
                }
            )
        self.end(None, f"ERROR {text}")

    # Requests.

    def ask_join(self, request):
        self.spawn(self.subscribe, request)

    async def subscribe(self, request):
        room, after = request["room"], request.get("after")
        request["joined"] = {"messages": [], "resumed": True, "position": after}
        if after is None:
            page = await self.page(room, limit=request["history"])
            after = page["messages"][-1]["position"] if page["messages"] else "0-0"
            request["joined"] = {"messages": page["messages"], "position": after}
        self.asked[request["ref"]] = request
        self.frame(
            "SUBSCRIBE", id=room, destination=f"/topic/{room}", receipt=request["ref"], **{"martlet-after": after}
        )

    async def page(self, room, **fields):
        path = f"/api/rooms/{urllib.parse.quote(room, safe='')}/messages?{urllib.parse.urlencode(fields)}"
        answer = await http_wire.ask(self.owner.http_port or self.port, "GET", path)
        if answer.status != 200:
            raise OSError(f"HTTP {answer.status} {answer.body[:200]!r}")
        return json.loads(answer.body)

    def ask_leave(self, request):
        self.asked[request["ref"]] = request
        self.frame("UNSUBSCRIBE", id=request["room"], receipt=request["ref"])

    def ask_send(self, request):
        self.asked[request["ref"]] = request
        self.frame(
            "SEND",
            request["text"].encode(),
            destination=f"/topic/{request['room']}",
            receipt=request["ref"],
            martlet_key=request["key"],
            martlet_again="true" if request["again"] else "false",
            content_type="text/plain",
        )


class StompWebSocket(Stomp, OverWebSocket):
    async def run(self):
        self.socket = await WebSocket.connect(self, self.port, "/stomp", subprotocol="v12.stomp")
        if self.socket.is_open:
            self.hello()

    def opened(self):
        if self.socket:
            self.hello()

    def received(self, payload):
        self.take(payload)

    def closed(self, code, text):
        self.end(code if code not in (1000, 1002) else None, text)

    def put(self, data):
        self.socket.send(data.decode())


class StompTCP(Stomp):
    writer = None

    async def run(self):
        async with asyncio.timeout(10):
            reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.hello()
        while True:
            await self.reads.wait()
            data = await reader.read(65536)
            if not data:
                return self.end(None, "the connection ended")
            self.take(data)

    def put(self, data):
        self.writer.write(data)

    def shut(self):
        if self.writer:
            self.writer.transport.abort()

    def pause(self):
        super().pause()
        if self.writer:
            self.writer.transport.pause_reading()

    def resume(self):
        super().resume()
        if self.writer and not self.writer.transport.is_closing():
            self.writer.transport.resume_reading()


class StompSession(ForeignSession):
    protocol = "STOMP"
    transport = StompWebSocket
    tells_presence = False
    # CONNECT has no header for it that every node knows.
    names_device = False
    http_port = None

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        # Messages of its user whose receipt may come: key -> position.
        self.own = {}


class StompTCPSession(StompSession):
    protocol = "STOMP, TCP"
    transport = StompTCP

    @classmethod
    def ports_of(cls, cluster):
        return [node.stomp_port for node in cluster.nodes]
