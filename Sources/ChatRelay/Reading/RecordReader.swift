import ChatCore
import ChatRedis
import RedisSchema

/// Reads the audits, the presence or the receipts of rooms, which are short: of each about the newest 1,000 entries are
/// kept. What a feed has not read by then is lost to it.
actor RecordReader: RoomReader {
    /// Entries of a room that are read at once. One of receipts may be about 200 participants, others are about one.
    private var page: Int { feed.book == .receipts ? 10 : 100 }
    /// Rooms that are read in one write. With their pages they bound the memory for replies.
    private static let roomsAtOnce = 64

    private let feed: SinkFeed
    private let redis: any RelayStore
    private let keys: RedisKeys

    init(_ feed: SinkFeed, redis: any RelayStore, keys: RedisKeys) {
        self.feed = feed
        self.redis = redis
        self.keys = keys
    }

    func pages(_ due: [DueRoom]) async throws(RelayTrouble) -> [Result<RoomPage, RelayTrouble>] {
        let rooms = due.prefix(Self.roomsAtOnce).map(\.room)
        let cursors = try await redis.ask(rooms.map { ["HGET", keys.key(.cursors, of: $0.text), feed.name] })
        let places = cursors.map { LogReader.cursor($0.string) }
        let commands = zip(rooms, places).flatMap { room, place in
            let key = keys.key(feed.book.key, of: room.text)
            return [
                ["XRANGE", key, place.map { "(\($0)" } ?? "-", "+", "COUNT", String(page)],
                ["XREVRANGE", key, "+", "-", "COUNT", "1"],
            ]
        }
        let replies = try await redis.ask(commands)
        var pages: [Result<RoomPage, RelayTrouble>] = []
        for (index, room) in rooms.enumerated() where index * 2 + 1 < replies.count {
            let (entries, newest) = (replies[index * 2], replies[index * 2 + 1])
            if let text = entries.error {
                pages.append(.failure(RelayTrouble(text)))
                continue
            }
            let last = newest.records.last?.position
            if let place = places[index], let last, last < place {
                // Redis has lost the end of the book, and what follows may have positions that were there before.
                try await rewind(room, to: last)
            }
            let found = entries.records
            pages.append(
                .success(
                    RoomPage(
                        content: .events(
                            found.flatMap { events(of: $0.position, $0.fields, in: room) }, upTo: found.last?.position),
                        hasMore: (entries.array?.count ?? 0) >= page && !found.isEmpty)))
        }
        return pages
    }

    private func events(of position: Position, _ fields: [String: String], in room: RoomName) -> [RoomEvent] {
        switch feed.book {
        case .log: []
        case .audit: AuditRecord(position, fields)?.events(in: room) ?? []
        case .presence: PresenceRecord(position, fields)?.events(in: room) ?? []
        case .receipts: ReceiptsRecord.all(position, fields).map { $0.event(in: room) }
        }
    }

    private func rewind(_ room: RoomName, to position: Position) async throws(RelayTrouble) {
        _ = try await redis.ask([["HSET", keys.key(.cursors, of: room.text), feed.name, "\(position) 0"]])
    }

    func move(_ moves: [(due: DueRoom, position: Position)], now: Moment) async throws(RelayTrouble) -> [CursorMove] {
        let commands = moves.map { due, position in
            [
                "FCALL", "martlet_cursor", "2", keys.key(.log, of: due.room.text),
                keys.key(.cursors, of: due.room.text), feed.name, String(due.lease.token), position.description,
            ]
        }
        return try await redis.ask(commands).map { reply in
            guard let text = reply.error else { return .moved }
            return text.hasPrefix("FENCED") ? .fenced : .refused(text)
        }
    }

    func forget(_ room: RoomName) {}
}

extension RedisValue {
    /// The entries of a stream, `[[ID, [field, value, …]], …]`. What is no entry, or has an ID beyond the bounds, is
    /// left out.
    fileprivate var records: [(position: Position, fields: [String: String])] {
        (array ?? []).compactMap { entry in
            guard let parts = entry.array, parts.count == 2, let position = parts[0].string.flatMap({ Position($0) }),
                position.isWithinBounds
            else { return nil }
            return (position, parts[1].pairs.compactMapValues(\.string))
        }
    }
}
