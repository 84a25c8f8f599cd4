"""An honest client of martlet.v1, as Sources/ChatWire/README.md describes it: keeps for each room the last position it
showed, joins again with it after a loss, repeats unanswered sends with their key, `again` and `since`, and checks
every frame it is shown.
"""

import asyncio
import collections
import itertools
import json
import urllib.parse

from ledger import position, text_of
from wire import WebSocket

WINDOW = 8
NO_RECONNECT = {4002: "unauthenticated", 4004: "tooManySessions", 4005: "abuse", 4007: "ended"}
serials = itertools.count(1)


class Send:
    def __init__(self, key, text, now):
        self.key, self.text, self.made = key, text, now
        self.first_written = None
        self.since = None
        self.in_flight = False
        self.maybe_stored = False
        self.refused = False
        # The connection was lost before its answer came.
        self.interrupted = False
        self.ref = None


class Segment:
    """What a session was shown of a room since it came in fresh, or was told to forget everything."""

    def __init__(self, start, reason):
        # The session knows all messages after this position.
        self.start, self.reason = start, reason
        self.shown = []
        self.gaps = []


class RoomView:
    """One room as one session knows it, over all its connections."""

    def __init__(self, session, room):
        self.session, self.room = session, room
        self.wanted = True
        self.phase = "out"
        self.last = None
        self.segments = []
        self.sends = collections.deque()
        self.members, self.count = None, None
        self.events = collections.deque(maxlen=400)
        self.paused_until, self.refusals = 0.0, 0
        self.join_ref = None
        # When the connection was lost on which we were in it.
        self.lost_at = None

    def note(self, text):
        self.events.append((self.session.ledger.now(), text))

    def lines(self):
        return [f"{at:7.2f} s  {text}" for at, text in self.events]

    def broken(self, promise, text):
        self.note(f"BROKEN {promise}: {text}")
        self.session.ledger.broken(promise, self.room, self.session.name, text, self.lines())

    def begin(self, start, reason):
        self.segments.append(Segment(start, reason))
        self.last = start

    def show(self, message):
        place = position(message["position"])
        key = message.get("text", "").partition(" ")[0]
        self.note(f"shown {message['position']} {key}")
        self.session.ledger.shown(self.room, place, key, self)
        self.session.on_message(self, place, message)
        if self.last is None:
            return self.broken("order", f"{message['position']} was shown before `joined`")
        if place[1] <= self.last[1]:
            seen = any(place == one for one in self.segments[-1].shown[-500:])
            word = "a repeat" if seen else "out of order"
            return self.broken(word, f"{message['position']} was shown after {text_of(self.last)}")
        if place[1] > self.last[1] + 1:
            self.broken("silent hole", f"{message['position']} was shown after {text_of(self.last)}, without a `gap`")
        elif place < self.last:
            self.broken("order", f"{message['position']} has an older epoch than {text_of(self.last)}")
        self.last = place
        self.segments[-1].shown.append(place)

    def joined(self, frame):
        self.phase, self.refusals = "joined", 0
        if self.lost_at is not None:
            self.session.ledger.returned(self.room, self.lost_at)
            self.lost_at = None
        end = position(frame["position"])
        resumed, gap, reset = frame.get("resumed"), frame.get("gap"), frame.get("reset")
        messages = frame.get("messages", [])
        self.note(
            f"joined at {frame['position']} resumed={resumed} gap={gap} reset={reset} with {len(messages)} messages"
        )
        if resumed is None or reset:
            if resumed is None and self.last is not None:
                self.broken("resume", "`joined` does not say `resumed`, though we said `after`")
            if reset:
                self.session.ledger.reset(self.room)
            start = end
            if messages:
                first = position(messages[0]["position"])
                start = (first[0], first[1] - 1)
            self.begin(start, "reset" if reset else "fresh")
        elif gap:
            self.gap(gap)
        for message in messages:
            self.show(message)
        if (resumed is None or reset) and self.last[1] != end[1]:
            self.broken("resume", f"`joined` says {frame['position']}, its messages end at {text_of(self.last)}")
        elif self.last[1] > end[1]:
            self.broken(
                "resume", f"`joined` says {frame['position']}, but we know {text_of(self.last)}, and no `reset`"
            )
        if "roster" in frame:
            self.members = {member["user"] for member in frame["roster"]}
        else:
            self.members = None
        self.count = frame.get("count")

    def gap(self, frame):
        after, before = position(frame["after"]), position(frame["before"])
        self.note(f"gap {frame['after']}..{frame['before']}")
        self.session.ledger.count["gaps"] += 1
        if self.last is None or after[1] > self.last[1]:
            self.broken("silent hole", f"gap after {frame['after']}, but we only know {text_of(self.last)}")
        if self.segments and self.last is not None:
            self.segments[-1].gaps.append((self.last[1], before[1]))
            if before[1] - 1 > self.last[1]:
                self.last = (self.last[0], before[1] - 1)

    def reset(self, frame):
        self.note(f"reset at {frame['position']}: {frame.get('reason')}")
        self.session.ledger.reset(self.room)
        self.begin(position(frame["position"]), "reset")

    def presence(self, frame):
        joined, left, self.count = frame["joined"], frame["left"], frame["count"]
        self.note(f"presence +{','.join(joined)} -{','.join(left)} = {self.count}")
        # A large room is only counted: then its names are not known any more.
        if self.members is None or not (joined or left):
            self.members = None
            return
        self.members |= set(joined)
        self.members -= set(left)

    def lost(self):
        """The connection is gone: nothing on it will be answered any more."""
        if self.phase != "out":
            self.note("connection lost")
        if self.phase == "joined":
            self.lost_at = self.session.ledger.now()
        self.phase = "out"
        self.paused_until = 0.0
        for send in self.sends:
            if send.in_flight:
                send.in_flight, send.maybe_stored, send.interrupted = False, True, True


