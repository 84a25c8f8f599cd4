/// When nodes note rooms for relays, and when relays take what was noted: at fixed moments of the wall clock.
///
/// A room in which several nodes store messages is then noted by all of them at nearly the same time, and read once;
/// and what is noted is taken at once, instead of waiting for an interval of the relay as well. Where clocks differ,
/// rooms are read up to an interval later. Pure.
public enum RelayBeat {
    /// The time for which a node gathers rooms, in ms.
    static let interval: UInt64 = 200
    /// The nodes' moments are spread over this time, in ms, because all of them would write to Redis at once.
    static let spread: UInt64 = 40
    /// Behind the nodes' moments, what they write needs this time to be in Redis, in ms.
    static let way: UInt64 = 15

    /// The time until a loop of a node notes the rooms of the present interval. `wall`: ms since 1970.
    public static func untilNoted(wall: UInt64, by node: NodeID, loop: Int) -> Duration {
        until((StableHash(node.text).value &+ UInt64(clamping: loop)) % spread, wall)
    }

    /// The time until relays take what nodes have noted. `wall`: ms since 1970.
    public static func untilTaken(wall: UInt64) -> Duration { until(spread + way, wall) }

    private static func until(_ offset: UInt64, _ wall: UInt64) -> Duration {
        .milliseconds(Int(interval - (wall % interval + interval - offset) % interval))
    }
}
