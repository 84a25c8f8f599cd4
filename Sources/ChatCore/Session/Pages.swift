/// Cuts what a session is sent into pages by bytes, because counts alone bound nothing: a hundred messages may be a
/// hundred times the largest frame. Pure arithmetic over ``MessageContent/cost``. (``HistoryPage`` has its own.)
extension Collection<Message> {
    /// The number of messages, from the first on, that fit into `bytes`; at least one, if there is one.
    func fitting(_ bytes: Int) -> Int {
        var rest = bytes
        var count = 0
        for message in self {
            rest -= message.content.cost
            if rest < 0, count > 0 { break }
            count += 1
        }
        return count
    }
}

extension Collection<Message> {
    /// The number of messages, from the first on, that one answer of the broker holds.
    func fitting(_ page: PageBounds) -> Int {
        var rest = page.bytes
        var count = 0
        for message in self {
            rest -= message.content.storedBytes
            if count >= page.count || (rest < 0 && count > 0) { break }
            count += 1
        }
        return count
    }
}

extension Joined {
    /// Leaves out the messages that do not fit into `bytes` and `count`. Of recent messages the newest stay, and the
    /// client may ask for those before. Of missed ones the oldest stay, and the result is true: the rest must follow
    /// before anything else of the room.
    public mutating func bound(bytes: Int, count: Int) -> Bool {
        switch resumption {
        case .fresh, .reset:
            let kept = min(max(0, count), messages.reversed().fitting(bytes))
            if kept < messages.count { messages.removeFirst(messages.count - kept) }
            return false
        case .complete, .gap:
            let kept = min(max(1, count), messages.fitting(bytes))
            guard kept < messages.count else { return hasMore }
            messages.removeLast(messages.count - kept)
            return true
        }
    }
}
