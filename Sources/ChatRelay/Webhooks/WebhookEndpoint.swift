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
    /// Whether it is signed with a key pair (`v1a`), not with a secret (`v1`).
    public var isAsymmetric = false
    /// Whether events are sent as they come, and none waits for another one of its room.
    public var isUnordered = false
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
    public var sink: String { Self.sink(of: id) }

    /// What has to be read for it.
    var feeds: [SinkFeed] { filter.books.map { SinkFeed(sink, $0) } }

    static func sink(of id: String) -> String { "hook-\(id)" }

    /// The value in the hash of endpoints.
    public var json: String {
        var fields: [String: JSONValue] = [
            "url": .string(url), "generation": .string(String(generation)), "since": .string(String(since)),
            "types": .array(filter.kinds.map(\.rawValue).sorted().map { .string($0) }),
            "rooms": .array(filter.rooms.map { .string($0.description) }),
        ]
        if previousUntil > 0 { fields["previousUntil"] = .string(String(previousUntil)) }
        if !secrets.isEmpty { fields["secrets"] = .array(secrets.map { .string($0) }) }
        if isAsymmetric { fields["signature"] = .string("v1a") }
        if isUnordered { fields["order"] = .string("none") }
        if let disabled { fields["disabled"] = .string(disabled) }
        return JSONValue.object(fields).text
    }

    /// Reads the value in the hash; nil if any part of it is none of ours. A type or a room that cannot be read must
    /// not be left out: an endpoint without types and rooms is sent everything.
    public init?(id: String, json: String) {
        guard let value = try? JSONValue(parsing: json), let url = value["url"]?.string,
            let since = value["since"]?.string.flatMap({ UInt64($0) }), WebhookEndpoint.isID(id),
            let kinds = Self.list(value["types"], { RoomEvent.Kind(rawValue: $0) }),
            let rooms = Self.list(value["rooms"], { try? RoomPattern($0) }),
            let secrets = Self.list(value["secrets"], { $0 }),
            let generation = Self.text(value["generation"], { Int($0) }, absent: 1), generation > 0,
            let previousUntil = Self.text(value["previousUntil"], { UInt64($0) }, absent: 0),
            let isAsymmetric = Self.text(value["signature"], { $0 == "v1a" ? true : nil }, absent: false),
            let isUnordered = Self.text(value["order"], { $0 == "none" ? true : nil }, absent: false),
            let disabled = Self.text(value["disabled"], { $0 }, absent: "")
        else { return nil }
        self.init(id: id, url: url, filter: EventFilter(kinds: Set(kinds), rooms: rooms), since: since)
        self.generation = generation
        self.previousUntil = previousUntil
        self.secrets = secrets
        self.isAsymmetric = isAsymmetric
        self.isUnordered = isUnordered
        self.disabled = disabled.isEmpty ? nil : disabled
    }

    /// Nil unless it is absent, or a list of strings each of which can be read.
    private static func list<Element>(_ value: JSONValue?, _ read: (String) -> Element?) -> [Element]? {
        guard let value else { return [] }
        guard let array = value.array else { return nil }
        let elements = array.compactMap { $0.string.flatMap(read) }
        return elements.count == array.count ? elements : nil
    }

    /// Nil if it is there and cannot be read.
    private static func text<Element>(
        _ value: JSONValue?, _ read: (String) -> Element?, absent: Element
    ) -> Element? {
        guard let value else { return absent }
        return value.string.flatMap(read)
    }

    /// Whether the text may be an endpoint's ID.
    public static func isID(_ text: String) -> Bool {
        (1...32).contains(text.utf8.count)
            && text.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x7A).contains($0) }
    }
}
