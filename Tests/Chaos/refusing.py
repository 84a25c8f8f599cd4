"""Servers that say no while they stay up: Redis that takes no writes, a node without descriptors, a log that nobody reads.
Each is begun and ended; the storm does it for a moment, scripts/chaos refusals for long and again and again.
"""

import asyncio
import fcntl
import os
import resource
import shutil
import socket

from processes import until
from redis_wire import RedisError

# name -> what it says. All but the last two are Redis' doing, and all nodes' trouble.
REFUSALS = {
    "maxmemory": "Redis is at maxmemory with noeviction and refuses what writes",
    "misconf": "Redis cannot write its snapshot and refuses what writes (MISCONF)",
    "acl": "the nodes' user in Redis may not XADD, FCALL or SET any more",
    "min-replicas": "Redis misses a replica that min-replicas-to-write asks for (NOREPLICAS)",
    "descriptors": "a node has no descriptors left, and is flooded with connections",
    "log-pipe": "nobody reads the pipe that a node writes its log to",
}
OF_A_NODE = {"descriptors", "log-pipe"}
USER = "martlet"
RIGHTS = ("xadd", "fcall", "set")
# Descriptors that a node without descriptors has beyond those that it uses, and connections that want one.
SPARE, FLOOD = 12, 400
SET_PIPE_SIZE = 1031


class LogPipe:
    """What a process writes its log to; read into a file, or not read at all, and then full at once."""

    def __init__(self, log):
        self.log = log
        self.read_end, self.write_end = os.pipe()
        fcntl.fcntl(self.write_end, SET_PIPE_SIZE, 4096)
        os.set_blocking(self.read_end, False)
        self.is_read = False

    def go_on(self):
        if not self.is_read:
            self.is_read = True
            asyncio.get_running_loop().add_reader(self.read_end, self.read)

    def read(self):
        try:
            data = os.read(self.read_end, 1 << 16)
        except BlockingIOError:
            return
        with self.log.open("ab") as out:
            out.write(data)

    def stop(self):
        """Fills it, so that the next line has no room. By another open file, as whether a write waits is not its own."""
        if not self.is_read:
            return
        self.read()
        self.is_read = False
        asyncio.get_running_loop().remove_reader(self.read_end)
        filler = os.open(f"/proc/self/fd/{self.write_end}", os.O_WRONLY | os.O_NONBLOCK)
        try:
            while True:
                os.write(filler, b"nobody reads this\n")
        except BlockingIOError:
            pass
        finally:
            os.close(filler)

    def close(self):
        if self.is_read:
            asyncio.get_running_loop().remove_reader(self.read_end)
        self.is_read = False
        for end in (self.read_end, self.write_end):
            os.close(end)


class Refusing:
    """One of them: `async with Refusing(name, cluster, node):` — inside, it is so."""

    def __init__(self, name, cluster, node=None):
        self.name, self.cluster, self.node = name, cluster, node
        self.begin_it = getattr(self, name.replace("-", "_"))
        self.end_it = getattr(self, name.replace("-", "_") + "_ends")

    async def __aenter__(self):
        await self.begin_it()
        return self

    async def __aexit__(self, *error):
        await self.end_it()

    @property
    def redis(self):
        return self.cluster.redis

    async def maxmemory(self):
        await self.redis.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
        await self.redis.ask("CONFIG", "SET", "maxmemory", "1mb")

    async def maxmemory_ends(self):
        await self.redis.ask("CONFIG", "SET", "maxmemory", "0")

    @property
    def snapshot(self):
        return self.redis.dir / "dump.rdb"

    async def misconf(self):
        """A folder stands where the snapshot should go: that stops root too."""
        await self.redis.ask("CONFIG", "SET", "save", "3600 1")
        await self.redis.ask("CONFIG", "SET", "stop-writes-on-bgsave-error", "yes")
        self.snapshot.unlink(missing_ok=True)
        (self.snapshot / "in-the-way").mkdir(parents=True, exist_ok=True)
        await self.saved("err")

    async def misconf_ends(self):
        shutil.rmtree(self.snapshot, ignore_errors=True)
        await self.saved("ok")

    async def saved(self, word):
        async def asked():
            info = await self.redis.ask.info("persistence")
            if info["rdb_bgsave_in_progress"] == "0" and info["rdb_last_bgsave_status"] != word:
                try:
                    await self.redis.ask("BGSAVE", "SCHEDULE")
                except RedisError:
                    pass
            return info["rdb_last_bgsave_status"] == word

        await until(asked, 20, f"Redis says that its last snapshot was {word}", pause=0.02)

    async def acl(self):
        await self.redis.ask("ACL", "SETUSER", USER, *(f"-{word}" for word in RIGHTS))

    async def acl_ends(self):
        await self.redis.ask("ACL", "SETUSER", USER, *(f"+{word}" for word in RIGHTS))

    async def min_replicas(self):
        await self.redis.ask("CONFIG", "SET", "min-replicas-to-write", "9")

    async def min_replicas_ends(self):
        await self.redis.ask("CONFIG", "SET", "min-replicas-to-write", "0")

    async def descriptors(self):
        pid = self.node.process.pid
        self.pid, self.limits = pid, resource.prlimit(pid, resource.RLIMIT_NOFILE)
        used = len(os.listdir(f"/proc/{pid}/fd"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + SPARE, self.limits[1]))
        self.flood = []
        for _ in range(FLOOD):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", self.node.port))
            self.flood.append(one)
            if len(self.flood) % 20 == 0:
                await asyncio.sleep(0.01)

    async def descriptors_ends(self):
        for one in self.flood:
            one.close()
        if self.node.process.is_running and self.node.process.pid == self.pid:
            resource.prlimit(self.pid, resource.RLIMIT_NOFILE, self.limits)

    async def log_pipe(self):
        self.node.process.pipe.stop()

    async def log_pipe_ends(self):
        self.node.process.pipe.go_on()
