/// The answer to polls: what came after their position. Polls that get the same share one object, so that it is encoded
/// once.
public final class Arrivals: Sendable {
    public let page: HistoryPage
    /// The log does not hold these messages any more; they precede those of the page.
    public let gap: Gap?
    /// What the reader has of the room is void.
    public let reset: Reset?

    public init(page: HistoryPage, gap: Gap? = nil, reset: Reset? = nil) {
        self.page = page
        self.gap = gap
        self.reset = reset
    }

    /// The messages that follow `after`, within the bounds of a page. `hasMore`: the log holds more behind them.
    public convenience init(
        _ messages: [Message], after: Position, gap: Gap?, limit: Int, bytes: Int, newest: Position?,
        hasMore: Bool = false
    ) {
        let page = HistoryPage(
            messages: Array(MessageFold.folded(messages).prefix(limit)), newest: newest ?? messages.last?.position,
            hasOlder: after.seq > 0 && gap == nil, hasNewer: hasMore || messages.count > limit)
        self.init(page: page.limited(toBytes: bytes, anchor: .after(after)), gap: gap)
    }

    /// Nothing came.
    public convenience init(newest: Position?) {
        self.init(
            page: HistoryPage(messages: [], newest: newest, hasOlder: (newest?.seq ?? 0) > 0, hasNewer: false))
    }
}
