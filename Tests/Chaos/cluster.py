"""Redis (one, or two with replication, or a Redis Cluster), nodes with a TCP proxy each to Redis, and HAProxy in front:
started here, on loopback, in a state directory of their own.
"""

import asyncio

from processes import Broken, Ports, Process, status, until
from redis_cluster import RedisCluster
from redis_server import ROOT, RedisServer, Sentinel, program
from redis_wire import RedisError
from refusing import LogPipe
from tcp_proxy import RedisProxy

# Short times, so that a minute of faults holds many leases, lingers and heartbeats.
NODE_SETTINGS = {
    "MARTLET_NODE_LEASE": "4s",
    "MARTLET_LINGER": "1s",
    "MARTLET_SESSION_HEARTBEAT": "3s",
    "MARTLET_DRAIN_TIME": "3s",
    "MARTLET_ROOM_VIEW_INTERVAL": "5s",
    "MARTLET_LOG_LEVEL": "info",
}


class Node:
    def __init__(self, index, cluster):
        self.name = f"node{index}"
        self.port = cluster.ports.take()
        self.proxy_port = cluster.ports.take()
        self.proxy = RedisProxy(self.name)
        self.stomp_port = cluster.ports.take() if cluster.has_protocols else None
        env = {
            **NODE_SETTINGS,
            **cluster.settings,
            "MARTLET_HOST": "127.0.0.1",
            "MARTLET_PORT": str(self.port),
            "MARTLET_NODE_NAME": self.name,
            "MARTLET_REDIS_URL": cluster.redis_url(self),
        }
        if self.stomp_port:
            env["MARTLET_STOMP_PORT"] = str(self.stomp_port)
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
    def __init__(
        self,
        options,
        state,
        settings=None,
        nodes=3,
        replica=False,
        haproxy=True,
        sentinel=False,
        redis_cluster=False,
        proxied=True,
        acl=False,
        log_pipes=False,
        binary=None,
    ):
        self.binary, self.state, self.settings = binary or options.binary, state, dict(settings or {})
        self.settings.update(text.split("=", 1) for text in options.set)
        self.has_protocols = bool(options.protocols)
        self.ports = Ports(options.port_base)
        self.redis = (
            RedisCluster(self.ports, state) if redis_cluster else RedisServer("redis1", self.ports.take(), state, acl)
        )
        self.replica = RedisServer("redis2", self.ports.take(), state, acl) if replica else None
        if acl:
            # As redis/users.acl proposes.
            self.settings.update({"MARTLET_REDIS_USER": "martlet", "MARTLET_REDIS_PASSWORD": "change-me"})
        # Without proxies between nodes and Redis nothing can be cut, and this process carries none of their bytes.
        self.proxied = proxied
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
        for node in self.nodes if log_pipes else []:
            node.process.pipe = LogPipe(node.process.log)
        self.haproxy = self.port = None
        # With other protocols nothing keeps a client on one node.
        self.balance = "roundrobin" if self.has_protocols else "leastconn"
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
            ("BALANCE", f"    balance {self.balance}"),
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
        if self.is_redis_cluster:
            return self.redis.url(int(node.name[4:]) - 1)
        if self.sentinels:
            return (
                "redis+sentinel://"
                + ",".join(f"127.0.0.1:{one.port}" for one in self.sentinels)
                + f"/{Sentinel.MASTER}/0"
            )
        return f"redis://127.0.0.1:{node.proxy_port if self.proxied else self.redis.port}"

    @property
    def is_redis_cluster(self):
        return isinstance(self.redis, RedisCluster)

    @property
    def servers(self):
        return self.redis.servers + ([self.replica] if self.replica else [])

    @property
    def processes(self):
        return (
            [server.process for server in self.servers]
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
            # Who is a master in a Redis Cluster, and at which port, its servers say: no proxy of ours stands there.
            if self.proxied and not self.is_redis_cluster:
                await node.proxy.start(node.proxy_port, self.redis.port)
            if node.process.pipe:
                node.process.pipe.go_on()
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
            for server in self.servers:
                if server.process.is_running:
                    server.note_size()
            await asyncio.sleep(0.1)

    async def stop(self):
        if self.sampler:
            self.sampler.cancel()
        for process in reversed(self.processes):
            process.expected_end = True
        # Sessions are gone by now: nodes have nothing to drain.
        for process in self.processes:
            if process.pipe:
                process.pipe.go_on()
        await asyncio.gather(*(node.process.finish(8) for node in self.nodes))
        for one in self.sentinels:
            one.ask.close()
            await one.process.finish(3)
        fronts = [server.front for server in self.servers]
        for proxy in [self.replication] + fronts + [node.proxy for node in self.nodes]:
            proxy.stop()
        if self.haproxy:
            await self.haproxy.finish(3)
        # All at once: a master that ends waits for the replicas it has.
        self.redis.ask.close()
        for server in self.servers:
            server.ask.close()
        await asyncio.gather(*(server.process.finish(5) for server in self.servers))
        for process in self.processes:
            process.kill()
            if process.pipe:
                process.pipe.close()
