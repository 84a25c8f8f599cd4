import ChatCore

/// A batch on its way to the masters of a Cluster: which of them gets which commands, and which are asked once more. Pure.
///
/// A command goes to the master that serves the slot of its key, one without a key to the master that has what nodes say of themselves.
/// What is refused (MOVED, ASK, CLUSTERDOWN), or was with a master that got lost, is open again, for when the Cluster was asked who
/// serves what; so commands must be such that asking twice does no harm.
struct ClusterBatch {
    /// What goes to one master, in one write.
    struct Part: Equatable {
        let address: ClusterAddress
        fileprivate(set) var commands: [[String]] = []
        /// Where in the batch each stands; nil for an `ASKING` before one.
        fileprivate var places: [Int?] = []

        init(address: ClusterAddress) { self.address = address }
    }

    private let commands: [[String]]
    private let nodesSlot: HashSlot
    /// One for each command. Of what is open: why.
    private(set) var replies: [RedisValue]
    /// Commands that are to be asked.
    private var open: [Int]
    /// Where a master sent us for one command only, for its slot moves.
    private var detours: [Int: ClusterAddress] = [:]
    /// Where the newest word about the slots may be had.
    private(set) var hint: ClusterAddress?

    init(_ commands: [[String]], nodesSlot: HashSlot) {
        self.commands = commands
        self.nodesSlot = nodesSlot
        replies = Array(repeating: .null, count: commands.count)
        open = Array(commands.indices)
    }

    /// Something has to be asked still.
    var isOpen: Bool { !open.isEmpty }

    /// What is open, by the master that serves it; what nobody serves stays so.
    mutating func parts(_ topology: ClusterTopology) -> [Part] {
        var parts: [Part] = []
        var rest: [Int] = []
        for place in open {
            let slot = CommandKey.of(commands[place]).map { HashSlot(ofKey: $0) } ?? nodesSlot
            let detour = detours.removeValue(forKey: place)
            guard let address = detour ?? topology.masters.first(where: { $0.slots.contains(slot) })?.address else {
                replies[place] = .error("CLUSTERDOWN nobody serves slot \(slot.number)")
                rest.append(place)
                continue
            }
            let index = parts.firstIndex { $0.address == address } ?? parts.count
            if index == parts.count { parts.append(Part(address: address)) }
            if detour != nil {
                parts[index].commands.append(["ASKING"])
                parts[index].places.append(nil)
            }
            parts[index].commands.append(commands[place])
            parts[index].places.append(place)
        }
        open = rest
        return parts
    }

    mutating func answered(_ part: Part, _ answers: some Sequence<RedisValue>) {
        for (place, answer) in zip(part.places, answers) {
            guard let place else { continue }
            replies[place] = answer
            guard case .error(let text) = answer, let refusal = ClusterRefusal(text) else { continue }
            open.append(place)
            if case .moved(let address?) = refusal { hint = address }
            detours[place] = ClusterRefusal.detour(text)
        }
    }

    /// The master could not be asked.
    mutating func lost(_ part: Part, _ error: RedisSetupError) {
        for case let place? in part.places {
            replies[place] = Self.reply(to: error)
            open.append(place)
        }
    }

    /// What stands for the reply of a master that could not be asked.
    static func reply(to error: RedisSetupError) -> RedisValue { .error("CLUSTERDOWN \(error.message)") }
}

extension RedisValue {
    /// An error that says nothing of what was asked for, but that no master of the Cluster could be asked for it.
    public var isUnserved: Bool {
        guard case .error(let text) = self else { return false }
        return ClusterRefusal(text) != nil
    }
}
