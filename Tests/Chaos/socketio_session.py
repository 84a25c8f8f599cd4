"""Socket.IO 4 with the profile `martlet`, over a WebSocket, by polling alone, and by polling until the WebSocket is there,
as the official client does it. Each request of polling goes through the proxy on a connection of its own, to any node.

Rooms are joined again with `after`, which every Socket.IO client can do: so a session of several rooms has each room's own
position. `RecoveringSession` comes back by the protocol's connection state recovery instead.
"""

import asyncio
import collections
import json
import urllib.parse

import http_wire
from ledger import position
from transport import ForeignSession, OverWebSocket, name_of
from wire import WebSocket

SEPARATOR = "\x1e"
FILL_SECONDS = 3
RESTORE_SECONDS = 5


class Filling:
    """A room whose `join` is acknowledged, and whose first messages have not all come."""

    def __init__(self, joined):
        self.joined, self.messages, self.later = joined, [], collections.deque()
        self.timer = None


class SocketIO(OverWebSocket):
    """`polls`: begins by polling; `upgrades`: goes on over a WebSocket then."""

    polls = False
    upgrades = False

    def __init__(self, owner, port):
        super().__init__(owner, port)
        self.sid = None
        self.acks = {}
        self.serial = 0
        self.filling = {}
        self.outbox = []
        self.posting = False
        self.silence = 60
        self.is_recovered = False
        # Rooms that are restored: the request that waits for `joined`, with its timer, and `joined` before its request.
        self.restored, self.unasked = {}, {}
        # An upgrade: `probe` while both are open, `done` after the last poll.
        self.upgrade = None
        self.is_probing = False

    # Engine.IO.

    async def run(self):
        if not self.polls:
            self.socket = await WebSocket.connect(self, self.port, self.engine_path("websocket"), subprotocol=None)
            return self.flush()
        await self.get()
        if self.upgrades:
            self.upgrade = "probe"
            self.socket = await WebSocket.connect(self, self.port, self.engine_path("websocket"), subprotocol=None)
            self.probe()
        while self.upgrade != "done":
            await self.reads.wait()
            await self.get()
            if self.upgrade == "probed":
                # This was the last poll: everything from now on goes over the WebSocket.
                self.upgrade = "done"
                self.socket.send("5")
                self.flush()

    def engine_path(self, transport):
        fields = {"EIO": "4", "transport": transport, **({"sid": self.sid} if self.sid else {})}
        return "/socket.io/?" + urllib.parse.urlencode(fields)

    async def get(self):
        answer = await http_wire.ask(self.port, "GET", self.engine_path("polling"), seconds=self.silence)
        self.heard()
        if answer.status != 200:
            raise OSError(f"HTTP {answer.status} {answer.body[:200]!r}")
        for packet in answer.body.decode().split(SEPARATOR):
            self.packet(packet)

    def write(self, packet):
        self.outbox.append(packet)
        self.flush()

    def flush(self):
        if self.is_closed or not self.outbox:
            return
        if not self.polls or self.upgrade == "done":
            if self.socket:
                for packet in self.outbox:
                    self.socket.send(packet)
                self.outbox = []
        elif not self.posting and self.upgrade != "probed":
            self.posting = True
            self.spawn(self.post)

    async def post(self):
        body, self.outbox = SEPARATOR.join(self.outbox), []
        fields = {"Content-Type": "text/plain; charset=UTF-8"}
        answer = await http_wire.ask(self.port, "POST", self.engine_path("polling"), fields, body.encode(), 10)
        if answer.status != 200:
            raise OSError(f"HTTP {answer.status} {answer.body[:200]!r}")
        if answer.body != b"ok":
            raise ValueError(f"POST was answered {answer.body!r}")
        self.posting = False
        if self.upgrade == "waits for a POST":
            self.probed()
        self.flush()

    def packet(self, text):
        if self.is_closed:
            return
        kind, rest = text[0], text[1:]
        if kind == "0":
            said = json.loads(rest)
            self.sid = said["sid"]
            self.silence = (said["pingInterval"] + said["pingTimeout"]) / 1000
            self.write("40" + json.dumps(self.auth()))
        elif kind == "2":
            self.write("3")
        elif kind == "1":
            self.end(None, "closed by the node")
        elif kind == "4":
            self.socket_packet(rest)
        elif kind != "6":
            raise ValueError(f"a packet {text[:40]!r}")

    def probed(self):
        """The WebSocket works: the poll that waits is answered, and is the last one. A POST under way ends first."""
        if self.posting:
            self.upgrade = "waits for a POST"
        else:
            self.upgrade = "probed"

    # The WebSocket.

    def opened(self):
        self.probe()

    def probe(self):
        """Asks over the WebSocket whether it works, once it is open."""
        if self.upgrade == "probe" and self.socket and self.socket.is_open and not self.is_probing:
            self.is_probing = True
            self.socket.send("2probe")

    def received(self, payload):
        self.heard()
        text = payload.decode()
        if self.upgrade == "probe" and text == "3probe":
            return self.probed()
        try:
            self.packet(text)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            self.owner.ledger.broken("protocol", "", self.owner.name, f"not readable: {error!r} {text[:80]!r}")
            self.end(None, "a packet that is not readable")

    def closed(self, code, text):
        self.end(code, text)

    # Socket.IO.

    def auth(self):
        known = {"pid": self.owner.private, "offset": self.owner.offset} if self.owner.private else {}
        return {"user": self.owner.user, "device": self.owner.device, **known}

    def socket_packet(self, text):
        kind, rest = text[0], text[1:]
        if kind == "0":
            return self.connected(json.loads(rest))
        if kind == "1":
            return self.end(None, "disconnected by the node")
        if kind == "4":
            return self.end(None, f"refused: {rest}")
        if kind not in "23":
            raise ValueError(f"a packet {text[:40]!r}")
        start = rest.index("[")
        arguments = json.loads(rest[start:])
        if kind == "3":
            return self.acked(self.acks.pop(int(rest[:start])), arguments)
        self.event(arguments[0], arguments[1:])

    def connected(self, said):
        # The state of before is restored: the node makes the client join its rooms.
        self.is_recovered = self.owner.private is not None and said.get("pid") == self.owner.private
        self.owner.private = said.get("pid") if self.owner.recovers else None
        self.owner.ledger.count["Socket.IO states restored"] += self.is_recovered
        node = name_of(self.sid.rpartition(".")[0].rpartition(".")[0])
        self.say({"type": "welcome", "node": node, "heartbeat": self.silence / 3})

    def emit(self, name, what, ask):
        """With an acknowledgement."""
        self.serial += 1
        self.acks[self.serial] = ask
        self.write(f"42{self.serial}" + json.dumps([name, what], separators=(",", ":")))

    def ask_join(self, request):
        room = request["room"]
        if self.is_recovered and "after" in request and room not in self.restored:
            # `joined` comes unasked. If it does not, the room was none of those that are restored.
            timer = self.loop.call_later(RESTORE_SECONDS, self.ask_unrestored, request)
            self.restored[room] = (request, timer)
            if room in self.unasked:
                self.restore(room)
            return
        self.ask_for(request)

    def ask_unrestored(self, request):
        self.restored[request["room"]] = None
        self.ask_for(request)

    def restore(self, room):
        request, timer = self.restored[room]
        self.restored[room] = None
        timer.cancel()
        frame = self.unasked.pop(room)
        self.joined({**frame, "ref": request["ref"]})

    def ask_for(self, request):
        fields = {name: request[name] for name in ("room", "after", "history") if name in request}
        self.emit("join", fields, request)

    def ask_leave(self, request):
        self.emit("leave", {"room": request["room"]}, request)

    def ask_send(self, request):
        fields = {name: request[name] for name in ("room", "text", "key", "again", "since") if name in request}
        self.emit("send", fields, request)

    def acked(self, request, arguments):
        answer = arguments[0] if arguments else {}
        frame = {"ref": request["ref"], "room": request["room"]}
        if "error" in answer:
            return self.say({**frame, "type": "error", **answer["error"]})
        if request["type"] == "leave":
            return self.say({**frame, "type": "left"})
        if request["type"] == "send":
            return self.say({**frame, "type": "sent", **answer})
        self.joined({**frame, **answer})

    def joined(self, answer):
        frame = {**answer, "type": "joined", "messages": []}
        if "members" in frame:
            frame["roster"] = frame.pop("members")
        if frame.get("resumed"):
            return self.say(frame)
        filling = self.filling[frame["room"]] = Filling(frame)
        filling.timer = self.loop.call_later(FILL_SECONDS, self.filled, frame["room"])
        if "resumed" not in frame and position(frame["position"])[1] == 0:
            self.filled(frame["room"])

    def event(self, name, arguments):
        what = arguments[0] if arguments and isinstance(arguments[0], dict) else {}
        if name not in ("message", "presence", "gap", "reset", "draining", "error", "signal", "typing", "left", "joined"):
            raise ValueError(f"an event {name!r}")
        if name == "message":
            room, _, place = arguments[1].rpartition("~")
            if (room, place) != (what["room"], what["position"]):
                raise ValueError(f"the offset {arguments[1]!r} of {what['position']} in {what['room']}")
        if name == "message":
            self.owner.offset = arguments[1]
        if name == "joined" and self.is_recovered:
            self.unasked[what["room"]] = what
            if self.restored.get(what["room"]):
                self.restore(what["room"])
            return
        filling = self.filling.get(what.get("room"))
        if filling is None:
            return self.told(name, what)
        first = filling.joined
        if "resumed" in first and name in ("gap", "reset"):
            # What a `join` with `after` could not resume, right behind its acknowledgement.
            first[name] = what
            if name == "reset":
                first["position"] = what["position"]
            return self.filled(what["room"])
        end = position(first["position"])
        if name == "message" and not filling.later and position(what["position"])[1] <= end[1]:
            filling.messages.append(what)
            if position(what["position"])[1] == end[1]:
                self.filled(what["room"])
        else:
            filling.later.append((name, what))

    def filled(self, room):
        filling = self.filling.pop(room, None)
        if filling is None:
            return
        filling.timer.cancel()
        self.say({**filling.joined, "messages": filling.messages})
        for name, what in filling.later:
            self.told(name, what)

    def told(self, name, what):
        if name != "typing":
            self.say({**what, "type": name})

    # The surface of a socket.

    def shut(self):
        for filling in self.filling.values():
            filling.timer.cancel()
        for waiting in self.restored.values():
            if waiting:
                waiting[1].cancel()
        super().shut()


class SocketIOPolling(SocketIO):
    polls = True


class SocketIOUpgraded(SocketIO):
    polls = upgrades = True


class SocketIOSession(ForeignSession):
    protocol = "Socket.IO"
    transport = SocketIO
    # Comes back by connection state recovery, if the node was able to keep the state.
    recovers = False

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.private, self.offset = None, None


class RecoveringSession(SocketIOSession):
    protocol = "Socket.IO, recovering"
    recovers = True


class SocketIOPollingSession(SocketIOSession):
    protocol = "Socket.IO, polling"
    transport = SocketIOPolling


class SocketIOUpgradedSession(SocketIOSession):
    protocol = "Socket.IO, upgraded"
    transport = SocketIOUpgraded