class Session:
    """One device of one user. `ports`: where it may connect, one after the other."""

    # The name in figures.
    protocol = "martlet.v1"
    # It is shown a message before it is told that the message is stored.
    shows_before_answer = True
    # It is in the rosters of its rooms, and is told who else is.
    is_present = True
    tells_presence = True
    # It says by which device its user is there.
    names_device = True
    # Sends without an answer at once.
    window = WINDOW

    def __init__(self, ledger, user, device, ports, rng, history=5):
        self.ledger, self.user, self.device, self.ports, self.rng = ledger, user, device, ports, rng
        self.name = f"{user}/{device}"
        self.history = history
        self.rooms = {}
        self.refs = {}
        self.socket = None
        self.welcome = self.process = None
        self.heartbeat = 25
        self.failures = 0
        self.timer = self.pump_timer = None
        self.stopped = False
        self.draining_until = None
        self.port_index = rng.randrange(len(ports))
        self.receive_buffer = None
        self.connects = []
        self.closes = collections.Counter()
        self.is_reading = True
        self.on_message = lambda view, place, message: None
        self.on_welcome = lambda session: None
        self.on_presence = lambda view, joined, left: None

    @classmethod
    def ports_of(cls, cluster):
        """Where sessions of this protocol connect; nothing for where all do."""
        return []

    # What the scenario asks for.

    def start(self):
        self.loop = asyncio.get_running_loop()
        self.connect()

    def want(self, room):
        view = self.rooms.get(room)
        if view is None or (view.phase == "out" and not view.wanted):
            view = self.rooms[room] = RoomView(self, room)
        view.wanted = True
        self.pump()
        return view

    def unwant(self, room):
        """Leaves a room in which nothing of ours waits for its answer."""
        view = self.rooms.get(room)
        if view is None or view.phase != "joined" or view.sends or self.welcome is None:
            return False
        view.wanted, view.phase = False, "leaving"
        view.note("leave")
        self.ask("leave", view)
        return True

    def say(self, room, text):
        view = self.rooms[room]
        send = Send(text.partition(" ")[0], text, self.ledger.clock())
        self.ledger.count["said"] += 1
        view.sends.append(send)
        self.pump_room(view)
        return send

    def drop(self):
        """Loses its connection, as a phone does in a tunnel; comes back by itself."""
        if self.socket:
            self.socket.drop()

    def stop(self):
        self.stopped = True
        if self.timer:
            self.timer.cancel()
        if self.pump_timer:
            self.pump_timer.cancel()
        if self.socket:
            self.socket.drop()

    def pause_reading(self):
        self.is_reading = False
        if self.socket:
            self.socket.pause()

    def resume_reading(self):
        self.is_reading = True
        if self.socket:
            self.socket.heard_at = self.loop.time()
            self.socket.resume()

    @property
    def waiting(self):
        return sum(len(view.sends) for view in self.rooms.values())

    @property
    def is_settled(self):
        """Connected, in every room that it wants, out of every other, and nothing said without its answer."""
        return (
            self.welcome is not None
            and not self.waiting
            and all(view.phase == ("joined" if view.wanted else "out") for view in self.rooms.values())
        )

    # The connection.

    def connect(self):
        if self.stopped:
            return
        self.timer = None
        port = self.ports[self.port_index % len(self.ports)]
        self.loop.create_task(self.connecting(port))

    async def connecting(self, port):
        try:
            self.socket = await self.open(port)
        except OSError as error:
            return self.closed(None, str(error))
        if self.stopped:
            return self.socket.drop()
        self.timer = self.loop.call_later(10, self.watch)

    async def open(self, port):
        return await WebSocket.connect(self, port, self.path(), self.receive_buffer)

    def path(self):
        return "/ws?" + urllib.parse.urlencode({"user": self.user, "device": self.device})

    def watch(self):
        """Drops a connection on which nothing was heard for three heartbeats, or no welcome for ten seconds."""
        self.timer = None
        if self.socket is None or self.stopped:
            return
        patience = 3 * self.heartbeat if self.welcome else 10
        silent = self.loop.time() - self.socket.heard_at
        if self.is_reading and silent >= patience:
            self.ledger.count["silent connections dropped"] += 1
            return self.socket.drop()
        self.timer = self.loop.call_later(max(0.2, patience - silent), self.watch)

    def opened(self):
        pass

    def closed(self, code, text):
        if self.timer:
            self.timer.cancel()
        was_welcome, self.welcome, self.socket = self.welcome, None, None
        self.refs = {}
        self.is_reading = True
        for view in self.rooms.values():
            view.lost()
            if not view.wanted:
                view.note("left with the connection")
        if self.stopped:
            return
        if code is not None or was_welcome:
            self.closes[code] += 1
            self.ledger.count[f"closed {code or 'without a code'}"] += 1
        else:
            self.ledger.count["connects that failed"] += 1
        if code in NO_RECONNECT:
            self.ledger.broken("close code", "", self.name, f"closed with {code} {NO_RECONNECT[code]}: {text}")
        moves = self.draining_until is not None
        self.draining_until = None
        delay = 0.0 if moves else self.rng.uniform(0, min(2.0, 0.1 * 2 ** min(self.failures, 10)))
        self.failures += 0 if moves else 1
        self.port_index += 1
        self.timer = self.loop.call_later(delay, self.connect)

    def received(self, payload):
        try:
            frame = json.loads(payload)
            handler = self.handlers.get(frame["type"])
        except (ValueError, KeyError) as error:
            return self.ledger.broken("protocol", "", self.name, f"not readable: {error!r} {payload[:80]!r}")
        view = self.rooms.get(frame.get("room"))
        if handler is None:
            self.ledger.broken("protocol", "", self.name, f"a frame of unknown type {frame['type']}")
        elif frame["type"] in ("welcome", "draining", "error", "pong", "token", "expiring"):
            handler(self, frame)
        elif view is not None:
            handler(self, frame, view)

    # What the node says.

    def welcomed(self, frame):
        self.welcome, self.failures = frame, 0
        self.heartbeat = frame["heartbeat"]
        # Not every protocol tells which node it is, or is spoken with one node.
        self.process = self.ledger.process_of(frame["node"]) if frame["node"] else None
        self.connects.append((self.ledger.now(), frame["node"]))
        self.on_welcome(self)
        self.pump()

    def draining(self, frame):
        self.draining_until = self.ledger.now() + frame["reconnectAfter"] / 1000
        self.ledger.count["draining"] += 1
        socket = self.socket
        self.loop.call_later(frame["reconnectAfter"] / 1000, lambda: socket.drop() if socket is self.socket else None)

    def pong(self, frame):
        pass

    def signal(self, frame, view):
        pass

    def joined(self, frame, view):
        if frame.get("ref") == view.join_ref and view.phase == "joining":
            self.refs.pop(frame["ref"], None)
            view.joined(frame)
            self.pump_room(view)

    def left(self, frame, view):
        self.refs.pop(frame.get("ref"), None)
        if view.phase == "leaving":
            view.note("left")
            view.phase = "out"
            if view.wanted:
                self.rooms[view.room] = RoomView(self, view.room)
                self.pump()

    def message(self, frame, view):
        if view.phase in ("joined", "leaving"):
            view.show(frame)
        else:
            view.broken("order", f"{frame['position']} was shown while the room is {view.phase}")

    def presence(self, frame, view):
        view.presence(frame)
        self.on_presence(view, frame["joined"], frame["left"])

    def gap(self, frame, view):
        view.gap(frame)

    def reset(self, frame, view):
        view.reset(frame)

    def sent(self, frame, view):
        asked = self.refs.pop(frame["ref"], None)
        if asked is None or not isinstance(asked[1], Send) or asked[1] not in view.sends:
            return view.broken("ack", f"`sent` for {frame['ref']}, which waits for nothing")
        send, place = asked[1], position(frame["position"])
        view.note(f"sent {frame['position']} {send.key}{' repeated' if frame.get('repeated') else ''}")
        view.sends.remove(send)
        view.refusals = 0
        is_early = view.last is None or place[1] > view.last[1]
        if self.shows_before_answer and not frame.get("repeated") and is_early:
            view.broken("ack", f"{send.key} is acknowledged at {frame['position']}, which was not shown yet")
        self.ledger.acked(view.room, send, place, self, bool(frame.get("repeated")))
        self.pump_room(view)

    def refused(self, frame):
        asked = self.refs.pop(frame.get("ref"), None)
        code, name = frame.get("code"), frame.get("name")
        self.ledger.count[f"error {code} {name}"] += 1
        if asked is None:
            return self.ledger.broken("protocol", "", self.name, f"an error that answers nothing: {frame}")
        view, what = asked
        view.note(f"error {code} {name}: {frame.get('message')}")
        if not frame.get("retry"):
            if isinstance(what, Send):
                view.sends.remove(what)
            view.broken("settled", f"{what.key if isinstance(what, Send) else what} failed for good: {frame}")
            return
        if isinstance(what, Send):
            what.in_flight, what.refused = False, True
            if name not in ("rateLimited", "tooManyWaiting", "notStored", "draining"):
                what.maybe_stored = True
        elif what == "join":
            view.phase = "out"
        view.paused_until = self.loop.time() + 0.05 * 2 ** min(view.refusals, 6)
        view.refusals += 1
        self.pump_later(view.paused_until)

    # What is to be asked.

    def after(self, view):
        """The place behind which the session wants a room's messages."""
        return view.last

    def ask(self, type_, view, **fields):
        ref = next(serials)
        what = fields.pop("what", type_)
        self.refs[ref] = (view, what)
        self.socket.send(json.dumps({"type": type_, "ref": ref, "room": view.room, **fields}, separators=(",", ":")))
        return ref

    def pump_later(self, at):
        if self.pump_timer is None:
            self.pump_timer = self.loop.call_at(at + 0.001, self.pump_timed)

    def pump_timed(self):
        self.pump_timer = None
        self.pump()

    def pump(self):
        for view in list(self.rooms.values()):
            self.pump_room(view)

    def pump_room(self, view):
        if self.welcome is None or self.socket is None:
            return
        if view.paused_until > self.loop.time():
            return self.pump_later(view.paused_until)
        if view.phase == "out" and view.wanted:
            fields = {"history": self.history}
            after = self.after(view)
            if after is not None:
                fields["after"] = text_of(after)
            view.phase = "joining"
            view.note(f"join {fields}")
            view.join_ref = self.ask("join", view, **fields)
        if view.phase != "joined":
            return
        flying = sum(1 for send in view.sends if send.in_flight)
        for send in view.sends:
            if flying >= self.window:
                break
            if not send.in_flight:
                self.write(view, send)
                flying += 1

    def write(self, view, send):
        send.in_flight = True
        fields = {"text": send.text, "key": send.key}
        if send.first_written is None:
            send.first_written, send.since = self.ledger.clock(), view.last
        if send.maybe_stored:
            fields["again"] = True
            self.ledger.count["repeated sends"] += 1
            if send.since is not None:
                fields["since"] = text_of(send.since)
        else:
            fields["again"] = False
        view.note(f"send {send.key}{' again since ' + text_of(send.since) if send.maybe_stored else ''}")
        send.ref = self.ask("send", view, what=send, **fields)

    handlers = {
        "welcome": welcomed,
        "draining": draining,
        "error": refused,
        "pong": pong,
        "joined": joined,
        "left": left,
        "message": message,
        "presence": presence,
        "signal": signal,
        "gap": gap,
        "reset": reset,
        "sent": sent,
    }
