"""A Redis server and a Sentinel of ours, each a process with its data in the scenario's state directory."""

import pathlib
import shutil
import time

from processes import Broken, Process, until
from redis_wire import Redis, RedisError
from tcp_proxy import RedisProxy

ROOT = pathlib.Path(__file__).resolve().parents[2]


def program(name):
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if not found:
        raise Broken(f"{name} is not installed: scripts/install run")
    return found


class RedisServer:
    """A Redis with its append-only file, whose size is noted all the time so that a tail of a known age can be cut
    off.
    """

    def __init__(self, name, port, state, acl=False):
        self.name, self.port, self.dir = name, port, state / name
        self.dir.mkdir(parents=True, exist_ok=True)
        # A copy: Sentinel makes a server write its configuration anew.
        config = self.dir / "redis.conf"
        config.write_text((ROOT / "redis/redis.conf").read_text())
        argv = [
            program("redis-server"),
            config,
            "--bind",
            "127.0.0.1",
            "--port",
            port,
            "--daemonize",
            "no",
            "--dir",
            self.dir,
            "--logfile",
            "",
            "--repl-diskless-sync-delay",
            "0",
            "--repl-ping-replica-period",
            "1",
            "--enable-debug-command",
            "local",
        ]
        if acl:
            users = self.dir / "users.acl"
            nodes = (ROOT / "redis/users.acl").read_text()
            users.write_text("user default on nopass ~* &* +@all\n" + nodes)
            argv += ["--aclfile", users]
        self.process = Process(name, argv, state / f"{name}.log")
        self.ask = Redis(port)
        self.sizes = []
        # With Sentinel everybody comes through here, and knows the server by this port.
        self.front = RedisProxy(f"front of {name}")

    async def start(self):
        self.process.start()
        await self.ready()

    @property
    def servers(self):
        """All that there are: a Redis Cluster has more of them."""
        return [self]

    async def channels(self, pattern):
        """The channels somebody is subscribed to."""
        return await self.ask("PUBSUB", "CHANNELS", pattern)

    async def subscribers(self, channel):
        return (await self.ask("PUBSUB", "NUMSUB", channel))[1]

    def where_to_subscribe(self, channel):
        """The port to go to, and the command's word."""
        return self.port, "SUBSCRIBE"

    async def ready(self, seconds=20):
        async def answers():
            if not self.process.is_running:
                raise Broken(f"{self.name} ended: {self.process.tail(3)}")
            try:
                return await self.ask("PING") == "PONG"
            except RedisError:
                return False

        await until(answers, seconds, f"{self.name} answers")

    def tail_file(self):
        files = sorted(self.dir.glob("appendonlydir/*.incr.aof"), key=lambda file: file.stat().st_mtime)
        return files[-1] if files else None

    def note_size(self):
        file = self.tail_file()
        if file:
            now = time.monotonic()
            self.sizes.append((now, file, file.stat().st_size))
            while self.sizes and self.sizes[0][0] < now - 10:
                self.sizes.pop(0)

    def lose_tail(self, seconds, now=None):
        """Cuts off what was appended in the last `seconds` before `now`; the process must be dead. Returns bytes lost.
        """
        now = now or time.monotonic()
        file = self.tail_file()
        earlier = [size for at, name, size in self.sizes if name == file and at <= now - seconds]
        if file is None or not earlier:
            return 0
        lost = file.stat().st_size - earlier[-1]
        with file.open("r+b") as out:
            out.truncate(earlier[-1])
        self.sizes.clear()
        return lost


class Sentinel:
    """One of three: two must agree that the master is gone."""

    MASTER = "chat"

    def __init__(self, index, port, master_port, state):
        self.name, self.port = f"sentinel{index}", port
        config = state / f"{self.name}.conf"
        config.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {state}\nsentinel monitor {self.MASTER} 127.0.0.1 {master_port} 2\n"
            f"sentinel down-after-milliseconds {self.MASTER} 1000\nsentinel failover-timeout {self.MASTER} 6000\n"
        )
        self.process = Process(self.name, [program("redis-server"), config, "--sentinel"], state / f"{self.name}.log")
        self.ask = Redis(port)
