import ChatCore

/// What a sink is given of one page of a room's log: the events, in order, with a gap event for what is missing between
/// them. Pure.
struct RoomFeed: Equatable {
    /// In order.
    private(set) var events: [RoomEvent] = []
    /// Up to where the sink has the room once it has accepted the events; nil if the page was empty.
    private(set) var position: Position?

    /// `cursor`: up to where the sink has the room; nil if it has nothing of it. `entries`: what the log has behind the
    /// cursor, oldest first. `isWhole`: the sink has been given all rooms that there were when it was added, so a room
    /// of which it has nothing is new, and what its log lacks at the beginning is missing.
    init(of room: RoomName, after cursor: Position?, _ entries: [Message], isWhole: Bool) {
        var last = cursor
        for entry in entries {
            // The log is read from behind the cursor on. What is not, was not written by a node.
            if let last, entry.position <= last { continue }
            if let gap = Self.gap(in: room, from: last, to: entry.position, isWhole: isWhole) { events.append(gap) }
            events += RoomEvent.of(entry, in: room)
            last = entry.position
        }
        position = last == cursor ? nil : last
    }

    /// Whether the entries, in the order of a log, follow the cursor without a hole, so that nothing was erased or
    /// trimmed between them. A page without entries is not: the newest ones may have been erased.
    static func isWhole(_ entries: [Message], after cursor: Position?) -> Bool {
        var last = cursor
        for entry in entries {
            guard entry.position.seq == (last?.seq ?? 0) + 1, last.map({ $0 < entry.position }) ?? true else {
                return false
            }
            last = entry.position
        }
        return !entries.isEmpty
    }

    /// Seqs go up by exactly 1 over a room's life, so a hole is visible by arithmetic, and a seq that does not go up
    /// says that the history has begun again.
    private static func gap(
        in room: RoomName, from last: Position?, to next: Position, isWhole: Bool
    ) -> RoomEvent? {
        guard let last else {
            guard isWhole, next.seq > 1 else { return nil }
            return .gap(in: room, after: nil, before: next, missing: next.seq - 1, .trimmed)
        }
        if next.seq <= last.seq { return .gap(in: room, after: last, before: next, missing: nil, .reset) }
        guard next.seq - last.seq > 1 else { return nil }
        return .gap(in: room, after: last, before: next, missing: next.seq - last.seq - 1, .trimmed)
    }
}
