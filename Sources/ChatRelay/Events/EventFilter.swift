public import ChatCore

/// Which events a sink is given.
public struct EventFilter: Hashable, Sendable {
    /// Empty: all types.
    public var kinds: Set<RoomEvent.Kind>
    /// Empty: all rooms. `$sub` in a pattern matches nothing.
    public var rooms: [RoomPattern]

    /// Only what happened from then on (ms since 1970), and gaps.
    private var since: UInt64 = 0

    public static let everything = EventFilter(kinds: [], rooms: [])

    public init(kinds: Set<RoomEvent.Kind>, rooms: [RoomPattern]) {
        self.kinds = kinds
        self.rooms = rooms
    }

    /// Gaps are given to every sink that is given the room: nothing may be missing in silence.
    public func accepts(_ event: RoomEvent) -> Bool {
        (event.at.map { $0 >= since } ?? true) && (kinds.isEmpty || event.kind == .gap || kinds.contains(event.kind))
            && accepts(event.room)
    }

    /// The same without what happened before then (ms since 1970).
    func since(_ time: UInt64) -> EventFilter {
        var filter = self
        filter.since = time
        return filter
    }

    public func accepts(_ room: RoomName) -> Bool {
        rooms.isEmpty || rooms.contains { $0.matches(room, user: nil) }
    }
}
