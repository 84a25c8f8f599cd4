"""What abuse happens on: rooms with large messages, a hall with 3,000 members, a room with 500, conversations of the user who
abuses; made when a kind needs them. And the processes that abuse.
"""

import asyncio
import json
import pathlib
import socket
import sys

from abuse_load import USER
from processes import TIED, Broken, until
from redis_wire import Redis, RedisError

PREFIX = "martlet:"
LARGE_ROOMS, LARGE_MESSAGES, LARGE_BYTES = 8, 1_000, 60_000
HALL_MEMBERS, CROWD_MEMBERS = 3_000, 500
# Of the user who abuses: conversations; the members of a group, and the messages in it.
TALKS, GROUP_MEMBERS, GROUP_MESSAGES = 1_000, 100, 200
# Messages of that user in the room with 500 members.
OWN_MESSAGES = 900
# Short messages of that user that were edited into large ones.
EDITED_MESSAGES = 60
# What the generator may take of a core: the servers need the rest.
MOST_CPU = 0.6
# Several keys a call; one large log has as many parts as messages.
SIZES = (
    "local n = 0 for _, k in ipairs(KEYS) do n = n + (redis.call('MEMORY', 'USAGE', k, 'SAMPLES', 0) or 0) end return n"
)


class Child:
    """abuser.py with its orders on standard input; ended by the kernel if this process is killed."""

    def __init__(self, ground, log):
        self.ground, self.log = ground, log
        self.process = None

    async def start(self):
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *TIED,
                sys.executable,
                str(pathlib.Path(__file__).with_name("abuser.py")),
                json.dumps(self.ground),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        return self

    @property
    def pid(self):
        return self.process.pid

    def order(self, word):
        self.process.stdin.write(f"{word}\n".encode())

    async def ask(self, word, seconds=20):
        self.order(word)
        try:
            line = await asyncio.wait_for(self.process.stdout.readline(), seconds)
            return json.loads(line)
        except (asyncio.TimeoutError, ValueError) as error:
            tail = self.log.read_text(errors="replace")[-300:]
            raise Broken(f"the generator did not answer {word}: {error!r} {tail}") from error

    async def stop(self):
        """What it did, all told."""
        told = await self.ask("stop")
        await asyncio.wait_for(self.process.wait(), 20)
        return told

    def kill(self):
        if self.process and self.process.returncode is None:
            self.process.kill()


def fill(port, rooms, known):
    """Blocking, for a thread of its own: 1,000 large messages into each room, as a program that is in no room would.
    Puts the position of the oldest into `known`.
    """
    text = b"x" * LARGE_BYTES
    with socket.create_connection(("127.0.0.1", port), 20) as connection, connection.makefile("rb") as replies:
        for room in rooms:
            log = f"{PREFIX}{{{room}}}:log".encode()
            words = [b"FCALL", b"martlet_say", b"1", log, b"filler", text]
            command = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
            for begin in range(0, LARGE_MESSAGES, 20):
                connection.sendall(command * 20)
                for index in range(20):
                    position = read_said(replies)
                    if begin == 0 and index == 0:
                        known[room] = position


def read_said(replies):
    """The position in the answer of martlet_say, which is two strings."""
    head = replies.readline()
    if not head.startswith(b"*2"):
        raise Broken(f"a large room could not be filled: {head!r}")
    words = []
    for _ in range(2):
        size = int(replies.readline()[1:])
        words.append(replies.read(size + 2)[:-2].decode())
    return words[0]


