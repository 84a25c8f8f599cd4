import ChatCore

/// What a tick has to publish, by room: what is said in one room leaves in one PUBLISH. Each costs Redis a look at who listens and an
/// answer, and each of the room's nodes one more reply to take apart, its own included.
struct PublishBatches {
    struct Batch {
        let room: RoomName
        /// Of the first one: nobody waits for the answer.
        let tag: RequestTag
        fileprivate(set) var events: [ChannelEvent]
        /// About how many bytes they will be.
        fileprivate var cost: Int
    }

    /// So much at most in one PUBLISH: every node keeps it whole until it is read.
    static let mostBytes = 64 << 10

    private(set) var batches: [Batch] = []
    private var newest: [RoomName: Int] = [:]
    /// About how many bytes all of them will be.
    private(set) var bytes = 0

    var isEmpty: Bool { batches.isEmpty }

    mutating func add(_ event: ChannelEvent, in room: RoomName, tag: RequestTag) {
        let cost = event.cost
        bytes += cost
        if let index = newest[room], batches[index].cost + cost <= Self.mostBytes {
            batches[index].events.append(event)
            batches[index].cost += cost
        } else {
            newest[room] = batches.count
            batches.append(Batch(room: room, tag: tag, events: [event], cost: cost))
        }
    }

    mutating func removeAll() {
        bytes = 0
        batches.removeAll(keepingCapacity: batches.capacity <= 1_024)
        newest.removeAll(keepingCapacity: newest.capacity <= 1_024)
    }
}

extension ChannelEvent {
    fileprivate var cost: Int {
        switch self {
        case .message(let message, _): message.content.cost
        case .signal(let signal): 256 + (signal.data?.utf8.count ?? 0)
        case .epoch(_, _, let nodes, _), .gone(_, _, let nodes, _): 256 + 128 * nodes.count
        case .presence(let notice): 256 + 256 * notice.changes.count
        }
    }
}
