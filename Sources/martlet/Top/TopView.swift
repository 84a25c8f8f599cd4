import ChatCore

/// The difference between two samples: rates, and problems. Pure.
struct TopView: Equatable, Sendable {
    enum NodeState: String, Equatable, Sendable {
        case ok, draining
        /// There was no heartbeat for more than half of the longest lease seen.
        case late
        /// The lease has expired.
        case dead
        /// The node has disappeared: it left, or died and was swept.
        case gone
    }

    struct Node: Equatable, Sendable {
        var id: String
        var state: NodeState
        var address = ""
        var version = ""
        var sessions = 0
        /// By the name of the protocol.
        var protocols: [String: Int] = [:]
        var rooms = 0
        /// Nil until two of the node's reports were seen.
        var messagesPerSecond: Double?
        var deliveriesPerSecond: Double?
        /// In milliseconds.
        var leaseLeft: Int?
        /// Milliseconds by which the node's clock is ahead of Redis', as far as that is certain; nil until a heartbeat
        /// has arrived.
        var skew: Int?
        /// In milliseconds.
        var uptime: UInt64?
    }

    struct Room: Equatable, Sendable {
        var name: String
        /// Nil in the first view.
        var messagesPerSecond: Double?
        var last: Position?
        var length: Int
        var people: Int
        /// How many belong to it; 0: it is no conversation.
        var participants: Int
        var nodes: Int
        /// Milliseconds since the last message.
        var quietFor: UInt64?
    }

    var time: UInt64 = 0
    var server = TopSample.Server()
    /// The share of one core that Redis used between the samples. In a Cluster, the sum over the masters that both
    /// samples contain.
    var redisCPU: Double?
    var nodes: [Node] = []
    /// Busiest first.
    var rooms: [Room] = []
    var roomsKnown = 0
    /// What relays do; nil if there never was one.
    var events: TopEvents?
    /// Problems in whole sentences, worst first.
    var behind: [String] = []
    var messagesPerSecond: Double?
    var deliveriesPerSecond: Double?
    var commands = 0
    var duration: Duration = .zero

    /// The number of nodes that are alive.
    var present: Int { nodes.count { $0.state != .dead && $0.state != .gone } }
    var sessions: Int { nodes.reduce(0) { $0 + $1.sessions } }
    /// The sessions of all nodes, by the name of their protocol; the most spoken first.
    var protocols: [(name: String, sessions: Int)] {
        let totals = nodes.reduce(into: [:]) { $0.merge($1.protocols, uniquingKeysWith: +) }
        return totals.map { (name: $0.key, sessions: $0.value) }
            .sorted { $0.sessions == $1.sessions ? $0.name < $1.name : $0.sessions > $1.sessions }
    }
}

/// Keeps what rates and problems need of earlier samples.
struct TopWatch {
    private struct Beat {
        var clock: UInt64
        var messages: UInt64
        var deliveries: UInt64
        /// Redis' clock in the sample that first showed this report.
        var seenAt: UInt64
        var messageRate: Double?
        var deliveryRate: Double?
        var skew: Int?
    }

    private struct Glance {
        var last: Position?
        var seenAt: UInt64
    }

    private var beats: [String: Beat] = [:]
    private var glances: [String: Glance] = [:]
    private var suspects: Set<String> = []
    /// The nodes of the last sample, and when each node that has disappeared was seen last.
    private var present: [String: TopView.Node] = [:]
    private var gone: [String: (node: TopView.Node, since: UInt64)] = [:]
    /// Milliseconds for which a node that has disappeared stays in the view.
    static let memory: UInt64 = 60_000
    private var longestLease = 0
    private var previous: (time: UInt64, cpus: [String: Double])?
    /// The number of rooms that are kept; when there are more, all are dropped and collected again.
    private static let maxGlances = 100_000
    /// Smaller differences between clocks are not reported: heartbeats take time, and loops are busy.
    static let tolerableSkew = 500

