import ChatCore

/// Decides which rooms a sample reads: all of them while they are few, otherwise those that were busy lately and a
/// further slice of the others each time, by the cursors of the nodes' lists. Pure.
struct TopPlan {
    /// The largest number of rooms that one sample reads.
    let limit: Int
    /// The cursor of each node's list.
    private(set) var cursors: [String: String] = [:]
    /// The number of rooms, each counted once; nil if the last slices were not all of them.
    private(set) var known: Int?
    /// Rooms with recent messages, busiest first, from the last sample.
    private var busy: [String] = []

    init(limit: Int) {
        self.limit = max(1, limit)
    }

    /// The rooms to read now, each once, and which nodes hold them.
    mutating func rooms(_ slices: [String: TopQueries.NodeSlice]) -> [(name: String, holders: Set<String>)] {
        var holders: [String: Set<String>] = [:]
        var order: [String] = []
        var isWhole = true
        for (node, slice) in slices.sorted(by: { $0.key < $1.key }) {
            isWhole = isWhole && slice.cursor == "0" && (cursors[node] ?? "0") == "0"
            cursors[node] = slice.cursor
            for room in slice.rooms where (try? RoomName(room)) != nil {
                if holders[room] == nil { order.append(room) }
                holders[room, default: []].insert(node)
            }
        }
        cursors = cursors.filter { slices[$0.key] != nil }
        known = isWhole ? order.count : nil
        let kept = busy.prefix(limit / 2)
        let first = Set(kept)
        let chosen = kept + order.filter { !first.contains($0) }
        return chosen.prefix(limit).map { ($0, holders[$0] ?? []) }
    }

    /// Notes the rooms of a sample with their messages a second.
    mutating func saw(_ rates: [(name: String, rate: Double)]) {
        busy = rates.filter { $0.rate > 0 }.sorted { ($1.rate, $0.name) < ($0.rate, $1.name) }.map(\.name)
    }
}
