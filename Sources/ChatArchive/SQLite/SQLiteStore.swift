import ChatCore

/// The archive in an SQLite database: the embedded default.
///
/// In WAL mode, so that nodes read while the relay writes, and with a sync for each transaction, so that what is
/// committed outlives the machine.
final class SQLiteStore: ArchiveStore {
    private let database: SQLiteDatabase
    private let path: String

    private static let schema = """
        CREATE TABLE IF NOT EXISTS messages(
          room TEXT NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL, user TEXT NOT NULL, at INTEGER NOT NULL,
          text TEXT, data TEXT, thread TEXT, mentions TEXT, op TEXT, of TEXT, n INTEGER, erased_at INTEGER,
          erased_by TEXT, PRIMARY KEY(room, epoch, seq)) WITHOUT ROWID;
        CREATE INDEX IF NOT EXISTS messages_at ON messages(room, at);
        CREATE INDEX IF NOT EXISTS messages_of ON messages(room, of) WHERE of IS NOT NULL;
        CREATE INDEX IF NOT EXISTS messages_thread ON messages(room, thread) WHERE thread IS NOT NULL;
        CREATE INDEX IF NOT EXISTS messages_user ON messages(user);
        """

    private static let columns =
        "room, epoch, seq, user, at, text, data, thread, mentions, op, of, n, erased_at, erased_by"

    init(path: String) throws(ArchiveFailure) {
        self.path = path
        do throws(SQLiteDatabase.Failure) {
            database = try SQLiteDatabase(path: path, busy: .seconds(5))
            try database.run("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
            try database.run(Self.schema)
        } catch {
            throw ArchiveFailure("sqlite \(path): \(error)")
        }
    }

    func take(_ steps: [ArchiveStep]) throws(ArchiveFailure) {
        guard !steps.isEmpty else { return }
        try named { () throws(SQLiteDatabase.Failure) in
            try database.run("BEGIN IMMEDIATE")
            do throws(SQLiteDatabase.Failure) {
                for step in steps { try take(step) }
                try database.run("COMMIT")
            } catch {
                try? database.run("ROLLBACK")
                throw error
            }
        }
    }

    private func take(_ step: ArchiveStep) throws(SQLiteDatabase.Failure) {
        switch step {
        case .add(let row):
            try database.run(
                "INSERT INTO messages(\(Self.columns)) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
                    + "ON CONFLICT DO NOTHING",
                [
                    .text(row.room), .init(row.position.epoch), .init(row.position.seq), .text(row.user),
                    .init(row.at), .init(row.text), .init(row.data), .init(row.thread), .init(row.mentions),
                    .init(row.operation), .init(row.of), .init(row.number), .init(row.erasedAt), .init(row.erasedBy),
                ])
        case .erase(let room, let position, let by, let at):
            try database.run(
                "UPDATE messages SET text = NULL, data = NULL, mentions = NULL, erased_at = ?, erased_by = ? "
                    + "WHERE room = ? AND epoch = ? AND seq = ? AND erased_at IS NULL",
                [.init(at), .text(by), .text(room), .init(position.epoch), .init(position.seq)])
            try database.run(
                "UPDATE messages SET text = NULL, data = NULL, erased_at = ?, erased_by = ? "
                    + "WHERE room = ? AND of = ? AND op = 'edit' AND erased_at IS NULL",
                [.init(at), .text(by), .text(room), .text(position.description)])
        }
    }

    func older(_ room: String, before: Position?, count: Int, bytes: Int) throws(ArchiveFailure) -> ArchivePage {
        let end = before ?? Position(epoch: UInt64(Int64.max), seq: UInt64(Int64.max))
        return try rows(
            "room = ? AND (epoch, seq) < (?, ?) ORDER BY epoch DESC, seq DESC LIMIT ?",
            [.text(room), .init(end.epoch), .init(end.seq), .integer(Int64(count) + 1)],
            PageBounds(count: count, bytes: bytes))
    }

    func newer(_ room: String, after: Position?, count: Int, bytes: Int) throws(ArchiveFailure) -> ArchivePage {
        let start = after ?? Position(epoch: 0, seq: 0)
        return try rows(
            "room = ? AND (epoch, seq) > (?, ?) ORDER BY epoch, seq LIMIT ?",
            [.text(room), .init(start.epoch), .init(start.seq), .integer(Int64(count) + 1)],
            PageBounds(count: count, bytes: bytes))
    }

    func amendments(_ room: String, of positions: [Position], count: Int) throws(ArchiveFailure) -> ArchivePage {
        guard !positions.isEmpty else { return ArchivePage(PageBounds(count: 0)) }
        // A JSON array, so that the statement is the same for any number of them. Without INDEXED BY all of the room is
        // read, as that has the order already.
        let list = StringList.write(positions.map(\.description))
        return try rows(
            """
            room = ?1 AND (epoch, seq) IN (
              SELECT epoch, seq FROM (
                SELECT epoch, seq, row_number() OVER (
                  PARTITION BY of, CASE op WHEN 'edit' THEN 1 WHEN 'delete' THEN 2 WHEN 'pin' THEN 3 WHEN 'unpin' THEN 3
                  ELSE text END ORDER BY epoch DESC, seq DESC) AS place
                FROM messages WHERE room = ?1 AND of IN (SELECT value FROM json_each(?2)))
              WHERE place = 1)
            UNION ALL
            SELECT room, epoch, seq, user, at, NULL, NULL, thread, NULL, op, of, n, erased_at, erased_by
            FROM messages INDEXED BY messages_thread
            WHERE room = ?1 AND op IS NULL AND thread IN (SELECT value FROM json_each(?2))
            ORDER BY 2, 3 LIMIT ?3
            """, [.text(room), .text(list), .integer(Int64(count) + 1)], PageBounds(count: count))
    }

    func erase(_ user: String, at: UInt64) throws(ArchiveFailure) -> Int {
        var count = 0
        try named { () throws(SQLiteDatabase.Failure) in
            try database.run(
                "UPDATE messages SET text = NULL, data = NULL, mentions = NULL, erased_at = ?, erased_by = ? "
                    + "WHERE user = ? AND erased_at IS NULL", [.init(at), .text(user), .text(user)])
            count = database.changes
        }
        return count
    }

    private func rows(
        _ condition: String, _ values: [SQLiteDatabase.Value], _ bounds: PageBounds
    ) throws(ArchiveFailure) -> ArchivePage {
        var page = ArchivePage(bounds)
        try named { () throws(SQLiteDatabase.Failure) in
            try database.run("SELECT \(Self.columns) FROM messages WHERE \(condition)", values) {
                page.take(ArchiveRow($0))
            }
        }
        return page
    }

    private func named(_ body: () throws(SQLiteDatabase.Failure) -> Void) throws(ArchiveFailure) {
        do throws(SQLiteDatabase.Failure) {
            try body()
        } catch {
            throw ArchiveFailure("sqlite \(path): \(error)")
        }
    }
}

extension ArchiveRow {
    fileprivate init(_ row: SQLiteDatabase.Row) {
        func number(_ column: Int) -> UInt64 { UInt64(max(0, row.integer(column))) }
        self.init(
            room: row.text(0) ?? "", position: Position(epoch: number(1), seq: number(2)), user: row.text(3) ?? "",
            at: number(4), text: row.text(5), data: row.text(6), thread: row.text(7), mentions: row.text(8),
            operation: row.text(9), of: row.text(10), number: row.isNull(11) ? nil : number(11),
            erasedAt: row.isNull(12) ? nil : number(12), erasedBy: row.text(13))
    }
}
