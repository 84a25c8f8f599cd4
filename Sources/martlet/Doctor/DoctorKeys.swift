import ChatCore
import ChatRedis
import RedisSchema

/// A key that the scan found.
struct KeyFacts: Equatable, Sendable {
    var name: String
    /// The reply to TYPE; `none` if the key was deleted meanwhile.
    var type: String
    /// In ms; -1 if it does not expire, -2 if the key is gone.
    var ttl: Int
}

/// The state of a room in Redis.
struct RoomFacts: Equatable, Sendable {
    var name: String
    var keys: [RoomKey: KeyFacts] = [:]
    /// Node → the epoch at which it entered, as stored.
    var nodes: [String: String] = [:]
    var length = 0
    var first: Position?
    var last: Position?
    /// The last ID of the log, even if its entry was deleted.
    var generated: Position?
    /// The holes in the log, as IDs after and before each, if they were examined.
    var holes: [Gap] = []
    /// The number of erased messages and amendments in the log's range, which are no holes: they have tombstones.
    var tombstones: UInt64 = 0
    /// User → the stored roster entry; only a part of a large roster.
    var roster: [String: String] = [:]
    /// The number of connections that are subscribed to the channel.
    var subscribers: Int?
    var broken = RoomBounds()
    /// How many participants there are whose index of rooms is not known to be written.
    var pending = 0
}

/// The kind of a key, by its name.
enum KeyKind: Equatable, Sendable {
    case room(String, RoomKey)
    case nodes
    case commands
    case node(String)
    case nodeRooms(String)
    case ticket
    /// Something of a user, with its type.
    case user(type: String)
    /// Something of the events, with its type.
    case events(type: String)
    /// In a Cluster: the mark that a node writes before it waits for replicas.
    case replicationMark
    case foreign

    init(_ name: String, _ keys: RedisKeys) {
        if let (room, key) = keys.room(ofKey: name), (try? RoomName(stored: room)) != nil {
            self = .room(room, key)
        } else if name == keys.nodes {
            self = .nodes
        } else if name == keys.commands {
            self = .commands
        } else if let node = keys.node(ofRooms: name), (try? NodeID(node)) != nil {
            self = .nodeRooms(node)
        } else if name.hasPrefix(keys.node("")) {
            let rest = String(name.dropFirst(keys.node("").count))
            self = (try? NodeID(rest)) != nil ? .node(rest) : .foreign
        } else if name.hasSuffix("}"),
            TicketName(String(name.dropLast().suffix(64))).map({
                keys.ticket($0.text) == name
            }) ?? false
        {
            self = .ticket
        } else if let type = Self.typeOfUser(name, keys) {
            self = .user(type: type)
        } else if let type = keys.typeOfEvents(name) {
            self = .events(type: type)
        } else if keys.isClustered, Self.isMark(name, keys) {
            self = .replicationMark
        } else {
            self = .foreign
        }
    }

    /// The type of a user's key; nil if the name is that of another one.
    private static func typeOfUser(_ name: String, _ keys: RedisKeys) -> String? {
        guard name.hasPrefix("\(keys.prefix)user:{"), let end = name.firstIndex(of: "}") else { return nil }
        let tag = String(name[..<end].dropFirst(keys.prefix.count + 6))
        guard !tag.isEmpty else { return nil }
        switch name {
        case keys.rooms(ofUser: tag), keys.stars(ofUser: tag): return "hash"
        case keys.lastSeen(ofUser: tag): return "string"
        case keys.blocked(byUser: tag): return "set"
        case keys.starred(byUser: tag), keys.starrers(ofUser: tag): return "zset"
        default: return nil
        }
    }

    private static func isMark(_ name: String, _ keys: RedisKeys) -> Bool {
        guard let open = name.firstIndex(of: "{"), name.last == "}" else { return false }
        return name == keys.replicationMark(tag: String(name[name.index(after: open)...].dropLast()))
    }

    /// The Redis type that it should have; nil if any will do.
    var type: String? {
        switch self {
        case .room(_, let key): key.redisType
        case .nodes: "zset"
        case .commands: "stream"
        case .node, .ticket, .replicationMark: "string"
        case .nodeRooms: "set"
        case .user(let type), .events(let type): type
        case .foreign: nil
        }
    }
}

/// The findings about keys and rooms. Pure.
struct DoctorKeys {
    let keys: RedisKeys
    /// Nodes whose lease has not expired, and all in the set of nodes.
    let living: Set<String>
    let registered: Set<String>
    /// For the commands that findings suggest.
    var roomTTL: Int = 604_800_000
    /// The same of rooms with participants.
    var conversationTTL: Int = 7_776_000_000
    /// Redis' clock, in ms since 1970; 0 if it is unknown.
    var time: UInt64 = 0
    var cli: String { keys.isClustered ? "redis-cli -c" : "redis-cli" }

