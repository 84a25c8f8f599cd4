import ChatCore

/// Which master serves which slots, as one node of the Cluster sees it.
struct ClusterTopology: Equatable, Sendable {
    struct Master: Equatable, Sendable {
        var id: String
        var address: ClusterAddress
        /// The version of its claim to its slots: if two masters claim a slot, the one with the higher epoch owns it
        /// (Redis Cluster specification, "Configuration epoch").
        var epoch: UInt64
        var slots: SlotSet
    }

    /// The masters that serve at least one slot.
    var masters: [Master]
    /// All masters and replicas that are not known to have failed; any of them can be asked for the topology.
    var nodes: [ClusterAddress]
    /// The IDs of all known nodes.
    private var ids: Set<String>

    init(masters: [Master], nodes: [ClusterAddress]) {
        self.masters = masters
        self.nodes = nodes
        ids = Set(masters.map(\.id))
    }

    /// Parses the reply to CLUSTER NODES. `asked` is the address of the node that replied; `names` prefers host names
    /// to addresses, because certificates contain names. The text of the error says what is wrong.
    init(nodes text: String, from asked: ClusterAddress, names: Bool) throws(ClusterTopologyError) {
        (masters, nodes, ids) = ([], [], [])
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ")
            guard words.count >= 8 else { throw ClusterTopologyError("a line of CLUSTER NODES has fewer than 8 words") }
            let flags = Set(words[2].split(separator: ","))
            guard !flags.contains("handshake"), !flags.contains("noaddr") else { continue }
            ids.insert(String(words[0]))
            guard let address = Self.address(words[1], asked, names: names) else {
                throw ClusterTopologyError("\(words[1].prefix(64)) in CLUSTER NODES is no address")
            }
            if !flags.contains("fail") { nodes.append(address) }
            guard flags.contains("master") else { continue }
            guard let epoch = UInt64(words[6]) else {
                throw ClusterTopologyError("\(words[6].prefix(32)) in CLUSTER NODES is no epoch")
            }
            let slots = try Self.slots(words[8...])
            guard !slots.isEmpty else { continue }
            masters.append(Master(id: String(words[0]), address: address, epoch: epoch, slots: slots))
        }
        // Each node lists itself first, so the order differs between nodes.
        masters.sort { $0.id < $1.id }
        guard !ids.isEmpty else { throw ClusterTopologyError("CLUSTER NODES names no node") }
    }

    /// `ip:port@bus-port[,host name[,…]]`; the IP of the node itself may be empty.
    private static func address(_ text: Substring, _ asked: ClusterAddress, names: Bool) -> ClusterAddress? {
        let parts = text.split(separator: ",", omittingEmptySubsequences: false)
        let place = parts.first?.prefix { $0 != "@" } ?? ""
        guard var address = ClusterAddress(place) else { return nil }
        let name = parts.dropFirst().first.map(String.init) ?? ""
        if !name.isEmpty, names || address.host.isEmpty { address.host = name }
        if address.host.isEmpty { address.host = asked.host }
        return address
    }

    /// `0-5460 7000 [93-<-id]`: slots that are being migrated stand in brackets, and are not counted.
    private static func slots(_ words: ArraySlice<Substring>) throws(ClusterTopologyError) -> SlotSet {
        var slots = SlotSet()
        for word in words where !word.hasPrefix("[") {
            let ends = word.split(separator: "-", maxSplits: 1).map { Int($0) }
            guard let first = ends.first.flatMap({ $0 }), let last = ends.last.flatMap({ $0 }), first <= last,
                HashSlot(first) != nil, HashSlot(last) != nil
            else { throw ClusterTopologyError("\(word.prefix(32)) in CLUSTER NODES is no range of slots") }
            for number in first...last { if let slot = HashSlot(number) { slots.insert(slot) } }
        }
        return slots
    }

    /// The topology after this one was observed, given what was `known`. A node that is partitioned off reports an
    /// outdated topology: if two masters claim a slot, the one with the higher epoch owns it. A master that is unknown
    /// to the observed Cluster loses its claims.
    func seen(after known: ClusterTopology) -> ClusterTopology {
        var merged = self
        for old in known.masters where ids.contains(old.id) {
            for index in merged.masters.indices
            where merged.masters[index].id != old.id && merged.masters[index].epoch < old.epoch {
                let kept = merged.masters[index].slots.intersection(old.slots)
                guard !kept.isEmpty else { continue }
                merged.masters[index].slots.subtract(kept)
                merged.give(kept, to: old)
            }
        }
        merged.masters.removeAll { $0.slots.isEmpty }
        merged.masters.sort { $0.id < $1.id }
        return merged
    }

    private mutating func give(_ slots: SlotSet, to old: Master) {
        if let index = masters.firstIndex(where: { $0.id == old.id }) {
            masters[index].slots.formUnion(slots)
        } else {
            var master = old
            master.slots = slots
            masters.append(master)
        }
    }

    /// Slots that some master serves.
    var covered: SlotSet { masters.reduce(into: SlotSet()) { $0.formUnion($1.slots) } }
}

/// Why a reply to CLUSTER NODES cannot be used.
struct ClusterTopologyError: Error, Equatable, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}
