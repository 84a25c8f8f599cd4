import ChatCore

/// A batch of commands for the masters of a Cluster: which master gets which commands, and which commands are sent
/// again. Pure.
///
/// A command goes to the master that serves the slot of its key; a command without a key goes to the master of the
/// nodes' keys. A command that is refused (MOVED, ASK, CLUSTERDOWN), or was sent to a master that was lost, is open
/// again until the topology was queried. Commands must therefore be safe to repeat.
struct ClusterBatch {
    /// The commands for one master, sent in one write.
    struct Part: Equatable {
        let address: ClusterAddress
        fileprivate(set) var commands: [[String]] = []
        /// The index of each command in the batch; nil for an `ASKING` that precedes one.
        fileprivate var places: [Int?] = []

        init(address: ClusterAddress) { self.address = address }
    }

    private let commands: [[String]]
    private let nodesSlot: HashSlot
    /// One reply for each command. For an open command it holds the reason why it is open.
    private(set) var replies: [RedisValue]
    /// The indices of commands that have to be sent.
    private var open: [Int]
    /// Redirections for a single command, whose slot is being migrated.
    private var detours: [Int: ClusterAddress] = [:]
    /// The node that probably knows the newest topology.
    private(set) var hint: ClusterAddress?

    init(_ commands: [[String]], nodesSlot: HashSlot) {
        self.commands = commands
        self.nodesSlot = nodesSlot
        replies = Array(repeating: .null, count: commands.count)
        open = Array(commands.indices)
    }

    /// Whether some commands still have to be sent.
    var isOpen: Bool { !open.isEmpty }

    /// The open commands, by the master that serves their slots. A command whose slot nobody serves stays open.
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

    /// Called when the master could not be reached.
    mutating func lost(_ part: Part, _ error: RedisSetupError) {
        for case let place? in part.places {
            replies[place] = Self.reply(to: error)
            open.append(place)
        }
    }

    /// The substitute for the reply of a master that could not be reached.
    static func reply(to error: RedisSetupError) -> RedisValue { .error("CLUSTERDOWN \(error.message)") }
}

extension RedisValue {
    /// Whether this error only says that no master of the Cluster could be asked.
    public var isUnserved: Bool {
        guard case .error(let text) = self else { return false }
        return ClusterRefusal(text) != nil
    }
}
