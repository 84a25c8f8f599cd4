/// The kinds of refusals with which Redis answers without closing the connection.
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
    /// NOAUTH, WRONGPASS: the connection is no longer authenticated.
    case noPassword
    /// The function library is gone and cannot be loaded again.
    case library
    /// WRONGTYPE: a foreign key has the name of one of ours. It concerns that key alone.
    case foreignKey
    /// Any other error.
    case other

    /// Whether it concerns all writes of a node, and not one key alone.
    public var isGeneral: Bool { self != .foreignKey }

    /// The kind of an error text from Redis; nil if the error concerns the request alone: errors of our own functions,
    /// moving slots of a Cluster, and errors that a link makes itself.
    public init?(text: String) {
        // Redis 7.0 reports it like this for a command inside a function, with ERR.
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
            // Error codes of Redis are words in capitals; other texts are unknown here.
            guard !word.isEmpty, word.utf8.allSatisfy({ (0x41...0x5A).contains($0) }) else { return nil }
            self = .other
        }
    }

    /// What the operator can do about it.
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
