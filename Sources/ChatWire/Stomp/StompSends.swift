import ChatCore

/// SENDs of one connection that the node has not been asked to store yet, in order.
struct StompSends {
    /// The SENDs of a transaction.
    final class Batch {
        var remaining: Int
        /// That of COMMIT.
        let receipt: String?

        init(count: Int, receipt: String?) {
            remaining = count
            self.receipt = receipt
        }
    }

    struct Item {
        var request: SendRequest
        var receipt: String?
        var batch: Batch?
    }

    private static let most = 1_024
    private var items: [Item] = []
    private var bytes = 0

    var isEmpty: Bool { items.isEmpty }
    var first: Item? { items.first }

    /// Whether these may be added, within the bounds of one connection.
    func takes(_ count: Int, bytes more: Int, limits: Limits) -> Bool {
        items.isEmpty || items.count + count <= Self.most && bytes + more <= limits.outboundBytes
    }

    mutating func append(_ item: Item) {
        items.append(item)
        bytes += item.request.byteCount
    }

    mutating func removeFirst() {
        guard let first = items.first else { return }
        bytes -= first.request.byteCount
        items.removeFirst()
        if items.isEmpty { items = [] }
    }
}

/// What was sent and acknowledged between BEGIN and COMMIT.
struct StompTransaction {
    /// The most frames of one transaction.
    static let most = 1_024

    var sends: [StompSends.Item] = []
    var acknowledgements: [StompAcknowledgement] = []

    var count: Int { sends.count + acknowledgements.count }
    var byteCount: Int { sends.reduce(0) { $0 + $1.request.byteCount } }
}

/// Requests to the node that wait for their answer. An answer finds its question by a number, which is the request's
/// `ref`.
struct StompRequests {
    enum Question {
        case join(RoomName)
        case leave(RoomName)
        case send(RoomName, receipt: String?, StompSends.Batch?)
        /// Messages for a subscription that had to wait for acknowledgements.
        case page(RoomName, subscription: UInt64)
        /// The user has read the room.
        case read(RoomName)
    }

    private struct Waiting {
        var serial: UInt64
        var question: Question
    }

    private var waiting: [Waiting] = []
    private var next: UInt64 = 0
    private var sends = 0
    /// The request that is being made: its refusal may come before making it returns.
    private var current: UInt64?
    private var isRefused = false
    private var wasAnyRefused = false

    var hasSends: Bool { sends > 0 }

    mutating func begin(_ question: Question) -> UInt64 {
        next += 1
        waiting.append(Waiting(serial: next, question: question))
        if case .send = question { sends += 1 }
        current = next
        isRefused = false
        return next
    }

    /// Whether the request has not been refused because of a rate.
    mutating func wasAccepted(_ serial: UInt64) -> Bool {
        current = nil
        guard isRefused else { return true }
        isRefused = false
        wasAnyRefused = true
        return false
    }

    /// Whether any request was refused because of a rate since the last call.
    mutating func takeRefused() -> Bool {
        defer { wasAnyRefused = false }
        return wasAnyRefused
    }

    /// The question of that answer; nil if it answers none of ours.
    mutating func answered(_ ref: Ref?) -> Question? {
        guard case .number(let text) = ref, let serial = UInt64(text),
            let index = waiting.firstIndex(where: { $0.serial == serial })
        else { return nil }
        let question = waiting.remove(at: index).question
        if waiting.isEmpty { waiting = [] }
        if case .send = question { sends -= 1 }
        return question
    }

    /// Notes that the request that is being made was refused because of a rate; false if the error is another one.
    mutating func refusedByRate(_ ref: Ref?, _ error: WireError) -> Bool {
        guard error.code == .rateLimited || error.code == .tooManyWaiting, let current,
            ref == .number("\(current)"), answered(ref) != nil
        else { return false }
        isRefused = true
        return true
    }
}
