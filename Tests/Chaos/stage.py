"""What every scenario needs: a cluster, a ledger, sessions in rooms, somebody who talks; all ended at the end,
whatever happens.
"""

import asyncio
import random
import re

from cluster import Cluster
from ledger import Ledger
from processes import until
from session import Session
from tokens import TokenSession


class Talk:
    """Sends of random sessions at a steady rate; every text begins with its key."""

    def __init__(self, sessions, rng, rate, least_padding=20):
        self.sessions, self.rng, self.rate, self.least_padding = sessions, rng, rate, least_padding
        self.number = 0
        self.task = None
        self.skipped = 0

    def start(self):
        self.task = asyncio.create_task(self.run())

    async def run(self):
        loop = asyncio.get_running_loop()
        at = loop.time()
        while True:
            at += self.rng.expovariate(self.rate)
            await asyncio.sleep(max(0, at - loop.time()))
            session = self.rng.choice(self.sessions)
            views = [view for view in session.rooms.values() if view.wanted and view.phase != "leaving"]
            # Somebody whose messages do not get through stops typing, after a while.
            if not views or session.waiting >= 64 or not session.is_reading:
                self.skipped += 1
                continue
            self.number += 1
            padding = "x" * int(self.rng.paretovariate(1.2) * self.least_padding % (30 * self.least_padding))
            session.say(self.rng.choice(views).room, f"k{self.number} {padding}")

    async def stop(self):
        if self.task:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
            self.task = None


class Stage:
    """`async with Stage(options, show, state, …) as stage:` — inside, the cluster runs."""

    def __init__(self, options, show, state, **cluster):
        self.options, self.show, self.state = options, show, state
        self.rng = random.Random(options.seed)
        self.cluster = Cluster(options, state, **cluster)
        self.ledger = Ledger()
        self.ledger.on_violation = self.broken
        self.ledger.process_of = self.cluster.process_of
        self.sessions = []
        self.rooms = [f"room{index}" for index in range(options.rooms)]
        self.talk = None
        # One pool of ports for all; a scenario may let sessions go to the nodes directly.
        self.ports = None

    async def __aenter__(self):
        try:
            await self.cluster.start()
        except BaseException:
            await self.cluster.stop()
            raise
        return self

    async def __aexit__(self, *error):
        await self.hush()
        for session in self.sessions:
            session.stop()
        await asyncio.sleep(0.05)
        await self.cluster.stop()

    def broken(self, violation):
        """The first ones at once, so that a long run need not be waited for; all of them come at the end."""
        if len(self.ledger.violations) <= 10:
            self.show.line("BROKEN " + violation.line())

    def session(self, user, device, ports=None):
        what = (self.ledger, user, device, ports or self.cluster.session_ports, random.Random(self.rng.random()))
        if self.options.protocols and ports is None:
            made = self.mixed(device, what)
        else:
            made = TokenSession(self.options.issuer, *what) if self.options.issuer else Session(*what)
        self.sessions.append(made)
        return made

    def mixed(self, device, what):
        """A session of the next protocol."""
        kinds = self.options.protocols
        kind = kinds[int(re.sub(r"\D", "", device) or 0) % len(kinds)]
        ledger, user, device, ports, rng = what
        made = kind(ledger, user, device, kind.ports_of(self.cluster) or ports, rng)
        made.http_port = ports[0]
        return made

    async def fill(self, count):
        """Two devices for every third user; every session in a room, every third in a second one; waits for all of
        them.
        """
        for index in range(count):
            user = f"u{index - 1}" if index % 3 == 2 else f"u{index}"
            session = self.session(user, f"d{index}")
            wanted = {self.rooms[index % len(self.rooms)]}
            if index % 3 == 0:
                wanted.add(self.rng.choice(self.rooms))
            for room in wanted:
                session.want(room)
            session.start()
            if index % 20 == 19:
                await asyncio.sleep(0.02)
        await self.settled(30)

    async def settled(self, seconds):
        await until(
            lambda: all(session.is_settled for session in self.sessions),
            seconds,
            "all sessions are in their rooms and all sends have their answers",
        )

    async def answered(self, seconds=40):
        """Waits until all that was said before now has its answer; the talk goes on."""
        now = self.ledger.clock()
        await until(
            lambda: not any(
                view.sends and view.sends[0].made <= now for session in self.sessions for view in session.rooms.values()
            ),
            seconds,
            "all that was said has its answer",
        )

    def speak(self, rate=None, sessions=None, **more):
        self.talk = Talk(sessions or self.sessions, self.rng, rate or self.options.rate, **more)
        self.talk.start()
        self.ledger.began = self.ledger.clock()

    async def hush(self):
        if self.talk:
            await self.talk.stop()

    def say(self, text):
        self.ledger.happened(text)
        self.show.line(f"{self.ledger.now():7.2f} s  {text}")

    def progress(self):
        here, count = sum(1 for session in self.sessions if session.welcome), self.ledger.count
        waiting = sum(session.waiting for session in self.sessions)
        self.show.progress(
            f"{self.ledger.now():7.2f} s  {here}/{len(self.sessions)} connected, {count['said']} said, "
            f"{count['acked']} acknowledged, {waiting} wait, {count['shown']} shown, {count['violations']} broken"
        )

    async def spend(self, seconds):
        """Lets time pass, and shows how it goes."""
        end = self.ledger.now() + seconds
        while self.ledger.now() < end:
            self.progress()
            await asyncio.sleep(min(0.25, max(0.0, end - self.ledger.now())))
