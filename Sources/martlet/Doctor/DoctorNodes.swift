import ChatCore
import RedisSchema

/// The findings about nodes. Pure.
enum DoctorNodes {
    /// Any other node sweeps a dead node within its lease; after this time something must be preventing that.
    static let sweepPatience: UInt64 = 120_000
    /// The difference in ms between a node's clock and Redis' that is still acceptable.
    static let skewWarning = 1_000
    static let skewMust = 60_000

    /// `time` is Redis' clock.
    static func findings(_ nodes: [TopSample.Node], at time: UInt64, _ keys: RedisKeys) -> [Finding] {
        let living = nodes.filter { $0.report != nil }
        var findings: [Finding] = []
        for node in nodes where node.report == nil {
            let silent = time > node.lastBeat ? time - node.lastBeat : 0
            let problem =
                "it is dead (last heartbeat \(TopText.span(silent)) ago, by its own clock) and holds \(node.heldRooms) "
                + "rooms"
            if living.isEmpty {
                findings.append(
                    Finding(
                        .warning, .nodes, node.id.text, problem + "; no node lives to sweep it",
                        do: "start a node: it sweeps it within its lease"))
            } else if silent > sweepPatience {
                findings.append(
                    Finding(
                        .must, .nodes, node.id.text,
                        problem + ", and none of the \(living.count) living nodes sweeps it",
                        do:
                            "see the nodes' logs for errors of Redis; by hand: martlet_leave for each room of "
                            + "\(lists(node.id, keys)), then ZREM \(keys.nodes) \(ShellText.quoted(node.id.text))"
                    ))
            } else {
                findings.append(
                    Finding(
                        .warning, .nodes, node.id.text, problem + ": another node is about to sweep it",
                        do: "look again in a minute"))
            }
        }
        for node in living where node.leaseLeft == nil {
            findings.append(
                Finding(
                    .must, .nodes, keys.node(node.id.text), "it has no TTL: this node counts as alive for ever",
                    do:
                        "redis-cli\(keys.isClustered ? " -c" : "") PEXPIRE "
                        + "\(ShellText.quoted(keys.node(node.id.text))) 15000 (a living node renews it)"
                ))
        }
        let versions = versions(living)
        if versions.count > 1 {
            let text = versions.map { "\($0.version) (\(DoctorLook.list($0.nodes)))" }.joined(separator: ", ")
            findings.append(
                Finding(
                    .warning, .nodes, nil, "nodes of several versions run: \(text)",
                    do: "nothing during a rolling upgrade; otherwise bring all nodes to one version"))
        }
        for node in living where node.report?.draining == true {
            findings.append(
                Finding(.warning, .nodes, node.id.text, "it is leaving", do: "nothing, unless it stays for minutes"))
        }
        return findings
    }

    /// A command that lists the rooms that a node has written down.
    private static func lists(_ node: NodeID, _ keys: RedisKeys) -> String {
        guard keys.isClustered else { return "SMEMBERS \(ShellText.quoted(keys.rooms(ofNode: node.text)))" }
        return "SMEMBERS of each key that SCAN 0 MATCH '\(keys.prefix)node:*:\(node):rooms' COUNT 1000 finds "
            + "on each master"
    }

    /// The running versions according to the heartbeats, each with its nodes.
    static func versions(_ living: [TopSample.Node]) -> [(version: String, nodes: [String])] {
        let groups = Dictionary(grouping: living) { $0.report?.version ?? "" }
        return groups.sorted { $0.key < $1.key }.map { version, nodes in
            (version.isEmpty ? "unknown" : version, nodes.map(\.id.text).sorted())
        }
    }

    /// The summary line for nodes without findings.
    static func summary(_ living: [TopSample.Node]) -> String {
        guard !living.isEmpty else { return "no node is running" }
        return "\(living.count) live, "
            + versions(living).map { "version \($0.version): \(DoctorLook.list($0.nodes))" }.joined(separator: ", ")
    }

    /// Nodes whose lease has not expired, but that sent no heartbeat during the examination.
    static func silent(_ nodes: [TopSample.Node], at time: UInt64, lease: Duration) -> [Finding] {
        nodes.compactMap { node in
            let silent = time > node.lastBeat ? time - node.lastBeat : 0
            guard silent > 0, Duration.milliseconds(Int64(clamping: silent)) > lease / 3 else { return nil }
            return Finding(
                .warning, .nodes, node.id.text,
                "no heartbeat for \(TopText.span(silent)) (lease "
                    + "\(TopText.span(UInt64(clamping: Int64(lease / .milliseconds(1))))))",
                do:
                    "see whether it hangs or is stopped (its /healthz and log); the others take it for dead when its "
                    + "lease has run out"
            )
        }
    }

    /// The skew of a node's clock according to its heartbeats during the examination; the skew is nil if there were
    /// none.
    struct Clock: Equatable, Sendable {
        var node: String
        /// The ms by which it is ahead of Redis' clock (at least).
        var skew: Int?
    }

    static func findings(_ clocks: [Clock], here: Int?) -> [Finding] {
        var findings: [Finding] = []
        func judge(_ name: String, _ skew: Int) {
            guard abs(skew) > skewWarning else { return }
            let side = skew > 0 ? "ahead of" : "behind"
            let must = abs(skew) > skewMust
            findings.append(
                Finding(
                    must ? .must : .warning, .clocks, name,
                    "its clock is \(TopText.span(UInt64(abs(skew)))) \(side) Redis': times of messages are wrong by "
                        + "that much"
                        + (must && skew > 0 ? ", and epochs run ahead" : ""),
                    do: "let all machines keep time (chrony, systemd-timesyncd)"))
        }
        for clock in clocks {
            if let skew = clock.skew { judge("node \(clock.node)", skew) }
        }
        if let here { judge("this machine", here) }
        return findings
    }

    /// `masters`: for a Cluster, by how much the clock of each master is ahead of that of the master of the nodes'
    /// keys.
    static func findings(masters: [Clock]) -> [Finding] {
        masters.compactMap { master in
            guard let skew = master.skew, abs(skew) > skewWarning else { return nil }
            let side = skew > 0 ? "ahead of" : "behind"
            return Finding(
                abs(skew) > skewMust ? .must : .warning, .clocks, "the master at \(master.node)",
                "its clock is \(TopText.span(UInt64(abs(skew)))) \(side) that of the master of martlet:nodes: epochs "
                    + "of rooms go by both",
                do: "let all machines keep time (chrony, systemd-timesyncd)")
        }
    }
}

/// Determines the nodes' clocks from the heartbeats that arrive between two samples.
struct ClockWatch {
    private var first: [String: UInt64] = [:]
    private var previousLook: UInt64?
    private(set) var clocks: [String: Int] = [:]

    /// Takes a sample: the reports of living nodes by name, and Redis' time.
    mutating func look(_ reports: [String: UInt64], at time: UInt64) {
        for (node, clock) in reports {
            if let old = first[node], let from = previousLook, clock != old, clocks[node] == nil {
                clocks[node] = clock < from ? -Int(from - clock) : clock > time ? Int(clock - time) : 0
            }
            first[node] = clock
        }
        previousLook = time
    }

    /// Whether the clocks of all nodes that were ever seen are known.
    var isDone: Bool { first.keys.allSatisfy { clocks[$0] != nil } }
    var unknown: [String] { first.keys.filter { clocks[$0] == nil }.sorted() }
}