class Ground:
    def __init__(self, stage):
        self.stage, self.redis = stage, stage.cluster.redis
        # It may be busy for long with what is done to it.
        self.ask = Redis(self.redis.port, deadline=60.0)
        self.ports = [node.port for node in stage.cluster.nodes]
        self.oldest = {}
        self.crowd = self.target = None
        self.talks, self.group, self.own, self.edited = [], [], [], []

    @property
    def large(self):
        return sorted(self.oldest, key=lambda room: int(room.rpartition("-")[2]))

    def describe(self, kinds, **more):
        """What abuser.py is told."""
        return {
            "ports": self.ports,
            "kinds": list(kinds),
            "rate": self.rate,
            "most cpu": MOST_CPU,
            "large": self.large,
            "oldest": self.oldest,
            "hall": "abuse-hall",
            "crowd": "abuse-crowd",
            "target": self.target,
            "talks": self.talks,
            "group": "talk-group",
            "group positions": self.group,
            "own positions": self.own,
            "edited": "abuse-edited",
            "edited positions": self.edited,
            **more,
        }

    @property
    def rate(self):
        """Requests a second that a user may make on a node."""
        settings = self.stage.cluster.settings
        of_session = int(settings.get("MARTLET_LIMIT_REQUESTS_PER_SECOND", 100))
        return int(settings.get("MARTLET_LIMIT_REQUESTS_PER_SECOND_PER_USER", 4 * of_session))

    async def need(self, needs, rooms=LARGE_ROOMS):
        if "large" in needs:
            await self.need_large(rooms)
        if needs & {"hall", "crowd"} and self.crowd is None:
            await self.need_crowd()
        if "own" in needs:
            # An earlier case may have deleted them.
            self.own = [await self.say("abuse-crowd", f"mine {index}", USER) for index in range(OWN_MESSAGES)]
        if "target" in needs:
            # Later ones push it out of the log.
            self.target = await self.say("abuse-crowd", "here")
        if "edited" in needs:
            self.edited = [await self.say("abuse-edited", "short", USER) for _ in range(EDITED_MESSAGES)]
            for place in self.edited:
                log = f"{PREFIX}{{abuse-edited}}:log"
                await self.ask("FCALL", "martlet_amend", "1", log, "edit", USER, place, "x" * LARGE_BYTES)
        if "talks" in needs and not self.talks:
            await self.need_talks()
        if "group" in needs and not self.group:
            await self.belong("talk-group", [f"member{index}" for index in range(GROUP_MEMBERS - 2)])
            self.group = [await self.say("talk-group", str(index)) for index in range(GROUP_MESSAGES)]

    async def say(self, room, text, user="filler"):
        return (await self.ask("FCALL", "martlet_say", "1", f"{PREFIX}{{{room}}}:log", user, text))[0]

    async def belong(self, room, others):
        """A group that the user who abuses has made."""
        made = await self.ask(
            "FCALL", "martlet_participants", "1", f"{PREFIX}{{{room}}}:log", "create", USER, "any", "100", "", USER, *others
        )
        words = ("index", room, made[0], "group", made[0])
        await self.ask("FCALL", "martlet_user", "1", f"{PREFIX}user:{{{USER}}}:rooms", *words)

    async def need_talks(self):
        self.stage.show.progress(f"makes {TALKS} conversations")
        for index in range(TALKS):
            await self.belong(f"talk-{index}", ["bob"])
            await self.say(f"talk-{index}", "hello")
            self.talks.append(f"talk-{index}")

    async def need_large(self, count):
        wanted = [f"abuse-large-{index}" for index in range(count)]
        for room in [room for room in self.large if room not in wanted]:
            await self.forget(f"{PREFIX}{{{room}}}:*")
            del self.oldest[room]
        poor = [room for room in wanted if not await self.is_rich(room)]
        for room in poor:
            await self.forget(f"{PREFIX}{{{room}}}:*")
        if poor:
            self.stage.show.progress(f"fills {len(poor)} rooms with {LARGE_MESSAGES} messages of {LARGE_BYTES} bytes")
            await asyncio.to_thread(fill, self.redis.port, poor, self.oldest)

    async def is_rich(self, room):
        if room not in self.oldest:
            return False
        first = await self.ask("XRANGE", f"{PREFIX}{{{room}}}:log", "-", "+", "COUNT", "1")
        # Small messages of an earlier case have pushed its large ones out.
        return bool(first) and first[0][0] == self.oldest[room]

    async def need_crowd(self):
        members = min(HALL_MEMBERS, self.stage.options.file_limit - 1_000)
        self.crowd = await Child(
            self.describe([], members=members, **{"crowd members": CROWD_MEMBERS}), self.stage.state / "crowd.log"
        ).start()

        async def all_here():
            self.stage.show.progress(f"{members} members come")
            return (await self.crowd.ask("tell"))["joined"] == members

        await until(all_here, 60, f"{members} members are in their room", pause=0.5)
        await asyncio.sleep(3)

    async def members_lost(self):
        return (await self.crowd.ask("tell"))["lost"] if self.crowd else 0

    async def forget(self, pattern):
        keys = await self.ask.keys(pattern)
        for begin in range(0, len(keys), 200):
            await self.ask("UNLINK", *keys[begin : begin + 200])

    async def stored(self):
        """Bytes of all that was said in rooms of the abuse: kept by promise, for as long as the settings say."""
        keys = await self.ask.keys(PREFIX + "{abuse-*:log")
        total = 0
        for begin in range(0, len(keys), 200):
            some = keys[begin : begin + 200]
            total += await self.ask("EVAL", SIZES, len(some), *some)
        return total

    async def clean(self):
        """Keys of rooms that were begun by a case; nobody is in them any more."""
        mine = {f"{PREFIX}{{{room}}}" for room in self.large + ["abuse-hall", "abuse-crowd"]}
        keys = [key for key in await self.ask.keys(PREFIX + "{abuse-*") if key.partition("}")[0] + "}" not in mine]
        for begin in range(0, len(keys), 200):
            await self.ask("UNLINK", *keys[begin : begin + 200])

    async def end(self):
        if self.crowd:
            try:
                await self.crowd.stop()
            finally:
                self.crowd.kill()
        self.crowd = None
        try:
            for pattern in ("{abuse-large*", "{talk-*", f"user:{{{USER}}}*"):
                await self.forget(PREFIX + pattern)
        except RedisError:
            pass
        self.ask.close()

    async def take_away(self):
        """The large rooms, if nodes cannot recover from what was done in them."""
        await self.forget(PREFIX + "{abuse-large*")
        self.oldest = {}
