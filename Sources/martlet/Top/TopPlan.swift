import ChatCore

/// Which rooms a look looks at. All, while they are few enough; otherwise those that were busy lately, and of the others some more with
/// each look, by the cursors of the nodes' lists. Pure.
struct TopPlan {
    /// Rooms that one look may look at.
    let limit: Int
    /// Where each node's list goes on.
    private(set) var cursors: [String: String] = [:]
    /// How many rooms there are, each counted once; nil if the last slices were not all of them.
    private(set) var known: Int?
    /// Rooms that had a message lately, busiest first, from the last look.
    private var busy: [String] = []

    init(limit: Int) {
        self.limit = max(1, limit)
    }

    /// The rooms to look at now, each once, and who holds them.
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

    /// What the look saw: rooms with their messages a second.
    mutating func saw(_ rates: [(name: String, rate: Double)]) {
        busy = rates.filter { $0.rate > 0 }.sorted { ($1.rate, $0.name) < ($0.rate, $1.name) }.map(\.name)
    }
}
