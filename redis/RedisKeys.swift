/// The keys of a room. All of them carry the hash tag `{room}`, so they are in one Redis Cluster slot.
public enum RoomKey: String, CaseIterable, Sendable {
    /// Stream: the messages. Its last ID is the room's epoch and last seq, and the only truth about both.
    case log
    /// Hash: node → the epoch at which it entered.
    case nodes
    /// List, oldest first: `<epoch>-<seq at which it began>`.
    case epochs
    /// Hash: `history` → the epoch at which history began afresh; `run` → run id of the Redis that a node last entered.
    case meta
    /// Stream: the devices that came and went.
    case presence
    /// Hash: user → JSON `{node: [device, …]}`.
    case roster
    /// Hash: digest of user and key → ID of the message; written only where somebody had to look for a key.
    case keys
    /// Hash: the room's rules, and their version. It is missing if the room was never moderated.
    case rules
    /// Hash: `ban:<user>` and `mute:<user>` → JSON `{"until":…,"at":…,"by":…,"reason":…}`.
    case sanctions
    /// Stream: who changed the rules and sanctions, and how.
    case audit
    /// Hash: user → JSON `{"role":…,"since":…,"notify":…}`. It is missing if nobody belongs to the room.
    case participants
    /// Hash: participant → `<epoch>-<seq>.<amendments>`, up to where the user has read.
    case reads
    /// Hash: user → version of the change of participants that the user's index of rooms may lack.
    case pending
    /// Hash: seq of a message → JSON of the state that amendments gave to it, or of its tombstone.
    case overlay
    /// Sorted set: the seqs of the amendments in the log.
    case amendments
    /// Hash: sink → `<position> <token>`, up to where it was given the room's events.
    case cursors
    /// Stream: what participants have read, as they read it, participant → `<epoch>-<seq>.<amendments>`; written only
    /// while a relay reads it.
    case receipts

    /// What `TYPE` says of it.
    public var redisType: String {
        switch self {
        case .log, .presence, .audit, .receipts: "stream"
        case .nodes, .meta, .roster, .keys, .rules, .sanctions, .participants, .reads, .pending, .overlay,
            .cursors:
            "hash"
        case .amendments: "zset"
        case .epochs: "list"
        }
    }
}

/// The keys of a partition of the events. All of them carry its number as their hash tag.
public enum EventKey: String, CaseIterable, Sendable {
    /// Sorted set: the rooms in which something was said, as nodes have noted them → when (ms, clock of the node).
    case rooms
    /// The same of rooms whose audit has grown.
    case roomsOfAudit = "rooms-audit"
    /// The same of rooms in which devices came or went.
    case roomsOfPresence = "rooms-presence"
    /// The same of rooms in which participants have read.
    case roomsOfReceipts = "rooms-receipts"
    /// Hash: which relay reads the partition: `holder`, `until`, `token`.
    case lease
    /// Stream: the events of the partition's rooms.
    case log
    /// String, of partition 0 alone: there while a relay is registered, so that nodes note rooms.
    case registered
    /// Sorted set, of partition 0 alone: relay → when it was last heard of (ms, clock of Redis).
    case relays
    /// Hash, of partition 0 alone: sink → `new` or `whole` (it was given all rooms that there were), and since when.
    case sinks
    /// Hash, of partition 0 alone: webhook endpoint → JSON.
    case webhooks

    /// What `TYPE` says of it.
    public var redisType: String {
        switch self {
        case .rooms, .roomsOfAudit, .roomsOfPresence, .roomsOfReceipts, .relays: "zset"
        case .lease, .sinks, .webhooks: "hash"
        case .log: "stream"
        case .registered: "string"
        }
    }
}

/// The names of Martlet's keys and channels. `README.md` is the schema; no other code spells a key.
public struct RedisKeys: Hashable, Sendable {
    public static let defaultPrefix = "martlet:"

    public let prefix: String
    /// For a Redis Cluster: a node's report is in the slot of ``nodes``, and its list of rooms in parts with slots of
    /// their own.
    public var isClustered = false

    /// Nil if the prefix holds a brace (it would take the place of the room's hash tag), white space or a control
    /// character, or is longer than 64 bytes.
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

    /// Stream: what all nodes have to apply. In a Cluster it is in the slot of ``nodes``.
    public var commands: String { isClustered ? "\(prefix)commands:{\(nodes)}" : "\(prefix)commands" }

    /// String with the lease as TTL: the node's report, JSON.
    public func node(_ id: String) -> String {
        isClustered ? "\(prefix)node:{\(nodes)}:\(id)" : "\(prefix)node:\(id)"
    }

    /// Set: the rooms that the node may be in. In a Cluster the old list, which nodes keep while nodes of schema 1
    /// live.
    public func rooms(ofNode id: String) -> String {
        "\(node(id)):rooms"
    }

    /// Set: one part of the rooms that the node may be in, `martlet:node:{<tag>}:<id>:rooms`; without a Cluster the
    /// whole list.
    public func rooms(ofNode id: String, tag: String) -> String {
        "\(node(id, tag: tag)):rooms"
    }

