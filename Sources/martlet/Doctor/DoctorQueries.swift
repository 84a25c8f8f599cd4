import ChatCore
import ChatRedis
import RedisSchema

/// The commands that examine keys and rooms, and the parsing of their replies. Pure; all commands only read.
struct DoctorQueries {
    let keys: RedisKeys

    /// The maximum number of users of one roster that are examined.
    static let rosterPage = 1_000
    /// The maximum number of entries that are examined to locate the holes in a log.
    static let logPage = 2_000

    /// The `MATCH` argument of SCAN for our prefix, whose special characters are escaped.
    var pattern: String {
        var result = ""
        for character in keys.prefix {
            if "*?[]\\^-".contains(character) { result.append("\\") }
            result.append(character)
        }
        return result + "*"
    }

    func types(_ names: [String]) -> [[String]] { names.flatMap { [["TYPE", $0], ["PTTL", $0]] } }

    func readTypes(_ names: [String], _ replies: [RedisValue]) -> [KeyFacts] {
        guard replies.count == names.count * 2 else { return [] }
        return names.enumerated().map { index, name in
            KeyFacts(
                name: name, type: replies[index * 2].string ?? "none", ttl: replies[index * 2 + 1].integer ?? -2)
        }
    }

    // MARK: Rooms

    private static let kinds = RoomKey.allCases

    /// All commands for one room, adjacent in a batch.
    func room(_ name: String) -> [[String]] {
        types(Self.kinds.map { keys.key($0, of: name) }) + [
            ["HGETALL", keys.key(.nodes, of: name)], ["XINFO", "STREAM", keys.key(.log, of: name)],
            ["HSCAN", keys.key(.roster, of: name), "0", "COUNT", "\(Self.rosterPage)"],
            ["LRANGE", keys.key(.epochs, of: name), "0", "\(Self.logPage)"], ["HGETALL", keys.key(.meta, of: name)],
            ["XINFO", "STREAM", keys.key(.presence, of: name)],
            ["PUBSUB", keys.isClustered ? "SHARDNUMSUB" : "NUMSUB", keys.channel(of: name)],
            ["HLEN", keys.key(.pending, of: name)],
        ]
    }

    static let commandsPerRoom = kinds.count * 2 + 8

    func readRoom(_ name: String, _ replies: ArraySlice<RedisValue>) -> RoomFacts {
        var room = RoomFacts(name: name)
        let all = Array(replies)
        guard all.count == Self.commandsPerRoom else { return room }
        for (index, kind) in Self.kinds.enumerated() {
            let key = keys.key(kind, of: name)
            guard let facts = readTypes([key], Array(all[(index * 2)...(index * 2 + 1)])).first, facts.type != "none"
            else {
                continue
            }
            room.keys[kind] = facts
        }
        let rest = Self.kinds.count * 2
        for (node, value) in all[rest].pairs { room.nodes[node] = value.string ?? "" }
        let info = all[rest + 1].pairs
        room.length = info["length"]?.integer ?? 0
        room.generated = info["last-generated-id"]?.string.flatMap { Position($0) }
        room.broken = RoomBounds(
            log: info, epochs: all[rest + 3].array ?? [], meta: all[rest + 4].pairs, presence: all[rest + 5].pairs)
        room.first = Self.entryID(info["first-entry"])
        room.last = Self.entryID(info["last-entry"])
        if let scan = all[rest + 2].array, scan.count == 2 {
            for (user, text) in scan[1].pairs { room.roster[user] = text.string ?? "" }
        }
        room.pending = all[rest + 7].integer ?? 0
        if let count = all[rest + 6].array, count.count == 2 { room.subscribers = count[1].integer }
        return room
    }

    private static func entryID(_ entry: RedisValue?) -> Position? {
        entry?.array?.first?.string.flatMap { Position($0) }
    }

    /// The command that reads what `overlay` has of the missing seqs in these holes, and the seqs; of the first
    /// ``logPage`` of them.
    func overlay(_ room: String, _ holes: [Gap]) -> (seqs: [UInt64], command: [String]) {
        let all = holes.lazy.flatMap { ($0.after.seq + 1)..<$0.before.seq }
        let seqs = Array(all.prefix(Self.logPage))
        return (seqs, ["HMGET", keys.key(.overlay, of: room)] + seqs.map { String($0) })
    }

    /// The seqs among them that have a tombstone.
    static func tombstones(_ seqs: [UInt64], _ reply: RedisValue) -> Set<UInt64> {
        let states = reply.array ?? []
        return Set(zip(seqs, states).filter { $0.1.string?.contains("\"deleted\":{") ?? false }.map(\.0))
    }

    /// The holes without the seqs that have a tombstone.
    static func holes(_ holes: [Gap], without tombstones: Set<UInt64>) -> [Gap] {
        holes.flatMap { hole in
            var rest: [Gap] = []
            var after = hole.after
            for seq in (hole.after.seq + 1)..<hole.before.seq where tombstones.contains(seq) {
                if seq > after.seq + 1 {
                    rest.append(Gap(after: after, before: Position(epoch: after.epoch, seq: seq)))
                }
                after.seq = seq
            }
            if hole.before.seq > after.seq + 1 { rest.append(Gap(after: after, before: hole.before)) }
            return rest
        }
    }

    /// The holes in a log, from its entries in order.
    static func holes(_ entries: RedisValue) -> [Gap] {
        let places = (entries.array ?? []).compactMap { entryID($0) }
        return zip(places, places.dropFirst()).compactMap { before, after in
            after.seq > before.seq + 1 ? Gap(after: before, before: after) : nil
        }
    }
}
