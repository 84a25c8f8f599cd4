/// How Redis says no without closing the connection.
public enum RefusalKind: String, CaseIterable, Hashable, Sendable {
    /// OOM: `maxmemory` is reached.
    case outOfMemory
    /// MISCONF: it cannot save to its disk.
    case diskError
    /// NOPERM: the user lacks a right.
    case noPermission
    /// NOREPLICAS: fewer replicas than `min-replicas-to-write`.
    case noReplicas
    /// READONLY: it is a replica.
    case readOnly
    /// LOADING: it reads its data back.
    case loading
    /// BUSY: a script or function runs for too long.
    case busy
    /// MASTERDOWN: a replica that has lost its master.
    case masterDown
    /// CLUSTERDOWN: slots of the Cluster are not served.
    case clusterDown
    /// NOAUTH, WRONGPASS: the connection is no user's any more.
    case noPassword
    /// The function library is gone and cannot be loaded again.
    case library
    /// WRONGTYPE: somebody else's key is where one of ours should be. About that key alone.
    case foreignKey
    /// Any other error.
    case other

    /// Whether it is about all that a node wants to store, and not about one key.
    public var isGeneral: Bool { self != .foreignKey }

    /// What an error text of Redis means; nil if it is about the request alone: our functions' own complaints, slots of
    /// a Cluster that move, and what a link says by itself.
    public init?(text: String) {
        // Redis 7.0 says so of a command inside a function, with ERR.
        if text.hasPrefix("ERR The user executing the script can't") {
            self = .noPermission
            return
        }
        if text.hasPrefix("redis lost the function library") {
            self = .library
            return
        }
        let word = text.prefix { $0 != " " }
        switch word {
        case "OOM": self = .outOfMemory
        case "MISCONF": self = .diskError
        case "NOPERM": self = .noPermission
        case "NOREPLICAS": self = .noReplicas
        case "READONLY": self = .readOnly
        case "LOADING": self = .loading
        case "BUSY": self = .busy
        case "MASTERDOWN": self = .masterDown
        case "CLUSTERDOWN": self = .clusterDown
        case "NOAUTH", "WRONGPASS": self = .noPassword
        case "WRONGTYPE": self = .foreignKey
        case "ERR", "MOVED", "ASK", "TRYAGAIN", "CROSSSLOT", "NOSCRIPT", "NOTBUSY", "UNKILLABLE", "REFUSED": return nil
        default:
            // Redis' codes are words in capitals; what others call theirs is not known here.
            guard !word.isEmpty, word.utf8.allSatisfy({ (0x41...0x5A).contains($0) }) else { return nil }
            self = .other
        }
    }

    /// What an operator does about it.
    public var remedy: String {
        switch self {
        case .outOfMemory:
            "raise maxmemory or free memory (redis-cli INFO memory); see martlet doctor"
        case .diskError:
            "make room on Redis' disk or repair its rights, see Redis' log and INFO persistence; see martlet doctor"
        case .noPermission:
            "give the node's user the right back (ACL SETUSER, redis/users.acl); see martlet doctor"
        case .noReplicas:
            "bring the replicas back, or lower min-replicas-to-write; see martlet doctor"
        case .readOnly:
            "it is a replica: let MARTLET_REDIS_URL name the master, or the sentinels, or promote it (REPLICAOF NO ONE)"
        case .loading:
            "wait: Redis reads its data back (INFO persistence, loading_eta_seconds)"
        case .busy:
            "end the script that runs (SCRIPT KILL, FUNCTION KILL), and see who runs it"
        case .masterDown:
            "bring its master back, or promote it (REPLICAOF NO ONE)"
        case .clusterDown:
            "see CLUSTER INFO: bring the masters back whose slots are not served"
        case .noPassword:
            "set MARTLET_REDIS_USER and MARTLET_REDIS_PASSWORD to what Redis wants (ACL LIST), and start the node again"
        case .library:
            "see why FUNCTION LOAD fails (the right, memory); see martlet doctor"
        case .foreignKey:
            "see what the key is and who wrote it, then RENAME or DEL it; see martlet doctor"
        case .other:
            "see Redis' log and martlet doctor"
        }
    }
}
