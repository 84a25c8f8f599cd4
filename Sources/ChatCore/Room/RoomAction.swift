/// What a room's runner has to do, in this order.
public enum RoomAction: Sendable, Equatable {
    /// SUBSCRIBE to the room's channel; then call `subscribed`.
    case subscribe
    /// UNSUBSCRIBE; then call `unsubscribed`.
    case unsubscribe
    /// Ask the broker; then call `completed` with this serial.
    case submit(BrokerRequest, serial: UInt64)
    /// The room wants to enter or to leave, which is dear: call `turnCame` when it may, for a few rooms at a time. `urgent`: sessions wait.
    case awaitTurn(urgent: Bool)
    /// It is done, or does not want to any more: another room may.
    case endTurn
    /// The connections answer, but not to us: drop them.
    case resetLinks
    /// To all live sessions of the room.
    case deliver(Message)
    indirect case deliverGap(Gap)
    indirect case deliverReset(Reset)
    case deliverPresence(joined: [UserID], left: [UserID], count: Int)
    /// The same, but not to these sessions, which know a part of it already and get answers of their own.
    indirect case deliverPresenceApart(joined: [UserID], left: [UserID], count: Int, except: [SessionID])
    /// To all live sessions but the one it came from, if that is ours.
    indirect case deliverSignal(Signal)
    /// To one session, which is live from now on: everything delivered after this is for it too.
    indirect case goLive(SessionID, Joined)
    /// To one session.
    case answer(SessionID, ServerEvent)
    /// The session's join failed: it is not in the room.
    case refuseJoin(SessionID, ServerEvent)
    /// The page that the session asked for could not be read: it is in the room as before, and asks again.
    case refusePage(SessionID, ServerEvent)
    /// Charge the user of one of our sessions, in nanoseconds of work (``RequestCost``), for something that Redis did for a request.
    case charge(SessionID, UInt64)
    /// What the log says about the nodes in the room: the sweeper looks for dead ones.
    case sawNodes([NodeID: UInt64])
    /// The room is out of use: its runner may forget it.
    case finished
    /// Something worth counting happened.
    case count(RoomCounter)
}

/// What a room counts.
public enum RoomCounter: Hashable, Sendable {
    case appended
    case published
    case refused
    case repeated
    case notStored
    case view(ViewReason)
    case entered
    case holeRepaired
    case gap
    case reset
    case alarm
    case sendTimedOut
    /// Something that no node said was left out.
    case ignored(IgnoredData)
}

/// Why a room was read from Redis.
public enum ViewReason: String, Hashable, Sendable, CaseIterable {
    case hole, refused, unknownEpoch, lostBranch, lowerEpoch, join, quiet, page
}
