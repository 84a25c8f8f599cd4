import ChatCore
import Dispatch

/// The archive in an SQLite database: the embedded default.
///
/// A row's primary key is its room and position, so an entry that is given again changes nothing, whichever relay gives
/// it. One transaction for all that is accepted at once, in WAL mode, so that others can read meanwhile; it is on the
/// disk before the cursors move. Calls block, so they run on a queue of their own.
final class SQLiteArchive: EventSink {
    let name = "archive"
    let filter: EventFilter
    private let path: String
    private let queue = DispatchQueue(label: "martlet.archive")
    /// Used on the queue alone. Nil: to be opened.
    private nonisolated(unsafe) var database: SQLiteDatabase?

    init(path: String, filter: EventFilter) {
        self.path = path
        self.filter = filter
    }

    static let schema = """
        CREATE TABLE IF NOT EXISTS messages(
          room TEXT NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL, user TEXT NOT NULL, at INTEGER NOT NULL,
          text TEXT, data TEXT, thread TEXT, mentions TEXT, op TEXT, of TEXT, erased_at INTEGER, erased_by TEXT,
          PRIMARY KEY(room, epoch, seq)) WITHOUT ROWID;
        CREATE INDEX IF NOT EXISTS messages_at ON messages(room, at);
        CREATE INDEX IF NOT EXISTS messages_of ON messages(room, of) WHERE of IS NOT NULL;
        """

    func accept(_ batches: [EventBatch]) async throws -> SinkReceipt {
        let steps = batches.flatMap { $0.rooms.flatMap { $0.events.flatMap(ArchiveStep.of) } }
        guard !steps.isEmpty else { return SinkReceipt() }
        try await onQueue { database throws(SQLiteDatabase.Failure) in
            try database.run("BEGIN IMMEDIATE")
            do throws(SQLiteDatabase.Failure) {
                for step in steps { try Self.take(step, database) }
                try database.run("COMMIT")
            } catch {
                try? database.run("ROLLBACK")
                throw error
            }
        }
        return SinkReceipt()
    }

    private static func take(_ step: ArchiveStep, _ database: SQLiteDatabase) throws(SQLiteDatabase.Failure) {
        switch step {
        case .add(let row):
            try database.run(
                """
                INSERT INTO messages(
                  room, epoch, seq, user, at, text, data, thread, mentions, op, of, erased_at, erased_by)
                VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
                """,
                [
                    .text(row.room), .init(row.epoch), .init(row.seq), .text(row.user), .init(row.at), .init(row.text),
                    .init(row.data), .init(row.thread), .init(row.mentions), .init(row.operation), .init(row.of),
                    row.erasedAt.map { .init($0) } ?? .null, .init(row.erasedBy),
                ])
        case .erase(let room, let position, let by, let at):
            try database.run(
                """
                UPDATE messages SET text = NULL, data = NULL, mentions = NULL, erased_at = ?, erased_by = ?
                WHERE room = ? AND epoch = ? AND seq = ? AND erased_at IS NULL
                """,
                [.init(at), .text(by), .text(room), .init(position.epoch), .init(position.seq)])
            try database.run(
                """
                UPDATE messages SET text = NULL, data = NULL, erased_at = ?, erased_by = ?
                WHERE room = ? AND of = ? AND op = 'edit' AND erased_at IS NULL
                """,
                [.init(at), .text(by), .text(room), .text(position.description)])
        }
    }

    private func onQueue(
        _ body: @escaping @Sendable (SQLiteDatabase) throws(SQLiteDatabase.Failure) -> Void
    ) async throws {
        let path = path
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            queue.async { [self] in
                do throws(SQLiteDatabase.Failure) {
                    let open: SQLiteDatabase
                    if let database { open = database } else { open = try Self.open(path) }
                    database = open
                    try body(open)
                    continuation.resume()
                } catch {
                    // The file may have been replaced, or its disk may be gone: it is opened again the next time.
                    database = nil
                    continuation.resume(throwing: RelayTrouble("sqlite \(path): \(error)"))
                }
            }
        }
    }

    private static func open(_ path: String) throws(SQLiteDatabase.Failure) -> SQLiteDatabase {
        let database = try SQLiteDatabase(path: path, busy: .seconds(5))
        try database.run("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
        try database.run(schema)
        return database
    }
}