    // MARK: Keys

    func finding(_ key: KeyFacts) -> Finding? {
        let kind = KeyKind(key.name, keys)
        guard key.type != "none" else { return nil }
        if let wanted = kind.type, key.type != wanted {
            return Finding(
                .must, .keys, key.name, "it is a \(key.type), Martlet keeps a \(wanted) there: every node fails on it",
                do: "see what it is and who wrote it, then RENAME or DEL it")
        }
        switch kind {
        case .room, .nodes, .commands, .ticket, .user, .events, .replicationMark: return nil
        case .foreign:
            return Finding(
                .warning, .keys, key.name, "it begins with \(keys.prefix) but is none of Martlet's keys",
                do: "give the other program another prefix, or this chat (MARTLET_KEY_PREFIX)")
        case .node(let node):
            if registered.contains(node) { return nil }
            return Finding(
                .warning, .keys, key.name,
                "the node's lease runs, but it is not in \(keys.nodes): nobody would sweep it",
                do: "its next heartbeat enters it again; if it does not, see that node's log")
        case .nodeRooms(let node):
            if registered.contains(node) || living.contains(node) { return nil }
            let expiry = key.ttl >= 0 ? "; it expires in \(TopText.span(UInt64(key.ttl)))" : " and never expires"
            return Finding(
                .warning, .keys, key.name, "it is left of a dead node that nobody sweeps any more\(expiry)",
                do:
                    "look for the node in the rooms of SMEMBERS \(ShellText.quoted(key.name)) (this finds those too), "
                    + "then DEL it"
            )
        }
    }

    // MARK: Rooms

    func findings(_ room: RoomFacts) -> [Finding] {
        // A key of the wrong type is reported on its own.
        guard room.keys.allSatisfy({ $0.value.type == $0.key.redisType || $0.value.type == "none" }) else { return [] }
        return bounds(room) + nodes(room) + lifetimes(room) + log(room) + roster(room) + participants(room)
    }

    private func nodes(_ room: RoomFacts) -> [Finding] {
        var findings: [Finding] = []
        for (node, value) in room.nodes.sorted(by: { $0.key < $1.key }) where !living.contains(node) {
            // A registered node will be swept; DoctorNodes reports it.
            guard !registered.contains(node) else { continue }
            let names = [RoomKey.log, .nodes, .epochs, .meta, .presence, .roster].map {
                ShellText.quoted(keys.key($0, of: room.name))
            }
            findings.append(
                Finding(
                    .must, .rooms, "\(room.name), node \(node)",
                    "\(keys.key(.nodes, of: room.name)) holds a dead node that nobody knows: its members stay in the "
                        + "roster, and every message is published to it",
                    do:
                        "\(cli) FCALL martlet_leave 6 \(names.joined(separator: " ")) \(ShellText.quoted(node)) "
                        + "\(ShellText.quoted(value)) \(roomTTL) 1000"
                ))
        }
        let alive = room.nodes.keys.count { living.contains($0) }
        if let subscribers = room.subscribers, subscribers < alive {
            findings.append(
                Finding(
                    .must, .rooms, room.name,
                    "\(alive) living nodes are in it, but only \(subscribers) listen to its channel: messages reach "
                        + "the others late",
                    do:
                        "see the logs of \(room.nodes.keys.filter(living.contains).sorted().joined(separator: ", ")) "
                        + "for lost connections to Redis"
                ))
        }
        return findings
    }

    private func lifetimes(_ room: RoomFacts) -> [Finding] {
        // What is there for relays has a TTL of its own.
        let all = room.keys.filter { ![.cursors, .receipts].contains($0.key) }
            .sorted { $0.key.rawValue < $1.key.rawValue }
        if isCold(room) { return [] }
        if room.nodes.isEmpty {
            let forever = all.filter { $0.value.ttl == -1 }.map(\.value.name)
            guard !forever.isEmpty else { return [] }
            let ttl = room.keys[.participants] == nil ? roomTTL : max(roomTTL, conversationTTL)
            return [
                Finding(
                    .warning, .rooms, room.name,
                    "no node is in it, and it never expires (\(forever.joined(separator: ", ")))",
                    do: forever.map { "\(cli) PEXPIRE \(ShellText.quoted($0)) \(ttl)" }.joined(separator: "; "))
            ]
        }
        let expiring = all.filter { $0.value.ttl >= 0 }
        guard let soonest = expiring.map(\.value.ttl).min() else { return [] }
        return [
            Finding(
                .must, .rooms, room.name,
                "nodes are in it, but \(expiring.map(\.value.name).joined(separator: ", ")) will expire in "
                    + "\(TopText.span(UInt64(soonest))): its history would be lost",
                do: expiring.map { "\(cli) PERSIST \(ShellText.quoted($0.value.name))" }.joined(separator: "; "))
        ]
    }

