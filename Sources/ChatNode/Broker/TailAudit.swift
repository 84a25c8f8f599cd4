import ChatCore

/// Compares the rooms that this node shares with others, a few at a time, with the newest entry of their log. So a
/// stored message that never reached the node is noticed within seconds, although nothing else in the room indicates it
/// (race 6).
///
/// Rooms take turns. A round costs one XREVRANGE (1.7 µs of Redis, measured) for each room that it checks, and checks
/// at most ``roomsPerRound``, so a node that shares more rooms needs more rounds. A room of this node alone cannot miss
/// anything, because no other node publishes there. A room in which something was said since its last turn is not
/// checked either: the newest message shows by its seq whether an earlier one is missing. It is checked at its first
/// turn without a message. Pure.
struct TailAudit {
    static let roomsPerRound = 200

    private var next = 0
    /// The lowest 32 bits of the seq of the newest message that each slot had at its last turn. If two seqs have the
    /// same ones, the room is checked, which is never wrong.
    private var newest: [UInt32] = []

    /// The slots to check now. `seq`: that of the newest message of the room in that slot; nil if the room is not live
    /// or not shared.
    mutating func round(slots: Int, seq: (Int) -> UInt64?) -> [Int] {
        if newest.count < slots { newest.append(contentsOf: repeatElement(0, count: slots - newest.count)) }
        var chosen: [Int] = []
        var looked = 0
        while looked < slots, chosen.count < Self.roomsPerRound {
            if next >= slots { next = 0 }
            if let seq = seq(next) {
                let bits = UInt32(truncatingIfNeeded: seq)
                if newest[next] == bits { chosen.append(next) } else { newest[next] = bits }
            }
            next += 1
            looked += 1
        }
        return chosen
    }
}
