"""Redis (one, or two with replication), nodes with a TCP proxy each to Redis, and HAProxy in front: started here, on
loopback, in a state directory of their own.
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
    "MARTLET_NODE_LEASE": "4s",
    "MARTLET_LINGER": "1s",
    "MARTLET_SESSION_HEARTBEAT": "3s",
    "MARTLET_DRAIN_TIME": "3s",
    "MARTLET_ROOM_VIEW_INTERVAL": "5s",
    "MARTLET_LOG_LEVEL": "info",
}


def program(name):
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if not found:
        raise Broken(f"{name} is not installed: scripts/install run")
    return found


class RedisServer:
    """A Redis with its append-only file, whose size is noted all the time so that a tail of a known age can be cut
    off.
    """

    def __init__(self, name, port, state):
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
        self.process = Process(name, argv, state / f"{name}.log")
        self.ask = Redis(port)
        self.sizes = []
        # With Sentinel everybody comes through here, and knows the server by this port.
        self.front = RedisProxy(f"front of {name}")

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


class Node:
    def __init__(self, index, cluster):
        self.name = f"node{index}"
        self.port = cluster.ports.take()
        self.proxy_port = cluster.ports.take()
        self.proxy = RedisProxy(self.name)
        env = {
            **NODE_SETTINGS,
            **cluster.settings,
            "MARTLET_HOST": "127.0.0.1",
            "MARTLET_PORT": str(self.port),
            "MARTLET_NODE_NAME": self.name,
            "MARTLET_REDIS_URL": cluster.redis_url(self),
        }
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
    def __init__(self, options, state, settings=None, nodes=3, replica=False, haproxy=True, sentinel=False):
        self.binary, self.state, self.settings = options.binary, state, dict(settings or {})
        self.settings.update(text.split("=", 1) for text in options.set)
        self.ports = Ports(options.port_base)
        self.redis = RedisServer("redis1", self.ports.take(), state)
        self.replica = RedisServer("redis2", self.ports.take(), state) if replica else None
        # What is replicated goes through here, so that a replica can lag.
        self.replication = RedisProxy("replication")
        self.sentinels = []
        if sentinel:
            for server in (self.redis, self.replica):
                server.front_port = self.ports.take()
                server.process.argv += [
                    "--replica-announce-ip",
                    "127.0.0.1",
                    "--replica-announce-port",
                    str(server.front_port),
                ]
            self.sentinels = [
                Sentinel(index + 1, self.ports.take(), self.redis.front_port, state) for index in range(3)
            ]
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
        for word, value in (
            ("BALANCE", "    balance leastconn"),
            ("SERVERS", servers),
            ("STATS_PORT", stats),
            ("MAXCONN", 4000),
            ("PORT", self.port),
        ):
            text = text.replace(f"@{word}@", str(value))
        config = self.state / "haproxy.cfg"
        config.write_text(text)
        self.haproxy = Process("haproxy", [program("haproxy"), "-db", "-f", config], self.state / "haproxy.log")

    def redis_url(self, node):
        if self.sentinels:
            return (
                "redis+sentinel://"
                + ",".join(f"127.0.0.1:{one.port}" for one in self.sentinels)
                + f"/{Sentinel.MASTER}/0"
            )
        return f"redis://127.0.0.1:{node.proxy_port}"

    @property
    def processes(self):
        servers = [self.redis.process] + ([self.replica.process] if self.replica else [])
        return (
            servers
            + [node.process for node in self.nodes]
            + ([self.haproxy] if self.haproxy else [])
            + [one.process for one in self.sentinels]
        )

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
            await self.replicate()
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

    async def replicate(self):
        if not self.sentinels:
            await self.replication.start(self.ports.take(), self.redis.port)
            return await self.follow(self.replica, self.redis)
        for server in (self.redis, self.replica):
            await server.front.start(server.front_port, server.port)
        await self.replica.ask("REPLICAOF", "127.0.0.1", self.redis.front_port)
        await self.in_step(self.replica)
        for one in self.sentinels:
            one.process.start()

        async def agree():
            try:
                states = [await one.ask("SENTINEL", "CKQUORUM", Sentinel.MASTER) for one in self.sentinels]
                masters = [await one.ask("SENTINEL", "REPLICAS", Sentinel.MASTER) for one in self.sentinels]
            except RedisError:
                return False
            return all(state.startswith("OK 3") for state in states) and all(masters)

        await until(agree, 30, "the sentinels know each other and the replica")

    async def master_by_sentinel(self):
        """The server that most sentinels name."""
        words = []
        for one in self.sentinels:
            address = await one.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", Sentinel.MASTER)
            words += [
                server for server in (self.redis, self.replica) if address and int(address[1]) == server.front_port
            ]
        return max(words, key=words.count) if len(words) > 1 else None

    async def follow(self, replica, master):
        self.replication.target = master.port
        self.replication.cut()
        await replica.ask("REPLICAOF", "127.0.0.1", self.replication.port)
        await self.in_step(replica)

    async def in_step(self, replica):
        async def check():
            try:
                return (await replica.ask.info("replication")).get("master_link_status") == "up"
            except RedisError:
                return False

        await until(check, 30, f"{replica.name} follows its master")

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
                        f"{process.name} ended by itself, status {process.child.returncode}: {process.tail(3)}"
                    )
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
        for one in self.sentinels:
            one.ask.close()
            await one.process.finish(3)
        fronts = [server.front for server in (self.redis, self.replica) if server]
        for proxy in [self.replication] + fronts + [node.proxy for node in self.nodes]:
            proxy.stop()
        if self.haproxy:
            await self.haproxy.finish(3)
        for server in (self.replica, self.redis):
            if server:
                server.ask.close()
                await server.process.finish(5)
        for process in self.processes:
            process.kill()
