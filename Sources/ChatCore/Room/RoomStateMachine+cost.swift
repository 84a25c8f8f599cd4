/// What a room costs: asked before something is done in it, so that who asks can be charged; and its memory, which can be taken back.
extension RoomStateMachine {
    /// How many sessions, about, hear what is said here: those of this node, and one for each user elsewhere.
    public var receivers: Int { max(members.count, presence.count) }

    /// How many users the roster has.
    public var users: Int { presence.count }

    /// Whether Redis has to look for the key of this send in its index, because the memory does not reach back as far as keys are looked for.
    public func isLookedUp(_ request: SendRequest, from session: SessionID) -> Bool {
        guard let key = request.key, let last = order.last, let member = members[session] else { return false }
        let remembered = last.seq - min(last.seq, order.recent.completeAfter)
        guard order.recent.completeAfter > 0, remembered < UInt64(settings.historyLength) else { return false }
        if order.recent.position(of: key, by: member.user) != nil { return false }
        // Nothing from before that position need be looked at.
        return request.since.map { $0.seq < order.recent.completeAfter } ?? true
    }

    /// What it costs that this is sent. ``RequestCost/before(_:)`` is not in it.
    public func cost(of request: SendRequest, from session: SessionID) -> UInt64 {
        RequestCost.fanOut(bytes: request.byteCount, to: receivers)
            &+ (isLookedUp(request, from: session) ? RequestCost.keyLookup : 0)
    }

    /// What it costs that a session comes or goes: all others are told, if only how many they are.
    public var costOfComing: UInt64 { RequestCost.fanOut(bytes: Self.presenceBytes, to: receivers) }

    /// Of a frame that says so.
    private static let presenceBytes = 100

    /// What it costs that a session is told what it has missed: what the memory no longer has is read from the log.
    public func costOfMissed(after position: Position?) -> UInt64 {
        guard let position, position.seq < order.recent.completeAfter else { return 0 }
        return RequestCost.missed
    }

    /// What it cost to bring here what is in memory.
    public var costOfMemory: UInt64 {
        RequestCost.read(order.recent.count) &+ UInt64(max(0, order.recent.cost)) &* RequestCost.byteIn
    }

    /// The answer to a user who has cost the node too much of late.
    public var tooDear: WireError { settings.limits.tooDear }

    /// Bytes of messages in memory.
    public var memoryCost: Int { order.memoryCost }

    /// Forgets the oldest messages until about `bytes` bytes are left, and never the newest one. Who asks for what was forgotten is told
    /// from the log.
    public mutating func releaseMemory(toBytes bytes: Int) {
        order.shrink(toBytes: bytes)
    }
}
