/// Decides who may start an expensive operation next. At most `limit` operations run at a time for each of several
/// servers. Urgent ones, for which somebody waits, come first; the others follow in the order in which they asked. So
/// other requests are answered in between after a lost connection, or when thousands of lingers end at once. Pure.
public struct Turns<ID: Hashable & Sendable, Server: Hashable & Sendable>: Sendable {
    private struct Queue: Sendable {
        var held = 0
        var urgent = FIFO<ID>()
        var rest = FIFO<ID>()
    }

    private struct Asked: Sendable {
        var server: Server
        var isHeld: Bool
        /// The number in its queue.
        var number: UInt64
        var isUrgent: Bool
    }

    private let limit: Int
    private var queues: [Server: Queue] = [:]
    private var asked: [ID: Asked] = [:]

    public init(limit: Int) {
        self.limit = max(1, limit)
    }

    /// Whether nobody has a turn or waits for one.
    public var isEmpty: Bool { asked.isEmpty }
    /// The number of those that wait for their turn.
    public var waiting: Int { asked.count - queues.values.reduce(0) { $0 + $1.held } }

    /// `id` asks for a turn at the server. Asking twice changes nothing.
    public mutating func ask(_ id: ID, at server: Server, isUrgent: Bool) {
        guard asked[id] == nil else { return }
        var queue = queues[server] ?? Queue()
        let number = isUrgent ? queue.urgent.append(id) : queue.rest.append(id)
        queues[server] = queue
        asked[id] = Asked(server: server, isHeld: false, number: number, isUrgent: isUrgent)
    }

    /// `id` has finished, or no longer wants a turn.
    public mutating func ended(_ id: ID) {
        guard let entry = asked.removeValue(forKey: id), var queue = queues[entry.server] else { return }
        if entry.isHeld {
            queue.held -= 1
        } else if entry.isUrgent {
            _ = queue.urgent.remove(entry.number)
        } else {
            _ = queue.rest.remove(entry.number)
        }
        let isIdle = queue.held == 0 && queue.urgent.isEmpty && queue.rest.isEmpty
        queues[entry.server] = isIdle ? nil : queue
    }

    /// Gives a turn to the next one in a queue and returns it; nil if nobody may start now.
    public mutating func next() -> ID? {
        for (server, queue) in queues where queue.held < limit {
            var queue = queue
            guard let id = queue.urgent.popFirst() ?? queue.rest.popFirst() else { continue }
            queue.held += 1
            queues[server] = queue
            asked[id]?.isHeld = true
            return id
        }
        return nil
    }
}
