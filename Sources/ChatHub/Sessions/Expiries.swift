import ChatCore
import HeapModule

/// The sessions of a loop whose tokens expire, in the order of that. A session that was given another token, or has
/// ended, is skipped when its entry comes up, so replacing one costs nothing; half of all entries at most are obsolete.
struct Expiries {
    struct Entry: Comparable {
        /// Milliseconds since 1970.
        var at: UInt64
        var session: SessionID

        static func < (left: Entry, right: Entry) -> Bool { left.at < right.at }
    }

    private var heap = Heap<Entry>()

    /// The number of entries, including obsolete ones.
    var count: Int { heap.count }

    /// Adds the moment at which the grant expires; nothing if it does not.
    mutating func add(_ grant: Grant?, of session: SessionID) {
        if let at = grant?.expiresAt { add(Entry(at: at, session: session)) }
    }

    mutating func add(_ entry: Entry) { heap.insert(entry) }

    /// Removes obsolete entries when there are more of them than sessions. `isWanted`: whether an entry still counts.
    mutating func compact(sessions: Int, isWanted: (Entry) -> Bool) {
        guard heap.count > 2 * sessions + Self.spare else { return }
        heap = Heap(heap.unordered.filter(isWanted))
    }

    private static let spare = 64

    /// Removes and returns the earliest entry, if it is due. `milliseconds`: since 1970.
    mutating func popDue(_ milliseconds: UInt64) -> Entry? {
        guard let first = heap.min, first.at <= milliseconds else { return nil }
        return heap.popMin()
    }
}
