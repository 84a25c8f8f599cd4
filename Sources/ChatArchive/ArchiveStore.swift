public import ChatCore

/// A database of messages. Calls block, and are made one at a time.
///
/// The primary key of a row is its room and position, so what is added twice is there once, whoever adds it.
public protocol ArchiveStore: AnyObject {
    /// Carries out the steps in order, all or none. When it returns, they are on the disk.
    func take(_ steps: [ArchiveStep]) throws(ArchiveFailure)
    /// The newest rows of a room before a position (nil: of all), newest first, at most `count` and about `bytes`, but
    /// at least one if there is one.
    func older(_ room: String, before: Position?, count: Int, bytes: Int) throws(ArchiveFailure) -> ArchivePage
    /// The oldest rows of a room after a position (nil: of all), oldest first, within the same bounds.
    func newer(_ room: String, after: Position?, count: Int, bytes: Int) throws(ArchiveFailure) -> ArchivePage
    /// What became of the messages at these positions, oldest first, at most `count`: of edits, pins, deletions and the
    /// reactions with one emoji the newest one, and all replies, without what they say.
    func amendments(_ room: String, of positions: [Position], count: Int) throws(ArchiveFailure) -> ArchivePage
    /// Erases the content of everything that a user has said. Returns how many rows had one.
    func erase(_ user: String, at: UInt64) throws(ArchiveFailure) -> Int
}

/// Rows, and whether there are more in that direction.
public struct ArchivePage: Hashable, Sendable {
    public var rows: [ArchiveRow] = []
    public var hasMore = false
    private var bytes = 0
    private let bounds: PageBounds

    init(_ bounds: PageBounds) {
        self.bounds = bounds
    }

    /// Takes a row, unless the page is full. Returns whether it wants another one.
    mutating func take(_ row: ArchiveRow) -> Bool {
        bytes += row.cost
        guard rows.isEmpty || rows.count < bounds.count && bytes <= bounds.bytes else {
            hasMore = true
            return false
        }
        rows.append(row)
        return true
    }
}

/// Why the archive cannot be used now, without anything that it holds.
public struct ArchiveFailure: Error, Hashable, Sendable, CustomStringConvertible {
    public let description: String

    init(_ description: String) {
        self.description = description
    }
}

/// Where an archive is.
public enum ArchiveAddress: Hashable, Sendable, CustomStringConvertible {
    /// A file of this machine.
    case sqlite(path: String)
    /// A database, by libpq's connection URI.
    case postgres(url: String)

    /// `sqlite:` and a path, or `postgresql://…`. Nil for anything else.
    public init?(_ text: String) {
        if text.hasPrefix("postgresql://") || text.hasPrefix("postgres://") {
            guard text.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else { return nil }
            self = .postgres(url: text)
            return
        }
        guard text.hasPrefix("sqlite:"), text.utf8.count > 7 else { return nil }
        self = .sqlite(path: String(text.dropFirst(7)))
    }

    /// Opens the archive, and makes its table if it is not there. It blocks.
    public func open() throws(ArchiveFailure) -> any ArchiveStore {
        switch self {
        case .sqlite(let path): try SQLiteStore(path: path)
        case .postgres(let url): try PostgresStore(url: url, place: description)
        }
    }

    /// Without a password.
    public var description: String {
        switch self {
        case .sqlite(let path): "sqlite:\(path)"
        case .postgres(let url): Self.withoutPassword(url)
        }
    }

    /// A URI may hold a password behind the user's name, and among its parameters.
    private static func withoutPassword(_ url: String) -> String {
        let start = url.firstRange(of: "://")?.upperBound ?? url.startIndex
        let end = url[start...].firstIndex { $0 == "/" || $0 == "?" } ?? url.endIndex
        var authority = url[start..<end]
        if let at = authority.lastIndex(of: "@") {
            authority = authority[..<at].prefix { $0 != ":" } + authority[at...]
        }
        return String(url[..<start] + authority + url[end...].prefix { $0 != "?" })
    }
}
