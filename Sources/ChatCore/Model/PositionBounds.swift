/// The bounds of every epoch, seq and other number that Redis, a channel or a client can name: one set, checked where the number is
/// parsed, so that no arithmetic behind it can overflow.
///
/// Functions in Redis count with doubles, so nothing lies beyond ``largest``. An epoch is about when it began, in ms: one that is years
/// ahead of the clock was never begun by a node. Somebody typed it, or a key is broken; taken up, it would be where the room goes on
/// from for ever. The margins are wide, for a clock may be wrong (a machine that starts without one, a Redis that was set back): what counts
/// is that no number that was taken up is near ``largest``.
public enum PositionBounds {
    /// 2^53 less a million: what is added to it on the way (`+ 1`, the first epoch of another Redis) is still exact in a double.
    public static let largest: UInt64 = 9_007_199_254_740_992 - 1_000_000

    /// About ten years, in ms: how far an epoch may be ahead of the clock.
    public static let ahead: UInt64 = 315_360_000_000
    /// About five years: how far a new epoch may begin ahead because a node says that it has seen one. Half of the other, so that whatever
    /// was heard, what begins above it is well within the bounds of all, whichever clock they go by.
    public static let claimedAhead: UInt64 = 157_680_000_000
    /// 2020: a clock that shows less is not set, and judges nothing.
    public static let leastClock: UInt64 = 1_577_836_800_000

    /// Whether it may be an epoch, a seq, or a number of anything.
    @inlinable public static func holds(_ number: UInt64) -> Bool { number <= largest }

    /// The highest epoch that is believed. `clock`: ms since 1970.
    public static func newestEpoch(clock: UInt64) -> UInt64 { newest(clock, ahead) }

    /// The highest epoch that a new one begins above because somebody claims to have seen it.
    public static func newestClaim(clock: UInt64) -> UInt64 { newest(clock, claimedAhead) }

    private static func newest(_ clock: UInt64, _ ahead: UInt64) -> UInt64 {
        clock < leastClock ? largest : min(largest, min(clock, largest) + ahead)
    }
}

extension Position {
    /// Whether both numbers may be what they say they are.
    @inlinable public var isWithinBounds: Bool { PositionBounds.holds(epoch) && PositionBounds.holds(seq) }
}
