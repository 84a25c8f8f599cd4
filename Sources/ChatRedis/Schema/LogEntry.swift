import ChatCore
import ChatJSON

/// Reads the content of an entry in a room's log.
///
/// Anybody may XADD to a log, so any fields are accepted: an entry that could not be read would be a permanent gap in
/// the room's order. Missing or broken parts are replaced: the user by ``stranger``, the time by the epoch (an
/// approximation), broken UTF-8 by U+FFFD, data that is not JSON within the bounds of ``JSONData`` by a JSON string of
/// it, and missing text and data by an empty text.
struct LogEntry {
    static let stranger: UserID? = try? UserID("unknown")

    var user: UserID?
    var at: UInt64?
    var text: String?
    var data: String?
    var key: String?
    var rare = Rare()

    /// The content; nil only if `fields` is not an array.
    static func content(of fields: RESPReply, at position: Position) -> MessageContent? {
        guard fields.kind == .array else { return nil }
        var entry = LogEntry()
        for place in stride(from: 0, to: fields.count - 1, by: 2) {
            let name = fields[place]
            let value = fields[place + 1]
            if name.equals("user") {
                entry.user = try? UserID(text(value))
            } else if name.equals("at") {
                entry.at = value.unsigned
            } else if name.equals("text") {
                entry.text = text(value)
            } else if name.equals("data") {
                entry.data = text(value)
            } else if name.equals("key") {
                entry.key = text(value)
            } else if let name = name.string {
                entry.take(name, text(value))
            }
        }
        return entry.content(at: position)
    }

    private static func text(_ reply: RESPReply) -> String {
        reply.withBytes { String(decoding: $0, as: UTF8.self) }
    }

    /// The content, with replacements for what is missing.
    func content(at position: Position) -> MessageContent? {
        guard let user = user ?? Self.stranger else { return nil }
        let data = data.map { Self.json($0) }
        let extra = rare.extra
        // Only a message must have a content.
        let isMessage = extra == nil || extra?.amendment == nil && extra?.deleted == nil
        return MessageContent(
            user: user, at: min(at ?? position.epoch, Timestamp.maximum),
            text: text ?? (data == nil && isMessage ? "" : nil), data: data, key: key, extra: extra)
    }

    /// The text, or a JSON string of it if it is not JSON within the bounds of ``JSONData``.
    static func json(_ text: String) -> String { isJSON(text) ? text : quoted(text) }

    private static func isJSON(_ text: String) -> Bool {
        var text = text
        return text.withUTF8 { JSONData.problem(UnsafeRawBufferPointer($0)) == nil }
    }

    private static func quoted(_ text: String) -> String {
        var json = ByteWriter()
        json.appendJSON(text)
        return json.withBytes { String(decoding: $0, as: UTF8.self) }
    }
}
