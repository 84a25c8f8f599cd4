"""A TCP proxy between one node and Redis that can misbehave: refuse, cut, delay, fall silent, or deliver a dead
connection's bytes long after the node has given it up.
"""

import asyncio
import collections
import re

# What a node asks: the functions by name, and the reads of a roster.
ASKED = re.compile(rb"martlet_[a-z]+|HGETALL\r\n\$\d+\r\n[^\r]*(:roster)")


class Pipe:
    """One direction of one connection: bytes come out in order, `delay` seconds later."""

    def __init__(self, link):
        self.link, self.out = link, None
        self.waiting = collections.deque()
        self.due = 0.0
        self.timer = None
        self.ended = False

    def put(self, data):
        if self.link.proxy.change:
            data = self.link.proxy.change(data)
        if self.link.swallows or (self.link.swallows_replies and self is self.link.down):
            self.link.proxy.swallowed += len(data)
            return
        loop = self.link.proxy.loop
        due = max(self.due, loop.time() + self.link.proxy.delay)
        if not self.waiting and self.out is not None and not self.link.holds and due <= loop.time():
            self.out.write(data)
            return
        self.due = due
        self.waiting.append((due, data))
        self.arm()

    def arm(self):
        if self.timer is None and self.waiting and self.out is not None and not self.link.holds:
            self.timer = self.link.proxy.loop.call_at(self.waiting[0][0], self.flush)

    def flush(self):
        self.timer = None
        now = self.link.proxy.loop.time()
        while self.waiting and self.waiting[0][0] <= now and self.out is not None and not self.link.holds:
            self.out.write(self.waiting.popleft()[1])
        self.arm()
        if self.ended and not self.waiting and self.out is not None:
            self.out.close()

    def end(self):
        """The side that writes into it is gone: what is in it still arrives."""
        self.ended = True
        if not self.waiting and self.out is not None and not self.link.holds:
            self.out.close()


class Side(asyncio.Protocol):
    def __init__(self, link, into):
        self.link, self.into = link, into

    def connection_made(self, transport):
        self.transport = transport
        self.link.made(self)

    def data_received(self, data):
        if self.into is self.link.up and not self.link.is_subscriber and b"SUBSCRIBE\r\n" in data:
            self.link.is_subscriber = True
        if self.into is self.link.up:
            self.link.count(data)
            self.link.is_replica = self.link.is_replica or b"PSYNC\r\n" in data
        self.into.put(data)

    def eof_received(self):
        return False

    def connection_lost(self, error):
        self.link.lost(self)


class Link:
    """One connection of the node: `up` leads to Redis, `down` back."""

    def __init__(self, proxy):
        self.proxy = proxy
        self.up, self.down = Pipe(self), Pipe(self)
        self.node = self.redis = None
        self.is_subscriber = self.is_replica = False
        self.swallows = self.swallows_replies = self.holds = False
        self.carry = b""

    def made(self, side):
        if side.into is self.up:
            self.node, self.down.out = side, side.transport
            self.proxy.links.add(self)
            self.proxy.loop.create_task(self.connect())
        else:
            self.redis, self.up.out = side, side.transport
            if self.node is None or (self.node.transport.is_closing() and not self.holds):
                side.transport.abort()
            self.up.arm()

    async def connect(self):
        try:
            await self.proxy.loop.create_connection(lambda: Side(self, self.down), "127.0.0.1", self.proxy.target)
        except OSError:
            self.abort()

    def lost(self, side):
        if side is self.node:
            # With `holds` what the node said stays here, and arrives when the proxy says so.
            self.down.out = None
            if self.redis is None:
                self.proxy.links.discard(self)
            elif not self.swallows:
                self.up.end()
        else:
            self.up.out = None
            if not self.swallows:
                self.down.end()
            self.proxy.links.discard(self)

    def count(self, data):
        """Counts what is asked; a name that two pieces share is found in their seam."""
        data = self.carry + data
        end = 0
        for found in ASKED.finditer(data):
            self.proxy.counts[(found.group(1) or found.group(0)).decode()] += 1
            end = found.end()
        self.carry = data[max(end, len(data) - 80) :]

    def abort(self):
        for side in (self.node, self.redis):
            if side is not None:
                side.transport.abort()
        self.proxy.links.discard(self)

    def release(self):
        """What was held goes on its way, also if the node has closed its end meanwhile."""
        self.holds = False
        for pipe in (self.up, self.down):
            pipe.flush()


class RedisProxy:
    def __init__(self, name):
        self.name = name
        self.links = set()
        self.target = None
        self.delay = 0.0
        self.swallowed = 0
        # bytes -> bytes: what passes, in either direction, is replaced.
        self.change = None
        self.counts = collections.Counter()
        self.server = None

    async def start(self, port, target):
        self.loop = asyncio.get_running_loop()
        self.port, self.target = port, target
        await self.open()

    async def open(self):
        self.server = await self.loop.create_server(self.accept, "127.0.0.1", self.port)

    def accept(self):
        link = Link(self)
        return Side(link, link.up)

    def chosen(self, which):
        """The links of a kind: "all", "replica", "subscribe" or "command"."""
        if which == "replica":
            return [link for link in self.links if link.is_replica]
        return [link for link in self.links if which == "all" or link.is_subscriber == (which == "subscribe")]

    def cut(self, which="all"):
        links = self.chosen(which)
        for link in links:
            link.abort()
        return len(links)

    def silence(self, which="all", replies_only=False):
        """The links swallow all bytes from now on, or only what Redis says, and stay open. Returns them."""
        links = self.chosen(which)
        for link in links:
            link.swallows_replies = True
            link.swallows = not replies_only
        return links

    def hold(self, which="command"):
        links = self.chosen(which)
        for link in links:
            link.holds = True
        return links

    async def refuse(self):
        """Accepts nothing from now on, until `open`."""
        self.server.close()
        self.cut()

    def stop(self):
        if self.server is not None:
            self.server.close()
        self.cut()
