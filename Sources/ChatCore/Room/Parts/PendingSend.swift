/// A send that has no final answer yet.
struct PendingSend: Sendable {
    enum State: Sendable, Equatable {
        /// Certainly not stored. → `appending` · `inOnce`
        case queued
        /// At the broker, as an append in this epoch, or in the `once` request with this serial. → `stored` ·
        /// `queued`, when it was refused · `uncertain`
        case appending(epoch: UInt64)
        case inOnce(serial: UInt64)
        /// In the log, but not shown yet. It is answered when it is shown, so that our memory and the verdict on what
        /// was shown cover each answered send, should Redis lose it. `at`: when it was said, if it had been stored
        /// before. → `uncertain`, after `enter`
        case stored(Position, repeated: Bool, at: UInt64)
        /// At the broker when the connection was lost, before the answer came. → `queued`, after the next `enter`
        case uncertain
    }

    struct Waiter: Sendable, Equatable {
        var session: SessionID
        var ref: Ref?
    }

    /// Waiters in the order in which they came. Nearly every send has one, which is stored in place.
    struct Waiters: Sendable, Sequence {
        private(set) var first: Waiter?
        private var others: [Waiter] = []

        init(_ waiter: Waiter) { first = waiter }

        var isEmpty: Bool { first == nil }

        mutating func append(_ waiter: Waiter) {
            if first == nil { first = waiter } else { others.append(waiter) }
        }

        mutating func remove(_ session: SessionID) {
            others.removeAll { $0.session == session }
            if first?.session == session { first = others.isEmpty ? nil : others.removeFirst() }
        }

        mutating func removeAll() {
            first = nil
            others = []
        }

        struct Iterator: IteratorProtocol {
            fileprivate var first: Waiter?
            fileprivate var others: ArraySlice<Waiter>

            mutating func next() -> Waiter? { first.take() ?? others.popFirst() }
        }

        func makeIterator() -> Iterator { Iterator(first: first, others: others[...]) }
    }

    var content: MessageContent
    /// The rights of its sender.
    var rights: Rights
    var state: State = .queued
    /// Goes through `martlet_once`, as its first try may have been stored.
    var again: Bool
    /// The client says that it is a repetition.
    var said: Bool
    /// The newest message that the client, or this node, knew at the first try.
    var since: Position?
    var deadline: Moment
    /// The sessions to answer; empty when all of them have left or were told `unavailable`.
    var waiters: Waiters

    /// Somebody waits for it, or it is still to be tried.
    var isAwaited: Bool { !waiters.isEmpty || state == .queued }
}

/// What identifies a send: a second one with the same user and key is a repetition.
struct SendKey: Hashable, Sendable {
    var user: UserID
    var key: String

    static func == (left: SendKey, right: SendKey) -> Bool {
        left.user == right.user && left.key.isSame(as: right.key)
    }
}