    /// Whether all of the room is in an archive, so that its log is only kept for its last ID.
    private func isCold(_ room: RoomFacts) -> Bool {
        room.nodes.isEmpty && room.length == 0 && room.generated.map { $0.seq > 0 } ?? false
            && room.keys[.cursors] != nil
    }

    private func log(_ room: RoomFacts) -> [Finding] {
        let log = keys.key(.log, of: room.name)
        if isCold(room) { return [] }
        guard let first = room.first, let last = room.last, room.length > 0 else {
            guard let generated = room.generated, generated.seq > 0, room.keys[.log] != nil else { return [] }
            return [
                Finding(
                    .warning, .rooms, log, "all \(generated.seq) messages were deleted from it by hand (XDEL, XTRIM)",
                    do: "nothing brings them back; clients are told of the gap")
            ]
        }
        var findings: [Finding] = []
        if first.seq == 0 || last.seq < first.seq {
            findings.append(
                Finding(
                    .warning, .rooms, log,
                    "it holds entries whose IDs no node made (\(first) to \(last)): somebody used XADD … *",
                    do:
                        "write with martlet_say; a node that sees it begins the history anew and tells its clients "
                        + "(reset)"
                ))
            return findings
        }
        let missing =
            last.seq - first.seq + 1 - min(UInt64(room.length) + room.tombstones, last.seq - first.seq + 1)
        if missing > 0 {
            let places = room.holes.prefix(5).map { gap in
                gap.before.seq == gap.after.seq + 2
                    ? "\(gap.after.seq + 1)" : "\(gap.after.seq + 1)–\(gap.before.seq - 1)"
            }
            let place =
                places.isEmpty ? "" : ": seq \(places.joined(separator: ", "))\(room.holes.count > 5 ? " …" : "")"
            findings.append(
                Finding(
                    .warning, .rooms, log, "it has holes, \(missing) messages are missing\(place)",
                    do:
                        "nothing brings them back; clients are told of the gap. Who deletes a message with "
                        + "martlet_amend leaves a tombstone: see who uses XDEL"
                ))
        }
        if let generated = room.generated, generated.seq > last.seq {
            findings.append(
                Finding(
                    .warning, .rooms, log, "its newest \(generated.seq - last.seq) messages were deleted by hand",
                    do: "nothing brings them back; see who uses XDEL"))
        }
        return findings
    }

    /// Nodes of the room write the indexes within seconds, and others when they come to it.
    private func participants(_ room: RoomFacts) -> [Finding] {
        guard room.pending > 0, room.nodes.isEmpty else { return [] }
        return [
            Finding(
                .warning, .rooms, keys.key(.pending, of: room.name),
                "\(room.pending) users may not find the room in their inbox, or find it though they have left",
                do: "martlet room participants \(ShellText.quoted(room.name)) --repair")
        ]
    }

    private func roster(_ room: RoomFacts) -> [Finding] {
        let roster = keys.key(.roster, of: room.name)
        var ghosts: [String] = []
        var lost: Set<String> = []
        var unreadable: [String] = []
        for (user, text) in room.roster.sorted(by: { $0.key < $1.key }) {
            guard let devices = Array(text.utf8).withUnsafeBytes({ RosterReader.devices(of: $0) }) else {
                unreadable.append(user)
                continue
            }
            let strangers = devices.filter { room.nodes[$0.node.text] == nil }
            if !strangers.isEmpty { ghosts.append(user) }
            for device in strangers { lost.insert(device.node.text) }
        }
        var findings: [Finding] = []
        if !ghosts.isEmpty {
            findings.append(
                Finding(
                    .warning, .rooms, roster,
                    "it names \(Self.names(ghosts)) on nodes that are not in the room (\(Self.names(lost.sorted())))",
                    do:
                        "it is right again when they or the last node leave; or \(cli) HDEL "
                        + "\(ShellText.quoted(roster)) and the name"
                ))
        }
        if !unreadable.isEmpty {
            findings.append(
                Finding(
                    .must, .rooms, roster, "what it holds of \(Self.names(unreadable)) is not {\"node\": [\"device\"]}",
                    do:
                        "\(cli) HDEL \(ShellText.quoted(roster)) and the name: a living node writes its members again "
                        + "when it next enters"
                ))
        }
        return findings
    }

    private static func names(_ names: [String]) -> String {
        let shown = names.prefix(5).joined(separator: ", ")
        return names.count > 5 ? shown + " and \(names.count - 5) more" : shown
    }
}