    /// The next view. Call it in the order of the samples.
    mutating func look(_ sample: TopSample) -> TopView {
        var view = TopView()
        view.time = sample.time
        view.server = sample.server
        view.roomsKnown = sample.roomsKnown
        view.commands = sample.commands
        view.duration = sample.duration
        view.events = sample.events
        if let previous, sample.time > previous.time {
            let seconds = Double(sample.time - previous.time) / 1_000
            let used = sample.server.cpus.compactMap { server, cpu in previous.cpus[server].map { max(0, cpu - $0) } }
            view.redisCPU = used.reduce(0, +) / seconds
        }
        longestLease = max(longestLease, sample.nodes.compactMap(\.leaseLeft).max() ?? 0)
        let last = previous?.time
        for node in sample.nodes { view.nodes.append(self.node(node, sample.time, previousLook: last)) }
        view.nodes += departed(view.nodes, sample.time)
        let living = Set(sample.nodes.filter { $0.report != nil }.map(\.id.text))
        beats = beats.filter { living.contains($0.key) }
        for room in sample.rooms { view.rooms.append(self.room(room)) }
        view.rooms.sort { left, right in
            let (one, two) = (left.messagesPerSecond ?? 0, right.messagesPerSecond ?? 0)
            if one != two { return one > two }
            if left.people != right.people { return left.people > right.people }
            return left.name < right.name
        }
        let known = view.rooms.compactMap(\.messagesPerSecond)
        if !known.isEmpty || (last != nil && sample.rooms.isEmpty) { view.messagesPerSecond = known.reduce(0, +) }
        let deliveries = view.nodes.compactMap(\.deliveriesPerSecond)
        if !deliveries.isEmpty { view.deliveriesPerSecond = deliveries.reduce(0, +) }
        view.behind = behind(view, sample, living)
        previous = (sample.time, sample.server.cpus)
        return view
    }

    // MARK: Nodes

    private mutating func node(_ node: TopSample.Node, _ time: UInt64, previousLook: UInt64?) -> TopView.Node {
        guard let report = node.report else { return TopView.Node(id: node.id.text, state: .dead) }
        var state: TopView.NodeState = report.draining ? .draining : .ok
        if let left = node.leaseLeft, left * 2 < longestLease { state = .late }
        let beat = beat(node.id.text, report, time, previousLook)
        beats[node.id.text] = beat
        return TopView.Node(
            id: node.id.text, state: state, address: report.address, version: report.version, sessions: report.sessions,
            protocols: report.protocols, rooms: report.rooms, messagesPerSecond: beat.messageRate,
            deliveriesPerSecond: beat.deliveryRate,
            leaseLeft: node.leaseLeft, skew: beat.skew,
            uptime: report.clock >= report.started && report.started > 0 ? report.clock - report.started : nil)
    }

    /// Nodes that have disappeared, for a while.
    private mutating func departed(_ nodes: [TopView.Node], _ time: UInt64) -> [TopView.Node] {
        let now = Dictionary(nodes.map { ($0.id, $0) }) { first, _ in first }
        for (id, node) in present where now[id] == nil { gone[id] = (node, time) }
        gone = gone.filter { now[$0.key] == nil && time < $0.value.since + Self.memory }
        present = now
        return gone.sorted { $0.key < $1.key }.map { id, last in
            var node = TopView.Node(id: id, state: .gone)
            (node.address, node.version) = (last.node.address, last.node.version)
            return node
        }
    }

    private func beat(_ id: String, _ report: NodeReport, _ time: UInt64, _ previousLook: UInt64?) -> Beat {
        var beat = Beat(
            clock: report.clock, messages: report.messages, deliveries: report.deliveries, seenAt: time)
        guard let old = beats[id] else { return beat }
        guard report.clock != old.clock else { return old }
        // Both times are by the node's own clock, so its difference to ours does not matter.
        if report.clock > old.clock {
            let seconds = Double(report.clock - old.clock) / 1_000
            beat.messageRate = Self.rate(old.messages, report.messages, seconds)
            beat.deliveryRate = Self.rate(old.deliveries, report.deliveries, seconds)
        }
        // The heartbeat arrived between two samples. If its time is outside of them, the clocks differ by at least that
        // much.
        if let from = previousLook {
            beat.skew =
                report.clock < from ? -Int(from - report.clock) : report.clock > time ? Int(report.clock - time) : 0
        }
        return beat
    }

