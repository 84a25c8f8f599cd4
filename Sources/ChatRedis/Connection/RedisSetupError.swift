/// Why a connection to Redis could not be set up. The message is for the operator: what is wrong, at which address,
/// and what would help. It never holds a password.
public struct RedisSetupError: Error, Sendable, Equatable, CustomStringConvertible {
    public enum Code: Sendable, Equatable, CaseIterable {
        /// Nobody listens there, or there is no way.
        case unreachable
        /// The name has no address.
        case unknownHost
        /// No connection, or no answer to the set-up, in time.
        case timedOut
        /// The TLS handshake failed: certificate, versions, or no TLS there.
        case tls
        /// WRONGPASS, or a password where none is set.
        case wrongPassword
        /// NOAUTH.
        case passwordNeeded
        /// The ACL user may not do what a node must.
        case notPermitted
        case noSuchDatabase
        /// Redis below 7.0.
        case wrongVersion
        /// A replica: it could not be written to.
        case replica
        /// Something else answers there.
        case notRedis
        /// The function library is somebody else's, too new, or cannot be loaded.
        case library
        /// Redis is loading its data, or otherwise busy.
        case busy
        /// The connection was closed during set-up.
        case closed
        /// Sentinel says that another Redis is the master now.
        case moved
        /// No sentinel can be asked.
        case noSentinel
        /// No sentinel knows a master of that name.
        case unknownMaster
        /// A Redis Cluster where the URL names a single Redis, or the other way round.
        case cluster
        /// No node of the Cluster can be asked who serves what.
        case noCluster
    }

    public var code: Code
    public var message: String

    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    public var description: String { message }

    /// Whether waiting may help. Otherwise somebody must change a setting, here or in Redis, and a node that starts
    /// should refuse to.
    public var mayHeal: Bool {
        switch code {
        // A name that does not resolve: containers start in any order.
        case .unreachable, .unknownHost, .timedOut, .replica, .busy, .closed, .moved, .noSentinel, .noCluster: true
        case .tls, .wrongPassword, .passwordNeeded, .notPermitted, .noSuchDatabase, .wrongVersion,
            .notRedis, .library, .unknownMaster, .cluster:
            false
        }
    }
}
