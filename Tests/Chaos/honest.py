"""People who talk while somebody else misbehaves: honest sessions in small rooms across the nodes, and how long each
delivery of what they say takes.
"""

import asyncio
import pathlib

ROOMS, MEMBERS = 8, 3
LAG_STEP = 0.02


class Honest:
    """Each room has members on all nodes; what is said counts for the phase in which it was said."""

    def __init__(self, stage, rate):
        self.stage, self.rate = stage, rate
        self.sessions, self.tasks = [], []
        self.said = {}
        self.number = 0
        # Where times and the lateness of this process go.
        self.times, self.lag = [], []

    async def come(self, ports):
        for index in range(ROOMS * MEMBERS):
            session = self.stage.session(f"honest{index}", "d", [ports[index % len(ports)]])
            session.want(f"talk{index // MEMBERS}")
            session.on_message = self.delivered
            session.start()
            self.sessions.append(session)
        await self.stage.settled(30)
        self.tasks = [asyncio.create_task(self.talk()), asyncio.create_task(self.look())]

    async def go(self):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def into(self, phase):
        """From now on what is said counts there."""
        self.times, self.lag = phase.times, phase.lag

    async def talk(self):
        loop = asyncio.get_running_loop()
        at = loop.time()
        while True:
            at += self.stage.rng.uniform(0.5, 1.5) / self.rate
            await asyncio.sleep(max(0, at - loop.time()))
            session = self.stage.rng.choice(self.sessions)
            # Somebody whose messages do not get through stops typing, after a while.
            if session.waiting >= 64:
                continue
            self.number += 1
            key = f"h{self.number}"
            # When, for which phase, and how many deliveries are still to come.
            self.said[key] = [loop.time(), self.times, MEMBERS]
            self.said.pop(f"h{self.number - 20_000}", None)
            session.say(next(iter(session.rooms)), f"{key} {'x' * 80}")

    def delivered(self, view, place, message):
        found = self.said.get(message.get("text", "").partition(" ")[0])
        if found is not None:
            found[1].append(view.session.loop.time() - found[0])
            found[2] -= 1

    def missed(self, times):
        """What was not delivered until now counts as being as late as it is now."""
        now = asyncio.get_running_loop().time()
        for said, into, left in self.said.values():
            if into is times:
                times += [now - said] * left

    async def look(self):
        """How late this process is: its own waiting is in the times."""
        loop = asyncio.get_running_loop()
        while True:
            at = loop.time()
            await asyncio.sleep(LAG_STEP)
            self.lag.append(max(0.0, loop.time() - at - LAG_STEP))

    @property
    def losses(self):
        return sum(len(session.connects) for session in self.sessions)

    @property
    def errors(self):
        return sum(number for name, number in self.stage.ledger.count.items() if name.startswith("error "))


def cpu_of(pid):
    """Seconds of a core that a process has used."""
    try:
        words = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(words[11]) + int(words[12])) / 100


def cpu_of_machine():
    """(busy seconds of all cores together, seconds of all cores together)."""
    words = [int(word) / 100 for word in pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(words) - words[3] - words[4], sum(words)
