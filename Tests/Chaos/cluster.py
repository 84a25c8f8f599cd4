"""Redis (one, or two with replication), nodes with a TCP proxy each to Redis, and HAProxy in front: started here, on loopback, in a
state directory of their own.
"""
import asyncio
import pathlib
import shutil
import time

from processes import Broken, Ports, Process, status, until
from redis_wire import Redis, RedisError
from tcp_proxy import RedisProxy

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Short times, so that a minute of faults holds many leases, lingers and heartbeats.
NODE_SETTINGS = {
    "MARTLET_NODE_LEASE": "4s", "MARTLET_LINGER": "1s", "MARTLET_SESSION_HEARTBEAT": "3s", "MARTLET_DRAIN_TIME": "3s",
    "MARTLET_ROOM_VIEW_INTERVAL": "5s", "MARTLET_LOG_LEVEL": "info",
}


def program(name):
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if not found:
        raise Broken(f"{name} is not installed: scripts/install run")
    return found


class RedisServer:
    """A Redis with its append-only file, whose size is noted all the time so that a tail of a known age can be cut off."""

    def __init__(self, name, port, state):
        self.name, self.port, self.dir = name, port, state / name
        self.dir.mkdir(parents=True, exist_ok=True)
        argv = [program("redis-server"), ROOT / "redis/redis.conf", "--bind", "127.0.0.1", "--port", port, "--daemonize", "no",
                "--dir", self.dir, "--logfile", "", "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1",
                "--enable-debug-command", "local"]
        self.process = Process(name, argv, state / f"{name}.log")
        self.ask = Redis(port)
        self.sizes = []

    async def start(self):
        self.process.start()
        await self.ready()

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
        """Cuts off what was appended in the last `seconds` before `now`; the process must be dead. Returns bytes lost."""
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


class Node:
    def __init__(self, index, cluster):
        self.name = f"node{index}"
        self.port = cluster.ports.take()
        self.proxy_port = cluster.ports.take()
        self.proxy = RedisProxy(self.name)
        env = {**NODE_SETTINGS, **cluster.settings, "MARTLET_HOST": "127.0.0.1", "MARTLET_PORT": str(self.port),
               "MARTLET_NODE_NAME": self.name, "MARTLET_REDIS_URL": f"redis://127.0.0.1:{self.proxy_port}"}
        self.process = Process(self.name, [cluster.binary, "serve"], cluster.state / f"{self.name}.log", env)
        # One fault at a time uses it.
        self.busy = asyncio.Lock()

    async def is_ready(self):
        return (await status(self.port))[0] == 200

    async def ready(self, seconds=30):
        async def check():
            if not self.process.is_running:
                raise Broken(f"{self.name} ended: {self.process.tail(3)}")
            return await self.is_ready()

        return await until(check, seconds, f"{self.name} is ready", pause=0.1)


class Cluster:
    def __init__(self, options, state, settings=None, nodes=3, replica=False, haproxy=True):
        self.binary, self.state, self.settings = options.binary, state, settings or {}
        self.ports = Ports(options.port_base)
        self.redis = RedisServer("redis1", self.ports.take(), state)
        self.replica = RedisServer("redis2", self.ports.take(), state) if replica else None
        # What is replicated goes through here, so that a replica can lag.
        self.replication = RedisProxy("replication")
        self.nodes = [Node(index + 1, self) for index in range(nodes)]
        self.haproxy = self.port = None
        self.redis_busy = asyncio.Lock()
        self.sampler = None
        self.limits_exceeded = []
        if haproxy:
            self.make_haproxy()

    def make_haproxy(self):
        self.port, stats = self.ports.take(), self.ports.take()
        servers = "\n".join(f"    server {node.name} 127.0.0.1:{node.port}" for node in self.nodes)
        text = (ROOT / "scripts/haproxy.cfg").read_text()
        for word, value in (("BALANCE", "    balance leastconn"), ("SERVERS", servers), ("STATS_PORT", stats),
                            ("MAXCONN", 4000), ("PORT", self.port)):
            text = text.replace(f"@{word}@", str(value))
        config = self.state / "haproxy.cfg"
        config.write_text(text)
        self.haproxy = Process("haproxy", [program("haproxy"), "-db", "-f", config], self.state / "haproxy.log")

    @property
    def processes(self):
        servers = [self.redis.process] + ([self.replica.process] if self.replica else [])
        return servers + [node.process for node in self.nodes] + ([self.haproxy] if self.haproxy else [])

    @property
    def session_ports(self):
        return [self.port] if self.haproxy else [node.port for node in self.nodes]

    def process_of(self, name):
        """Which start of a node this is."""
        return next((f"{name} ({node.process.starts}. start)" for node in self.nodes if node.name == name), name)

    async def start(self):
        await self.redis.start()
        if self.replica:
            await self.replica.start()
            await self.replication.start(self.ports.take(), self.redis.port)
            await self.follow(self.replica, self.redis)
        for node in self.nodes:
            await node.proxy.start(node.proxy_port, self.redis.port)
            node.process.start()
        for node in self.nodes:
            await node.ready()
        if self.haproxy:
            self.haproxy.start()
            await until(lambda: self.proxy_answers(), 10, "HAProxy answers")
        self.sampler = asyncio.create_task(self.sample())

    async def proxy_answers(self):
        return (await status(self.port))[0] == 200

    async def follow(self, replica, master):
        self.replication.target = master.port
        self.replication.cut()
        await replica.ask("REPLICAOF", "127.0.0.1", self.replication.port)

        async def in_step():
            return (await replica.ask.info("replication")).get("master_link_status") == "up"

        await until(in_step, 20, f"{replica.name} follows {master.name}")

    def point_at(self, server):
        """From now on new connections of all nodes lead there."""
        for node in self.nodes:
            node.proxy.target = server.port

    async def sample(self):
        while True:
            for process in self.processes:
                process.sample()
                if process.child and not process.is_running and not process.expected_end:
                    process.expected_end = True
                    self.limits_exceeded.append(
                        f"{process.name} ended by itself, status {process.child.returncode}: {process.tail(3)}")
            for server in (self.redis, self.replica):
                if server and server.process.is_running:
                    server.note_size()
            await asyncio.sleep(0.1)

    async def stop(self):
        if self.sampler:
            self.sampler.cancel()
        for process in reversed(self.processes):
            process.expected_end = True
        # Sessions are gone by now: nodes have nothing to drain.
        await asyncio.gather(*(node.process.finish(8) for node in self.nodes))
        for proxy in [self.replication] + [node.proxy for node in self.nodes]:
            proxy.stop()
        if self.haproxy:
            await self.haproxy.finish(3)
        for server in (self.replica, self.redis):
            if server:
                server.ask.close()
                await server.process.finish(5)
        for process in self.processes:
            process.kill()
