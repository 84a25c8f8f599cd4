import ChatCore
import ChatWire

/// What a handshake's URL and fields say of the client.
struct HandshakeParameters: Sendable {
    var credentials: Credentials
    /// The one named, or one made up: a session always has a device.
    var device: DeviceName
    /// `?room=`: joined at once.
    var room: RoomName?

    /// Throws `badField` for a query that is not properly encoded, `badName` for names that break the rules.
    init(_ head: RequestHead) throws(WireError) {
        guard let query = PercentEncoding.query(head.query, only: ["user", "token", "device", "room"]) else {
            throw WireError(.badField, "the query is not percent-encoded UTF-8")
        }
        let bearer = head.first("authorization").flatMap(Self.bearer)
        credentials = Credentials(user: query["user"], token: bearer ?? query["token"])
        do {
            device = try DeviceName(query["device"] ?? Self.inventedDevice())
            room = try query["room"].map { (text) throws(NameError) in try RoomName(text) }
        } catch {
            throw WireError(.badName, error.description)
        }
    }

    /// The token of `Authorization: Bearer …` (RFC 6750 §2.1).
    static func bearer(_ value: String) -> String? {
        let parts = value.split(separator: " ", maxSplits: 1)
        guard parts.count == 2, parts[0].lowercased() == "bearer" else { return nil }
        return String(parts[1])
    }

    private static func inventedDevice() -> String {
        "d-" + String(UInt64.random(in: 0 ... .max), radix: 36)
    }
}
