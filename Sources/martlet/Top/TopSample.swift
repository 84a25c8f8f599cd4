import ChatCore
import ChatRedis
import RedisSchema

/// One look at Redis: everything that `martlet top` uses.
struct TopSample: Equatable, Sendable {
    struct Node: Equatable, Sendable {
        var id: NodeID
        /// The node's last report; nil if its lease has expired.
        var report: NodeReport?
        /// Milliseconds until the lease expires.
        var leaseLeft: Int?
        /// The time of the node's last heartbeat by its own clock, as the set of nodes has it.
        var lastBeat: UInt64
        /// The number of rooms that it wrote down; in a large Cluster an estimate.
        var heldRooms: Int = 0
    }

    struct Room: Equatable, Sendable {
        var name: String
        /// Redis' clock in milliseconds since 1970, when this room was read.
        var seenAt: UInt64
        /// The last ID of the log; nil if there is no log.
        var last: Position?
        var length = 0
        /// The time of the last message; nil if the log is empty.
        var lastAt: UInt64?
        var people = 0
        /// How many belong to it; 0: it is no conversation.
        var participants = 0
        /// Node → epoch at which it entered.
        var nodes: [String: UInt64] = [:]
        /// Nodes whose lists contain this room.
        var holders: Set<String> = []
        /// The error of Redis for one of the room's keys, which is of a foreign type.
        var problem: String?
    }

    struct Server: Equatable, Sendable {
        /// In a Cluster with several versions, all of them in order.
        var version = ""
        /// In a Cluster, the uptime of the master that started last. All other figures are sums over the masters.
        var uptime = 0
        var memory = 0
        var clients = 0
        var operationsPerSecond = 0
        /// Seconds of CPU time that each Redis has used, by its address.
        var cpus: [String: Double] = [:]
        /// The number of masters of the Cluster; nil if Redis is not a Cluster.
        var masters: Int?

        var cpu: Double { cpus.values.reduce(0, +) }
    }

    /// Redis' clock in milliseconds since 1970.
    var time: UInt64 = 0
    var server = Server()
    var nodes: [Node] = []
    var rooms: [Room] = []
    /// Rooms in the lists of live nodes, including those that were not read (in that case a room on two nodes counts
    /// twice).
    var roomsKnown = 0
    /// What relays do; nil if there never was one.
    var events: TopEvents?
    /// What could not be read, and why: a foreign key in the place of a node's, or a missing permission.
    var problems: [String] = []
    /// The number of commands that this sample took.
    var commands = 0
    var duration: Duration = .zero
}

/// The commands of a sample, and how to read their replies. Pure. No command grows with the data of Redis: there is no
/// KEYS, no SCAN of the key space, and of each node's list of rooms only a slice is read.
struct TopQueries {
    let keys: RedisKeys

    // MARK: Nodes

    /// The first batch, for the server that holds the nodes.
    var beginning: [[String]] { [["TIME"], ["ZRANGE", keys.nodes, "0", "-1", "WITHSCORES"]] }

    /// The command of the first batch that every server gets.
    var server: [[String]] { [["INFO", "server", "memory", "clients", "stats", "cpu"]] }

