import ChatCore
import ChatRedis
import RedisSchema

/// One look at Redis: everything that `martlet top` goes by.
struct TopSample: Equatable, Sendable {
    struct Node: Equatable, Sendable {
        var id: NodeID
        /// Its last report; nil if its lease has run out.
        var report: NodeReport?
        /// Ms until its lease runs out.
        var leaseLeft: Int?
        /// Time of its last heartbeat, by its own clock, as the set of nodes has it.
        var lastBeat: UInt64
        /// Rooms that it wrote down.
        var heldRooms: Int = 0
    }

    struct Room: Equatable, Sendable {
        var name: String
        /// Redis' clock, ms since 1970, when this room was looked at.
        var seenAt: UInt64
        /// The log's last ID; nil if there is no log.
        var last: Position?
        var length = 0
        /// When the last message was said; nil if the log holds none.
        var lastAt: UInt64?
        var people = 0
        /// Node → epoch at which it entered.
        var nodes: [String: UInt64] = [:]
        /// Nodes that wrote down that they hold this room.
        var holders: Set<String> = []
        /// Redis' error for one of the room's keys: it is of a foreign type.
        var problem: String?
    }

    struct Server: Equatable, Sendable {
        /// Of a Cluster with several: all, in order.
        var version = ""
        /// Of a Cluster the master's that began last; all else is the sum over its masters.
        var uptime = 0
        var memory = 0
        var clients = 0
        var operationsPerSecond = 0
        /// Seconds of CPU that each Redis has used, by its address.
        var cpus: [String: Double] = [:]
        /// Masters of the Cluster; nil: it is none.
        var masters: Int?

        var cpu: Double { cpus.values.reduce(0, +) }
    }

    /// Redis' clock, ms since 1970.
    var time: UInt64 = 0
    var server = Server()
    var nodes: [Node] = []
    var rooms: [Room] = []
    /// Rooms that living nodes wrote down, also those that were not looked at (a room on two nodes counts once for each then).
    var roomsKnown = 0
    /// What could not be read, and why: a foreign key in a node's place, a right that is missing.
    var problems: [String] = []
    /// What this look cost.
    var commands = 0
    var duration: Duration = .zero
}

/// The commands of a look and the reading of their replies. Pure. Redis does nothing here that grows with its data: no KEYS, no SCAN of
/// the key space, and of each node's list of rooms only a slice.
struct TopQueries {
    let keys: RedisKeys

    // MARK: Nodes

    /// The first batch…
    var beginning: [[String]] { [["TIME"], ["ZRANGE", keys.nodes, "0", "-1", "WITHSCORES"]] }

    /// …and what goes with it to each server.
    var server: [[String]] { [["INFO", "server", "memory", "clients", "stats", "cpu"]] }

    /// Reads it. Throws what Redis said if the nodes cannot be read. `servers`: what each said of itself, by its address.
    func begin(_ replies: [RedisValue], servers: [String: RedisValue] = [:]) throws(TopError) -> TopSample {
        guard replies.count == 2 else { throw TopError("Redis answered \(replies.count) of 2 commands") }
        if let error = replies[1].error { throw TopError("\(keys.nodes): \(error)") }
        var sample = TopSample()
        sample.time = Self.time(replies[0])
        sample.server = Self.server(servers)
        // After the word for it: where, and why it cannot be asked.
        sample.problems += servers.sorted { $0.key < $1.key }.filter(\.value.isUnserved).map { _, reply in
            String((reply.error ?? "").drop { $0 != " " }.dropFirst())
        }
        let members = replies[1].array ?? []
        for index in stride(from: 0, to: members.count - 1, by: 2) {
            guard let name = members[index].string, let id = try? NodeID(name) else { continue }
            let score = members[index + 1].string.flatMap { Double($0) } ?? 0
            sample.nodes.append(TopSample.Node(id: id, lastBeat: UInt64(max(0, min(score, 9e15)))))
        }
        sample.nodes.sort { $0.id < $1.id }
        return sample
    }

