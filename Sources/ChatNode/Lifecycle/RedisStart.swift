import ChatCore
public import ChatRedis
import Logging
import NIOCore
import NIOPosix
import RedisSchema

/// The way to find Redis: a fixed address, sentinels, or a Cluster.
struct RedisSource: Sendable {
    /// The fixed address. For sentinels and a Cluster, everything but the address.
    let url: RedisURL
    var master: RedisMaster?
    var cluster: RedisCluster?
    /// For a Cluster, the slot of the key that holds the heartbeats of the nodes.
    let nodesSlot: HashSlot

    init(_ configuration: NodeConfiguration, on loop: any EventLoop, _ logger: Logger) throws {
        let redis = configuration.redis
        nodesSlot = HashSlot(ofKey: try configuration.redisKeys().nodes)
        if redis.address.isCluster {
            let cluster = try configuration.clusterURL()
            guard let seed = cluster.seeds.first else { throw StartError("MARTLET_REDIS_URL names no host") }
            url = seed
            self.cluster = try RedisCluster(
                cluster, timeout: min(.seconds(1), redis.deadline), eventLoop: loop, logger: logger)
            return
        }
        guard redis.address.isSentinel else {
            url = try configuration.redisURL()
            return
        }
        var sentinels = try SentinelURL(redis.address.text)
        if let user = redis.user { sentinels.user = user }
        if let password = redis.password { sentinels.password = password.revealed }
        sentinels.secure(with: redis.tlsFiles)
        sentinels.authenticate(user: redis.sentinelUser, password: redis.sentinelPassword?.revealed)
        url = sentinels.master(host: sentinels.masterName, port: 0)
        master = try RedisMaster(
            sentinels, deadline: min(.seconds(1), redis.deadline), eventLoop: loop, logger: logger)
    }

    var kind: RedisServerKind { cluster == nil ? .single : .clusterMaster }

    func start() {
        master?.start()
        cluster?.start()
    }

    func stop() {
        master?.stop()
        cluster?.stop()
    }

    /// The Redis that a node should use now. In a Cluster, the master that holds the heartbeats.
    func find() async throws(RedisSetupError) -> RedisURL {
        if let cluster { return try await cluster.find(nodesSlot, within: .seconds(3)) }
        guard let master else { return url }
        return try await master.find(within: .seconds(3))
    }
}

extension NodeConfiguration {
    /// The present address of Redis, for tools: ``redisURL()``, the master that the sentinels name, or the Cluster.
    /// ``redisKeys()`` returns the names of the keys.
    public func findRedis() async throws -> RedisTarget {
        if redis.address.isCluster {
            return .cluster(try clusterURL(), nodesSlot: HashSlot(ofKey: try redisKeys().nodes))
        }
        let source = try RedisSource(
            self, on: MultiThreadedEventLoopGroup.singleton.any(),
            Logger(label: "martlet", factory: { _ in SwiftLogNoOpLogHandler() }))
        source.start()
        defer { source.stop() }
        return .single(try await source.find())
    }
}

/// The first connection to Redis, before the node listens.
struct RedisStart {
    let source: RedisSource
    let codec: RedisCodec
    let loop: any EventLoop
    let logger: Logger

    private enum Look {
        case usable(RedisServerInfo, RedisURL)
        /// Redis is unreachable, and waiting may help.
        case away(RedisSetupError)
        case refused(RedisSetupError)
    }

    /// Throws if Redis refuses in a way that waiting does not change, or if its name does not resolve within
    /// `nameWait`: the container of Redis may have to start first, but a misspelt name must be reported. Returns at
    /// once if Redis is unreachable for any other reason, because the links keep trying.
    func waitOrRefuse(nameWait: Duration, replicas: Int) async throws {
        let end = ContinuousClock.now + nameWait
        var isFirst = true
        while true {
            switch await look() {
            case .usable(let server, let url):
                answers(server, url, replicas: replicas)
                let masters = source.cluster?.masters ?? []
                for url in masters.isEmpty ? [url] : masters { await warn(of: url) }
                return
            case .refused(let error): throw error
            case .away(let error) where error.code != .unknownHost:
                logger.warning("redis does not answer yet, waiting for it", metadata: [LogKey.error: "\(error)"])
                return
            case .away(let error):
                guard ContinuousClock.now < end else {
                    throw StartError("\(error); waited \(nameWait) for it to resolve (MARTLET_REDIS_NAME_WAIT)")
                }
                if isFirst {
                    logger.warning(
                        "the host name of redis does not resolve yet, waiting", metadata: [LogKey.error: "\(error)"])
                }
                isFirst = false
                try await Task.sleep(for: .milliseconds(500))
            }
        }
    }

    private func look() async -> Look {
        do throws(RedisSetupError) {
            let url = try await source.find()
            return .usable(
                try await RedisLink.probe(url, kind: source.kind, codec: codec, timeout: .seconds(3), on: loop), url)
        } catch {
            return error.mayHeal ? .away(error) : .refused(error)
        }
    }

    private func answers(_ server: RedisServerInfo, _ url: RedisURL, replicas: Int) {
        logger.notice(
            "redis answers",
            metadata: [LogKey.address: "\(url)", LogKey.version: "\(server.version)"])
        if server.replicas < replicas {
            logger.warning(
                "redis has fewer replicas than MARTLET_ACK_REPLICAS, so no send will be acknowledged",
                metadata: [LogKey.count: "\(server.replicas)"])
        }
    }

    /// Logs which settings of the server differ from redis.conf; `martlet doctor` explains them. A server that does not
    /// show its settings is accepted as it is.
    private func warn(of url: RedisURL) async {
        do throws(RedisSetupError) {
            let inspector = try await RedisInspector.connect(
                url, name: "settings", kind: source.kind, timeout: .seconds(3), on: loop)
            defer { inspector.close() }
            for advice in try await RedisAdvice.ask(inspector).advice {
                logger.log(
                    level: advice.weight == .must ? .error : .warning, "a setting of redis should be changed",
                    metadata: [
                        LogKey.address: "\(url)", LogKey.setting: "\(advice.subject)",
                        LogKey.reason: "\(advice.problem)",
                        LogKey.remedy: "\(advice.remedy)",
                    ])
            }
        } catch {
            logger.debug("the settings of redis cannot be read", metadata: [LogKey.error: "\(error)"])
        }
    }
}
