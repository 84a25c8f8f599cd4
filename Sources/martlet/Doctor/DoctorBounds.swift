import ChatCore
import ChatRedis
import RedisSchema

/// Values in a room's keys that no node can have written, as they are stored.
struct RoomBounds: Equatable, Sendable {
    /// The log's last ID, and the IDs of its first and last entry.
    var lastID: String?
    var firstEntry: String?
    var lastEntry: String?
    var links: [String] = []
    var meta: [String: String] = [:]
    var presence: String?

    init() {}

    init(log: [String: RedisValue], epochs: [RedisValue], meta: [String: RedisValue], presence: [String: RedisValue]) {
        lastID = log["last-generated-id"]?.string
        firstEntry = log["first-entry"]?.array?.first?.string
        lastEntry = log["last-entry"]?.array?.first?.string
        links = epochs.map { $0.string ?? "" }
        self.meta = meta.compactMapValues(\.string)
        self.presence = presence["last-generated-id"]?.string
    }
}

extension DoctorKeys {
    private func position(_ text: String?) -> Position? {
        guard let text, let position = Position(text), position.epoch <= newestEpoch else { return nil }
        return position
    }

    private var newestEpoch: UInt64 { PositionBounds.newestEpoch(clock: time) }

    /// Findings about numbers beyond ``PositionBounds`` and about values that should be numbers: nodes and functions
    /// ignore them.
    func bounds(_ room: RoomFacts) -> [Finding] {
        logBounds(room) + chainBounds(room) + metaBounds(room) + presenceBounds(room) + nodeBounds(room)
    }

    private func logBounds(_ room: RoomFacts) -> [Finding] {
        let name = keys.key(.log, of: room.name)
        let log = ShellText.quoted(name)
        var findings: [Finding] = []
        let wild = [room.broken.firstEntry, room.broken.lastEntry].compactMap { $0 }.filter { position($0) == nil }
        for entry in Set(wild).sorted() {
            findings.append(
                Finding(
                    .must, .rooms, "\(name), entry \(entry)",
                    "an entry of it has an ID that no node made: it is shown to nobody",
                    do: "\(cli) XDEL \(log) \(ShellText.quoted(entry)), then look again"))
        }
        guard let last = room.broken.lastID, position(last) == nil else { return findings }
        // The previous last position follows from its epochs and entries.
        let link = position(room.broken.links.last)
        let entry = position(room.broken.lastEntry)
        let before = link.map { Position(epoch: $0.epoch, seq: max($0.seq, entry?.seq ?? 0)) } ?? entry
        let mend =
            before.map { "\(cli) XSETID \(log) \($0)" }
            ?? "\(cli) DEL \(log): nodes begin a new one and tell their clients (reset)"
        findings.append(
            Finding(
                .must, .rooms, name,
                "its last ID \(last) is beyond 2^53 or years ahead of the clock: nothing can be said in the room",
                do: wild.isEmpty ? mend : "first remove the entries that no node made (XDEL), then \(mend)"))
        return findings
    }

    private func chainBounds(_ room: RoomFacts) -> [Finding] {
        let links = room.broken.links.map { position($0) }
        var broken = links.indices.filter { links[$0] == nil }
        for index in links.indices.dropFirst() {
            guard let link = links[index], let before = links[index - 1] else { continue }
            if link.epoch <= before.epoch || link.seq < before.seq { broken.append(index) }
        }
        guard let first = broken.min() else { return [] }
        let name = keys.key(.epochs, of: room.name)
        return [
            Finding(
                .must, .rooms, name,
                "\(broken.count) of its \(links.count) links are no <epoch>-<seq> that follows the one before (the "
                    + "first: number \(first + 1), \(room.broken.links[first])): who comes back with an older "
                    + "position is reset",
                do:
                    "\(cli) LREM \(ShellText.quoted(name)) 0 \(ShellText.quoted(room.broken.links[first])), then look "
                    + "again"
            )
        ]
    }

    private func metaBounds(_ room: RoomFacts) -> [Finding] {
        let name = keys.key(.meta, of: room.name)
        return ["branch", "history"].compactMap { field in
            guard let text = room.broken.meta[field] else { return nil }
            if let number = UInt64(text), number <= newestEpoch { return nil }
            return Finding(
                .must, .rooms, "\(name), field \(field)", "it is no epoch (\(text)): it counts as lost",
                do: "\(cli) HDEL \(ShellText.quoted(name)) \(field)")
        }
    }

    private func presenceBounds(_ room: RoomFacts) -> [Finding] {
        guard let last = room.broken.presence, position(last) == nil else { return [] }
        let name = keys.key(.presence, of: room.name)
        return [
            Finding(
                .must, .rooms, name,
                "its last ID \(last) is none of ours: it begins again when the next device comes or goes",
                do: "\(cli) DEL \(ShellText.quoted(name))")
        ]
    }

    /// Only for living nodes: leftovers of others have findings of their own.
    private func nodeBounds(_ room: RoomFacts) -> [Finding] {
        let name = keys.key(.nodes, of: room.name)
        return room.nodes.sorted { $0.key < $1.key }.compactMap { node, value in
            let isEpoch = UInt64(value).map { $0 <= newestEpoch } ?? false
            guard !isEpoch, living.contains(node) || registered.contains(node) else { return nil }
            return Finding(
                .must, .rooms, "\(name), field \(node)",
                "its value (\(value)) is no epoch: the node is not known to be there",
                do:
                    "\(cli) HDEL \(ShellText.quoted(name)) \(ShellText.quoted(node)): the node enters again when it "
                    + "looks"
            )
        }
    }
}
