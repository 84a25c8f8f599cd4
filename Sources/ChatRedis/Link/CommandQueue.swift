import ChatCore

/// The requests that are out on a command connection, in order: RESP has no request IDs, so the oldest unanswered
/// request is the one that the next reply belongs to.
///
/// Completions leave in the order of submission, also when a request had to be sent a second time because Redis had
/// lost the function library: those that were submitted after it wait for it here.
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
        /// There is a request for it in `kept`.
        var keepsRequest = false
        /// The place among the completions that it holds open, if this is the second try.
        var slot: UInt64?
        /// With `commands == 0`: how it ends when its turn comes; nil is `.done`. So that even a request that was
        /// never sent completes in order.
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

        /// How it ends without a reply.
        var settlement: Result<BrokerReply, BrokerError> { failure.map { .failure($0) } ?? .success(.done) }
    }

    /// A completion that is due.
    struct Completion: Equatable {
        var tag: RequestTag
        var result: Result<BrokerReply, BrokerError>
    }

    private struct Slot {
        var tag: RequestTag
        /// Nil: the second try is under way.
        var result: Result<BrokerReply, BrokerError>?
    }

    private var entries = RingBuffer<Entry>()
    private var kept = RingBuffer<BrokerRequest>()
    /// Entries at the end that were not handed to the connection yet.
    private var unsent = 0
    /// Completions from the oldest second try on. Empty but for the rare moment of a second try.
    private var held = RingBuffer<Slot>()
    private var firstSlot: UInt64 = 0
    /// Bytes of all requests that are not answered.
    private(set) var bytes = 0
    private(set) var loadsPending = 0

    var count: Int { entries.count }
    var isEmpty: Bool { entries.isEmpty && held.isEmpty }
    /// How many replies the oldest entry needs; nil if nothing was sent that is not answered.
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

    /// All that was submitted was handed to the connection.
    mutating func sent() { unsent = 0 }

    /// The oldest entry has all its replies: it leaves.
    mutating func answered() -> (entry: Entry, request: BrokerRequest?)? {
        guard let entry = entries.popFirst() else { return nil }
        bytes -= entry.bytes
        unsent = min(unsent, entries.count)
        if entry.kind == .libraryLoad { loadsPending -= 1 }
        return (entry, entry.keepsRequest ? kept.popFirst() : nil)
    }

    /// The completion that is due at once; nil if it has to wait for an earlier one (or the completions that it sets
    /// free come from ``released()``).
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

    /// The request is tried a second time: later completions wait for it. The slot for the new entry.
    mutating func triedAgain(_ entry: Entry) -> UInt64 {
        held.append(Slot(tag: entry.tag, result: nil))
        return firstSlot &+ UInt64(held.count - 1)
    }

    /// The next completion that no longer waits for anything; nil if there is none.
    mutating func released() -> Completion? {
        guard let slot = held.first, let result = slot.result else { return nil }
        _ = held.popFirst()
        firstSlot &+= 1
        return Completion(tag: slot.tag, result: result)
    }

    /// The connection is gone: completions for all that was out, in order. What was handed to it may have been
    /// carried out; what was not, certainly not.
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
