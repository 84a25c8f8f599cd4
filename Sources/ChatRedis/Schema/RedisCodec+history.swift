import ChatCore
import RedisSchema

extension RedisCodec {
    /// `martlet_history`; a plain command if only the newest position is wanted, as that costs Redis less.
    func history(_ room: RoomName, _ query: HistoryQuery, _ writer: inout RESPWriter) {
        if query.anchor == .newest, query.limit <= 0 {
            writer.command(6)
            writer.argument("XREVRANGE")
            key(.log, room, &writer)
            for word in ["+", "-", "COUNT", "1"] as [StaticString] { writer.argument(word) }
            return
        }
        call("martlet_history", [.log], room, arguments: query.isFolded ? 5 : 3, &writer)
        switch query.anchor {
        case .newest: writer.argument("newest")
        case .before: writer.argument("before")
        case .after: writer.argument("after")
        case .around, .time: writer.argument("around")
        }
        position(query.anchor.position, &writer)
        bounds(query.page, &writer)
        if query.isFolded {
            writer.argument("fold")
            writer.argument("apart")
        }
    }

    func historyReply(_ query: HistoryQuery, _ reply: RESPReply) throws(BrokerError) -> HistoryPage {
        if query.anchor == .newest, query.limit <= 0 {
            let newest = try entries(reply, "history").first?.position
            return HistoryPage(messages: [], newest: newest, hasOlder: newest != nil, hasNewer: false)
        }
        guard (4...6).contains(reply.count) else {
            throw .malformed("history: expected 4 elements, got \(reply.count)")
        }
        var messages = try entries(reply[0], "history")
        if reply.count > 4 { fold(reply[4], edits: reply.count > 5 ? reply[5] : nil, into: &messages) }
        return HistoryPage(
            messages: messages,
            newest: reply[1].equals("") ? nil : place(of: reply[1], .entry),
            hasOlder: reply[2].integer == 1, hasNewer: reply[3].integer == 1)
    }
}