    private static func server(_ servers: [String: RedisValue]) -> TopSample.Server {
        var server = TopSample.Server()
        let infos = servers.mapValues(\.info).filter { !$0.value.isEmpty }
        func sum(_ name: String) -> Int { infos.values.reduce(0) { $0 + (Int($1[name] ?? "") ?? 0) } }
        server.version = Set(infos.values.compactMap { $0["redis_version"] }).sorted().joined(separator: " and ")
        server.uptime = infos.values.compactMap { Int($0["uptime_in_seconds"] ?? "") }.min() ?? 0
        server.memory = sum("used_memory")
        server.clients = sum("connected_clients")
        server.operationsPerSecond = sum("instantaneous_ops_per_sec")
        server.cpus = infos.mapValues { info in
            (Double(info["used_cpu_user"] ?? "") ?? 0) + (Double(info["used_cpu_sys"] ?? "") ?? 0)
        }
        return server
    }

    static func time(_ reply: RedisValue) -> UInt64 {
        guard let parts = reply.array, parts.count == 2, let seconds = parts[0].integer, let micros = parts[1].integer
        else {
            return 0
        }
        return UInt64(max(0, seconds)) * 1_000 + UInt64(max(0, micros)) / 1_000
    }

    static let commandsPerNode = 4

    /// The second batch: each node's report, and a slice of its rooms from its cursor on.
    func nodes(_ nodes: [TopSample.Node], cursors: [String: String], slice: Int) -> [[String]] {
        nodes.flatMap { node -> [[String]] in
            let rooms = keys.rooms(ofNode: node.id.text)
            return [
                ["GET", keys.node(node.id.text)], ["PTTL", keys.node(node.id.text)], ["SCARD", rooms],
                ["SSCAN", rooms, cursors[node.id.text] ?? "0", "COUNT", "\(slice)"],
            ]
        }
    }

    struct NodeSlice: Equatable {
        var cursor: String
        var rooms: [String]
    }

    /// Reads it into the sample; the slices by node. One node's key that cannot be read costs only what it holds.
    func readNodes(_ replies: [RedisValue], into sample: inout TopSample) -> [String: NodeSlice] {
        var slices: [String: NodeSlice] = [:]
        guard replies.count == sample.nodes.count * Self.commandsPerNode else { return slices }
        for index in sample.nodes.indices {
            let answers = replies[(index * Self.commandsPerNode)...].prefix(Self.commandsPerNode)
            let place = answers.startIndex
            let id = sample.nodes[index].id
            if let error = answers.lazy.compactMap(\.error).first {
                sample.problems.append("the keys of node \(id) cannot be read: \(error)")
            }
            if let json = answers[place].string {
                sample.nodes[index].report = Array(json.utf8).withUnsafeBytes { NodeReportReader.report(of: id, $0) }
            }
            if let left = answers[place + 1].integer, left >= 0 { sample.nodes[index].leaseLeft = left }
            sample.nodes[index].heldRooms = answers[place + 2].integer ?? 0
            if sample.nodes[index].report != nil { sample.roomsKnown += sample.nodes[index].heldRooms }
            if let scan = answers[place + 3].array, scan.count == 2 {
                slices[id.text] = NodeSlice(
                    cursor: scan[0].string ?? "0", rooms: (scan[1].array ?? []).compactMap(\.string))
            }
        }
        return slices
    }

    // MARK: Rooms

    static let commandsPerRoom = 3

    func room(_ name: String) -> [[String]] {
        [
            ["XINFO", "STREAM", keys.key(.log, of: name)], ["HGETALL", keys.key(.nodes, of: name)],
            ["HLEN", keys.key(.roster, of: name)],
        ]
    }

    func readRoom(_ name: String, _ replies: ArraySlice<RedisValue>, at time: UInt64) -> TopSample.Room {
        var room = TopSample.Room(name: name, seenAt: time)
        let first = replies.startIndex
        guard replies.count == Self.commandsPerRoom else { return room }
        for reply in replies {
            // A room that a node only just entered has no log yet.
            if let error = reply.error, !error.hasPrefix("ERR no such key") { room.problem = error }
        }
        let info = replies[first].pairs
        room.last = info["last-generated-id"]?.string.flatMap { Position($0) }
        room.length = info["length"]?.integer ?? 0
        if let entry = info["last-entry"]?.array, entry.count == 2 {
            room.lastAt = entry[1].pairs["at"]?.integer.flatMap { UInt64(exactly: $0) }
        }
        for (node, epoch) in replies[first + 1].pairs { room.nodes[node] = epoch.string.flatMap { UInt64($0) } ?? 0 }
        room.people = replies[first + 2].integer ?? 0
        return room
    }
}

/// Why a look could not be made.
struct TopError: Error, Equatable, CustomStringConvertible {
    var description: String

    init(_ description: String) {
        self.description = description
    }
}
