import ChatCore
import HeapModule

/// The rooms of a loop by the moment at which they want to be woken. Entries that a room no longer wants are skipped when they
/// come up, so changing one's mind costs nothing; when they are the half of all, they are thrown away.
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

    /// How many there are, wanted or not.
    var count: Int { heap.count }

    /// Wakes a room then. `rooms`: how many there are. `isWanted`: whether a room would still be woken by that entry.
    mutating func add(_ entry: Entry, rooms: Int, isWanted: (Entry) -> Bool) {
        heap.insert(entry)
        guard heap.count > 2 * rooms + Self.spare else { return }
        // A room that wants again what it once wanted has two entries of that moment.
        var kept: Set<UInt32> = []
        heap = Heap(heap.unordered.filter { isWanted($0) && kept.insert($0.slot).inserted })
    }

    /// What a loop of few rooms keeps without looking.
    private static let spare = 64

    /// Removes and returns the earliest entry, if it is due.
    mutating func popDue(_ now: Moment) -> Entry? {
        guard let first = heap.min, first.moment <= now else { return nil }
        return heap.popMin()
    }
}
