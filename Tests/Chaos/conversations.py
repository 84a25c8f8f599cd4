"""Users of direct conversations and groups send, answer in threads, edit, delete, react, read, come, go, invite and
remove, while nodes die and Redis loses its last second: unread counts, folded pages, participants and erased text stay
right.
"""

import asyncio
import json
import random

import http_wire
from conversation_ledger import ConversationLedger
from conversation_record import PREFIX, Recorder
from conversation_session import ConversationSession
from conversation_verdict import ConversationVerdict
from faults import Faults, make_schedule
from processes import Broken
from stage import Stage
from storm import parse_kinds, watch

USERS = 12
# Groups with their first participants; the first one owns it. Direct conversations follow.
GROUPS = {"crew": range(0, 12), "team": range(0, 6), "club": range(5, 10)}
DIRECT = ((0, 1), (2, 3))
EMOJI = ("👍", "🎉", "ok")
# What users do, and how often.
ACTIONS = {
    "send": 30,
    "answer": 8,
    "edit": 10,
    "delete": 5,
    "react": 12,
    "unreact": 5,
    "pin": 3,
    "unpin": 2,
    "read": 18,
    "come_or_go": 4,
    "invite": 3,
    "leave": 1,
    "remove": 2,
}
KINDS = (
    "kill-node",
    "stop-node",
    "leave-node",
    "kill-redis",
    "lost-tail",
    "cut",
    "delay",
    "half-open",
    "drop-sessions",
    "failover",
)
# The story has these too, after such a part of the time (unless another fault has Redis just then).
ALWAYS = (("failover", 0.3), ("kill-node", 0.5), ("lost-tail", 0.65))
SETTINGS = {"MARTLET_HISTORY_LENGTH": "20000", "MARTLET_HISTORY_BYTES": "64MiB"}


class ConversationStage(Stage):
    def __init__(self, options, show, state, **cluster):
        super().__init__(options, show, state, settings=SETTINGS, **cluster)
        self.ledger = ConversationLedger()
        self.ledger.on_violation = self.broken
        self.ledger.process_of = self.cluster.process_of
        self.users = [f"u{index}" for index in range(USERS)]
        self.rooms = []
        # room -> users who belong to it, as far as the answers say: whom somebody invites or removes.
        self.belongs = {}

    def session(self, user, device, ports=None):
        made = ConversationSession(
            self.ledger, user, device, ports or self.cluster.session_ports, random.Random(self.rng.random())
        )
        self.sessions.append(made)
        return made

    async def order(self, by, **fields):
        """Changes who belongs to a room, over HTTP."""
        body = json.dumps({"by": by, **fields}).encode()
        answer = await http_wire.ask(
            self.cluster.port, "POST", "/api/conversations", {"Content-Type": "application/json"}, body
        )
        if answer.status != 200:
            raise Broken(f"{fields} is answered with {answer.status}: {answer.body[:200]!r}")
        return json.loads(answer.body)["room"]

    async def fill(self, count):
        """Begins the conversations; the first users have two devices, which come into all rooms of their users."""
        for room, indices in GROUPS.items():
            users = [self.users[index] for index in indices]
            await self.order(users[0], operation="create", room=room, users=users[1:])
            self.belongs[room] = set(users)
        for left, right in DIRECT:
            room = await self.order(self.users[left], operation="direct", user=self.users[right])
            self.belongs[room] = {self.users[left], self.users[right]}
        self.rooms = list(self.belongs)
        for index in range(count):
            user = self.users[index % USERS]
            session = self.session(user, f"d{index}")
            for room, users in self.belongs.items():
                if user in users:
                    session.want(room)
            session.start()
        await self.settled(30)

    def speak(self, rate=None, **more):
        self.talk = Chatter(self, rate or self.options.rate)
        self.talk.start()
        self.ledger.began = self.ledger.clock()


