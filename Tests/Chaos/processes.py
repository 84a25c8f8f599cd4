"""Processes of ours on loopback: started, sampled, stopped, killed and ended by pid, never by name."""

import asyncio
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time


# In front of a command: the kernel ends it if this process is killed.
TIED = (shutil.which("setpriv") or "/usr/bin/setpriv", "--pdeathsig", "KILL")


class Broken(Exception):
    """The scenario could not be carried out: no verdict on the node."""


class Ports:
    """Free ports from `base` on, each given out once."""

    def __init__(self, base):
        self.next, self.end = base, base + 900

    def take(self):
        while self.next < self.end:
            port, self.next = self.next, self.next + 1
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", port))
                    return port
                except OSError:
                    continue
        raise Broken(f"no free port up to {self.end}: choose another --port-base")


class Process:
    """A program that may be started many times, on the same port and with the same log."""

    def __init__(self, name, argv, log, env=None):
        self.name, self.argv, self.log = name, [str(word) for word in argv], pathlib.Path(log)
        self.env = {**{k: v for k, v in os.environ.items() if not k.startswith("MARTLET_")}, **(env or {})}
        # Where its log goes instead, if not straight into the file.
        self.pipe = None
        self.child = None
        self.stopped = False
        self.expected_end = False
        self.starts = 0
        self.started_at = 0.0
        self.highest_rss, self.first_rss = 0, None

    def start(self):
        """Ended by the kernel if this process is killed; in its own session, out of a terminal's Ctrl-C."""
        with self.log.open("ab") as log:
            out = self.pipe.write_end if self.pipe else log
            self.child = subprocess.Popen(
                [*TIED, *self.argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=self.env,
                start_new_session=True,
            )
        self.starts += 1
        self.started_at = time.monotonic()
        self.stopped = self.expected_end = False

    @property
    def pid(self):
        return self.child.pid if self.child else None

    @property
    def is_running(self):
        return self.child is not None and self.child.poll() is None

    def signal(self, number):
        if self.is_running:
            self.child.send_signal(number)

    def kill(self):
        self.expected_end = True
        self.signal(signal.SIGKILL)
        if self.child:
            self.child.wait()

    def stop(self):
        self.signal(signal.SIGSTOP)
        self.stopped = True

    def go_on(self):
        self.signal(signal.SIGCONT)
        self.stopped = False

    def terminate(self):
        self.expected_end = True
        self.signal(signal.SIGTERM)

    async def ended(self, seconds):
        end = time.monotonic() + seconds
        while self.is_running:
            if time.monotonic() >= end:
                return False
            await asyncio.sleep(0.02)
        return True

    async def finish(self, seconds=5):
        if not self.is_running:
            return
        self.go_on()
        self.terminate()
        if not await self.ended(seconds):
            self.kill()

    def sample(self):
        """Resident bytes now; remembers the highest."""
        try:
            pages = int(pathlib.Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        except (OSError, ValueError, IndexError):
            return 0
        size = pages * os.sysconf("SC_PAGESIZE")
        self.highest_rss = max(self.highest_rss, size)
        if self.first_rss is None and time.monotonic() - self.started_at > 1:
            self.first_rss = size
        return size

    def tail(self, lines=12):
        try:
            return self.log.read_text(errors="replace").splitlines()[-lines:]
        except OSError:
            return []


async def status(port, path="/readyz", seconds=2.5):
    """The HTTP status and body; (0, why) if there is none."""
    try:
        return await asyncio.wait_for(ask(port, path), seconds)
    except (OSError, asyncio.TimeoutError, ValueError, IndexError) as error:
        return 0, repr(error)


async def ask(port, path):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        # As if from elsewhere: what is charged to this address is for those who abuse it.
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX-Forwarded-For: 192.0.2.1\r\nConnection: close\r\n\r\n"
        writer.write(head.encode())
        raw = (await reader.read()).decode("utf-8", "replace")
        head, _, body = raw.partition("\r\n\r\n")
        return int(head.split(" ", 2)[1]), body
    finally:
        writer.transport.abort()


async def until(condition, seconds, what, pause=0.05):
    """Waits until `condition` (a function, async or not) holds; returns the seconds that it took."""
    began = time.monotonic()
    while True:
        holds = condition()
        if asyncio.iscoroutine(holds):
            holds = await holds
        if holds:
            return time.monotonic() - began
        if time.monotonic() - began >= seconds:
            raise Broken(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(pause)
