import CPostgres

/// A connection to PostgreSQL: what the archive needs of libpq. Not thread-safe; calls block, at most for about the
/// time that ``connect(_:)`` sets.
final class PostgresConnection {
    /// A value of a statement, as text (libpq's text format).
    typealias Value = String?

    private let handle: OpaquePointer
    /// The address without its password.
    private let place: String

    /// Connects. Throws why that fails. `place`: for messages.
    init(_ url: String, place: String) throws(ArchiveFailure) {
        self.place = place
        let settings = [
            ("dbname", url), ("connect_timeout", "5"), ("fallback_application_name", "martlet"),
            ("tcp_user_timeout", "10000"), ("keepalives_idle", "10"), ("client_encoding", "UTF8"),
        ]
        let made = Self.withPointers(settings.map(\.0) + settings.map(\.1)) { pointers in
            var names = Array(pointers.prefix(settings.count)) + [nil]
            var values = Array(pointers.dropFirst(settings.count)) + [nil]
            // The first value is a connection string, which the others complete.
            return PQconnectdbParams(&names, &values, 1)
        }
        guard let made else { throw ArchiveFailure("\(place): out of memory") }
        handle = made
        guard PQstatus(made) == CONNECTION_OK else {
            let text = String(cString: PQerrorMessage(made)).split(whereSeparator: \.isNewline).first.map(String.init)
            // The object has all that it needs, so it is released, which ends the connection.
            throw ArchiveFailure("\(place): \(text ?? "no connection")")
        }
        // No statement of the archive takes long; one that does waits for a lock, or for a disk that hangs.
        _ = try rows("SET statement_timeout = '20s'")
    }

    deinit { PQfinish(handle) }

    /// Runs a statement, and returns its rows.
    @discardableResult
    func rows(_ sql: String, _ values: [Value] = []) throws(ArchiveFailure) -> [[Value]] {
        let result = Self.withPointers(values) { pointers in
            var pointers = pointers
            return PQexecParams(handle, sql, Int32(values.count), nil, &pointers, nil, nil, 0)
        }
        guard let result else { throw ArchiveFailure("\(place): \(connectionProblem)") }
        defer { PQclear(result) }
        switch PQresultStatus(result) {
        case PGRES_COMMAND_OK, PGRES_TUPLES_OK: break
        default: throw ArchiveFailure("\(place): \(Self.problem(result) ?? connectionProblem)")
        }
        let columns = PQnfields(result)
        return (0..<PQntuples(result)).map { row in
            (0..<columns).map { column in
                guard PQgetisnull(result, row, column) == 0, let text = PQgetvalue(result, row, column) else {
                    return nil
                }
                return String(cString: text)
            }
        }
    }

    /// How many rows a statement has changed.
    func count(_ sql: String, _ values: [Value]) throws(ArchiveFailure) -> Int {
        let rows = try rows("WITH changed AS (\(sql) RETURNING 1) SELECT count(*) FROM changed", values)
        return rows.first?.first.flatMap { $0 }.flatMap { Int($0) } ?? 0
    }

    private var connectionProblem: String {
        String(cString: PQerrorMessage(handle)).split(whereSeparator: \.isNewline).first.map(String.init)
            ?? "no answer"
    }

    /// The primary message alone: details may hold what was said.
    private static func problem(_ result: OpaquePointer) -> String? {
        // PG_DIAG_MESSAGE_PRIMARY, which Swift does not import, as it is a character.
        PQresultErrorField(result, Int32(UInt8(ascii: "M"))).map { String(cString: $0) }
    }

    /// Calls the body with pointers to the texts, which are valid inside it only.
    private static func withPointers<Result>(
        _ texts: [String?], _ body: ([UnsafePointer<CChar>?]) -> Result
    ) -> Result {
        let copies = texts.map { text in text.map { Array($0.utf8CString) } }
        var pointers: [UnsafePointer<CChar>?] = []
        func next(_ index: Int) -> Result {
            guard index < copies.count else { return body(pointers) }
            guard let copy = copies[index] else {
                pointers.append(nil)
                return next(index + 1)
            }
            return copy.withUnsafeBufferPointer { buffer in
                pointers.append(buffer.baseAddress)
                return next(index + 1)
            }
        }
        return next(0)
    }
}