class Chatter:
    """What users do, at a steady rate, chosen from the seed."""

    def __init__(self, stage, rate):
        self.stage, self.rng, self.rate = stage, stage.rng, rate
        self.number, self.task = 0, None

    def start(self):
        self.task = asyncio.create_task(self.run())

    async def stop(self):
        if self.task:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
            if not self.task.cancelled() and self.task.exception():
                raise self.task.exception()
            self.task = None

    async def run(self):
        loop = asyncio.get_running_loop()
        at = loop.time()
        while True:
            at += self.rng.expovariate(self.rate)
            await asyncio.sleep(max(0, at - loop.time()))
            action = self.rng.choices(list(ACTIONS), list(ACTIONS.values()))[0]
            session = self.rng.choice(self.stage.sessions)
            views = [view for view in session.rooms.values() if view.wanted and view.phase == "joined"]
            if views and session.welcome and session.waiting < 32:
                getattr(self, action)(session, self.rng.choice(views))

    def text(self, key, mark=""):
        """A text that begins with its key, and has in it what no other text has."""
        self.number += 1
        secret = f"secret{self.number}x{self.rng.getrandbits(48):012x}"
        self.stage.ledger.secrets[key].add(secret)
        return f"{key} {mark}{secret} {'x' * self.rng.randrange(60)}".rstrip()

    def message(self, view, is_own=False):
        """One that the session was shown, rather a new one."""
        places = [
            place
            for place, state in list(view.messages.items())[-40:]
            if "deleted" not in state and (not is_own or state["user"] == view.session.user)
        ]
        return self.rng.choice(places) if places else None

    def send(self, session, view, **more):
        session.say(view.room, self.text(f"k{self.number + 1}"), **more)

    def answer(self, session, view):
        if root := self.message(view):
            self.send(session, view, thread=view.messages[root]["position"])

    def edit(self, session, view):
        if place := self.message(view, self.rng.random() < 0.9):
            key = view.messages[place]["text"].partition(" ")[0]
            session.amend(view, "edit", place, text=self.text(key, "edited "))

    def delete(self, session, view):
        if place := self.message(view, self.rng.random() < 0.9):
            session.amend(view, "delete", place)

    def react(self, session, view, operation="react"):
        if place := self.message(view):
            session.amend(view, operation, place, reaction=self.rng.choice(EMOJI))

    def unreact(self, session, view):
        mine = [
            (place, emoji)
            for place, state in view.messages.items()
            for emoji, reaction in state.get("reactions", {}).items()
            if session.user in reaction["users"]
        ]
        if mine:
            place, emoji = self.rng.choice(mine)
            session.amend(view, "unreact", place, reaction=emoji)

    def pin(self, session, view, operation="pin"):
        if place := self.message(view):
            session.amend(view, operation, place)

    def unpin(self, session, view):
        self.pin(session, view, "unpin")

    def read(self, session, view):
        places = list(view.messages)[-12:]
        if places:
            session.read(view, places[-1] if self.rng.random() < 0.6 else self.rng.choice(places))

    def come_or_go(self, session, view):
        """Leaves the room without leaving the conversation, and comes back."""
        if session.unwant(view.room):
            asyncio.get_running_loop().call_later(self.rng.uniform(0.1, 3), self.come_back, session, view.room)

    def come_back(self, session, room):
        if not session.stopped and session.user in self.stage.belongs[room]:
            session.want(room)

    # Who belongs to it.

    def is_group(self, view):
        return view.room in GROUPS

    def invite(self, session, view):
        strangers = sorted(set(self.stage.users) - self.stage.belongs[view.room])
        if self.is_group(view) and strangers:
            users = self.rng.sample(strangers, min(len(strangers), self.rng.randrange(1, 3)))
            session.converse(view, "invite", users=users)
            self.stage.belongs[view.room] |= set(users)
        elif not self.is_group(view):
            other = next(user for user in view.room.split(":")[1:] if user != session.user)
            session.converse(view, "direct", user=other)
            self.stage.belongs[view.room].add(other)

    def leave(self, session, view):
        if len(self.stage.belongs[view.room]) > (3 if self.is_group(view) else 1):
            session.converse(view, "leave")
            self.stage.belongs[view.room].discard(session.user)

    def remove(self, session, view):
        others = sorted(self.stage.belongs[view.room] - {session.user})
        if self.is_group(view) and len(others) > 3:
            user = self.rng.choice(others)
            session.converse(view, "remove", user=user)
            self.stage.belongs[view.room].discard(user)


