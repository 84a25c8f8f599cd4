/// What a room keeps in the order in which it happened. Relays read each of them by cursors of its own.
public enum RoomBook: String, CaseIterable, Hashable, Sendable {
    /// The messages.
    case log
    /// Who changed the rules, the sanctions and the participants, and who reported a message.
    case audit
    /// The devices that came and went.
    case presence
    /// Up to where participants have read. Written only while a relay reads it.
    case receipts

    /// The book of the feed with that name, which is that of its sink, and of all books but the log `-<book>`.
    public init(ofFeed name: String) {
        self = Self.allCases.first { $0 != .log && name.hasSuffix("-\($0.rawValue)") } ?? .log
    }
}
