/// What a room's runner has to do, in the order in which the actions were appended.
public enum RoomAction: Sendable, Equatable {
    /// SUBSCRIBE to the room's channel. When it is acknowledged: ``RoomEvent/subscribed``.
    case subscribe
    /// UNSUBSCRIBE. When it is acknowledged: ``RoomEvent/unsubscribed``.
    case unsubscribe
    /// Ask the broker. When it has answered, or never will: ``RoomEvent/completed(serial:_:)`` with this serial.
    case submit(BrokerRequest, serial: UInt64)
    /// The room wants to enter or to leave, which is expensive for Redis: ``RoomEvent/turnCame`` when it may, a few
    /// rooms at a time. `urgent`: sessions wait.
    case awaitTurn(urgent: Bool)
    /// The room has entered or left, or does not want to any more: another room may.
    case endTurn
    /// The connections look alive, but requests have no answer: drop them.
    case resetLinks
    /// To all live sessions of the room.
    case deliver(Message)
    indirect case deliverGap(Gap)
    indirect case deliverReset(Reset)
    case deliverPresence(joined: [UserID], left: [UserID], count: Int)
    /// The same, except to these sessions, which know a part of it already and get answers of their own.
    indirect case deliverPresenceApart(joined: [UserID], left: [UserID], count: Int, except: [SessionID])
    /// To all live sessions except the one it came from, if that is a session of this node.
    indirect case deliverSignal(Signal)
    /// To all live sessions of the room, and to those that are catching up.
    case deliverRules(RoomPolicy, version: UInt64)
    /// The same.
    indirect case deliverSanction(SanctionChange)
    /// The same.
    indirect case deliverParticipants(ParticipantChanges)
    /// The indexes of some participants may lack the room: after a while, when whoever changed them should be done,
    /// they are written.
    case settleIndexes
    /// To one session, which is live from now on: everything that is delivered after this is for it as well.
    indirect case goLive(SessionID, Joined)
    /// To one session.
    case answer(SessionID, ServerEvent)
    /// The session's join failed: it is not in the room.
    case refuseJoin(SessionID, ServerEvent)
    /// The session is made to leave: it is not in the room any more.
    indirect case remove(SessionID, Removal)
    /// The page that the session asked for could not be read. The session is in the room as before, and asks again.
    case refusePage(SessionID, ServerEvent)
    /// Charge the user of one of our sessions, in nanoseconds of work (``RequestCost``), for what Redis did for a
    /// request.
    case charge(SessionID, UInt64)
    /// The room was read, with its participants; nil if it has none any more. `last`: the seq of the log's last entry.
    /// `isRewound`: the log has lost what was shown last.
    indirect case conversed(Conversation?, last: UInt64, isRewound: Bool)
    /// The nodes in the room, according to Redis: the sweeper looks for dead ones.
    case sawNodes([NodeID: UInt64])
    /// The room is out of use: the runner may forget it.
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
    /// Data that no node wrote was left out.
    case ignored(IgnoredData)
}

/// Why a room was read from Redis.
public enum ViewReason: String, Hashable, Sendable, CaseIterable {
    case hole, refused, unknownEpoch, lostBranch, lowerEpoch, join, quiet, page, rules
}
