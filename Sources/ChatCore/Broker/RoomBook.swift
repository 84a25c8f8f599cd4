/// What a room keeps in the order in which it happened. Relays read each of them by cursors of its own.
public enum RoomBook: String, CaseIterable, Hashable, Sendable {
    /// The messages.
    case log
    /// Who changed the rules, the sanctions and the participants, and who reported a message.
    case audit
    /// The devices that came and went.
    case presence
}
