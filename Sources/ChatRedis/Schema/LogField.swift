import ChatCore

/// The fields of a log entry that only few messages have (``MessageExtra``), as texts.
struct LogField {
    var name: StaticString
    var value: String

    /// In the order in which they are written, behind `data` and before `key`.
    static func all(of content: MessageContent) -> [LogField] {
        guard let extra = content.extra else { return [] }
        var fields: [LogField] = []
        if let amendment = extra.amendment {
            fields.append(LogField(name: "op", value: amendment.operation.rawValue))
            fields.append(LogField(name: "of", value: amendment.of.description))
            if amendment.number > 0 { fields.append(LogField(name: "n", value: String(amendment.number))) }
        }
        if let thread = extra.thread { fields.append(LogField(name: "thread", value: thread.description)) }
        if !extra.mentions.isEmpty {
            fields.append(LogField(name: "mentions", value: StringList.write(extra.mentions.map(\.text))))
        }
        if let deleted = extra.deleted {
            fields.append(LogField(name: "deleted", value: String(deleted.at)))
            fields.append(LogField(name: "by", value: deleted.by))
        }
        return fields
    }
}

extension LogEntry {
    /// Takes a field that only few messages have; ignores any other.
    mutating func take(_ name: String, _ value: String) {
        switch name {
        case "op": rare.operation = Amendment.Operation(rawValue: value)
        case "of": rare.of = Self.position(value)
        case "n": rare.number = UInt64(value).flatMap { PositionBounds.holds($0) ? $0 : nil } ?? 0
        case "thread": rare.thread = Self.position(value)
        case "mentions":
            rare.mentions = StringList.read(value).prefix(MessageExtra.mostMentions).compactMap { try? UserID($0) }
        case "deleted": rare.deleted = UInt64(value)
        case "by": rare.by = value
        default: break
        }
    }

    private static func position(_ text: String) -> Position? {
        Position(text).flatMap { $0.isWithinBounds ? $0 : nil }
    }

    /// The parts of ``MessageExtra`` as they were read.
    struct Rare {
        var operation: Amendment.Operation?
        var of: Position?
        var number: UInt64 = 0
        var thread: Position?
        var mentions: [UserID] = []
        var deleted: UInt64?
        var by = ""

        /// Nil for a plain message. An operation without a position, or one that is not known, makes no amendment.
        var extra: MessageExtra? {
            var amendment: Amendment?
            if let operation, let of { amendment = Amendment(operation, of: of, number: number) }
            let deed = deleted.map { Deed(by: String(by.prefix(128)), at: $0) }
            let extra = MessageExtra(amendment: amendment, thread: thread, mentions: mentions, deleted: deed)
            return extra.isEmpty ? nil : extra
        }
    }
}
