/// The bounds of every epoch, seq and other number that Redis, a channel or a client can send. They are checked where
/// the number is parsed, so that no later arithmetic can overflow.
///
/// Functions in Redis calculate with doubles, so no number may exceed ``largest``. An epoch is about the time at which
/// it began, in ms, so no node can have begun one that is years ahead of the clock: somebody typed it, or a key is
/// damaged. If it were accepted, the room would continue from it for ever. The margins are wide, because a clock may be
/// wrong (a machine that starts without one, a Redis that was set back). What counts is that no accepted number is near
/// ``largest``.
public enum PositionBounds {
    /// 2^53 less a million: later additions (`+ 1`, the first epoch of another Redis) are still exact in a double.
    public static let largest: UInt64 = 9_007_199_254_740_992 - 1_000_000

    /// About ten years, in ms: how far an epoch may be ahead of the clock.
    public static let ahead: UInt64 = 315_360_000_000
    /// About five years: how far ahead a new epoch may begin because a node claims to have seen a later one. It is half
    /// of ``ahead``, so that an epoch that begins above an accepted claim is within the bounds of all nodes, whatever
    /// their clocks show.
    public static let claimedAhead: UInt64 = 157_680_000_000
    /// The year 2020. A clock that shows an earlier time is not set, and is not used for these checks.
    public static let leastClock: UInt64 = 1_577_836_800_000

    /// Whether the number may be an epoch, a seq or any other number.
    @inlinable public static func holds(_ number: UInt64) -> Bool { number <= largest }

    /// The highest epoch that is accepted. `clock`: ms since 1970.
    public static func newestEpoch(clock: UInt64) -> UInt64 { newest(clock, ahead) }

    /// The highest claimed epoch above which a new epoch may begin.
    public static func newestClaim(clock: UInt64) -> UInt64 { newest(clock, claimedAhead) }

    private static func newest(_ clock: UInt64, _ ahead: UInt64) -> UInt64 {
        clock < leastClock ? largest : min(largest, min(clock, largest) + ahead)
    }
}

extension Position {
    /// The place in front of this one, as far as it can be known without the log.
    public var previous: Position { Position(epoch: epoch, seq: seq > 0 ? seq - 1 : 0) }

    /// Whether both numbers are within the bounds.
    @inlinable public var isWithinBounds: Bool { PositionBounds.holds(epoch) && PositionBounds.holds(seq) }
}
