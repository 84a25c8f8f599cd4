import ChatCore
import ChatJSON

/// The IDs of events. The same event has the same ID however often it is delivered, so that consumers can make its
/// effect happen once.
///
/// An ID consists of letters, digits, `-`, `_`, `%` and `~`. The room's name is percent-encoded in it (RFC 3986 §2.1),
/// the dot and the tilde included: Standard Webhooks signs `<id>.<timestamp>.<body>`, so no ID may hold a dot.
public enum EventID {
    /// Of what the log has at that position: `<room>~<position>`.
    static func of(_ position: Position, in room: RoomName) -> String { "\(encoded(room.text))~\(position)" }

    /// Of one user's mention by the message at that position.
    static func of(mentionOf user: UserID, by position: Position, in room: RoomName) -> String {
        "\(of(position, in: room))~\(encoded(user.text))"
    }

    /// Of the messages between two positions, which are missing.
    static func of(gapAfter after: Position?, before: Position, in room: RoomName) -> String {
        "\(encoded(room.text))~gap~\(after?.description ?? "0-0")~\(before)"
    }

    /// Of what another book than the log has at that position: `<room>~<type>~<position>`.
    static func of(_ kind: RoomEvent.Kind, at position: Position, in room: RoomName) -> String {
        "\(encoded(room.text))~\(kind.rawValue.replacing(".", with: "-"))~\(position)"
    }

    /// Of one user's part of what a book has at that position: `<room>~<type>~<position>~<user>`.
    static func of(_ kind: RoomEvent.Kind, by user: UserID, at position: Position, in room: RoomName) -> String {
        "\(of(kind, at: position, in: room))~\(encoded(user.text))"
    }

    private static func encoded(_ text: String) -> String {
        percentEncoded(text).replacing(".", with: "%2E").replacing("~", with: "%7E")
    }
}
