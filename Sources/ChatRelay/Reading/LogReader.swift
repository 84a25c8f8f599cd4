import ChatCore
import ChatRedis
import RedisSchema

/// Reads the logs of rooms from where a sink has them, and moves the sink's cursors.
///
/// A log is read as it is (XRANGE), which costs Redis a tenth of a function that returns the same, from where the
/// cursor was last. Where that is not true any more, or entries are missing, the function `martlet_page` reads both at
/// once, and tells erased entries from trimmed ones.
actor LogReader: RoomReader {
    /// The entries of all rooms that are read in one write, which bounds the memory for replies.
    private static let entriesAtOnce = 1_024
    /// Of all pages of a round. Rooms beyond that are read in the next one.
    private static let mostBytes = 8 * 1_024 * 1_024
    /// In ms, as CURSOR_LIFE in cursor.lua.
    static let cursorLife = "2592000000"
    /// Of a page of `martlet_page`.
    private static let page = "200:131072"

    private let sink: String
    private let redis: any RelayStore
    private let keys: RedisKeys
    private var memory = ReadMemory()

    init(sink: String, redis: any RelayStore, keys: RedisKeys) {
        self.sink = sink
        self.redis = redis
        self.keys = keys
    }

    func pages(_ due: [DueRoom]) async throws(RelayTrouble) -> [Result<RoomPage, RelayTrouble>] {
        var pages: [Result<RoomPage, RelayTrouble>] = []
        var bytes = 0
        try await learn(due)
        while pages.count < due.count, bytes < Self.mostBytes {
            var entries = 0
            let part = due.dropFirst(pages.count).prefix { due in
                entries += count(due)
                return entries <= Self.entriesAtOnce
            }
            // The first one is always below the bound.
            for page in try await read(Array(part)) {
                bytes += (try? page.get())?.bytes ?? 0
                pages.append(page)
            }
        }
        return pages
    }

    private func count(_ due: DueRoom) -> Int { memory[due.room, due.lease]?.count ?? PageSize.first }

    /// Reads the cursors that are not known.
    private func learn(_ due: [DueRoom]) async throws(RelayTrouble) {
        let unknown = due.filter { memory[$0.room, $0.lease] == nil }
        let commands = unknown.map { ["HGET", keys.key(.cursors, of: $0.room.text), sink] }
        for (due, reply) in zip(unknown, try await redis.ask(commands)) where reply.error == nil {
            memory.keep(ReadMemory.Known(lease: due.lease, position: Self.cursor(reply.string)), of: due.room)
        }
    }

    /// Nil for what is no cursor, as `cursor_of` in 04-cursors.lua.
    static func cursor(_ text: String?) -> Position? {
        let parts = (text ?? "").split(separator: " ", omittingEmptySubsequences: false)
        guard parts.count == 2, !parts[1].isEmpty, parts[1].utf8.allSatisfy({ (0x30...0x39).contains($0) }) else {
            return nil
        }
        return Position(parts[0])
    }

    private func read(_ due: [DueRoom]) async throws(RelayTrouble) -> [Result<RoomPage, RelayTrouble>] {
        let commands = due.flatMap { due in
            let known = memory[due.room, due.lease]
            return [
                [
                    "XRANGE", keys.key(.log, of: due.room.text), known?.position.map { "(\($0)" } ?? "-", "+", "COUNT",
                    String(count(due)),
                ], ["HGET", keys.key(.rules, of: due.room.text), "members"],
                ["HGET", keys.key(.cursors, of: due.room.text), sink],
            ]
        }
        let replies = try await redis.ask(commands)
        var pages: [Result<RoomPage, RelayTrouble>?] = []
        for (index, due) in due.enumerated() {
            guard index * 3 + 2 < replies.count else {
                pages.append(nil)
                continue
            }
            let (log, members, cursor) = (replies[index * 3], replies[index * 3 + 1], replies[index * 3 + 2])
            let entries = log.messages
            // An operator may have set the cursor back, or a failover of Redis; a newer relay may have moved it.
            guard var known = memory[due.room, due.lease], Self.cursor(cursor.string) == known.position,
                entries.count == log.array?.count, RoomFeed.isWhole(entries, after: known.position)
            else {
                pages.append(nil)
                continue
            }
            let wanted = known.count
            known.count = PageSize.next(
                after: wanted, entries: entries.count, bytes: entries.reduce(0) { $0 + $1.content.storedBytes })
            memory.keep(known, of: due.room)
            pages.append(
                .success(
                    RoomPage(
                        content: .messages(entries, after: known.position), hasMore: entries.count >= wanted,
                        isClosing: members.string == "nobody")))
        }
        let rest = zip(due, pages).filter { $0.1 == nil }.map(\.0)
        var asked = try await ask(rest)[...]
        return pages.map { $0 ?? asked.popFirst() ?? .failure(RelayTrouble("no page")) }
    }

    /// By the function, for rooms that lack entries, or that no node has written.
    private func ask(_ due: [DueRoom]) async throws(RelayTrouble) -> [Result<RoomPage, RelayTrouble>] {
        let commands = due.map { due in
            [
                "FCALL", "martlet_page", "2", keys.key(.log, of: due.room.text),
                keys.key(.cursors, of: due.room.text), sink, Self.page,
            ]
        }
        return zip(due, try await redis.ask(commands)).map { due, reply in
            guard let parts = reply.array, parts.count == 4, let place = parts[0].string else {
                memory.forget(due.room)
                return .failure(RelayTrouble(reply.error ?? "no page"))
            }
            memory.keep(ReadMemory.Known(lease: due.lease, position: Position(place)), of: due.room)
            return .success(
                RoomPage(
                    content: .messages(parts[1].messages, after: Position(place)), hasMore: parts[2].integer == 1,
                    isClosing: parts[3].integer == 1))
        }
    }

    func forget(_ room: RoomName) { memory.forget(room) }

    // MARK: Cursors

    /// A cursor that was written a moment ago is written without asking whether another relay has moved it since.
    func move(_ moves: [(due: DueRoom, position: Position)], now: Moment) async throws(RelayTrouble) -> [CursorMove] {
        let isPlain = moves.map { due, _ in
            memory[due.room, due.lease].map { ReadMemory.isSaved($0, now: now) } ?? false
        }
        let commands = zip(moves, isPlain).map { move, isPlain in
            let (log, cursors) = (
                keys.key(.log, of: move.due.room.text), keys.key(.cursors, of: move.due.room.text)
            )
            let token = String(move.due.lease.token)
            return isPlain
                ? [
                    ["HSET", cursors, sink, "\(move.position) \(token)"],
                    // The room may have been deleted meanwhile; then nothing else would end the key.
                    ["PEXPIRE", cursors, Self.cursorLife, "NX"],
                ] : [["FCALL", "martlet_cursor", "2", log, cursors, sink, token, move.position.description]]
        }
        var replies = try await redis.ask(commands.flatMap(\.self))[...]
        return zip(zip(moves, isPlain), commands).map { move, commands in
            let ((due, position), isPlain) = move
            let reply = replies.first ?? .error("no reply")
            replies = replies.dropFirst(commands.count)
            if let text = reply.error {
                memory.forget(due.room)
                return text.hasPrefix("FENCED") ? .fenced : .refused(text)
            }
            if var known = memory[due.room, due.lease] {
                known.position = position
                if !isPlain { known.saved = now }
                memory.keep(known, of: due.room)
            }
            return .moved
        }
    }
}
