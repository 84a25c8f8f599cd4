"""What one user does to a chat, within the limits and as fast as they allow."""

import collections
import json
import time

from abuse_load import LONG, USER, Load, request
from abuse_talks import TALKS
from raw_peers import Answers, Peer, frame


class JoinLarge(Load):
    """join and leave rooms of 1,000 messages of 60 kB, with as much history as there is"""

    needs = {"large"}

    def make(self, number):
        rooms = self.ground["large"]
        room = rooms[number // 2 % len(rooms)]
        return self.join(room) if number % 2 == 0 else request(type="leave", room=room)

    def join(self, room):
        return request(type="join", room=room, history=100)


class JoinAfter(JoinLarge):
    """the same, coming back with `after` = the oldest message"""

    def join(self, room):
        return request(type="join", room=room, after=self.ground["oldest"][room], history=1)


class JoinOnce(Load):
    """one session joins many large rooms at once"""

    needs = {"large"}
    sessions = 1

    def go(self, now):
        super().go(now)
        count = self.ground["rooms at once"]
        for peer in self.peers[-1][:1]:
            for room in self.ground["large"][:count]:
                self.loop.count["offered"] += 1
                peer.write(request(type="join", room=room))

    def tick(self, now):
        self.reopen(now)


class InLarge(Load):
    needs = {"large"}

    @property
    def rooms(self):
        return self.ground["large"][:8]

    def room(self, number):
        return self.rooms[number % len(self.rooms)]


class History(InLarge):
    """`history` pages from all over a log of large messages"""

    def make(self, number):
        room = self.room(number)
        epoch, _, seq = self.ground["oldest"][room].partition("-")
        place = f"{epoch}-{int(seq) + number * 37 % 1000}"
        return request(type="history", room=room, limit=100, **{("before", "after", "around")[number % 3]: place})


class Again(InLarge):
    """keyed sends that say `again` without `since`, where messages are large"""

    def make(self, number):
        return request(
            type="send", room=self.room(number), text="x", key=f"again {number} {time.time():.0f}", again=True
        )


class KeyedFirst(InLarge):
    """honest first tries with keys, where messages are large"""

    def make(self, number):
        key = f"first {number} {time.time():.0f}"
        return request(type="send", room=self.room(number), text="x", key=key, again=False)


class Roster(Load):
    """`roster` of 3,000 members by somebody who is not there"""

    needs = {"hall"}

    def make(self, number):
        return request(type="roster", room=self.ground["hall"])


class SignalLarge(Load):
    """signals of 60 kB to 500 members"""

    needs = {"crowd"}

    def __init__(self, loop, ground, rate):
        super().__init__(loop, ground, rate)
        self.bytes = self.made()

    def joins(self, peer):
        return (self.ground["crowd"],)

    def made(self):
        return request(type="signal", room=self.ground["crowd"], name="typing", data=LONG)

    def make(self, number):
        return self.bytes


class SendLarge(SignalLarge):
    """sends of 60 kB to 500 members"""

    def made(self):
        return request(type="send", room=self.ground["crowd"], text=LONG)


class Readers(Load):
    """56 sessions on each node that read nothing, in a room in which four others say 60 kB as fast as they may"""

    sessions, silent = 60, 56
    needs = set()

    def peer(self, port, index):
        made = super().peer(port, index)
        made.is_silent = index < self.silent
        made.receive_buffer = 4_096 if made.is_silent else None
        return made

    def opened(self, peer):
        peer.write(request(type="join", room="abuse-busy", history=1))
        if peer.is_silent:
            peer.reads = False
            peer.usual()

    def closed(self, peer):
        peer.reads = True
        super().closed(peer)

    def next(self, node):
        talkers = [peer for peer in self.peers[node] if peer.is_open and not peer.is_silent]
        self.turn[node] += 1
        return talkers[self.turn[node] % len(talkers)] if talkers else None

    def make(self, number):
        return request(type="send", room="abuse-busy", text=LONG)


class RoomsEmpty(Load):
    """join a room that nobody was ever in, leave it, go on to the next"""

    needs = set()
    says = None
    STEP = 0.15

    def __init__(self, loop, ground, rate):
        super().__init__(loop, ground, rate)
        self.later = collections.deque()
        self.serial = f"{time.time():.0f}"

    def one(self, peer):
        """What follows a join comes after a moment (nobody may speak in a room before being in it), else another join."""
        now = time.monotonic()
        if self.later and self.later[0][0] <= now:
            _, peer, room, steps = self.later.popleft()
        else:
            self.number += 1
            room = f"abuse-{type(self).__name__}-{self.serial}-{self.number}"
            steps = [request(type="join", room=room), request(type="leave", room=room)]
            if self.says:
                steps.insert(1, request(type="send", room=room, text=self.says))
        done = peer.write(steps.pop(0))
        if steps:
            self.later.append((now + self.STEP, peer, room, steps))
        return done


class RoomsLarge(RoomsEmpty):
    """join a room, say one message of 60 kB, leave it, go on to the next"""

    says = LONG


class DeepJSON(Load):
    """JSON that is deep, wide, or all escapes, as large as a frame may be"""

    needs = set()
    rooms = ("abuse-own",)

    def __init__(self, loop, ground, rate):
        super().__init__(loop, ground, rate)
        head = b'{"type":"send","room":"abuse-own","data":'
        wide = json.dumps({f"k{index}": index for index in range(4_000)}, separators=(",", ":")).encode()
        self.all = [
            frame(head + b"[" * 30_000 + b"]" * 30_000 + b"}"),
            frame(head + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"}"),
            frame(head + wide + b"}"),
            frame(b'{"type":"send","room":"abuse-own","text":"' + b"\\u20ac" * 10_000 + b'"}'),
            frame(head + b"[" + b"1e300," * 10_000 + b"1]}"),
            frame(b'{"type":"send","room":"abuse-own","text":"x"' + b',"u":[[]]' * 6_000 + b"}"),
        ]

    def make(self, number):
        return self.all[number % len(self.all)]


class BadFrames(Load):
    """frames that are wrong; whoever is closed for it comes back"""

    needs = set()
    sessions = 16

    def __init__(self, loop, ground, rate):
        super().__init__(loop, ground, rate)
        ok = request(type="ping")
        self.all = [
            frame(b"no JSON"),
            frame(b'{"type":"' + b"y" * 60_000),
            frame(b"\0" * 60_000, 0x82),
            bytes((0x81, len(b"{}"))) + b"{}",
            bytes((0xF1,)) + ok[1:],
            frame(b"\xff" * 60_000),
            frame(b'{"type":"none"}'),
            frame(b"x" * 60_000, 0x01),
            frame(b"", 0x09) * 50,
            frame(b'{"type":"join","room":"' + b"r" * 5_000 + b'"}'),
            bytes((0x81, 0xFF)) + b"\xff" * 8 + b"\0" * 100,
        ]

    def make(self, number):
        return self.all[number % len(self.all)]


class HTTP(Load):
    """Requests over connections that stay open; the next one when the last was answered, up to the rate."""

    needs = set()
    sessions = 8

    def peer(self, port, index):
        made = Peer(self.loop, port, answers=Answers(self.loop))
        made.on_closed = self.closed
        return made

    def closed(self, peer):
        peer.answers.start_over()
        super().closed(peer)

    def next(self, node):
        peers = self.peers[node]
        for _ in peers:
            self.turn[node] = (self.turn[node] + 1) % len(peers)
            peer = peers[self.turn[node]]
            if peer.is_open and not peer.answers.waiting:
                return peer
        return None

    def one(self, peer):
        peer.answers.waiting += 1
        return super().one(peer)

    def get(self, path):
        return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


class KeyedHTTP(HTTP):
    """posts with a key over HTTP, where messages are large"""

    needs = {"large"}

    def make(self, number):
        rooms = self.ground["large"][:8]
        body = json.dumps({"user": USER, "text": "x", "key": f"http {number} {time.time():.0f}"}).encode()
        head = (
            f"POST /api/rooms/{rooms[number % len(rooms)]}/messages HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


class GetHistory(HTTP):
    """GETs of pages of large messages"""

    needs = {"large"}

    def make(self, number):
        rooms = self.ground["large"]
        return self.get(f"/api/rooms/{rooms[number % len(rooms)]}/messages?limit=100")


class GetRoster(HTTP):
    """GETs of a roster of 3,000 members"""

    needs = {"hall"}

    def make(self, number):
        return self.get(f"/api/rooms/{self.ground['hall']}/roster")


class GetMetrics(HTTP):
    """GETs of /metrics"""

    def make(self, number):
        return self.get("/metrics")


class Heads(Load):
    """200 connections on each node say the head of a handshake byte for byte, and never end it"""

    needs = set()
    sessions, bytes_each = 200, b"y"
    start = b"GET /ws?user=abuser HTTP/1.1\r\nHost: a\r\nX: "

    def peer(self, port, index):
        made = Peer(self.loop, port)
        made.on_open = self.opened
        made.on_closed = self.closed
        return made

    def begin(self):
        # What has to become a session within ten seconds cannot be made before it counts.
        pass

    def go(self, now):
        super().go(now)
        self.waits = [(now, peer) for peers in zip(*self.peers) for peer in peers]

    def opened(self, peer):
        peer.write(self.start)

    def make(self, number):
        return self.bytes_each


class LargeHeads(Heads):
    """heads of 15 kB, never finished; when all stand there the oldest makes room"""

    sessions = 400

    def __init__(self, loop, ground, rate):
        super().__init__(loop, ground, rate)
        self.oldest = [0] * len(self.ports)

    def go(self, now):
        self.began = now

    def closed(self, peer):
        pass

    def opened(self, peer):
        peer.write(self.start + b"y" * 15_000)

    def next(self, node):
        self.oldest[node] = (self.oldest[node] + 1) % self.sessions
        return self.peers[node][self.oldest[node]]

    def one(self, peer):
        if peer.socket is not None:
            peer.close()
        peer.open()
        return True


class Silent(LargeHeads):
    """connections that never say a word; when all stand there the oldest makes room"""

    sessions = 2_000

    def opened(self, peer):
        pass


# name -> (what does it, things a second on each node: None is what the limits allow a user, a number its own bound).
KINDS = {
    "join-large": (JoinLarge, None),
    "join-after": (JoinAfter, None),
    "history": (History, None),
    "again": (Again, None),
    "keyed-first": (KeyedFirst, None),
    "keyed-http": (KeyedHTTP, None),
    "roster": (Roster, None),
    "get-history": (GetHistory, 1_000),
    "get-roster": (GetRoster, 1_000),
    "get-metrics": (GetMetrics, 1_000),
    "slow-heads": (Heads, 3_000),
    "large-heads": (LargeHeads, 200),
    "silent-connections": (Silent, 400),
    "signal-large": (SignalLarge, None),
    "send-large": (SendLarge, None),
    "readers": (Readers, None),
    "rooms-large": (RoomsLarge, None),
    "rooms-empty": (RoomsEmpty, None),
    "deep-json": (DeepJSON, None),
    "bad-frames": (BadFrames, None),
    **TALKS,
}
# Not paired: it happens once.
ONCE = {"join-once": (JoinOnce, None)}
