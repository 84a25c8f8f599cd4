"""What Redis, the nodes and the sessions say of conversations once all is quiet, written down as plain data, so that it
can be judged, and spoiled by the self-test.
"""

import asyncio
import json
import random
import urllib.parse

import http_wire
from conversation_fold import Room
from conversation_ledger import ConversationLedger
from conversation_session import ConversationSession
from processes import Broken, until

PREFIX = "martlet:"
# Who has said something has read up to there, which a node stores within ten seconds.
OWN_MARKS_SECONDS = 14


async def get(node, path, user, **query):
    """The JSON of a GET, as that user; asked again while the node is busy."""
    words = urllib.parse.urlencode({"user": user, **query})
    # Each user comes from an address of its own, or all of them would be charged as one.
    fields = {"X-Forwarded-For": f"192.0.2.{1 + sum(user.encode()) % 250}"}
    for wait in (0.1, 0.3, 1, 2, 0):
        try:
            answer = await http_wire.ask(node.port, "GET", f"{path}?{words}", fields)
        except OSError as error:
            raise Broken(f"{node.name} does not answer {path}: {error}") from None
        if answer.status not in (429, 503) or not wait:
            break
        await asyncio.sleep(wait)
    return answer.status, json.loads(answer.body)


def room_path(room, what):
    return f"/api/rooms/{urllib.parse.quote(room, safe='')}/{what}"


def index_key(user):
    return f"{PREFIX}user:{{{user}}}:rooms"


class Recorder:
    def __init__(self, stage, rooms, users):
        self.stage, self.rooms, self.users = stage, sorted(rooms), sorted(users)
        self.nodes, self.ask = stage.cluster.nodes, stage.cluster.redis.ask

    async def record(self):
        await self.settle()
        for _ in range(4):
            before = await self.redis()
            record = {
                "rooms": before,
                "indexes": {user: sorted(await self.ask.hash(index_key(user))) for user in self.users},
                "inboxes": await self.inboxes(),
                "pages": await self.pages(before),
                "joins": await self.joins(before),
                "views": self.views(),
                "dump": await self.dump(),
            }
            # Nothing was stored meanwhile: what was compared belongs together.
            if self.essence(before) == self.essence(await self.redis()):
                return record
        raise Broken("Redis still changes, though nobody says or reads anything")

    def essence(self, rooms):
        return {room: [one[name] for name in ("log", "participants", "reads")] for room, one in rooms.items()}

    # Waiting for a state.

    async def settle(self):
        """Asks each node for what mends what a fault left behind, and waits until both sides agree; the verdict says
        what does not.
        """
        for node in self.nodes:
            for user in self.users:
                await get(node, "/api/inbox", user)
        for room in self.rooms:
            for user in list(await self.ask.hash(f"{PREFIX}{{{room}}}:participants"))[:1]:
                await get(self.nodes[0], room_path(room, "participants"), user)
        await self.patiently(self.agree, 15)
        await self.patiently(self.own_marks_are_stored, OWN_MARKS_SECONDS)

    async def patiently(self, condition, seconds):
        try:
            await until(condition, seconds, "", pause=0.25)
        except Broken:
            self.stage.say(f"not within {seconds:g} s: {condition.__doc__}")

    async def agree(self):
        """The participants of rooms and the rooms of users are the same, and nothing is pending."""
        inside = {room: set(await self.ask.hash(f"{PREFIX}{{{room}}}:participants")) for room in self.rooms}
        for room in self.rooms:
            if await self.ask("HLEN", f"{PREFIX}{{{room}}}:pending"):
                return False
        for user in self.users:
            if set(await self.ask.hash(index_key(user))) != {room for room in self.rooms if user in inside[room]}:
                return False
        return True

    async def own_marks_are_stored(self):
        """Every participant has read up to what the participant has said."""
        for record in (await self.redis()).values():
            room = Room(record)
            if any(room.mark(user) < room.newest_of(user) for user in record["participants"]):
                return False
        return True

    # What there is.

    async def redis(self):
        rooms = {}
        for room in self.rooms:
            base = f"{PREFIX}{{{room}}}:"
            rooms[room] = {"log": await self.ask.stream(base + "log")}
            for name in ("overlay", "participants", "reads", "meta"):
                rooms[room][name] = await self.ask.hash(base + name)
        return rooms

    async def inboxes(self):
        found = []
        for node in self.nodes:
            for user in self.users:
                status, body = await get(node, "/api/inbox", user)
                found.append((node.name, user, body.get("conversations", []) if status == 200 else body))
        return found

    async def pages(self, rooms):
        """The whole history of each room, page by page, from each node."""
        found = []
        for node in self.nodes:
            for room, record in rooms.items():
                for user in sorted(record["participants"])[:1]:
                    found.append((node.name, room, await self.history(node, room, user)))
        return found

    async def history(self, node, room, user):
        messages, query = [], {}
        for _ in range(200):
            status, page = await get(node, room_path(room, "messages"), user, limit=100, **query)
            if status != 200:
                return page
            messages = page["messages"] + messages
            first = page.get("first") or (page["messages"][0]["position"] if page["messages"] else None)
            if not page["older"] or first is None:
                return messages
            query = {"before": first}
        raise Broken(f"the history of {room} does not end")

    async def joins(self, rooms):
        """What `joined` says to a new session of each participant, on each node."""
        found = []
        for node in self.nodes:
            ledger, sessions = ConversationLedger(), []
            for user in self.users:
                session = ConversationSession(ledger, user, "judge", [node.port], random.Random(0), history=50)
                for room, record in rooms.items():
                    if user in record["participants"]:
                        session.want(room)
                session.start()
                sessions.append(session)
            try:
                await until(lambda: all(one.is_settled for one in sessions), 20, "new sessions are in their rooms")
                for session in sessions:
                    for room, view in session.rooms.items():
                        found.append((node.name, session.user, room, view.answer or {}))
            finally:
                for session in sessions:
                    session.stop()
        return found

    def views(self):
        """What the sessions have folded: of each room that they are in, from where they came in."""
        found = []
        for session in self.stage.sessions:
            for room, view in session.rooms.items():
                if not view.wanted or view.phase != "joined":
                    continue
                segment = view.segments[-1]
                messages = {place: dict(state) for place, state in view.messages.items()}
                found.append((session.name, session.user, room, segment.start, list(segment.gaps), messages))
        return found

    async def dump(self):
        """server/key -> all that is in it, as one text; nothing is left out."""
        found = {}
        servers = [self.stage.cluster.redis] + ([self.stage.cluster.replica] if self.stage.cluster.replica else [])
        if len(servers) > 1:
            await until(lambda: self.in_step(*servers), 20, "the replica has what the master has")
        for server in servers:
            for key in await server.ask.keys("*"):
                found[f"{server.name}/{key}"] = await self.content(server.ask, key)
        return found

    async def in_step(self, master, replica):
        last = (await master.ask.info("replication"))["master_repl_offset"]
        return int((await replica.ask.info("replication")).get("slave_repl_offset", 0)) >= int(last)

    async def content(self, ask, key):
        words = {
            "string": ("GET", key),
            "hash": ("HGETALL", key),
            "list": ("LRANGE", key, "0", "-1"),
            "set": ("SMEMBERS", key),
            "zset": ("ZRANGE", key, "0", "-1"),
            "stream": ("XRANGE", key, "-", "+"),
        }
        kind = await ask("TYPE", key)
        return key + " " + (json.dumps(await ask(*words[kind])) if kind in words else "")