    /// Reads the first batch. Throws the error of Redis if the nodes cannot be read. `servers`: the reply of each
    /// server by its address.
    func begin(_ replies: [RedisValue], servers: [String: RedisValue] = [:]) throws(TopError) -> TopSample {
        guard replies.count == 2 else { throw TopError("Redis answered \(replies.count) of 2 commands") }
        if let error = replies[1].error { throw TopError("\(keys.nodes): \(error)") }
        var sample = TopSample()
        sample.time = Self.time(replies[0])
        sample.server = Self.server(servers)
        // The text after the error code names the server and the reason why it cannot be asked.
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

    /// The lists that one look reads, at most. A node has one list of rooms, in a Cluster 65.
    private static let mostLists = 520

    /// How many of its lists are read of each node.
    private func listsPerNode(_ nodes: Int) -> Int {
        keys.isClustered ? max(1, min(Holdings.parts + 1, Self.mostLists / max(1, nodes))) : 1
    }

    /// The lists of a node that are read with this cursor.
    private func window(_ cursor: String?, nodes: Int) -> Range<Int> {
        guard keys.isClustered else { return 0..<1 }
        let first = Holdings.Cursor(cursor.flatMap { UInt64($0) } ?? 0).part
        return first..<min(Holdings.parts + 1, first + listsPerNode(nodes))
    }

    private static let commandsPerList = 2

    /// The second batch: each node's report, and a slice of its rooms from its cursor on.
    func nodes(_ nodes: [TopSample.Node], cursors: [String: String], slice: Int) -> [[String]] {
        nodes.flatMap { node -> [[String]] in
            let cursor = cursors[node.id.text]
            let window = window(cursor, nodes: nodes.count)
            let lists = keys.lists(of: node.id)[window]
            var scan = cursor ?? "0"
            if keys.isClustered { scan = String(Holdings.Cursor(UInt64(scan) ?? 0).scan) }
            return [["GET", keys.node(node.id.text)], ["PTTL", keys.node(node.id.text)]]
                + lists.enumerated().flatMap { index, list in
                    [["SCARD", list], ["SSCAN", list, index == 0 ? scan : "0", "COUNT", "\(slice)"]]
                }
        }
    }

    struct NodeSlice: Equatable {
        var cursor: String
        var rooms: [String]
    }

    /// Reads the second batch into the sample, and returns the slices by node. If one node's key cannot be read, only
    /// that node's data is missing.
    func readNodes(
        _ replies: [RedisValue], cursors: [String: String], into sample: inout TopSample
    ) -> [String: NodeSlice] {
        var slices: [String: NodeSlice] = [:]
        var rest = replies[...]
        for index in sample.nodes.indices {
            let id = sample.nodes[index].id
            let window = window(cursors[id.text], nodes: sample.nodes.count)
            let answers = rest.prefix(2 + window.count * Self.commandsPerList)
            guard answers.count == 2 + window.count * Self.commandsPerList else { return slices }
            rest = rest.dropFirst(answers.count)
            if let error = answers.lazy.compactMap(\.error).first {
                sample.problems.append("the keys of node \(id) cannot be read: \(error)")
            }
            let first = answers.startIndex
            if let json = answers[first].string {
                sample.nodes[index].report = Array(json.utf8).withUnsafeBytes { NodeReportReader.report(of: id, $0) }
            }
            if let left = answers[first + 1].integer, left >= 0 { sample.nodes[index].leaseLeft = left }
            let lists = stride(from: first + 2, to: answers.endIndex, by: Self.commandsPerList)
            sample.nodes[index].heldRooms = held(lists.map { answers[$0].integer ?? 0 }, window)
            if sample.nodes[index].report != nil { sample.roomsKnown += sample.nodes[index].heldRooms }
            slices[id.text] = slice(lists.map { answers[$0 + 1] }, window)
        }
        return slices
    }

    /// The number of rooms in the node's lists. Where only some of them are read the rest is estimated. The old list
    /// has no rooms that the parts do not have, unless the node writes no parts.
    private func held(_ counts: [Int], _ window: Range<Int>) -> Int {
        guard keys.isClustered else { return counts.first ?? 0 }
        let parts = zip(window, counts).filter { $0.0 < Holdings.parts }.map(\.1)
        let old = zip(window, counts).first { $0.0 == Holdings.oldList }?.1 ?? 0
        guard !parts.isEmpty else { return old }
        return max(old, parts.reduce(0, +) * Holdings.parts / parts.count)
    }

    /// The rooms in the answers, and where the next look goes on: in the first list that was not read to its end, else
    /// after the last one.
    private func slice(_ answers: [RedisValue], _ window: Range<Int>) -> NodeSlice? {
        var rooms: [String] = []
        var next: String?
        for (part, answer) in zip(window, answers) {
            guard let scan = answer.array, scan.count == 2 else { continue }
            rooms += (scan[1].array ?? []).compactMap(\.string)
            let cursor = scan[0].string ?? "0"
            guard cursor != "0", next == nil else { continue }
            next = keys.isClustered ? String(Holdings.Cursor(part: part, scan: UInt64(cursor) ?? 0).raw) : cursor
        }
        if !keys.isClustered, answers.first?.array?.count != 2 { return nil }
        let end = window.upperBound <= Holdings.parts && keys.isClustered
        return NodeSlice(
            cursor: next ?? (end ? String(Holdings.Cursor(part: window.upperBound).raw) : "0"), rooms: rooms)
    }

    // MARK: Rooms

    static let commandsPerRoom = 4

    func room(_ name: String) -> [[String]] {
        [
            ["XINFO", "STREAM", keys.key(.log, of: name)], ["HGETALL", keys.key(.nodes, of: name)],
            ["HLEN", keys.key(.roster, of: name)], ["HLEN", keys.key(.participants, of: name)],
        ]
    }

    func readRoom(_ name: String, _ replies: ArraySlice<RedisValue>, at time: UInt64) -> TopSample.Room {
        var room = TopSample.Room(name: name, seenAt: time)
        let first = replies.startIndex
        guard replies.count == Self.commandsPerRoom else { return room }
        for reply in replies {
            // A room that a node has only just entered has no log yet.
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
        room.participants = replies[first + 3].integer ?? 0
        return room
    }
}

/// Why a sample could not be taken.
struct TopError: Error, Equatable, CustomStringConvertible {
    var description: String

    init(_ description: String) {
        self.description = description
    }
}
