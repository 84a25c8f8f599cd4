import ChatCore

/// The archive in a PostgreSQL database, which nodes and relays on any machine share.
///
/// PostgreSQL's `text` cannot hold U+0000 (its documentation, "Character Types"), so the replacement character takes
/// its place here.
final class PostgresStore: ArchiveStore {
    private let connection: PostgresConnection

    private static let schema = [
        """
        CREATE TABLE IF NOT EXISTS messages(
          room text NOT NULL, epoch bigint NOT NULL, seq bigint NOT NULL, "user" text NOT NULL, at bigint NOT NULL,
          text text, data text, thread text, mentions text, op text, "of" text, n bigint, erased_at bigint,
          erased_by text, PRIMARY KEY(room, epoch, seq))
        """,
        "CREATE INDEX IF NOT EXISTS messages_at ON messages(room, at)",
        "CREATE INDEX IF NOT EXISTS messages_of ON messages(room, \"of\") WHERE \"of\" IS NOT NULL",
        "CREATE INDEX IF NOT EXISTS messages_thread ON messages(room, thread) WHERE thread IS NOT NULL",
        "CREATE INDEX IF NOT EXISTS messages_user ON messages(\"user\")",
    ]

    private static let columns =
        "room, epoch, seq, \"user\", at, text, data, thread, mentions, op, \"of\", n, erased_at, erased_by"

    init(url: String, place: String) throws(ArchiveFailure) {
        connection = try PostgresConnection(url, place: place)
        // IF NOT EXISTS of two sessions at once may fail in one of them; and a role may not create, where all is there.
        guard try connection.rows("SELECT to_regclass('messages')").first?.first.flatMap({ $0 }) == nil else { return }
        try connection.rows("SELECT pg_advisory_lock(7291)")
        for statement in Self.schema { try connection.rows(statement) }
        try connection.rows("SELECT pg_advisory_unlock(7291)")
    }

    func take(_ steps: [ArchiveStep]) throws(ArchiveFailure) {
        guard !steps.isEmpty else { return }
        try connection.rows("BEGIN")
        do throws(ArchiveFailure) {
            var rows: [ArchiveRow] = []
            for step in steps {
                switch step {
                case .add(let row): rows.append(row)
                case .erase(let room, let position, let by, let at):
                    try add(rows)
                    rows = []
                    try erase(room, position, by: by, at: at)
                }
            }
            try add(rows)
            try connection.rows("COMMIT")
        } catch {
            _ = try? connection.rows("ROLLBACK")
            throw error
        }
    }

    /// All rows in one statement, a column at a time.
    private func add(_ rows: [ArchiveRow]) throws(ArchiveFailure) {
        guard !rows.isEmpty else { return }
        let columns: [[String?]] = [
            rows.map(\.room), rows.map { String($0.position.epoch) }, rows.map { String($0.position.seq) },
            rows.map(\.user), rows.map { String($0.at) }, rows.map(\.text), rows.map(\.data), rows.map(\.thread),
            rows.map(\.mentions), rows.map(\.operation), rows.map(\.of), rows.map { $0.number.map { String($0) } },
            rows.map { $0.erasedAt.map { String($0) } }, rows.map(\.erasedBy),
        ]
        let types =
            ["text", "bigint", "bigint", "text", "bigint"] + Array(repeating: "text", count: 6) + [
                "bigint", "bigint", "text",
            ]
        let lists = types.enumerated().map { "$\($0.offset + 1)::\($0.element)[]" }.joined(separator: ", ")
        try connection.rows(
            "INSERT INTO messages(\(Self.columns)) SELECT * FROM unnest(\(lists)) ON CONFLICT DO NOTHING",
            columns.map { Self.array($0) })
    }

    private func erase(_ room: String, _ position: Position, by: String, at: UInt64) throws(ArchiveFailure) {
        try connection.rows(
            "UPDATE messages SET text = NULL, data = NULL, mentions = NULL, erased_at = $1, erased_by = $2 "
                + "WHERE room = $3 AND epoch = $4 AND seq = $5 AND erased_at IS NULL",
            [String(at), Self.text(by), room, String(position.epoch), String(position.seq)])
        try connection.rows(
            "UPDATE messages SET text = NULL, data = NULL, erased_at = $1, erased_by = $2 "
                + "WHERE room = $3 AND \"of\" = $4 AND op = 'edit' AND erased_at IS NULL",
            [String(at), Self.text(by), room, position.description])
    }

