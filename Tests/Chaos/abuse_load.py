"""What kinds of abuse have in common: sessions of one user on each node that ask as fast as they are told to. A load is on the
loop of raw_peers.py; abuser.py runs one or two of them.
"""

import json
import time

from raw_peers import Peer, frame, upgrade

USER = "abuser"
LONG = "x" * 60_000
# A connection that ended is made again after this, and so many a second on each node.
AGAIN_SECONDS, MOST_OPENS = 0.25, 50


def request(**fields):
    return frame(json.dumps(fields, separators=(",", ":")).encode())


class Load:
    """`rate` things a second on each node, over `sessions` sessions on each; `make(number)` gives the bytes."""

    sessions, rooms = 8, ()
    history = 1

    def __init__(self, loop, ground, rate):
        self.loop, self.ground, self.rate = loop, ground, rate
        self.ports = ground["ports"]
        self.number = 0
        self.done = [0] * len(self.ports)
        self.turn = [0] * len(self.ports)
        self.began = None
        self.waits = []
        self.opens_at = 0.0
        self.peers = [
            [self.peer(port, index) for index in range(self.sessions)] for node, port in enumerate(self.ports)
        ]

    # What kinds say otherwise.

    def peer(self, port, index):
        made = Peer(self.loop, port, upgrade(f"user={USER}&device={type(self).__name__}{index}"))
        made.on_open = self.opened
        made.on_closed = self.closed
        return made

    def opened(self, peer):
        for room in self.joins(peer):
            peer.write(request(type="join", room=room, history=self.history))

    def joins(self, peer):
        return self.rooms

    def make(self, number):
        raise NotImplementedError

    # The rest.

    def begin(self):
        for peers in self.peers:
            for peer in peers:
                peer.open()

    def go(self, now):
        self.began = now

    def end(self):
        self.began = None

    def closed(self, peer):
        self.waits.append((time.monotonic() + AGAIN_SECONDS, peer))

    def reopen(self, now):
        while self.waits and self.waits[0][0] <= now and self.opens_at <= now:
            self.opens_at = max(self.opens_at, now - 0.1) + 1 / MOST_OPENS / len(self.ports)
            self.waits.pop(0)[1].open()

    def tick(self, now):
        self.reopen(now)
        if self.began is None:
            return
        for node in range(len(self.ports)):
            due = min(int((now - self.began) * self.rate), self.done[node] + int(self.rate) + 1)
            while self.done[node] < due:
                self.done[node] += 1
                self.loop.count["offered"] += 1
                peer = self.next(node)
                if peer is None or not self.one(peer):
                    self.loop.count["left out"] += 1

    def next(self, node):
        """The next one that is open."""
        peers = self.peers[node]
        for _ in peers:
            self.turn[node] = (self.turn[node] + 1) % len(peers)
            if peers[self.turn[node]].is_open:
                return peers[self.turn[node]]
        return None

    def one(self, peer):
        self.number += 1
        return peer.write(self.make(self.number))
