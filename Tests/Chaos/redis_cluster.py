"""A Redis Cluster on loopback, three masters with a replica each, that is looked into as if it were one Redis.

It is formed with its own commands and not with `redis-cli --cluster`, so that what fails is a named step.
"""

import asyncio
import binascii

from processes import until
from redis_server import RedisServer
from redis_wire import RedisError, Shapes

SLOTS = 16384
MASTERS = 3
# How long a server may be silent before the others take it for dead: an outage of some three seconds.
NODE_TIMEOUT_MS = 2000


def slot_of(key):
    """CRC16 of what is between the first { and the } after it, of the whole key if that is nothing."""
    _, brace, rest = key.partition("{")
    tag, closing, _ = rest.partition("}")
    return binascii.crc_hqx((tag if brace and closing and tag else key).encode(), 0) % SLOTS


class Member(RedisServer):
    """One server of the Cluster. Clients and replicas come through its front, whose port is the one that it announces:
    so its replica can be made to lag. The servers' own bus does not.
    """

    def __init__(self, index, ports, state):
        super().__init__(f"redis{index}", ports.take(), state)
        self.front_port, self.bus_port = ports.take(), ports.take()
        self.id = None
        settings = {
            "cluster-enabled": "yes",
            "cluster-config-file": "nodes.conf",
            "cluster-port": self.bus_port,
            "cluster-announce-port": self.front_port,
            "cluster-node-timeout": NODE_TIMEOUT_MS,
            # Otherwise one dead master stops the slots of all others too.
            "cluster-require-full-coverage": "no",
            # Who replicates whom is the scenario's choice.
            "cluster-allow-replica-migration": "no",
        }
        for name, value in settings.items():
            self.process.argv += [f"--{name}", str(value)]

    async def sees(self):
        """The lines of CLUSTER NODES, as words: id, address, flags, master, …"""
        return [line.split() for line in (await self.ask("CLUSTER", "NODES")).splitlines()]

    async def is_well(self):
        """Says that all slots are served, and follows its master if it is a replica."""
        if "cluster_state:ok" not in await self.ask("CLUSTER", "INFO"):
            return False
        seen = await self.ask.info("replication")
        return seen["role"] == "master" or seen["master_link_status"] == "up"

    async def is_replica(self):
        return (await self.ask.info("replication"))["role"] == "slave"


class Everywhere(Shapes):
    """Asks the master that has the key's slot, as `redis-cli -c` does."""

    def __init__(self, cluster):
        self.cluster = cluster

    async def __call__(self, *words):
        slot = slot_of(words[3] if words[0] == "FCALL" else words[1])
        for _ in range(5):
            try:
                return await self.cluster.owners[slot].ask(*words)
            except RedisError as error:
                if not str(error).startswith("MOVED "):
                    raise
                self.cluster.owners[slot] = self.cluster.by_address(str(error).split()[2])
        raise RedisError(f"{words[0]}: slot {slot} is nowhere; the servers send us round")

    async def keys(self, pattern):
        return sorted({key for server in self.cluster.masters for key in await server.ask.keys(pattern)})

    def close(self):
        """Nothing: the connections are the servers' own."""


