/// The name of a ticket in the broker: the SHA-256 of the ticket, as 64 hexadecimal digits. Who reads the broker's keys
/// can use no ticket.
public struct TicketName: Hashable, Sendable {
    public let text: String

    /// Nil for anything but 64 lower-case hexadecimal digits.
    public init?(_ text: String) {
        let digits = text.utf8
        guard digits.count == 64, digits.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }) else {
            return nil
        }
        self.text = text
    }
}

/// A secret that opens one WebSocket, or answers one HTTP request, in place of a token. It may be written to logs, as
/// it is worthless once it was used.
public struct Ticket: Hashable, Sendable {
    /// How long a ticket can be used.
    public static let life: Duration = .seconds(30)

    /// The secret.
    public var text: String
    /// The seconds until it expires.
    public var expires: UInt64

    public init(text: String, expires: UInt64) {
        self.text = text
        self.expires = expires
    }
}
