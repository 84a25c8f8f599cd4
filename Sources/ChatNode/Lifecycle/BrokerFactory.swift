import ChatCore
import ChatGateway
import ChatRedis
import Logging
import NIOCore
import NIOPosix
import RedisSchema
import ServiceLifecycle

/// Makes the links of the loops to the configured broker.
struct BrokerFactory {
    /// Makes the link of one loop, which is given by its number.
    let link: (Int, any EventLoop, LoopTick) throws -> any BrokerLink
    /// Called after the links have stopped.
    var stop: () -> Void = {}

    /// For Redis: connects once first, so that a wrong password, an old version or an invalid URL stops the start with
    /// a clear error. A Redis that is only unreachable is waited for; a name that does not resolve is waited for only a
    /// short time.
    static func make(
        _ configuration: NodeConfiguration, node: NodeID, group: MultiThreadedEventLoopGroup, metrics: NodeMetrics,
        logger: Logger
    ) async throws -> BrokerFactory {
        if configuration.redis.address.isMemory { return try await memory(configuration, on: group.next()) }
        let codec = try codec(configuration)
        let source = try RedisSource(configuration, on: group.next(), logger)
        source.start()
        let start = RedisStart(source: source, codec: codec, loop: group.any(), logger: logger)
        let replicas = configuration.redis.ackReplicas
        try await cancelWhenGracefulShutdown {
            try await start.waitOrRefuse(nameWait: configuration.redis.nameWait, replicas: replicas)
        }
        let deadline = configuration.redis.deadline
        var common = RedisLinkSettings(
            url: source.url, nodeName: node.text, commandTimeout: deadline, pingInterval: min(.seconds(1), deadline))
        // The node must reconnect in time for its heartbeats, even if its connections are cut again and again.
        common.backoffLongest = min(common.backoffLongest, configuration.node.lease / 4)
        common.master = source.master
        common.confirmsReplicas = replicas > 0
        let settings = common
        return BrokerFactory(
            link: { index, loop, tick in
                var settings = settings
                settings.loopIndex = index
                let observer = RedisMetrics(metrics, shard: index)
                if let cluster = source.cluster {
                    return RedisClusterLink(
                        settings: settings, cluster: cluster, nodesSlot: source.nodesSlot, codec: codec,
                        eventLoop: loop, tick: tick, logger: logger, observer: observer)
                }
                return try RedisLink(
                    settings: settings, codec: codec, eventLoop: loop, tick: tick, logger: logger,
                    observer: observer)
            },
            stop: { source.stop() })
    }

    private static func codec(_ configuration: NodeConfiguration) throws -> RedisCodec {
        let keys = try configuration.redisKeys()
        var settings = RedisCodecSettings()
        settings.historyLength = configuration.rooms.historyLength
        settings.historyBytes = configuration.rooms.historyBytes
        settings.heldLength = configuration.rooms.heldLength
        settings.heldBytes = configuration.rooms.heldBytes
        settings.heldFor = configuration.rooms.heldFor
        settings.receipts = configuration.rooms.receipts
        settings.roomTTL = configuration.rooms.timeToLive
        settings.conversationTTL = configuration.rooms.conversationTimeToLive
        settings.participants = configuration.limits.participants
        return RedisCodec(keys: keys, settings: settings)
    }

    /// Runs the whole broker in this process, on one of its loops. The other loops hop to that one.
    private static func memory(_ configuration: NodeConfiguration, on hubLoop: any EventLoop) async throws
        -> BrokerFactory
    {
        let (rooms, participants) = (configuration.rooms, configuration.limits.participants)
        let hub = try await hubLoop.submit {
            var settings = MemoryBrokerSettings()
            settings.historyLength = rooms.historyLength
            settings.historyBytes = rooms.historyBytes
            settings.heldLength = rooms.heldLength
            settings.heldBytes = rooms.heldBytes
            settings.receipts = rooms.receipts
            settings.roomTTL = rooms.timeToLive
            settings.conversationTTL = rooms.conversationTimeToLive
            settings.participants = participants
            return NIOLoopBound(MemoryBrokerHub(broker: MemoryBroker(settings: settings)), eventLoop: hubLoop)
        }.get()
        return BrokerFactory(link: { _, loop, _ in MemoryLink.make(hub: hub, on: loop) })
    }
}

/// Connects the link of a loop to the hub on another loop. Calls and events are values and cross in order.
private enum MemoryLink {
    static func make(hub: NIOLoopBound<MemoryBrokerHub>, on loop: any EventLoop) -> any BrokerLink {
        let receiver = NIOLoopBoundBox.makeBoxSendingValue(Weak<MemoryBrokerLink>(), eventLoop: loop)
        let client = hub.eventLoop.submit {
            hub.value.connect { news, connection in
                loop.execute { receiver.value.object?.receive(news, connection: connection) }
            }
        }
        let link = MemoryBrokerLink(
            send: { call in
                // The registration above runs on the hub's loop before this, so the future is complete there.
                hub.eventLoop.execute {
                    client.whenSuccess { hub.value.perform(call, from: $0, now: WallClock.milliseconds) }
                }
            },
            defer: { work in
                loop.assumeIsolatedUnsafeUnchecked().execute(work)
            })
        let bound = UncheckedLink(link)
        loop.execute { receiver.value.object = bound.link }
        return link
    }

    /// Carries the new link to its loop before anything else uses it.
    private struct UncheckedLink: @unchecked Sendable {  // handed over once, to the loop that owns it from then on
        let link: MemoryBrokerLink
        init(_ link: MemoryBrokerLink) { self.link = link }
    }
}

/// The reason why a node does not start, and what to change.
struct StartError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}