class ConversationFaults(Faults):
    async def missing(self, server, rooms=None):
        """How much was acknowledged behind where the logs end."""
        count = 0
        for room, ledger in self.ledger.rooms.items():
            last = await server.ask("XREVRANGE", f"{PREFIX}{{{room}}}:log", "+", "-", "COUNT", "1")
            end = int(last[0][0].partition("-")[2]) if last else 0
            for acked in (ledger.acked, self.ledger.amendments[room]):
                count += sum(1 for one in acked.values() if one[0][1] > end)
        return count


async def conversations(options, show, state):
    kinds = parse_kinds(options.faults) if options.faults else list(KINDS)
    async with ConversationStage(options, show, state, replica=True) as stage:
        schedule = make_schedule(stage.rng, options.seconds, kinds, mean=1.6)
        for kind, part in ALWAYS:
            if kind in kinds:
                schedule.append((part * options.seconds, kind, [stage.rng.random() for _ in range(6)]))
        await stage.fill(options.sessions)
        show.line(
            f"{len(stage.sessions)} sessions of {USERS} users in {len(stage.rooms)} conversations on "
            f"{len(stage.cluster.nodes)} nodes; {len(schedule)} faults in {options.seconds:g} s"
        )
        faults = ConversationFaults(stage.cluster, stage.ledger, stage.sessions, show)
        stage.speak()
        await watch(stage, faults, sorted(schedule))
        await stage.hush()
        stage.say("quiet: everything is whole again")
        await faults.heal()
        figures = await judge_conversations(stage)
        return stage.ledger, {"seconds": options.seconds, "faults": faults.done, **faults_by_kind(stage), **figures}


def faults_by_kind(stage):
    """How often what happened that loses something."""
    words = {"node kills": "kill -9 node", "failovers": "failover:", "Redis kills": "kill -9 redis"}
    return {name: sum(1 for _, text in stage.ledger.timeline if text.startswith(word)) for name, word in words.items()}


async def judge_conversations(stage):
    """Waits for quiet, writes everything down, and compares everything with everything."""
    ledger = stage.ledger
    verdict = ConversationVerdict(stage.cluster, ledger, stage.sessions, lossy=True)
    for node in stage.cluster.nodes:
        try:
            await node.ready(30)
        except Broken as error:
            ledger.broken("outage", "", node.name, f"is not ready after the faults: {error}")
    await verdict.settle(40)
    await verdict.caught_up(15)
    record = await Recorder(stage, stage.rooms, stage.users).record()
    verdict.judge(record)
    verdict.processes(200e6, 100e6)
    count = ledger.count
    stage.record = record
    return {
        "requests": sum(count[name] for name in ("said", "amendments asked", "reads asked", "conversation orders")),
        "sends": count["said"],
        "amendments": count["amendments asked"],
        "reads": count["reads asked"],
        "invitations, removals and the like": count["conversation orders"],
        **verdict.figures,
        "put out of a room": count["put out of a room"],
        "notices: invited": count["notices invited"],
        "gaps": count["gaps"],
        "resets": count["resets"],
        "reconnects": sum(max(0, len(session.connects) - 1) for session in stage.sessions),
        **{name: number for name, number in sorted(count.items()) if name.startswith(("refused ", "error "))},
        "broken promises": count["violations"],
    }
