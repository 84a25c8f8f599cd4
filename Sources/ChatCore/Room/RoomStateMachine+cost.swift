/// What a request costs in this room, asked before the event, so that the user can be charged; and the room's memory,
/// which can be reclaimed.
extension RoomStateMachine {
    /// The user of that session; nil if it is not in the room.
    public func user(of session: SessionID) -> UserID? { members[session]?.user }

    /// Whether a send of the user with that key waits, or its message is in memory: then another try is answered with
    /// the position of the first one.
    public func knows(key: String, of user: UserID) -> Bool {
        sends.holds(key, of: user) || order.recent.position(of: key, by: user) != nil
    }

    /// About how many sessions receive a message: those of this node, and one for each user at other nodes.
    public var receivers: Int { max(members.count, presence.count) }

    /// How many users the roster has.
    public var users: Int { presence.count }

    /// Whether Redis has to look for the key of this send in its index, because memory does not reach back as far as
    /// keys are remembered.
    public func isLookedUp(_ request: SendRequest, from session: SessionID) -> Bool {
        guard let key = request.key, let last = order.last, let member = members[session] else { return false }
        let remembered = last.seq - min(last.seq, order.recent.completeAfter)
        guard order.recent.completeAfter > 0, remembered < UInt64(settings.historyLength) else { return false }
        if order.recent.position(of: key, by: member.user) != nil { return false }
        // Messages from before that position cannot have the key.
        return request.since.map { $0.seq < order.recent.completeAfter } ?? true
    }

    /// The cost of this send, without ``RequestCost/before(_:)``.
    public func cost(of request: SendRequest, from session: SessionID) -> UInt64 {
        RequestCost.fanOut(bytes: request.byteCount, to: receivers)
            &+ (isLookedUp(request, from: session) ? RequestCost.keyLookup : 0)
    }

    /// The cost of a session that joins or leaves: all others are told, if only the new count.
    public var costOfComing: UInt64 { RequestCost.fanOut(bytes: Self.presenceBytes, to: receivers) }

    /// The size of a `presence` frame.
    private static let presenceBytes = 100

    /// The cost of telling a session what it has missed since that position: what memory no longer holds is read from
    /// the log.
    public func costOfMissed(after position: Position?) -> UInt64 {
        guard let position, position.seq < order.recent.completeAfter else { return 0 }
        return RequestCost.missed
    }

    /// What it cost to read the messages and the sanctions that are in memory.
    public var costOfMemory: UInt64 {
        RequestCost.read(order.recent.count) &+ UInt64(max(0, order.recent.cost)) &* RequestCost.byteIn
            &+ UInt64(sanctions.moderation?.sanctionCount ?? 0) &* RequestCost.sanction
    }

    /// The answer to a user whose requests have cost the node too much.
    public var tooDear: WireError { settings.limits.tooDear }

    /// Bytes of messages in memory.
    public var memoryCost: Int { order.memoryCost }

    /// Forgets the oldest messages until about `bytes` bytes are left; never the newest one. Whoever asks for forgotten
    /// messages is told from the log.
    mutating func releaseMemory(toBytes bytes: Int) {
        order.shrink(toBytes: bytes)
    }
}
