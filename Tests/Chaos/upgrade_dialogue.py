"""What two versions say to each other, asked for directly: one session on a node of each version does everything that
crosses between nodes, and each answer is known beforehand.
"""

import asyncio
import itertools
import json
import urllib.parse

from wire import WebSocket

# Seconds that anything may take to arrive; on an idle machine it is milliseconds.
PATIENCE = 10.0
turns = itertools.count(1)


class Misunderstood(Exception):
    """A version did not do what the other one relies on."""


class Line:
    """A session on one node that asks one thing after the other, and keeps every frame that it received."""

    def __init__(self, node, user, device):
        self.node, self.user, self.device = node, user, device
        self.name = f"{user}/{device} on {node.name}"
        self.frames = []
        self.refs = itertools.count(1)
        self.arrived = asyncio.Event()
        self.ended = None
        self.socket = None

    async def open(self):
        query = urllib.parse.urlencode({"user": self.user, "device": self.device})
        try:
            self.socket = await WebSocket.connect(self, self.node.port, f"/ws?{query}")
        except OSError as error:
            raise Misunderstood(f"{self.name} cannot connect: {error}") from error
        await self.hear("`welcome`", lambda frame: frame["type"] == "welcome")
        return self

    # What the socket says.

    def opened(self):
        pass

    def received(self, payload):
        self.frames.append(json.loads(payload))
        self.arrived.set()

    def closed(self, code, text):
        self.ended = f"closed with {code or 'no code'} {text}"
        self.arrived.set()

    # What the dialogue asks for.

    async def hear(self, what, matches, after=0):
        """The first frame from number `after` on that matches."""
        end = asyncio.get_running_loop().time() + PATIENCE
        while True:
            for frame in self.frames[after:]:
                if matches(frame):
                    return frame
            left = end - asyncio.get_running_loop().time()
            if self.ended or left <= 0:
                raise Misunderstood(f"{self.name} did not receive {what}" + (f": {self.ended}" if self.ended else ""))
            self.arrived.clear()
            try:
                await asyncio.wait_for(self.arrived.wait(), left)
            except asyncio.TimeoutError:
                pass

    async def ask(self, type_, room, **fields):
        """The answer to a request; an error that may be tried again is tried again, for a while."""
        end = asyncio.get_running_loop().time() + PATIENCE
        while True:
            ref, count = next(self.refs), len(self.frames)
            self.socket.send(json.dumps({"type": type_, "ref": ref, "room": room, **fields}))
            answer = await self.hear(f"an answer to `{type_}`", lambda frame: frame.get("ref") == ref, count)
            if answer["type"] != "error":
                return answer
            if not answer.get("retry") or asyncio.get_running_loop().time() > end:
                raise Misunderstood(f"{self.name}: `{type_}` was refused: {answer}")
            await asyncio.sleep(0.1)

    def signal(self, room, name):
        self.socket.send(json.dumps({"type": "signal", "room": room, "name": name, "data": {"on": True}}))

    def count(self, matches):
        return sum(1 for frame in self.frames if matches(frame))

    def close(self):
        if self.socket:
            self.socket.drop()


def message(text):
    return lambda frame: frame["type"] == "message" and frame["text"] == text


def expect(value, wanted, what):
    if value != wanted:
        raise Misunderstood(f"{what}: {value!r} instead of {wanted!r}")