    /// A node's channel, `martlet:node:{<tag>}:<id>`, in the slot of the tag; without a Cluster `martlet:node:<id>`.
    /// The node's keys begin with it.
    public func node(_ id: String, tag: String) -> String {
        isClustered ? "\(prefix)node:{\(tag)}:\(id)" : "\(prefix)node:\(id)"
    }

    /// A user's channel, `martlet:user:{<tag>}`. The user's keys begin with it.
    public func user(tag: String) -> String {
        "\(prefix)user:{\(tag)}"
    }

    /// Hash: room → JSON `{"kind":…,"since":…,"version":…}`: the rooms to which a user belongs.
    public func rooms(ofUser tag: String) -> String { "\(user(tag: tag)):rooms" }

    /// Set: whom a user does not want to hear from directly.
    public func blocked(byUser tag: String) -> String { "\(user(tag: tag)):blocked" }

    /// Hash: `<room>\n<position>` → a copy of the message, JSON: what a user has starred.
    public func stars(ofUser tag: String) -> String { "\(user(tag: tag)):stars" }

    /// Sorted set: `<room>\n<position>` → when it was starred, ms since 1970.
    public func starred(byUser tag: String) -> String { "\(user(tag: tag)):starred" }

    /// Sorted set, in the order of bytes: `<room>\n<position>\n<user>`: who has starred messages of the user.
    public func starrers(ofUser tag: String) -> String { "\(user(tag: tag)):starrers" }

    /// String: when the user was last here (ms since 1970; 0: not since that may be seen). It is missing if others may not
    /// see it.
    public func lastSeen(ofUser tag: String) -> String { "\(user(tag: tag)):seen" }

    /// What the keys of a partition of the events begin with, `martlet:events:{<partition>}`.
    public func events(tag: String) -> String {
        "\(prefix)events:{\(tag)}"
    }

    /// A key of a partition of the events, `martlet:events:{3}:log`.
    public func key(_ key: EventKey, ofPartition tag: String) -> String {
        "\(events(tag: tag)):\(key.rawValue)"
    }

    /// Sorted set: room → from when on a sink has to read it (ms, clock of Redis).
    public func due(_ sink: String, ofPartition tag: String) -> String {
        "\(events(tag: tag)):due:\(sink)"
    }

    /// Hash: room → `<event> <failures>`: how often a sink has not accepted the event that is next.
    public func tries(_ sink: String, ofPartition tag: String) -> String {
        "\(events(tag: tag)):tries:\(sink)"
    }

    /// Sorted set: the events that an unordered endpoint has not accepted, JSON → when they are tried again (ms).
    public func later(_ sink: String, ofPartition tag: String) -> String {
        "\(events(tag: tag)):later:\(sink)"
    }

    /// Stream: the events that a sink could not be given.
    public func dead(_ sink: String, ofPartition tag: String) -> String {
        "\(events(tag: tag)):dead:\(sink)"
    }

    /// What `TYPE` says of a key of the events; nil if the name is that of another key.
    public func typeOfEvents(_ name: String) -> String? {
        let before = "\(prefix)events:{"
        guard name.hasPrefix(before), let end = name.firstIndex(of: "}"),
            Int(name[..<end].dropFirst(before.count)).map({ (0..<16).contains($0) }) ?? false
        else { return nil }
        let rest = name[name.index(after: end)...]
        guard rest.first == ":" else { return nil }
        let words = rest.dropFirst().split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        if words.count == 1 { return EventKey(rawValue: String(words[0]))?.redisType }
        switch words[0] {
        case "due", "later": return "zset"
        case "tries": return "hash"
        case "dead": return "stream"
        default: return nil
        }
    }

    /// String: what a ticket allows, JSON. `name`: the SHA-256 of the ticket, in hexadecimal digits.
    public func ticket(_ name: String) -> String {
        "\(prefix)ticket:{\(name)}"
    }

    /// The node whose list, or part of a list, `name` is; nil if it is none.
    public func node(ofRooms name: String) -> String? {
        guard name.hasPrefix("\(prefix)node:"), name.hasSuffix(":rooms") else { return nil }
        var rest = name.dropFirst(prefix.count + 5).dropLast(6)
        if isClustered {
            guard rest.first == "{", let end = rest.firstIndex(of: "}") else { return nil }
            let tag = rest[rest.index(after: rest.startIndex)..<end]
            rest = rest[rest.index(after: end)...]
            guard rest.first == ":", tag == nodes || !tag.isEmpty && tag.utf8.allSatisfy({ (0x30...0x39).contains($0) })
            else { return nil }
            rest = rest.dropFirst()
        }
        return rest.isEmpty ? nil : String(rest)
    }

    /// In a Cluster: a string that is written as a mark in the replication stream, and expires after a second. `tag` is
    /// of a slot of the master.
    public func replicationMark(tag: String) -> String {
        "\(prefix)replicas:{\(tag)}"
    }

    /// The room whose key `name` is, and which of its keys; nil if it is no key of a room with this prefix.
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
