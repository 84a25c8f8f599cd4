import ChatCore
import ChatGateway

/// What the limit of open files (RLIMIT_NOFILE) leaves for connections. Every connection is a file to the kernel, and a node that has used
/// up all of them can neither reach Redis again nor say how it is.
struct DescriptorPlan: Equatable {
    var budget: DescriptorBudget
    /// Connections of all kinds.
    var connections: Int
    /// The limit of open files, not a setting, bounds them.
    var isBound: Bool

    /// Fewer connections than this are no node.
    private static let fewest = 8
    /// Masters of a Cluster that connections are kept for; of more, not all come back at once.
    private static let masters = 16

    /// Plans for a limit of `files`. Throws if what was configured cannot fit.
    init(files: Int, _ configuration: NodeConfiguration) throws(StartError) {
        let loops = configuration.node.eventLoops
        let redis: Int
        switch configuration.redis.address.isCluster {
        case _ where configuration.redis.address.isMemory: redis = 0
        case true: redis = 2 * loops * Self.masters
        case false: redis = 2 * loops
        }
        budget = DescriptorBudget(limit: files, reserved: redis + 8, doorway: min(64, max(8, files / 64)))
        // What the process has open without any connection: its loops, its connections to Redis, the log, the listening socket.
        let own = 12 + 5 * loops + redis
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
                "\(variable) is \(wanted), which needs \(wanted + files - room) open files, and the limit is \(files): raise it "
                    + "(ulimit -n, LimitNOFILE=) or lower the setting")
        }
        guard room >= Self.fewest else {
            throw StartError(
                "the limit of open files is \(files), which leaves no room for connections: "
                    + "raise it (ulimit -n, LimitNOFILE=) to \(files - room + Self.fewest) at least")
        }
    }

    /// For this process, as it is now.
    static func current(_ configuration: NodeConfiguration) throws(StartError) -> DescriptorPlan? {
        guard let files = OpenFileLimit.current else { return nil }
        return try DescriptorPlan(files: min(files, 1_000_000_000), configuration)
    }
}
