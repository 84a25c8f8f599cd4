import ChatCore
import ChatJSON

/// Somebody who wants to be sent events: an address, and which events.
public struct WebhookEndpoint: Hashable, Sendable {
    /// Letters and digits.
    public let id: String
    public var url: String
    public var filter: EventFilter
    /// Which of its secrets signs. Each rotation adds 1.
    public var generation = 1
    /// Until when the secret before signs, too (ms since 1970); 0: it does not.
    public var previousUntil: UInt64 = 0
    /// A secret that the operator has chosen to keep in Redis, with the one before it; nil: secrets are derived.
    public var secrets: [String] = []
    /// Why nothing is sent; nil if it is sent.
    public var disabled: String?
    /// Events from before then are not sent (ms since 1970).
    public var since: UInt64

    public init(id: String, url: String, filter: EventFilter, since: UInt64) {
        self.id = id
        self.url = url
        self.filter = filter
        self.since = since
    }

    /// The name of its sink.
    public var sink: String { "hook-\(id)" }

    /// The value in the hash of endpoints.
    public var json: String {
        var fields: [String: JSONValue] = [
            "url": .string(url), "generation": .string(String(generation)), "since": .string(String(since)),
            "types": .array(filter.kinds.map(\.rawValue).sorted().map { .string($0) }),
            "rooms": .array(filter.rooms.map { .string($0.description) }),
        ]
        if previousUntil > 0 { fields["previousUntil"] = .string(String(previousUntil)) }
        if !secrets.isEmpty { fields["secrets"] = .array(secrets.map { .string($0) }) }
        if let disabled { fields["disabled"] = .string(disabled) }
        return JSONValue.object(fields).text
    }

    /// Reads the value in the hash; nil if it is none of ours.
    public init?(id: String, json: String) {
        guard let value = try? JSONValue(parsing: json), let url = value["url"]?.string,
            let since = value["since"]?.string.flatMap({ UInt64($0) }), WebhookEndpoint.isID(id)
        else { return nil }
        let kinds = (value["types"]?.array ?? []).compactMap { $0.string.flatMap { RoomEvent.Kind(rawValue: $0) } }
        let rooms = (value["rooms"]?.array ?? []).compactMap { $0.string.flatMap { try? RoomPattern($0) } }
        self.init(id: id, url: url, filter: EventFilter(kinds: Set(kinds), rooms: rooms), since: since)
        generation = value["generation"]?.string.flatMap { Int($0) } ?? 1
        previousUntil = value["previousUntil"]?.string.flatMap { UInt64($0) } ?? 0
        secrets = (value["secrets"]?.array ?? []).compactMap(\.string)
        disabled = value["disabled"]?.string
    }

    /// Whether the text may be an endpoint's ID.
    public static func isID(_ text: String) -> Bool {
        (1...32).contains(text.utf8.count)
            && text.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x7A).contains($0) }
    }
}
