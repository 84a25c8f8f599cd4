import ChatCore
import ChatGateway

/// How many connections the limit of open files (RLIMIT_NOFILE) allows. Every connection is an open file to the kernel,
/// and a node that has used up its files can neither reach Redis again nor answer health checks.
struct DescriptorPlan: Equatable {
    var budget: DescriptorBudget
    /// The number of connections of all kinds.
    var connections: Int
    /// Whether the number is bounded by the limit of open files instead of by a setting.
    var isBound: Bool

    /// A node that could accept fewer connections than this does not start.
    private static let fewest = 8
    /// The number of Cluster masters for which descriptors are reserved. With more masters, not all connections are
    /// lost at the same time.
    private static let masters = 16

    /// Plans for a limit of `files`. Throws if the configuration cannot fit.
    init(files: Int, _ configuration: NodeConfiguration) throws(StartError) {
        let loops = configuration.node.eventLoops
        let redis: Int
        switch configuration.redis.address.isCluster {
        case _ where configuration.redis.address.isMemory: redis = 0
        case true: redis = 2 * loops * Self.masters
        case false: redis = 2 * loops
        }
        budget = DescriptorBudget(limit: files, reserved: redis + 8, doorway: min(64, max(8, files / 64)))
        // The files that the process opens without any client: loops, connections to Redis, the log, and the listening
        // sockets.
        let ports = [configuration.listener.adminPort, configuration.listener.stompPort].compactMap { $0 }
        let own = 12 + 5 * loops + redis + ports.count
        let room = files - own - budget.reserved - budget.doorway
        let most = configuration.limits.allConnections
        connections = min(most, room)
        isBound = room < most
        budget.boundsConnections = isBound
        let limits = configuration.limits
        for (variable, wanted) in [
            ("MARTLET_LIMIT_SESSIONS_PER_NODE", limits.sessionsPerNode),
            ("MARTLET_LIMIT_CONNECTIONS", limits.allConnections),
        ] where configuration.given.contains(variable) && wanted > room {
            throw StartError(
                "\(variable) is \(wanted), which needs \(wanted + files - room) open files, and the limit is \(files): "
                    + "raise it (ulimit -n, LimitNOFILE=) or lower the setting")
        }
        guard room >= Self.fewest else {
            throw StartError(
                "the limit of open files is \(files), which does not suffice for connections: "
                    + "raise it (ulimit -n, LimitNOFILE=) to \(files - room + Self.fewest) at least")
        }
    }

    /// The plan for this process and its present limit.
    static func current(_ configuration: NodeConfiguration) throws(StartError) -> DescriptorPlan? {
        guard let files = OpenFileLimit.current else { return nil }
        return try DescriptorPlan(files: min(files, 1_000_000_000), configuration)
    }
}
