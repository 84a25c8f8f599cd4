/// The rules that a room keeps because a race broke an earlier version without them, so that a test can switch one off and see that
/// the simulator notices. For tests of the tests only: a node always has all of them.
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
    /// Race 5: who hears itself gone enters again.
    package static let heedGone = RoomRules(rawValue: 1 << 4)
    /// Race 7: a position not above the last one shown is an alarm.
    package static let alarm = RoomRules(rawValue: 1 << 5)
    /// Races 8 and 9: news of another branch is looked into, never shown or ignored.
    package static let heedBranches = RoomRules(rawValue: 1 << 6)
    /// Race 10: an `enter` reply purges what was held of older epochs.
    package static let purgeHeld = RoomRules(rawValue: 1 << 7)
    /// Race 11: a room is live only when its own `enter` was heard on the channel.
    package static let hearOwnEpoch = RoomRules(rawValue: 1 << 8)
    /// Race 13: nothing new while appends of an older epoch are unanswered.
    package static let oneEpochInFlight = RoomRules(rawValue: 1 << 10)
    /// Race 15: what the log does not hold is announced and left behind.
    package static let announceGaps = RoomRules(rawValue: 1 << 11)
    /// Race 16: a position ahead of ours is judged after a read.
    package static let readBeforeVerdict = RoomRules(rawValue: 1 << 12)
    /// Race 17: a hole may close by itself.
    package static let waitForHoles = RoomRules(rawValue: 1 << 13)
    /// A hole is read from the log at all.
    package static let repairHoles = RoomRules(rawValue: 1 << 14)
    /// After a lost tail: nothing is appended until all nodes of the room had the time to put back what they heard.
    package static let awaitReturns = RoomRules(rawValue: 1 << 15)

    package static let all = RoomRules(rawValue: .max)
}
