/// The beginning of a room's newest message, for a list of rooms.
public struct MessagePreview: Sendable, Hashable {
    /// The most characters of a preview.
    public static let mostCharacters = 100

    public var position: Position
    public var user: UserID
    /// When it was said, in ms since 1970.
    public var at: UInt64
    /// Nil if the message has no text, or is deleted.
    public var text: String?

    public init(position: Position, user: UserID, at: UInt64, text: String?) {
        self.position = position
        self.user = user
        self.at = at
        self.text = text
    }

    /// The preview of a message.
    public init(_ message: Message) {
        self.init(
            position: message.position, user: message.content.user, at: message.content.at,
            text: message.content.text.flatMap { Self.shown(of: $0) })
    }

    /// The most bytes that are looked at, as in head.lua, so that the same text always has the same preview.
    private static let mostBytes = 1_024

    private static func shown(of text: String) -> String? {
        guard text.utf8.count > mostBytes else { return beginning(of: text) }
        return beginning(of: String(text[..<text.endOfScalars(within: mostBytes)]), isCut: true)
    }

    /// The first ``mostCharacters`` characters as readers see them: an accent stays on its letter, and a family on its
    /// emoji. A character of unusual length does not count as one; then nothing is shown. `isCut`: bytes of the text
    /// are missing behind it, so that its last character may not be whole. Nil if nothing is left.
    public static func beginning(of text: String, isCut: Bool = false) -> String? {
        var end = text.startIndex
        var count = 0
        while end < text.endIndex, count < mostCharacters {
            let next = text.index(after: end)
            guard text.utf8.distance(from: end, to: next) <= mostCharacterBytes else { break }
            if isCut, next == text.endIndex { break }
            end = next
            count += 1
        }
        return end == text.startIndex ? nil : String(text[..<end])
    }

    /// Longer than any emoji; combining marks can be stacked without end.
    private static let mostCharacterBytes = 64
}
