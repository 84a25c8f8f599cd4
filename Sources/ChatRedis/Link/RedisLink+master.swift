import ChatCore
import Logging
import NIOCore

/// All connections of a link to one and the same master.
extension RedisLink {
    /// Goes where Sentinel says.
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

    /// Gives all connections up, as if they had failed.
    func dropAll(_ error: RedisSetupError) {
        for connection in connections { connection.drop(error) }
    }

    /// The connection for `role` was just set up. Others that lead to another server, or to an earlier life of this
    /// one, are older, so it is they who go: what is said on one must be heard on the other.
    func dropStrangers(to role: RedisConnectionRole) {
        guard let server = servers[role] else { return }
        for other in connections where other.isUp && servers[other.role] != server {
            logger.warning(
                "the connections of a loop lead to different redis servers; giving the older one up",
                metadata: ["channel": "\(other.role.rawValue)", "shard": "\(settings.loopIndex)"])
            other.drop(RedisSetupError(.closed, "\(other.place): the \(role.rawValue) connection found another server"))
        }
    }

    /// Redis refuses to write because it was made a replica (`src/server.c`, READONLY): it is no place to stay.
    func turnedIntoReplica() {
        isReadOnly = false
        dropAll(RedisSetupError(.replica, "\(commands.place) has become a replica"))
    }
}
