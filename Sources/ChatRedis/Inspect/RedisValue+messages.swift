public import ChatCore

extension RedisValue {
    /// The entries of a room's log, `[[ID, [field, value, …]], …]`. What is no entry, or has an ID that no node has
    /// made, is left out; a content that cannot be read is replaced as nodes replace it.
    public var messages: [Message] {
        (array ?? []).compactMap { entry in
            guard let parts = entry.array, parts.count == 2, let id = parts[0].string, let fields = parts[1].array,
                let position = Position(id), position.isWithinBounds
            else { return nil }
            return LogEntry.content(of: fields, at: position).map { Message(position: position, content: $0) }
        }
    }
}

extension LogEntry {
    fileprivate static func content(of fields: [RedisValue], at position: Position) -> MessageContent? {
        var entry = LogEntry()
        for place in stride(from: 0, to: fields.count - 1, by: 2) {
            guard let name = fields[place].string, let value = fields[place + 1].string else { continue }
            switch name {
            case "user": entry.user = try? UserID(value)
            case "at": entry.at = UInt64(value)
            case "text": entry.text = value
            case "data": entry.data = value
            case "key": entry.key = value
            default: entry.take(name, value)
            }
        }
        return entry.content(at: position)
    }
}