class Dialogue:
    """`await Dialogue(stage, left, right).run()`: left and right are nodes of different versions."""

    def __init__(self, stage, left, right):
        self.stage, self.left, self.right = stage, left, right
        self.room = f"dialogue{next(turns)}"
        self.lines = []

    async def run(self):
        try:
            await self.talk()
        except Misunderstood as error:
            history = [f"{line.name}: {json.dumps(frame)[:200]}" for line in self.lines for frame in line.frames[-12:]]
            self.stage.ledger.broken(
                "two versions", self.room, "", f"{self.left.name} and {self.right.name}: {error}", history
            )
        finally:
            for line in self.lines:
                line.close()

    async def line(self, node, user, device):
        made = Line(node, user, device)
        self.lines.append(made)
        return await made.open()

    async def talk(self):
        """Ann has a device on each node, Bea comes and goes on the right one."""
        ann, twin = await self.line(self.left, "ann", "left"), await self.line(self.right, "ann", "right")
        await ann.ask("join", self.room, history=0)
        await twin.ask("join", self.room, history=0)
        bea = await self.come_and_be_seen(ann)
        positions = await self.speak(ann, twin)
        await self.repeat(ann, twin, positions)
        await self.signals(ann, bea)
        await self.from_outside(ann, twin)
        await self.same_history(ann, twin)
        await self.leave_and_be_seen(ann, bea)
        await self.resume(ann, twin)

    async def come_and_be_seen(self, ann):
        bea = await self.line(self.right, "bea", "only")
        joined = await bea.ask("join", self.room, history=0)
        expect(sorted(member["user"] for member in joined["roster"]), ["ann", "bea"], f"the roster for {bea.name}")
        seen = await ann.hear("that bea joined", lambda frame: frame["type"] == "presence" and "bea" in frame["joined"])
        expect(seen["count"], 2, f"the members as {ann.name} was told")
        return bea

    async def speak(self, ann, twin):
        """Messages of either node arrive at the other one, at the position that was acknowledged."""
        positions = {}
        for number in range(6):
            speaker, listener = (ann, twin) if number % 2 == 0 else (twin, ann)
            key = f"{self.room}-{number}"
            sent = await speaker.ask("send", self.room, text=key, key=key, again=False)
            heard = await listener.hear(f"the message {key}", message(key))
            expect(heard["position"], sent["position"], f"the position of {key} for {listener.name}")
            positions[key] = sent["position"]
        seqs = [int(position.partition("-")[2]) for position in positions.values()]
        expect(seqs, list(range(seqs[0], seqs[0] + len(seqs))), "the seqs of messages that were said in turns")
        return positions

    async def repeat(self, ann, twin, positions):
        """A key that one node stored is known to the other one."""
        for number, (key, position) in enumerate(positions.items()):
            other = twin if number % 2 == 0 else ann
            sent = await other.ask("send", self.room, text=key, key=key, again=True)
            known = (sent["position"], sent.get("repeated"))
            expect(known, (position, True), f"the repetition of {key} by {other.name}")
        for line in (ann, twin):
            for key in positions:
                expect(line.count(message(key)), 1, f"how often {line.name} was shown {key}")

    async def signals(self, ann, bea):
        for speaker, listener in ((ann, bea), (bea, ann)):
            name = f"typing-{speaker.user}"
            speaker.signal(self.room, name)
            heard = await listener.hear(
                f"the signal of {speaker.name}", lambda frame: frame["type"] == "signal" and frame["name"] == name
            )
            expect((heard["user"], heard["data"]), (speaker.user, {"on": True}), f"the signal for {listener.name}")

    async def from_outside(self, ann, twin):
        """What no node said arrives at both, once."""
        text = f"{self.room}-outside"
        ask = self.stage.cluster.redis.ask
        position, _ = await ask("FCALL", "martlet_say", "1", f"martlet:{{{self.room}}}:log", "bot", text)
        for line in (ann, twin):
            heard = await line.hear("what was said from outside", message(text))
            expect(heard["position"], position, f"the position of what was said from outside, for {line.name}")

    async def same_history(self, ann, twin):
        pages = [await line.ask("history", self.room, limit=50) for line in (ann, twin)]
        first, second = ([(one["position"], one["text"]) for one in page["messages"]] for page in pages)
        expect(second, first, f"the history that {twin.name} reads")
        expect(len(first), 7, "the number of messages in the history")

    async def leave_and_be_seen(self, ann, bea):
        count = len(ann.frames)
        await bea.ask("leave", self.room)
        await ann.hear(
            "that bea left", lambda frame: frame["type"] == "presence" and "bea" in frame["left"], after=count
        )
        expect(ann.count(lambda frame: frame["type"] == "presence" and "bea" in frame["left"]), 1, "how often bea left")

    async def resume(self, ann, twin):
        """Each of Ann's devices is lost once, and continues on the node of the other version."""
        twin = await self.move(twin, ann, self.left)
        await self.move(ann, twin, self.right)

    async def move(self, lost, stays, node):
        """`lost` loses its connection, misses three messages that `stays` says, and continues on `node`."""
        known, missed, after = f"known-{node.name}", [f"missed-{node.name}-{index}" for index in range(3)], "after"
        start = await stays.ask("send", self.room, text=known)
        await lost.hear("the last message before its loss", message(known))
        lost.close()
        for text in missed:
            await stays.ask("send", self.room, text=text)
        back = await self.line(node, lost.user, lost.device)
        joined = await back.ask("join", self.room, after=start["position"], history=0)
        expect(joined.get("reset"), None, f"`reset` for {back.name}")
        expect([one["text"] for one in joined["messages"]], missed, f"what {back.name} had missed")
        sent = await stays.ask("send", self.room, text=after)
        heard = await back.hear("the message after its return", message(after))
        expect(heard["position"], sent["position"], f"the position for {back.name}")
        return back
