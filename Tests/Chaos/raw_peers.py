"""Connections for a generator that must cost far less than what it loads: one epoll loop, frames that were built before,
and no look at what the node answers (the kernel throws it away). Nothing here imports asyncio.
"""

import errno
import os
import select
import socket
import struct
import time

OPENING, HEAD, OPEN, CLOSED = "opening", "head", "open", "closed"
# More than this may not wait for a connection that takes nothing: what comes beyond is left out, and counted.
MOST_PENDING = 256 << 10
# Under this the node takes a session for dead; any frame will do.
ALIVE_SECONDS = 8.0
PONG = b"\x8a\x80\0\0\0\0"


def frame(payload, first=0x81):
    """A client's frame, masked with the key 0."""
    size = len(payload)
    if size < 126:
        return bytes((first, 0x80 | size, 0, 0, 0, 0)) + payload
    if size < 1 << 16:
        return struct.pack("!BBHI", first, 0xFE, size, 0) + payload
    return struct.pack("!BBQI", first, 0xFF, size, 0) + payload


def upgrade(query):
    return (
        f"GET /ws?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


class Peer:
    """One connection. `head`: what it says first, in one piece, until which nothing else goes out (empty: nothing)."""

    def __init__(self, loop, port, head=b"", receive_buffer=None, answers=None):
        self.loop, self.port, self.head, self.receive_buffer = loop, port, head, receive_buffer
        # An HTTP connection counts its answers; what a session is told is thrown away.
        self.answers = answers
        self.state, self.socket, self.events = CLOSED, None, 0
        self.pending = bytearray()
        self.reads = True
        self.opened_at = self.spoke_at = 0.0
        self.on_open = lambda peer: None
        self.on_closed = lambda peer: None

    @property
    def is_open(self):
        return self.state == OPEN

    def open(self):
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        made.setblocking(False)
        if self.receive_buffer:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket, self.state, self.pending = made, OPENING, bytearray()
        self.opened_at = self.spoke_at = time.monotonic()
        self.events = 0
        self.loop.count["connections"] += 1
        status = made.connect_ex(("127.0.0.1", self.port))
        if status not in (0, errno.EINPROGRESS):
            return self.close()
        self.loop.peers[made.fileno()] = self
        self.want(select.EPOLLOUT)

    def want(self, events):
        if self.socket is None or events == self.events:
            return
        number = self.socket.fileno()
        if self.events == 0:
            self.loop.epoll.register(number, events)
        else:
            self.loop.epoll.modify(number, events)
        self.events = events

    def usual(self):
        self.want((select.EPOLLIN if self.reads else 0) | (select.EPOLLOUT if self.pending else 0) | select.EPOLLERR)

    def write(self, data):
        """False: it was left out, as too much waits already."""
        if self.state == CLOSED or len(self.pending) > MOST_PENDING:
            return False
        self.spoke_at = time.monotonic()
        if self.pending or self.state == OPENING:
            self.pending += data
            return True
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return False
        if sent < len(data):
            self.pending += data[sent:]
            self.usual()
        return True

    def happened(self, events):
        if self.state == OPENING:
            if self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                return self.close()
            self.state = HEAD if self.head else OPEN
            held, self.pending = self.pending, bytearray()
            self.usual()
            if self.head:
                self.write(self.head)
            if held and self.state != CLOSED:
                self.write(bytes(held))
            if self.state == OPEN:
                self.on_open(self)
            return
        if events & select.EPOLLOUT and self.pending:
            try:
                del self.pending[: self.socket.send(self.pending)]
            except BlockingIOError:
                pass
            except OSError:
                return self.close()
            if not self.pending:
                self.usual()
        if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
            self.read()

    def read(self):
        try:
            if self.state == HEAD:
                return self.read_head(self.socket.recv(65_536))
            if self.answers is not None:
                data = self.socket.recv(1 << 20)
                got = len(data)
                if got:
                    self.answers.feed(data)
            else:
                got = self.socket.recv_into(self.loop.nowhere, len(self.loop.nowhere), socket.MSG_TRUNC)
        except BlockingIOError:
            return
        except OSError:
            return self.close()
        self.loop.count["bytes heard"] += got
        if not got:
            self.close()

    def read_head(self, data):
        if not data:
            return self.close()
        if b" 101 " not in data[:16]:
            # 503 and the like: the node takes no more at the moment.
            self.loop.count["handshakes refused"] += 1
            return self.close()
        self.state = OPEN
        self.on_open(self)

    def close(self):
        if self.socket is None:
            return
        self.loop.peers.pop(self.socket.fileno(), None)
        # Closing takes it out of epoll.
        self.socket.close()
        self.socket, self.state, self.events = None, CLOSED, 0
        self.loop.count["connections that ended"] += 1
        self.on_closed(self)


class Answers:
    """Counts the answers on an HTTP connection by their Content-Length."""

    def __init__(self, loop):
        self.loop, self.left, self.buffer, self.waiting = loop, 0, b"", 0

    def start_over(self):
        self.left, self.buffer, self.waiting = 0, b"", 0

    def feed(self, data):
        while data:
            if self.left:
                took = min(self.left, len(data))
                self.left -= took
                data = data[took:]
                continue
            self.buffer += data
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head, data = self.buffer[:end].lower(), self.buffer[end + 4 :]
            self.buffer = b""
            at = head.find(b"content-length:")
            self.left = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            self.waiting = max(0, self.waiting - 1)
            self.loop.count[f"HTTP {head[9:12].decode('latin-1')}"] += 1


class Loop:
    """`run` turns until `is_over` says so; every tick it asks all that is in `loads` what is due."""

    TICK = 0.005

    def __init__(self, most_cpu):
        self.epoll = select.epoll()
        self.peers = {}
        self.loads = []
        self.count = Counts()
        self.nowhere = memoryview(bytearray(1 << 20))
        # The share of a core that it may take; `throttled` are the seconds in which it had to wait for that.
        self.most_cpu = most_cpu
        self.throttled = self.latest = 0.0
        self.keep_at = 0.0

    def run(self, is_over):
        began, used, due = time.monotonic(), time.process_time(), time.monotonic()
        while not is_over():
            now = time.monotonic()
            if now >= due:
                self.latest = max(self.latest, now - due)
                due = max(due + self.TICK, now)
                for load in self.loads:
                    load.tick(now)
                self.keep(now)
            for number, events in self.epoll.poll(max(0.0, due - time.monotonic()), 256):
                peer = self.peers.get(number)
                if peer is not None:
                    peer.happened(events)
            # In pieces of a tenth of a second.
            now = time.monotonic()
            if now - began >= 0.1:
                over = (time.process_time() - used) / self.most_cpu - (now - began)
                if over > 0:
                    self.throttled += over
                    time.sleep(min(over, 0.5))
                    due = time.monotonic()
                began, used = time.monotonic(), time.process_time()

    def keep(self, now):
        """Sessions that say nothing show that they live."""
        if now < self.keep_at:
            return
        self.keep_at = now + 1
        for peer in list(self.peers.values()):
            if peer.is_open and peer.answers is None and peer.head and now - peer.spoke_at > ALIVE_SECONDS:
                peer.write(PONG)

    def stop(self):
        for peer in list(self.peers.values()):
            peer.on_closed = lambda one: None
            peer.close()


class Counts(dict):
    def __missing__(self, name):
        return 0


def watch_parent(loop, on_line):
    """Lines of standard input are orders; its end is the end of the process that gives them."""
    os.set_blocking(0, False)
    buffer = bytearray()

    class Orders:
        head, answers, is_open = b"", None, False

        def happened(self, events):
            try:
                data = os.read(0, 1 << 20)
            except BlockingIOError:
                return
            if not data:
                os._exit(0)
            buffer.extend(data)
            while (end := buffer.find(b"\n")) >= 0:
                line = bytes(buffer[:end])
                del buffer[: end + 1]
                on_line(line.decode())

        def close(self):
            pass

    loop.peers[0] = Orders()
    loop.epoll.register(0, select.EPOLLIN)
