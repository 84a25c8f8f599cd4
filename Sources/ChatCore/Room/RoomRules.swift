/// The rules that a room keeps because a race broke an earlier version without them. A test can switch one off to see
/// that the simulator notices. A node always has all of them.
package struct RoomRules: OptionSet, Sendable, Hashable {
    package let rawValue: UInt32

    package init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Race 1: enter after any loss of the command connection, before unanswered sends are settled.
    package static let enterAfterLoss = RoomRules(rawValue: 1 << 0)
    /// Race 1: what may have been stored goes through `once`.
    package static let onceAfterLoss = RoomRules(rawValue: 1 << 1)
    /// Race 3: a keyed send of a young or resumed session counts as a repetition.
    package static let youngRepeats = RoomRules(rawValue: 1 << 2)
    /// Race 3: queued sends of closed sessions are dropped.
    package static let dropOfClosed = RoomRules(rawValue: 1 << 3)
    /// Race 5: a node that hears that it is gone enters again.
    package static let heedGone = RoomRules(rawValue: 1 << 4)
    /// Race 7: a position not above the last one shown is an alarm.
    package static let alarm = RoomRules(rawValue: 1 << 5)
    /// Races 8 and 9: after news of another branch the log is read; they are neither shown nor ignored.
    package static let heedBranches = RoomRules(rawValue: 1 << 6)
    /// Race 10: the reply to `enter` purges held messages of older epochs.
    package static let purgeHeld = RoomRules(rawValue: 1 << 7)
    /// Race 11: a room is live only when its own `enter` was heard on the channel.
    package static let hearOwnEpoch = RoomRules(rawValue: 1 << 8)
    /// Race 13: no new append while appends of an older epoch are not answered.
    package static let oneEpochInFlight = RoomRules(rawValue: 1 << 10)
    /// Race 15: messages that the log does not hold are announced, and the room goes on behind them.
    package static let announceGaps = RoomRules(rawValue: 1 << 11)
    /// Race 16: a position ahead of ours is judged after a read.
    package static let readBeforeVerdict = RoomRules(rawValue: 1 << 12)
    /// Race 17: a hole may close by itself.
    package static let waitForHoles = RoomRules(rawValue: 1 << 13)
    /// A hole is read from the log at all.
    package static let repairHoles = RoomRules(rawValue: 1 << 14)
    /// Race 12: after a lost tail, nothing is appended until all nodes of the room had the time to put back what they
    /// heard.
    package static let awaitReturns = RoomRules(rawValue: 1 << 15)

    /// Race 19: no append in an epoch whose rules were not read.
    package static let readRules = RoomRules(rawValue: 1 << 16)
    /// Race 19: sends that waited are decided again, by the rules of the epoch in which they go out.
    package static let decideAgain = RoomRules(rawValue: 1 << 17)

    /// What was deleted is erased from the node's memory, so that it never comes back with a tail.
    package static let forgetErased = RoomRules(rawValue: 1 << 18)

    /// Race 20: what lies before a gap is forgotten, as a deletion may be among what is missing.
    package static let forgetBeforeGaps = RoomRules(rawValue: 1 << 19)

    package static let all = RoomRules(rawValue: .max)
}