    func older(_ room: String, before: Position?, count: Int, bytes: Int) throws(ArchiveFailure) -> ArchivePage {
        let end = before ?? Position(epoch: UInt64(Int64.max), seq: UInt64(Int64.max))
        return try page(
            "room = $1 AND (epoch, seq) < ($2, $3) ORDER BY epoch DESC, seq DESC LIMIT $4",
            [room, String(end.epoch), String(end.seq), String(count + 1)], PageBounds(count: count, bytes: bytes))
    }

    func newer(_ room: String, after: Position?, count: Int, bytes: Int) throws(ArchiveFailure) -> ArchivePage {
        let start = after ?? Position(epoch: 0, seq: 0)
        return try page(
            "room = $1 AND (epoch, seq) > ($2, $3) ORDER BY epoch, seq LIMIT $4",
            [room, String(start.epoch), String(start.seq), String(count + 1)], PageBounds(count: count, bytes: bytes))
    }

    func amendments(_ room: String, of positions: [Position], count: Int) throws(ArchiveFailure) -> ArchivePage {
        guard !positions.isEmpty else { return ArchivePage(PageBounds(count: 0)) }
        return try page(
            """
            room = $1 AND (epoch, seq) IN (
              SELECT epoch, seq FROM (
                SELECT epoch, seq, row_number() OVER (
                  PARTITION BY "of", CASE op WHEN 'edit' THEN '1' WHEN 'delete' THEN '2' WHEN 'pin' THEN '3'
                  WHEN 'unpin' THEN '3' ELSE '4' || text END ORDER BY epoch DESC, seq DESC) AS place
                FROM messages WHERE room = $1 AND "of" = ANY($2::text[])) AS ranked
              WHERE place = 1)
            UNION ALL
            SELECT room, epoch, seq, "user", at, NULL, NULL, thread, NULL, op, "of", n, erased_at, erased_by FROM messages
            WHERE room = $1 AND op IS NULL AND thread = ANY($2::text[])
            ORDER BY 2, 3 LIMIT $3
            """, [room, Self.array(positions.map(\.description)), String(count + 1)], PageBounds(count: count))
    }

    func erase(_ user: String, at: UInt64) throws(ArchiveFailure) -> Int {
        try connection.count(
            "UPDATE messages SET text = NULL, data = NULL, mentions = NULL, erased_at = $1, erased_by = $2 "
                + "WHERE \"user\" = $2 AND erased_at IS NULL", [String(at), Self.text(user)])
    }

    private func page(
        _ condition: String, _ values: [String?], _ bounds: PageBounds
    ) throws(ArchiveFailure) -> ArchivePage {
        var page = ArchivePage(bounds)
        for row in try connection.rows("SELECT \(Self.columns) FROM messages WHERE \(condition)", values) {
            guard let next = ArchiveRow(row), page.take(next) else { break }
        }
        return page
    }

    // MARK: texts

    private static func text(_ text: String) -> String {
        text.utf8.contains(0) ? text.replacing("\u{0}", with: "\u{FFFD}") : text
    }

    /// An array as PostgreSQL writes it (its documentation, "Array Input and Output Syntax").
    private static func array(_ texts: [String?]) -> String {
        var array = "{"
        for (index, text) in texts.enumerated() {
            if index > 0 { array += "," }
            guard let text else {
                array += "NULL"
                continue
            }
            array += "\""
            for scalar in Self.text(text).unicodeScalars {
                if scalar == "\"" || scalar == "\\" { array += "\\" }
                array.unicodeScalars.append(scalar)
            }
            array += "\""
        }
        return array + "}"
    }
}

extension ArchiveRow {
    /// Nil if it does not have the columns of the archive.
    fileprivate init?(_ row: [String?]) {
        guard row.count == 14, let room = row[0], let epoch = row[1].flatMap({ UInt64($0) }),
            let seq = row[2].flatMap({ UInt64($0) })
        else { return nil }
        func number(_ column: Int) -> UInt64? { row[column].flatMap { UInt64($0) } }
        self.init(
            room: room, position: Position(epoch: epoch, seq: seq), user: row[3] ?? "", at: number(4) ?? 0,
            text: row[5], data: row[6], thread: row[7], mentions: row[8], operation: row[9], of: row[10],
            number: number(11), erasedAt: number(12), erasedBy: row[13])
    }
}
