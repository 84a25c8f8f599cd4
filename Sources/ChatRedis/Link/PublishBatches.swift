import ChatCore

/// The publications of a tick, by channel: all events of one channel are sent in one PUBLISH. Each PUBLISH costs Redis
/// a look-up of the subscribers and a reply, and each subscriber a message to parse.
struct PublishBatches {
    struct Batch {
        let entity: Entity
        /// The tag of the first event; nothing waits for the reply.
        let tag: RequestTag
        fileprivate(set) var events: [ChannelEvent]
        /// Their approximate size.
        fileprivate var bytes: Int
    }

    /// The maximum size of one PUBLISH, as every subscriber buffers it as a whole.
    static let mostBytes = 64 << 10

    private(set) var batches: [Batch] = []
    private var newest: [Entity: Int] = [:]
    /// The approximate size of all events.
    private(set) var bytes = 0

    var isEmpty: Bool { batches.isEmpty }

    mutating func add(_ event: ChannelEvent, on entity: Entity, tag: RequestTag) {
        let cost = event.cost
        bytes += cost
        if let index = newest[entity], batches[index].bytes + cost <= Self.mostBytes {
            batches[index].events.append(event)
            batches[index].bytes += cost
        } else {
            newest[entity] = batches.count
            batches.append(Batch(entity: entity, tag: tag, events: [event], bytes: cost))
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
        case .epoch(_, _, let nodes, _, _), .gone(_, _, let nodes, _): 256 + 128 * nodes.count
        case .presence(let notice): 256 + 256 * notice.changes.count
        case .reads(let marks): 64 + 192 * marks.count
        case .notice: 256
        }
    }
}
