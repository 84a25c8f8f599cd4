/// A map from hashes to seqs, for keys that are themselves good hashes: an open table with linear probing (Knuth, TAOCP
/// 3, 6.4, algorithm L; removal is algorithm R). A dictionary would hash each key once more, which costs ten times as
/// much as everything else here.
///
/// A single entry is stored inline, because quiet rooms have no more.
struct SeqIndex: Sendable {
    private struct Slot {
        var hash = 0
        /// The seq plus one; zero: the slot is free.
        var next: UInt64 = 0
    }

    private var only = Slot()
    /// Empty as long as there is at most one entry; otherwise the count is a power of two.
    private var slots: [Slot] = []
    private(set) var count = 0

    /// The seq that is stored for the hash.
    subscript(hash: Int) -> UInt64? {
        guard count > 0 else { return nil }
        guard !slots.isEmpty else { return only.hash == hash ? only.next &- 1 : nil }
        let slot = slots[place(of: hash)]
        return slot.next == 0 ? nil : slot.next &- 1
    }

    /// Stores the seq for the hash and replaces an earlier one.
    mutating func set(_ hash: Int, to seq: UInt64) {
        guard seq < .max else { return }
        let new = Slot(hash: hash, next: seq + 1)
        if slots.isEmpty {
            if count == 0 || only.hash == hash {
                only = new
                count = 1
                return
            }
            slots = Array(repeating: Slot(), count: 8)
            slots[place(of: only.hash)] = only
        }
        if 4 * (count + 1) > 3 * slots.count { grow() }
        let place = place(of: hash)
        if slots[place].next == 0 { count += 1 }
        slots[place] = new
    }

    /// Removes the hash if this seq is stored for it.
    mutating func remove(_ hash: Int, at seq: UInt64) {
        guard self[hash] == seq else { return }
        count -= 1
        guard !slots.isEmpty else {
            only = Slot()
            return
        }
        let mask = slots.count - 1
        var free = place(of: hash)
        var next = free
        while true {
            next = (next + 1) & mask
            guard slots[next].next != 0 else { break }
            // The entry may move to the free place if that lies between the entry's own first place and here.
            if (next &- slots[next].hash) & mask >= (next &- free) & mask {
                slots[free] = slots[next]
                free = next
            }
        }
        slots[free] = Slot()
    }

    /// Where the hash is, or would be. There is always a free slot.
    private func place(of hash: Int) -> Int {
        let mask = slots.count - 1
        var place = hash & mask
        while slots[place].next != 0, slots[place].hash != hash { place = (place + 1) & mask }
        return place
    }

    private mutating func grow() {
        let before = slots
        slots = Array(repeating: Slot(), count: 2 * before.count)
        for slot in before where slot.next != 0 { slots[place(of: slot.hash)] = slot }
    }
}
