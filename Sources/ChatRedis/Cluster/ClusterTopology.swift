import ChatCore

/// Who serves which slots, as one node of the Cluster sees it.
struct ClusterTopology: Equatable, Sendable {
    struct Master: Equatable, Sendable {
        var id: String
        var address: ClusterAddress
        /// The version of its claim to its slots: of two that claim a slot the higher one has it (Redis Cluster specification,
        /// "Configuration epoch").
        var epoch: UInt64
        var slots: SlotSet
    }

    /// Those that serve at least one slot.
    var masters: [Master]
    /// All that are not known to be gone, masters and replicas: whom to ask.
    var nodes: [ClusterAddress]
    /// All that are known.
    private var ids: Set<String>

    init(masters: [Master], nodes: [ClusterAddress]) {
        self.masters = masters
        self.nodes = nodes
        ids = Set(masters.map(\.id))
    }

    /// Reads the answer to CLUSTER NODES. `asked`: where it was asked; `names`: host names are wanted rather than addresses, for a
    /// certificate holds them. The text of the error says what is wrong.
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
        // Each node begins with itself.
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

    /// `0-5460 7000 [93-<-id]`: what is on its way stands in brackets, and is not counted.
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

    /// What is true if this was seen after `known`. A node that has been cut off sees what was: of two masters that claim a slot, the
    /// higher epoch has it. A master that the seen Cluster does not know at all has no claim any more.
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

    /// Slots that somebody serves.
    var covered: SlotSet { masters.reduce(into: SlotSet()) { $0.formUnion($1.slots) } }
}

/// Why an answer to CLUSTER NODES tells nothing.
struct ClusterTopologyError: Error, Equatable, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}
