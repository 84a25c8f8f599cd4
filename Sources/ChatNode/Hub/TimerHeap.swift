import ChatCore
import HeapModule

/// The rooms of a shard by the moment at which they want to be woken. Entries that a room no longer wants are skipped when they
/// come up, so changing one's mind costs nothing.
struct TimerHeap {
    struct Entry: Comparable {
        var moment: Moment
        var slot: UInt32
        var generation: UInt32

        static func < (left: Entry, right: Entry) -> Bool { left.moment < right.moment }
    }

    private var heap = Heap<Entry>()

    /// The earliest moment anybody may want.
    var next: Moment? { heap.min?.moment }

    mutating func add(_ entry: Entry) {
        heap.insert(entry)
    }

    /// Removes and returns the earliest entry, if it is due.
    mutating func popDue(_ now: Moment) -> Entry? {
        guard let first = heap.min, first.moment <= now else { return nil }
        return heap.popMin()
    }
}
