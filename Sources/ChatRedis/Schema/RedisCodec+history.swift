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
        call("martlet_history", [.log], room, arguments: 3, &writer)
        switch query.anchor {
        case .newest:
            writer.argument("newest")
            position(nil, &writer)
        case .before(let place):
            writer.argument("before")
            position(place, &writer)
        case .after(let place):
            writer.argument("after")
            position(place, &writer)
        case .around(let place):
            writer.argument("around")
            position(place, &writer)
        }
        bounds(query.page, &writer)
    }

    func historyReply(_ query: HistoryQuery, _ reply: RESPReply) throws(BrokerError) -> HistoryPage {
        if query.anchor == .newest, query.limit <= 0 {
            let newest = try entries(reply, "history").first?.position
            return HistoryPage(messages: [], newest: newest, hasOlder: newest != nil, hasNewer: false)
        }
        guard reply.count == 4 else { throw .malformed("history: expected 4 elements, got \(reply.count)") }
        return HistoryPage(
            messages: try entries(reply[0], "history"),
            newest: reply[1].equals("") ? nil : place(of: reply[1], .entry),
            hasOlder: reply[2].integer == 1, hasNewer: reply[3].integer == 1)
    }
}
