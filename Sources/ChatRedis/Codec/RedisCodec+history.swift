import ChatCore
import RedisSchema

extension RedisCodec {
    /// One range per side of the anchor, one entry more than wanted, so that one knows whether there are more; then the newest.
    /// Returns how many commands it wrote.
    func history(_ room: RoomName, _ query: HistoryQuery, _ writer: inout RESPWriter) -> Int {
        let count = Self.page(query) + 1
        switch query.anchor {
        case .newest:
            range("XREVRANGE", room, "+", "-", count, &writer)
            return 1
        case .before(let position):
            range("XREVRANGE", room, Self.below(position), "-", count, &writer)
            range("XREVRANGE", room, "+", "-", 1, &writer)
            return 2
        case .after(let position):
            range("XRANGE", room, Self.above(position), "+", count, &writer)
            range("XRANGE", room, "-", "+", 1, &writer)
            range("XREVRANGE", room, "+", "-", 1, &writer)
            return 3
        case .around(let position):
            range("XREVRANGE", room, Self.below(position), "-", count, &writer)
            range("XRANGE", room, position.description, "+", count, &writer)
            range("XREVRANGE", room, "+", "-", 1, &writer)
            return 3
        }
    }

    func historyReply(_ query: HistoryQuery, _ replies: RESPReplies) throws(BrokerError) -> HistoryPage {
        let limit = Self.page(query)
        var first = try entries(replies[0], "history")
        switch query.anchor {
        case .newest:
            let page = Array(first.prefix(limit).reversed())
            return HistoryPage(
                messages: page, newest: first.first?.position, hasOlder: first.count > limit,
                hasNewer: false)
        case .before(let position):
            let newest = try entries(replies[1], "history").first?.position
            return HistoryPage(
                messages: first.prefix(limit).reversed(), newest: newest, hasOlder: first.count > limit,
                hasNewer: newest.map { $0 >= position } ?? false)
        case .after(let position):
            let oldest = try entries(replies[1], "history").first?.position
            let newest = try entries(replies[2], "history").first?.position
            let more = first.count > limit
            if more { first.removeLast(first.count - limit) }
            return HistoryPage(
                messages: first, newest: newest, hasOlder: oldest.map { $0 <= position } ?? false, hasNewer: more)
        case .around:
            let newer = try entries(replies[1], "history")
            let newest = try entries(replies[2], "history").first?.position
            let olderCount = min(first.count, max(limit / 2, limit - newer.count))
            let newerCount = min(newer.count, limit - olderCount)
            return HistoryPage(
                messages: first.prefix(olderCount).reversed() + newer.prefix(newerCount), newest: newest,
                hasOlder: first.count > olderCount, hasNewer: newer.count > newerCount)
        }
    }

    /// The page's size, kept within what one reply may hold.
    static func page(_ query: HistoryQuery) -> Int { max(0, min(query.limit, 10_000)) }

    private func range(
        _ command: StaticString, _ room: RoomName, _ from: String, _ to: String, _ count: Int,
        _ writer: inout RESPWriter
    ) {
        writer.command(6)
        writer.argument(command)
        key(.log, room, &writer)
        writer.argument(from)
        writer.argument(to)
        writer.argument("COUNT")
        writer.argument(count)
    }

    // Redis refuses an exclusive end that nothing can lie beyond. No entry has these IDs, so there the inclusive end is the same.
    private static func below(_ position: Position) -> String {
        position == Position(epoch: 0, seq: 0) ? "0-0" : "(\(position)"
    }

    private static func above(_ position: Position) -> String {
        position == Position(epoch: .max, seq: .max) ? position.description : "(\(position)"
    }
}
