import ChatCore
import ChatJSON

/// The text of tickets: 256 random bits in base64url.
public enum TicketSecret {
    private static let byteCount = 32

    /// A new ticket.
    public static func make() -> String {
        var generator = SystemRandomNumberGenerator()
        return Base64.encodeURL((0..<byteCount).map { _ in .random(in: .min ... .max, using: &generator) })
    }

    /// The name of a ticket in the broker; nil if the text cannot be a ticket, so that nobody has to be asked.
    public static func name(of text: String) -> TicketName? {
        guard text.utf8.count <= 2 * byteCount, Base64.decodeURL(text)?.count == byteCount else { return nil }
        return TicketName(APIKeys.hash(of: text))
    }
}
