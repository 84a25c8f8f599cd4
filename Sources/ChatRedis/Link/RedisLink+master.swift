import ChatCore
import Logging
import NIOCore

/// Keeps all connections of a link on the same master.
extension RedisLink {
    /// Moves to the Redis that Sentinel names.
    func follow() {
        guard let master = settings.master else { return }
        let bound = NIOLoopBound(Weak(self), eventLoop: eventLoop)
        let eventLoop = eventLoop
        master.follow { target in
            eventLoop.execute {
                guard let link = bound.value.object else { return }
                for connection in link.connections { connection.lead(to: target) }
            }
        }
    }

    /// Drops all connections as if they had failed.
    func dropAll(_ error: RedisSetupError) {
        for connection in connections { connection.drop(error) }
    }

    /// The connection for `role` was just set up. Other connections that lead to another server, or to an earlier run
    /// of this one, are older and are dropped, because messages that are sent on one connection must be received on the
    /// other.
    func dropStrangers(to role: RedisConnectionRole) {
        guard let server = servers[role] else { return }
        for other in connections where other.isUp && servers[other.role] != server {
            logger.warning(
                "the connections of a loop lead to different redis servers; giving the older one up",
                metadata: ["channel": "\(other.role.rawValue)", "shard": "\(settings.loopIndex)"])
            other.drop(RedisSetupError(.closed, "\(other.place): the \(role.rawValue) connection found another server"))
        }
    }

    /// Redis refuses writes because it was made a replica (`src/server.c`, READONLY), so the link must leave it.
    func turnedIntoReplica() {
        isReadOnly = false
        dropAll(RedisSetupError(.replica, "\(commands.place) has become a replica"))
    }
}
