"""The one user who abuses: a process of its own, with a bound on its CPU, so that what it costs itself is not taken for
what it costs the node. Its only argument is JSON; it goes on standard input's `go`, and tells what it did at `stop`.

With `members` it is the crowd instead: sessions of many users that join rooms, take what comes and say nothing.
"""

import json
import resource
import sys
import time

from abuse_kinds import KINDS, ONCE
from abuse_load import request
from raw_peers import Loop, Peer, upgrade, watch_parent


class Crowd:
    """Members of rooms, spread over the nodes; each connection is its own user."""

    MOST_OPENS = 600
    needs = set()

    def __init__(self, loop, ground):
        self.loop, self.ground = loop, ground
        self.left = []
        self.began = None
        self.next_at = time.monotonic()
        # Closed by the node, though they read all they can.
        self.lost = 0
        for index in range(ground["members"]):
            port = ground["ports"][index % len(ground["ports"])]
            peer = Peer(loop, port, upgrade(f"user=member{index}&device=d"))
            peer.rooms = [ground["hall"]] if index >= ground["crowd members"] else [ground["hall"], ground["crowd"]]
            peer.on_open, peer.on_closed = self.opened, self.closed
            self.left.append(peer)
        self.count = len(self.left)
        self.joined = 0

    def opened(self, peer):
        self.joined += 1
        for room in peer.rooms:
            peer.write(request(type="join", room=room, history=1))

    def closed(self, peer):
        self.joined -= 1
        self.lost += 1
        self.left.append(peer)

    def tick(self, now):
        while self.left and self.next_at <= now:
            self.next_at = max(self.next_at, now - 0.1) + 1 / self.MOST_OPENS
            self.left.pop(0).open()


def main():
    ground = json.loads(sys.argv[1])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    loop = Loop(ground["most cpu"])
    over = []
    if "members" in ground:
        loop.loads = [Crowd(loop, ground)]
    else:
        for name in ground["kinds"]:
            kind, own_rate = {**KINDS, **ONCE}[name]
            # Several kinds share what the limits allow the user; a little above, so that they are reached.
            rate = own_rate or ground["rate"] * 1.05
            loop.loads.append(kind(loop, ground, rate / len(ground["kinds"])))
        for load in loop.loads:
            load.begin()

    def tell(**more):
        print(
            json.dumps(
                {
                    **loop.count,
                    "open": sum(1 for peer in loop.peers.values() if peer.is_open),
                    "latest": loop.latest,
                    "throttled": loop.throttled,
                    **more,
                }
            ),
            flush=True,
        )

    def order(line):
        if line == "go":
            loop.latest = loop.throttled = 0.0
            for load in loop.loads:
                load.go(time.monotonic())
        elif line == "tell":
            crowd = loop.loads[0]
            tell(**({"joined": crowd.joined, "lost": crowd.lost} if isinstance(crowd, Crowd) else {}))
        elif line == "stop":
            over.append(True)

    watch_parent(loop, order)
    loop.run(lambda: over)
    tell()
    loop.stop()


if __name__ == "__main__":
    main()
