/// How one session stands in one room, as the loop that accepted the session sees it: whether the room's broadcasts are
/// for it, and if it missed more than a page, how far it has caught up.
///
/// A session that comes back is sent what it missed page by page, each when it has read the one before. Meanwhile the
/// room's broadcasts are not for it: what is said waits where it is anyway, in the room's memory and log, so a reader
/// that takes its time costs a page and no more. After each page the room is asked again, as by a `join` with the last
/// position that was sent, until an answer holds all that is left: from that answer on the session is live.
public struct RoomStanding: Sendable, Equatable {
    /// (Indirect: but for a moment every session of every room is `live`, which takes no memory of its own.)
    private indirect enum State: Sendable, Equatable {
        /// The client's `join` with this `ref` waits for its answer. Can transition to `live`, `behind`.
        case asked(Ref?)
        /// All up to `after` was sent; the next page is not asked for yet. Can transition to `asking`, `asked`.
        case behind(after: Position)
        /// The room was asked for what comes after `after`. Can transition to `behind`, `live`, `asked`.
        case asking(after: Position, serial: UInt64)
        /// Broadcasts are for this session. Can transition to `asked`.
        case live
    }

    private var state: State
    private var serial: UInt64 = 0

    /// The client asks to join.
    public init(joining ref: Ref?) {
        state = .asked(ref)
    }

    public var isLive: Bool { state == .live }
    /// An answer to ``nextPage()`` is on its way, and counts.
    public var isAskingForPage: Bool {
        switch state {
        case .asking: true
        case .asked, .behind, .live: false
        }
    }

    /// The `ref` of the client's join that will get no answer of its own if the room is left or joined anew now.
    public var unanswered: Ref?? {
        switch state {
        case .asked(let ref): .some(ref)
        case .behind, .asking, .live: nil
        }
    }

    /// The client joins the room again: nothing of it is for the session until that is answered.
    public mutating func joinAsked(_ ref: Ref?) {
        state = .asked(ref)
    }

    public enum AnswerAction: Sendable, Equatable {
        /// It answers something that does not count any more.
        case ignore
        /// To be sent in this order. `isLive`: what is broadcast from now on is for the session; if not, `nextPage` is
        /// to be called when the session has read.
        case show([ServerEvent], isLive: Bool)
    }

    /// The room answered a join, of the client or of ``nextPage()``. A page is at most `bytes` and (in the answer
    /// itself) `count` messages. `user`: the session's, who is shown the keys of what it said.
    public mutating func answered(_ joined: Joined, for user: UserID, bytes: Int, count: Int) -> AnswerAction {
        switch state {
        case .asked(let ref):
            guard joined.ref == ref else { return .ignore }
            var page = joined
            let isCut = page.bound(bytes: bytes, count: count)
            return show([.joined(page)], page, isCut)
        case .asking(_, let serial):
            guard joined.ref == .page(serial: serial) else { return .ignore }
            return showNext(joined, for: user, bytes: bytes)
        case .behind, .live: return .ignore
        }
    }

    private mutating func showNext(_ joined: Joined, for user: UserID, bytes: Int) -> AnswerAction {
        var events: [ServerEvent] = []
        switch joined.resumption {
        case .fresh, .complete: break
        case .gap(let gap): events.append(.gap(room: joined.room, gap))
        case .reset(let reset): events.append(.reset(room: joined.room, reset))
        }
        var page = joined
        let isCut = page.bound(bytes: bytes, count: .max)
        events += page.messages.map { .message(room: joined.room, $0, showKey: $0.content.user == user) }
        return show(events, page, isCut)
    }

    private mutating func show(_ events: [ServerEvent], _ page: Joined, _ isCut: Bool) -> AnswerAction {
        if isCut, let last = page.messages.last {
            state = .behind(after: last.position)
        } else {
            state = .live
        }
        return .show(events, isLive: isLive)
    }

    public enum RefusalAction: Sendable, Equatable {
        case ignore
        /// The client is told that it is not in the room.
        case leave
        /// The client is in the room and knows nothing of pages: the room is asked again.
        case askAgain
    }

    /// The room refused a join, and does not have the session any more; or could not read a page for it.
    public mutating func refused(_ ref: Ref?) -> RefusalAction {
        switch state {
        case .asked(let asked): return ref == asked ? .leave : .ignore
        case .asking(let after, let serial):
            guard ref == .page(serial: serial) else { return .ignore }
            state = .behind(after: after)
            return .askAgain
        case .behind, .live: return .ignore
        }
    }

    /// The session has read what it was sent. Returns what to ask the room, as a join; nil: nothing is missing, or it
    /// was asked already.
    public mutating func nextPage() -> (after: Position, ref: Ref)? {
        guard case .behind(let after) = state else { return nil }
        serial += 1
        state = .asking(after: after, serial: serial)
        return (after, .page(serial: serial))
    }
}

extension Ref {
    /// Whether ``RoomStanding/nextPage()`` made it, so that no client's request is answered.
    public var isOfPage: Bool {
        switch self {
        case .page: true
        case .string, .number, .own: false
        }
    }
}
