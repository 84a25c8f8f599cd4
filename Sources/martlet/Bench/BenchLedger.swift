import ChatCore

/// An exact record of the messages that one member of a room got: which are missing, which came twice or late, and a
/// hash of their order. Pure.
struct BenchLedger {
    /// The seq before the first message that counts: the room's last one when the member joined.
    private(set) var base: UInt64 = 0
    /// The highest seq so far.
    private(set) var last: UInt64 = 0
    private(set) var shown: UInt64 = 0
    private(set) var repeated: UInt64 = 0
    /// Messages that came after a later one.
    private(set) var swapped: UInt64 = 0
    /// Over seqs and stamps in the order in which they came: equal for members that got the same messages.
    private(set) var hash = StableHash()
    private var missing: Set<UInt64> = []

    mutating func joined(at seq: UInt64) {
        base = seq
        last = seq
    }

    /// Returns whether the message came for the first time.
    @discardableResult
    mutating func saw(seq: UInt64, stamp: UInt64) -> Bool {
        if seq == last + 1 {
            last = seq
        } else if seq > last {
            // The set of missing messages is bounded, because the numbers alone show that very many are missing.
            if missing.count < 1_000_000 { missing.formUnion((last + 1)..<min(seq, last + 1_000_000)) }
            last = seq
        } else if missing.remove(seq) != nil {
            swapped += 1
        } else {
            repeated += 1
            return false
        }
        shown += 1
        hash.add(number: seq)
        hash.add(number: stamp)
        return true
    }

    /// How many messages up to `end` did not come.
    func missing(upTo end: UInt64) -> UInt64 {
        UInt64(missing.count) + (end > last ? end - last : 0)
    }
}

/// A comparison of what all members of a room got.
struct BenchRoomVerdict: Equatable {
    var messages: UInt64 = 0
    var missing: UInt64 = 0
    var repeated: UInt64 = 0
    var swapped: UInt64 = 0
    /// Whether all members got the same messages in the same order.
    var isOneOrder = true

    /// `stored`: the number of messages that must have been delivered. If it is higher than what any member got,
    /// messages are missing for all.
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
        // The hashes of members that joined at different places cannot be compared.
        let comparable = members.filter { $0.base == base }
        isOneOrder = Set(comparable.map(\.hash.value)).count <= 1
    }
}
