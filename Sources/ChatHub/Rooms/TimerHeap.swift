import ChatCore
import HeapModule

/// The rooms of a loop, ordered by the moment at which they want to be woken. Entries that a room no longer wants are
/// skipped when they come up, so replacing one costs nothing. When half of all entries are obsolete, they are removed.
struct TimerHeap {
    struct Entry: Comparable {
        var moment: Moment
        var slot: UInt32
        var generation: UInt32

        static func < (left: Entry, right: Entry) -> Bool { left.moment < right.moment }
    }

    private var heap = Heap<Entry>()

    /// The earliest moment at which a room may want to be woken.
    var next: Moment? { heap.min?.moment }

    /// The number of entries, including obsolete ones.
    var count: Int { heap.count }

    /// Adds an entry that wakes a room. `rooms`: the number of rooms. `isWanted`: whether a room would still be woken
    /// by that entry.
    mutating func add(_ entry: Entry, rooms: Int, isWanted: (Entry) -> Bool) {
        heap.insert(entry)
        guard heap.count > 2 * rooms + Self.spare else { return }
        // A room that asks again for a moment for which it had asked before has two entries of that moment.
        var kept: Set<UInt32> = []
        heap = Heap(heap.unordered.filter { isWanted($0) && kept.insert($0.slot).inserted })
    }

    /// The number of obsolete entries that a loop with few rooms keeps without checking.
    private static let spare = 64

    /// Removes and returns the earliest entry, if it is due.
    mutating func popDue(_ now: Moment) -> Entry? {
        guard let first = heap.min, first.moment <= now else { return nil }
        return heap.popMin()
    }
}
