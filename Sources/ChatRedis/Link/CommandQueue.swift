import ChatCore

/// The unanswered requests on a command connection, in order. RESP has no request IDs, so the next reply belongs to the
/// oldest unanswered request.
///
/// Completions are returned in the order of submission, even if a request had to be sent a second time because Redis
/// had lost the function library: completions of requests that were submitted after it wait here.
struct CommandQueue {
    enum Kind: Equatable {
        case request
        /// The link's own PING.
        case ping
        /// The link's own loading of the function library.
        case libraryLoad
    }

    struct Entry {
        var kind: Kind
        var tag: RequestTag
        var commands: Int
        var operation: UInt8
        var number: UInt64
        var bytes: Int
        var sentAt: Moment
        /// Whether `kept` holds the request.
        var keepsRequest = false
        /// For a second attempt: the position among the completions that is reserved for it.
        var slot: UInt64?
        /// The result of an entry with `commands == 0` when its turn comes; nil is `.done`. With this, even a request
        /// that was never sent completes in order.
        var failure: BrokerError?

        init(kind: Kind, tag: RequestTag, sentAt: Moment, commands: Int = 0, failure: BrokerError? = nil) {
            self.kind = kind
            self.tag = tag
            self.sentAt = sentAt
            self.commands = commands
            self.failure = failure
            operation = 0
            number = 0
            bytes = 0
        }

        /// The result if no reply is needed.
        var settlement: Result<BrokerReply, BrokerError> { failure.map { .failure($0) } ?? .success(.done) }
    }

    /// A completion to be delivered.
    struct Completion: Equatable {
        var tag: RequestTag
        var result: Result<BrokerReply, BrokerError>
    }

    private struct Slot {
        var tag: RequestTag
        /// Nil while the second attempt is pending.
        var result: Result<BrokerReply, BrokerError>?
    }

    private var entries = RingBuffer<Entry>()
    private var kept = RingBuffer<BrokerRequest>()
    /// The number of entries at the end that were not passed to the connection yet.
    private var unsent = 0
    /// The completions since the oldest second attempt. Nearly always empty.
    private var held = RingBuffer<Slot>()
    private var firstSlot: UInt64 = 0
    /// The size of all unanswered requests.
    private(set) var bytes = 0
    private(set) var loadsPending = 0

    var count: Int { entries.count }
    var isEmpty: Bool { entries.isEmpty && held.isEmpty }
    /// The number of replies that the oldest entry needs; nil if every sent request is answered.
    var repliesNeeded: Int? { entries.count > unsent ? entries.first?.commands : nil }
    /// Whether the oldest entry needs no reply at all.
    var isSettled: Bool { entries.first?.commands == 0 }
    var oldestSentAt: Moment? { entries.first?.sentAt }

    // MARK: Events

    mutating func submitted(_ entry: Entry, keeping request: BrokerRequest?) {
        var entry = entry
        entry.keepsRequest = request != nil
        if let request { kept.append(request) }
        if entry.kind == .libraryLoad { loadsPending += 1 }
        entries.append(entry)
        bytes += entry.bytes
        unsent += 1
    }

    /// All submitted requests were passed to the connection.
    mutating func sent() { unsent = 0 }

    /// The oldest entry has all its replies: removes it.
    mutating func answered() -> (entry: Entry, request: BrokerRequest?)? {
        guard let entry = entries.popFirst() else { return nil }
        bytes -= entry.bytes
        unsent = min(unsent, entries.count)
        if entry.kind == .libraryLoad { loadsPending -= 1 }
        return (entry, entry.keepsRequest ? kept.popFirst() : nil)
    }

    /// The completion to deliver at once; nil if it has to wait for an earlier one, or if ``released()`` returns it
    /// together with those that waited for it.
    mutating func completed(_ entry: Entry, _ result: Result<BrokerReply, BrokerError>) -> Completion? {
        if let slot = entry.slot {
            let offset = Int(clamping: slot &- firstSlot)
            held[offset]?.result = result
            return nil
        }
        if held.isEmpty { return Completion(tag: entry.tag, result: result) }
        held.append(Slot(tag: entry.tag, result: result))
        return nil
    }

    /// The request is sent a second time, and later completions wait for it. Returns the position for the new entry.
    mutating func triedAgain(_ entry: Entry) -> UInt64 {
        held.append(Slot(tag: entry.tag, result: nil))
        return firstSlot &+ UInt64(held.count - 1)
    }

    /// The next completion that does not wait any more; nil if there is none.
    mutating func released() -> Completion? {
        guard let slot = held.first, let result = slot.result else { return nil }
        _ = held.popFirst()
        firstSlot &+= 1
        return Completion(tag: slot.tag, result: result)
    }

    /// The connection is lost: returns completions for all requests, in order. Requests that were passed to the
    /// connection may have been carried out; the others certainly were not.
    mutating func connectionLost() -> [Completion] {
        var completions: [Completion] = []
        var late: [UInt64: Result<BrokerReply, BrokerError>] = [:]
        var direct: [Completion] = []
        let sent = entries.count - unsent
        for offset in 0..<entries.count {
            guard let entry = entries[offset], entry.kind == .request else { continue }
            let result =
                entry.commands == 0 ? entry.settlement : .failure(offset < sent ? .outcomeUnknown : .notConnected)
            if let slot = entry.slot {
                late[slot] = result
            } else {
                direct.append(Completion(tag: entry.tag, result: result))
            }
        }
        for offset in 0..<held.count {
            guard let slot = held[offset] else { continue }
            let result = slot.result ?? late[firstSlot &+ UInt64(offset)] ?? .failure(.outcomeUnknown)
            completions.append(Completion(tag: slot.tag, result: result))
        }
        self = CommandQueue()
        return completions + direct
    }
}
