/// What Martlet keeps of one room. All keys of a room carry the hash tag `{room}`, so they are in one Redis Cluster slot.
public enum RoomKey: String, CaseIterable, Sendable {
    /// Stream: what was said. Its last ID is the room's epoch and last seq, the only truth about both.
    case log
    /// Hash: node → the epoch at which it entered.
    case nodes
    /// List, oldest first: `<epoch>-<seq at which it began>`.
    case epochs
    /// Hash: `history` → the epoch at which history began afresh; `run` → run id of the Redis that a node last entered.
    case meta
    /// Stream: who came and went.
    case presence
    /// Hash: user → JSON `{node: [device, …]}`.
    case roster
    /// Hash: digest of user and key → ID of the message; written only where somebody had to look for a key.
    case keys

    /// What `TYPE` says of it.
    public var redisType: String {
        switch self {
        case .log, .presence: "stream"
        case .nodes, .meta, .roster, .keys: "hash"
        case .epochs: "list"
        }
    }
}

/// The names of Martlet's keys and channels. `README.md` is the schema; nothing else in the code spells a key.
public struct RedisKeys: Hashable, Sendable {
    public static let defaultPrefix = "martlet:"

    public let prefix: String
    /// For a Redis Cluster: all keys of nodes are in one slot, that of ``nodes``.
    public var isClustered = false

    /// Nil if the prefix holds a brace (it would take the place of the room's hash tag), white space or a control character, or is
    /// longer than 64 bytes.
    public init?(prefix: String) {
        let bad = prefix.utf8.contains {
            $0 <= 0x20 || $0 == 0x7F || $0 == UInt8(ascii: "{") || $0 == UInt8(ascii: "}")
        }
        guard !bad, prefix.utf8.count <= 64 else { return nil }
        self.prefix = prefix
    }

    /// With ``defaultPrefix``.
    public init() {
        prefix = Self.defaultPrefix
    }

    /// A key of a room, `martlet:{lobby}:log`. `room` is a valid room name: without braces.
    public func key(_ key: RoomKey, of room: String) -> String {
        "\(prefix){\(room)}:\(key.rawValue)"
    }

    /// The room's channel, `martlet:{lobby}`: the log's key without `:log`, as the functions derive it.
    public func channel(of room: String) -> String {
        "\(prefix){\(room)}"
    }

    /// Sorted set: node → its last heartbeat, ms since 1970 by its own clock.
    public var nodes: String { "\(prefix)nodes" }

    /// String with the lease as TTL: what the node says of itself, JSON.
    public func node(_ id: String) -> String {
        isClustered ? "\(prefix)node:{\(nodes)}:\(id)" : "\(prefix)node:\(id)"
    }

    /// Set: the rooms that the node may be in.
    public func rooms(ofNode id: String) -> String {
        "\(node(id)):rooms"
    }

    /// Of a Cluster: the string that stands in the replication stream as a mark, for a second. `tag` is of a slot of the master.
    public func replicationMark(tag: String) -> String {
        "\(prefix)replicas:{\(tag)}"
    }

    /// Which room's which key `name` is; nil if it is no room's key with this prefix.
    public func room(ofKey name: String) -> (room: String, key: RoomKey)? {
        guard name.hasPrefix(prefix) else { return nil }
        let rest = name.dropFirst(prefix.count)
        guard rest.first == "{", let end = rest.firstIndex(of: "}") else { return nil }
        let room = rest[rest.index(after: rest.startIndex)..<end]
        let tail = rest[rest.index(after: end)...]
        guard !room.isEmpty, tail.first == ":", let key = RoomKey(rawValue: String(tail.dropFirst())) else {
            return nil
        }
        return (String(room), key)
    }
}