    private static func rate(_ old: UInt64, _ new: UInt64, _ seconds: Double) -> Double? {
        new >= old && seconds > 0 ? Double(new - old) / seconds : nil
    }

    // MARK: Rooms

    private mutating func room(_ room: TopSample.Room) -> TopView.Room {
        var rate: Double?
        if let old = glances[room.name], let before = old.last, let last = room.last, room.seenAt > old.seenAt {
            // A log that was set back has no rate.
            rate = Self.rate(before.seq, last.seq, Double(room.seenAt - old.seenAt) / 1_000)
        }
        if glances.count >= Self.maxGlances { glances = [:] }
        glances[room.name] = Glance(last: room.last, seenAt: room.seenAt)
        return TopView.Room(
            name: room.name, messagesPerSecond: rate, last: room.last, length: room.length, people: room.people,
            participants: room.participants, nodes: room.nodes.count,
            quietFor: room.lastAt.map { room.seenAt > $0 ? room.seenAt - $0 : 0 })
    }

    // MARK: Who is behind

    /// A state that may only last for a moment between two commands (a node that is entering a room) is reported when
    /// two samples show it.
    private mutating func behind(_ view: TopView, _ sample: TopSample, _ living: Set<String>) -> [String] {
        var lines = sample.problems
        for node in sample.nodes where node.report == nil {
            let since =
                sample.time > node.lastBeat ? ", last heard \(TopText.span(sample.time - node.lastBeat)) ago" : ""
            lines.append(
                "node \(node.id) is dead\(since); it holds \(node.heldRooms) rooms until another node sweeps it")
        }
        for node in view.nodes where node.state == .late {
            lines.append(
                "node \(node.id) is late: no heartbeat, "
                    + "\(TopText.span(UInt64(max(0, node.leaseLeft ?? 0)))) of its lease left"
            )
        }
        for (id, last) in gone.sorted(by: { $0.key < $1.key }) {
            let how = last.node.state == .draining ? "it left" : "it left, or died and was swept: see its log"
            lines.append("node \(id) is gone for \(TopText.span(sample.time - min(last.since, sample.time))); \(how)")
        }
        for node in view.nodes {
            guard let skew = node.skew, abs(skew) > Self.tolerableSkew else { continue }
            let side = skew > 0 ? "ahead of" : "behind"
            lines.append("the clock of node \(node.id) is \(TopText.span(UInt64(abs(skew)))) \(side) Redis'")
        }
        lines += sample.events?.problems.map(\.problem) ?? []
        var now: [String: String] = [:]
        for room in sample.rooms {
            if let problem = room.problem { now["\(room.name) !"] = "room \(room.name): \(problem)" }
            for (node, epoch) in room.nodes {
                if !living.contains(node) {
                    now["\(room.name) \(node)"] = "room \(room.name) still holds node \(node), which is not alive"
                } else if let last = room.last, epoch > last.epoch {
                    now["\(room.name) \(node)"] =
                        "room \(room.name): node \(node) entered at epoch \(epoch), "
                        + "the log is at \(last.epoch): it was set back"
                }
            }
            // Data that could not be read proves nothing.
            guard room.problem == nil else { continue }
            for node in room.holders where living.contains(node) && room.nodes[node] == nil {
                now["\(room.name) \(node)"] = "node \(node) lists room \(room.name) but has not entered it"
            }
        }
        lines += now.filter { suspects.contains($0.key) }.values.sorted()
        suspects = Set(now.keys)
        return lines
    }
}
