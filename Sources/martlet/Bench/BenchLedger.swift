/// What one member of a room was shown, exactly: what is missing, what came twice or late, and a hash of the order in
/// which it came. Pure.
struct BenchLedger {
    /// The last seq before the first message that counts: where the room stood when the member joined.
    private(set) var base: UInt64 = 0
    /// The highest seq that was shown.
    private(set) var last: UInt64 = 0
    private(set) var shown: UInt64 = 0
    private(set) var repeated: UInt64 = 0
    /// Shown after a later one.
    private(set) var swapped: UInt64 = 0
    /// FNV-1a over seqs and stamps in the order in which they were shown: equal for members that were shown the same.
    private(set) var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    private var missing: Set<UInt64> = []

    mutating func joined(at seq: UInt64) {
        base = seq
        last = seq
    }

    /// Returns whether it had not been shown that one before.
    @discardableResult
    mutating func saw(seq: UInt64, stamp: UInt64) -> Bool {
        if seq == last + 1 {
            last = seq
        } else if seq > last {
            // A member that lost very much is found out by the numbers; it need not take all memory.
            if missing.count < 1_000_000 { missing.formUnion((last + 1)..<min(seq, last + 1_000_000)) }
            last = seq
        } else if missing.remove(seq) != nil {
            swapped += 1
        } else {
            repeated += 1
            return false
        }
        shown += 1
        hash = ((hash ^ seq) &* 0x100_0000_01b3 ^ stamp) &* 0x100_0000_01b3
        return true
    }

    /// How many messages up to `end` it was not shown.
    func missing(upTo end: UInt64) -> UInt64 {
        UInt64(missing.count) + (end > last ? end - last : 0)
    }
}

/// What all members of a room were shown, held against each other.
struct BenchRoomVerdict: Equatable {
    var messages: UInt64 = 0
    var missing: UInt64 = 0
    var repeated: UInt64 = 0
    var swapped: UInt64 = 0
    /// All were shown the same messages in the same order.
    var isOneOrder = true

    /// `stored`: messages that must have been shown; more than anybody was shown means that some are missing for all.
    init(_ members: [BenchLedger], stored: UInt64) {
        let base = members.map(\.base).min() ?? 0
        let seen = members.map(\.last).max() ?? 0
        let end = max(seen, base + stored)
        messages = end - base
        for member in members {
            missing += member.missing(upTo: end)
            repeated += member.repeated
            swapped += member.swapped
        }
        // Members that joined at different places cannot be held against each other by their hash.
        let comparable = members.filter { $0.base == base }
        isOneOrder = Set(comparable.map(\.hash)).count <= 1
    }
}
