import ChatCore

/// What a worker knows of the rooms that it has read under the leases it holds: up to where the sink has them, and how
/// much to read at once. It saves most questions to Redis, and may forget any room at any time. Time is an argument.
/// Pure.
struct ReadMemory {
    /// The rooms of which it knows something, at most twice as many.
    private static let most = 4_096
    /// For how long a cursor may be written without a look at the life of its key.
    private static let life: Duration = .seconds(3_600)

    struct Known {
        let lease: LeaseBook.Lease
        /// Up to where the sink has the room; nil if it has nothing of it.
        var position: Position?
        /// The entries to read at once.
        var count = PageSize.first
        /// When `martlet_cursor` has moved the cursor; nil: not under this lease.
        var saved: Moment?
    }

    private var recent: [RoomName: Known] = [:]
    private var older: [RoomName: Known] = [:]

    /// What is known of the room under this lease; nil if nothing.
    subscript(room: RoomName, lease: LeaseBook.Lease) -> Known? {
        guard let known = recent[room] ?? older[room], known.lease == lease else { return nil }
        return known
    }

    mutating func keep(_ known: Known, of room: RoomName) {
        if recent.count >= Self.most, recent[room] == nil { (older, recent) = (recent, [:]) }
        older[room] = nil
        recent[room] = known
    }

    mutating func forget(_ room: RoomName) {
        recent[room] = nil
        older[room] = nil
    }

    /// Whether the cursor may be written as it is, as its key exists and lives long enough.
    static func isSaved(_ known: Known, now: Moment) -> Bool { known.saved.map { now - $0 < life } ?? false }
}

/// How many entries of a room are read at once. Redis bounds a reply by entries alone, so it begins small and grows
/// with pages that are full of small entries. Pure.
enum PageSize {
    static let first = 16
    private static let most = 256
    private static let bytes = 131_072

    /// The size after a page of so many entries and bytes, which was to have up to `count` entries.
    static func next(after count: Int, entries: Int, bytes: Int) -> Int {
        guard entries >= count else { return first }
        return min(max(1, Self.bytes / max(1, bytes / max(1, entries))), count * 4, most)
    }
}
