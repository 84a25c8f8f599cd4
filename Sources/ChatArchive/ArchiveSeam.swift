import ChatCore

/// How a page of history continues from what a room's log holds into what only the archive has. Pure: the log's page
/// in, questions for the archive out, and their answers back in.
///
/// Seqs begin with 1 and go up by 1 over a room's life, so the first message of the log says by itself whether there is
/// anything older.
struct ArchiveSeam {
    /// Messages that are wanted from the archive.
    enum Question: Hashable {
        /// The newest ones before the position (nil: of all), at most `count`.
        case older(before: Position?, count: Int)
        /// The oldest ones after the position and before `end` (nil: of all), at most `count`.
        case newer(after: Position, end: Position?, count: Int)
    }

    private let query: HistoryQuery
    /// What the log holds of the query.
    private let log: HistoryPage
    private let limit: Int
    /// What the archive has before it, oldest first, and whether it has no more.
    private var older: [Message] = []
    private var olderIsWhole = false
    /// What the archive has between the query's position and the log, oldest first, and whether that is all of it.
    private var newer: [Message] = []
    private var newerIsWhole = true

    init(_ query: HistoryQuery, _ page: HistoryPage) {
        self.query = query
        log = page
        limit = query.page.count
    }

    /// The position of the log's first message in the page.
    private var first: Position? { log.messages.first?.position }

    /// What the archive has to be asked; none if the log holds the whole page.
    var questions: [Question] {
        guard limit > 0, !log.hasOlder || isAfter else { return [] }
        switch query.anchor {
        case .newest: return older(before: first, limit - log.messages.count)
        case .before(let position):
            // Of an empty log only the archive knows whether there is anything newer.
            let next: [Question] =
                log.newest == nil ? [.newer(after: Self.before(position), end: nil, count: 1)] : []
            return older(before: first ?? position, limit - log.messages.count) + next
        case .after(let position):
            if let first, first.seq <= position.seq + 1 { return [] }
            if first == nil, let newest = log.newest, newest <= position { return [] }
            return [.newer(after: position, end: first, count: limit)]
        case .around, .time:
            let position = query.anchor.position ?? Position(epoch: 0, seq: 0)
            if let first, first <= position { return older(before: first, limit) }
            // The position is not in the log: both halves may be in the archive.
            return older(before: position, limit)
                + [.newer(after: Self.before(position), end: first, count: limit)]
        }
    }

    /// What is behind it begins with the position itself.
    private static func before(_ position: Position) -> Position {
        Position(epoch: position.epoch, seq: position.seq > 0 ? position.seq - 1 : 0)
    }

    private var isAfter: Bool { if case .after = query.anchor { true } else { false } }

    private func older(before position: Position?, _ count: Int) -> [Question] {
        guard count > 0, position.map({ $0.seq > 1 }) ?? true else { return [] }
        return [.older(before: position, count: count)]
    }

    /// Takes an answer, oldest first. `isWhole`: the archive has no more in that direction.
    mutating func take(_ question: Question, _ messages: [Message], isWhole: Bool) {
        switch question {
        case .older:
            older = messages
            olderIsWhole = isWhole
        case .newer(_, let end, _):
            newer = messages.filter { message in end.map { message.position < $0 } ?? true }
            // What the archive has beyond the log's first message the log has, too.
            newerIsWhole = isWhole || newer.count < messages.count
        }
    }

    /// The whole page.
    var page: HistoryPage {
        guard limit > 0 else { return log }
        // Between the archive's part and the log's must be no hole.
        let logPart = newerIsWhole ? log.messages : []
        var page = log
        switch query.anchor {
        case .newest, .before:
            page.messages = older + log.messages
        case .after:
            page.messages = Array((newer + logPart).prefix(limit))
        case .around, .time:
            let position = query.anchor.position ?? Position(epoch: 0, seq: 0)
            let before = older + log.messages.filter { $0.position < position }
            let behind = newer + logPart.filter { $0.position >= position }
            // As martlet_history divides a page.
            let hasMore = log.hasNewer || !newerIsWhole
            let kept = min(before.count, hasMore ? limit / 2 : max(limit / 2, limit - behind.count))
            page.messages = Array(before.suffix(kept) + behind.prefix(limit - kept))
        }
        if page.newest == nil { page.newest = page.messages.last?.position }
        guard let begin = page.messages.first?.position else { return page }
        let dropsOlder = older.first.map { $0.position < begin } ?? false
        page.hasOlder = dropsOlder || begin.seq > 1 && !(olderIsWhole && begin == older.first?.position ?? begin)
        if let last = page.messages.last?.position, let end = log.newest ?? newer.last?.position {
            page.hasNewer = last < end || !newerIsWhole
        }
        return page
    }
}