class RedisCluster:
    def __init__(self, ports, state):
        self.servers = [Member(index + 1, ports, state) for index in range(2 * MASTERS)]
        self.ask = Everywhere(self)
        # slot -> the master that has it, as far as we know.
        self.owners = [None] * SLOTS

    def by_address(self, text):
        port = int(text.rpartition(":")[2])
        return next(server for server in self.servers if server.front_port == port)

    def url(self, index):
        """Every node begins with other servers, some of them replicas: any of them must do."""
        first = 2 * index % len(self.servers)
        servers = self.servers[first:] + self.servers[:first]
        return "redis+cluster://" + ",".join(f"127.0.0.1:{server.front_port}" for server in servers)

    @property
    def masters(self):
        """Who has slots, in the order of the servers."""
        return [server for server in self.servers if server in set(self.owners)]

    @property
    def awake(self):
        return [server for server in self.servers if server.process.is_running and not server.process.stopped]

    async def start(self):
        for server in self.servers:
            server.process.start()
        for server in self.servers:
            await server.ready()
            await server.front.start(server.front_port, server.port)
        await self.form()

    async def form(self):
        masters, replicas = self.servers[:MASTERS], self.servers[MASTERS:]
        for number, server in enumerate(self.servers):
            server.id = await server.ask("CLUSTER", "MYID")
            # Each its own, or the masters would argue about it first.
            await server.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for server in self.servers[1:]:
            await masters[0].ask("CLUSTER", "MEET", "127.0.0.1", server.front_port, server.bus_port)
        await until(self.all_know_all, 20, "the servers of the Redis Cluster know each other")
        for number, server in enumerate(masters):
            first, end = number * SLOTS // MASTERS, (number + 1) * SLOTS // MASTERS
            await server.ask("CLUSTER", "ADDSLOTSRANGE", first, end - 1)
        for master, replica in zip(masters, replicas):
            await replica.ask("CLUSTER", "REPLICATE", master.id)
        await self.agree()

    async def all_know_all(self):
        everybody = {server.id for server in self.servers}
        for server in self.servers:
            seen = await server.sees()
            if {words[0] for words in seen} != everybody or any("handshake" in words[2] for words in seen):
                return False
        return True

    async def seen_by(self, server):
        """slot -> the master that has it, as this server sees it."""
        by_id, owners = {one.id: one for one in self.servers}, [None] * SLOTS
        for begin, end, master, *_ in await server.ask("CLUSTER", "SLOTS"):
            owners[begin : end + 1] = [by_id[master[2]]] * (end + 1 - begin)
        return owners

    async def agree(self, seconds=30):
        """Waits until all that are awake say that all is well, who has which slot and who follows whom."""

        async def check():
            try:
                well = [await server.is_well() for server in self.awake]
                owners = [await self.seen_by(server) for server in self.awake]
                followed = [await self.followed_by(server) for server in self.awake]
            except RedisError:
                return False
            if not all(well) or None in owners[0] or None in followed[0].values():
                return False
            if any(one != owners[0] for one in owners) or any(one != followed[0] for one in followed):
                return False
            self.owners = owners[0]
            return True

        await until(check, seconds, "all servers of the Redis Cluster are well and agree about the slots")

    ready = agree

    async def followed_by(self, server):
        """Whom each of those that are awake follows ("-" if it is a master), as this one sees it; None if it is taken
        for dead.
        """
        awake = {one.id for one in self.awake}
        return {
            words[0]: None if "fail" in words[2] else words[3] for words in await server.sees() if words[0] in awake
        }

    async def replica_of(self, master):
        found = next(words[0] for words in await master.sees() if words[3] == master.id)
        return next(server for server in self.servers if server.id == found)

    async def takes_over(self, replica, slot):
        """Whether the replica says by now that it is the master of the slot."""
        try:
            return (await self.seen_by(replica))[slot] is replica
        except RedisError:
            return False

    def by_master(self, rooms):
        """master -> those of the rooms that it has. (A room's name, between braces in its keys, decides.)"""
        found = {server: [] for server in self.masters}
        for room in rooms:
            found[self.owners[slot_of(room)]].append(room)
        return found

    async def move(self, slot, target, at_once=100, pause=0.0):
        """Moves a slot as `redis-cli --cluster reshard` does, so many keys at once, with a pause after each lot.
        Returns how many keys it had.
        """
        source, moved = self.owners[slot], 0
        await target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        await source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
        while keys := await source.ask("CLUSTER", "GETKEYSINSLOT", slot, at_once):
            await source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 4000, "KEYS", *keys)
            moved += len(keys)
            await asyncio.sleep(pause)
        # Who gets it first, so that the slot is never nobody's.
        for server in [target, source] + [one for one in self.masters if one not in (target, source)]:
            await server.ask("CLUSTER", "SETSLOT", slot, "NODE", target.id)
        self.owners[slot] = target
        # Two that take slots before they have heard of each other take the same epoch, and then a replica may never
        # learn who has what (Redis 7.0).
        await until(lambda: self.all_say(slot, target), 10, f"all servers say that slot {slot} is {target.name}'s")
        return moved

    async def all_say(self, slot, owner):
        return all([(await self.seen_by(server))[slot] is owner for server in self.awake])

    # What the verdict asks, beside keys.

    async def channels(self, pattern):
        found = set()
        for server in self.awake:
            found |= set(await server.ask("PUBSUB", "SHARDCHANNELS", pattern))
        return sorted(found)

    async def subscribers(self, channel):
        """Everywhere: one who is subscribed where the slot is not hears nothing, and is one too many."""
        return sum([(await server.ask("PUBSUB", "SHARDNUMSUB", channel))[1] for server in self.awake])

    def where_to_subscribe(self, channel):
        return self.owners[slot_of(channel)].port, "SSUBSCRIBE"
