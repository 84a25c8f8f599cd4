import CSQLite

/// An SQLite database: what the archive needs of it. Not thread-safe; calls block.
final class SQLiteDatabase {
    struct Failure: Error, CustomStringConvertible {
        let code: Int32
        let description: String
    }

    enum Value {
        case null
        case integer(Int64)
        case text(String)

        init(_ text: String?) { self = text.map { .text($0) } ?? .null }
        init(_ number: UInt64?) { self = number.map { .integer(Int64(clamping: $0)) } ?? .null }
    }

    private let handle: OpaquePointer
    private var statements: [String: OpaquePointer] = [:]

    /// Opens or creates the file. `busy`: how long it waits for another process that writes.
    init(path: String, busy: Duration) throws(Failure) {
        var opened: OpaquePointer?
        let code = sqlite3_open_v2(
            path, &opened, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nil)
        guard code == SQLITE_OK, let opened else {
            let text = opened.map { String(cString: sqlite3_errmsg($0)) } ?? "out of memory"
            sqlite3_close_v2(opened)
            throw Failure(code: code, description: text)
        }
        handle = opened
        sqlite3_busy_timeout(opened, Int32(clamping: busy.components.seconds * 1_000))
    }

    deinit {
        for statement in statements.values { sqlite3_finalize(statement) }
        sqlite3_close_v2(handle)
    }

    /// Runs statements without values and rows.
    func run(_ sql: String) throws(Failure) {
        guard sqlite3_exec(handle, sql, nil, nil, nil) == SQLITE_OK else { throw failure }
    }

    /// How many rows the last statement has changed.
    var changes: Int { Int(sqlite3_changes(handle)) }

    /// Runs a statement with values, and passes each row to the body until that returns false. The statement is
    /// prepared once.
    func run(_ sql: String, _ values: [Value], _ row: (Row) -> Bool = { _ in true }) throws(Failure) {
        let statement = try prepared(sql)
        defer {
            sqlite3_reset(statement)
            sqlite3_clear_bindings(statement)
        }
        for (index, value) in values.enumerated() {
            let place = Int32(index + 1)
            let code: Int32
            switch value {
            case .null: code = sqlite3_bind_null(statement, place)
            case .integer(let number): code = sqlite3_bind_int64(statement, place, number)
            case .text(let text): code = martlet_bind_text(statement, place, text, Int32(clamping: text.utf8.count))
            }
            guard code == SQLITE_OK else { throw failure }
        }
        while true {
            switch sqlite3_step(statement) {
            case SQLITE_ROW: guard row(Row(statement: statement)) else { return }
            case SQLITE_DONE: return
            default: throw failure
            }
        }
    }

    /// A row, valid inside the body only.
    struct Row {
        fileprivate let statement: OpaquePointer

        func integer(_ column: Int) -> Int64 { sqlite3_column_int64(statement, Int32(column)) }

        func isNull(_ column: Int) -> Bool { sqlite3_column_type(statement, Int32(column)) == SQLITE_NULL }

        /// Nil for NULL.
        func text(_ column: Int) -> String? {
            guard let start = sqlite3_column_text(statement, Int32(column)) else { return nil }
            let bytes = Int(sqlite3_column_bytes(statement, Int32(column)))
            return String(decoding: UnsafeBufferPointer(start: start, count: bytes), as: UTF8.self)
        }
    }

    private func prepared(_ sql: String) throws(Failure) -> OpaquePointer {
        if let known = statements[sql] { return known }
        var made: OpaquePointer?
        guard sqlite3_prepare_v2(handle, sql, -1, &made, nil) == SQLITE_OK, let made else { throw failure }
        statements[sql] = made
        return made
    }

    private var failure: Failure {
        Failure(code: sqlite3_extended_errcode(handle), description: String(cString: sqlite3_errmsg(handle)))
    }
}
