import ChatCore
import ChatRedis
import Logging
import NIOCore
import NIOPosix
import RedisSchema

/// Makes the loops' links to the broker that the configuration names.
struct BrokerFactory {
    /// One link for each loop; called with the loop's number.
    let link: (Int, any EventLoop) throws -> any BrokerLink

    /// For Redis: connects once first, so that a wrong password, an old version or a URL that cannot be read refuses the start with a
    /// clear error. A Redis that is merely away is waited for.
    static func make(
        _ configuration: NodeConfiguration, node: NodeID, group: MultiThreadedEventLoopGroup, metrics: NodeMetrics,
        logger: Logger
    ) async throws -> BrokerFactory {
        if configuration.redis.address.isMemory { return try await memory(configuration, on: group.next()) }
        let url = try configuration.redisURL()
        let codec = try codec(configuration)
        try await waitOrRefuse(url, codec, on: group.any(), logger)
        let deadline = configuration.redis.deadline
        let common = RedisLinkSettings(url: url, nodeName: node.text, commandTimeout: deadline)
        return BrokerFactory { index, loop in
            var settings = common
            settings.loopIndex = index
            return try RedisLink(
                settings: settings, codec: codec, eventLoop: loop, logger: logger,
                observer: RedisMetrics(metrics, shard: index))
        }
    }

    private static func codec(_ configuration: NodeConfiguration) throws -> RedisCodec {
        guard let keys = RedisKeys(prefix: configuration.redis.keyPrefix) else {
            throw StartError("MARTLET_KEY_PREFIX cannot be a prefix of Redis keys")
        }
        var settings = RedisCodecSettings()
        settings.historyLength = configuration.rooms.historyLength
        settings.roomTTL = configuration.rooms.timeToLive
        return RedisCodec(keys: keys, settings: settings)
    }

    /// Throws if Redis says no in a way that waiting does not mend.
    private static func waitOrRefuse(
        _ url: RedisURL, _ codec: RedisCodec, on loop: any EventLoop, _ logger: Logger
    ) async throws {
        do {
            let server = try await RedisLink.probe(url, codec: codec, timeout: .seconds(3), on: loop)
            logger.notice("redis answers", metadata: [LogKey.address: "\(url)", LogKey.version: "\(server.version)"])
        } catch {
            guard error.mayHeal else { throw error }
            logger.warning(
                "redis does not answer yet, waiting", metadata: [LogKey.address: "\(url)", LogKey.error: "\(error)"])
        }
    }

    /// The whole broker in this process, on one of its loops; the others hop.
    private static func memory(_ configuration: NodeConfiguration, on hubLoop: any EventLoop) async throws
        -> BrokerFactory
    {
        let rooms = configuration.rooms
        let hub = try await hubLoop.submit {
            var settings = MemoryBrokerSettings()
            settings.historyLength = rooms.historyLength
            settings.roomTTL = rooms.timeToLive
            return NIOLoopBound(MemoryBrokerHub(broker: MemoryBroker(settings: settings)), eventLoop: hubLoop)
        }.get()
        return BrokerFactory { _, loop in
            MemoryLink.make(hub: hub, on: loop)
        }
    }
}

/// Ties a loop's link to the hub on another loop. Calls and news are values and cross in order.
private enum MemoryLink {
    /// What the loop's news go to, once the link is there. Touched on the loop only.
    private final class Slot {
        weak var link: MemoryBrokerLink?
    }

    static func make(hub: NIOLoopBound<MemoryBrokerHub>, on loop: any EventLoop) -> any BrokerLink {
        let slot = NIOLoopBoundBox.makeBoxSendingValue(Slot(), eventLoop: loop)
        let client = hub.eventLoop.submit {
            hub.value.connect { news, connection in
                loop.execute { slot.value.link?.receive(news, connection: connection) }
            }
        }
        let link = MemoryBrokerLink(
            send: { call in
                // The registration above runs before this on the hub's loop, so the future is complete there.
                hub.eventLoop.execute {
                    client.whenSuccess { hub.value.perform(call, from: $0, now: WallClock.milliseconds) }
                }
            },
            defer: { work in
                loop.assumeIsolatedUnsafeUnchecked().execute(work)
            })
        let bound = UncheckedLink(link)
        loop.execute { slot.value.link = bound.link }
        return link
    }

    /// Carries the new link to its loop, before anybody else uses it.
    private struct UncheckedLink: @unchecked Sendable {  // handed over once, to the loop that owns it from then on
        let link: MemoryBrokerLink
        init(_ link: MemoryBrokerLink) { self.link = link }
    }
}

/// Why a node does not start; the text says what is wrong and what to change.
struct StartError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}
