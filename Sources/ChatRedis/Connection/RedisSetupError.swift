/// Why a connection to Redis could not be set up. The message is for the operator: what is wrong, at which address, and
/// what would help. It never contains a password.
public struct RedisSetupError: Error, Sendable, Equatable, CustomStringConvertible {
    public enum Code: Sendable, Equatable, CaseIterable {
        /// Nothing listens at the address, or there is no route to it.
        case unreachable
        /// The name does not resolve to an address.
        case unknownHost
        /// Connecting, or an answer during set-up, took too long.
        case timedOut
        /// The TLS handshake failed: because of the certificate or the versions, or because the server does not use
        /// TLS.
        case tls
        /// WRONGPASS, or a password was given although none is set.
        case wrongPassword
        /// NOAUTH.
        case passwordNeeded
        /// The ACL user lacks rights that a node needs.
        case notPermitted
        case noSuchDatabase
        /// Redis below 7.0.
        case wrongVersion
        /// The server is a replica, which accepts no writes.
        case replica
        /// The server is not a Redis.
        case notRedis
        /// The function library belongs to another program, is too new, or cannot be loaded.
        case library
        /// Redis is loading its data, or is busy otherwise.
        case busy
        /// The connection was closed during set-up.
        case closed
        /// According to Sentinel, another Redis is the master now.
        case moved
        /// No sentinel can be reached.
        case noSentinel
        /// No sentinel knows a master with that name.
        case unknownMaster
        /// The URL names a single Redis, but the server is part of a Redis Cluster, or the other way round.
        case cluster
        /// No node of the Cluster can be queried.
        case noCluster
    }

    public var code: Code
    public var message: String

    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    public var description: String { message }

    /// Whether waiting may help. Otherwise a setting must be changed, here or in Redis, and a node should refuse to
    /// start.
    public var mayHeal: Bool {
        switch code {
        // A name that does not resolve is included, as containers start in any order.
        case .unreachable, .unknownHost, .timedOut, .replica, .busy, .closed, .moved, .noSentinel, .noCluster: true
        case .tls, .wrongPassword, .passwordNeeded, .notPermitted, .noSuchDatabase, .wrongVersion,
            .notRedis, .library, .unknownMaster, .cluster:
            false
        }
    }
}
