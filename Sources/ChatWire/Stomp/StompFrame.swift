/// The versions of STOMP. They differ in how headers are escaped, and in what a subscription needs.
public enum StompVersion: Int, Sendable, Hashable, Comparable, CaseIterable {
    case v10, v11, v12

    public var text: String {
        switch self {
        case .v10: "1.0"
        case .v11: "1.1"
        case .v12: "1.2"
        }
    }

    /// All versions, as an ERROR lists them.
    static let list = allCases.map(\.text).joined(separator: ",")

    public static func < (left: StompVersion, right: StompVersion) -> Bool { left.rawValue < right.rawValue }

    /// The highest version that a client's `accept-version` and we have in common; nil if there is none. A client that
    /// sends no such header speaks 1.0.
    static func negotiate(_ accepted: String?) -> StompVersion? {
        guard let accepted else { return .v10 }
        let offered = accepted.split(separator: ",").map { $0.trimmingBlanks }
        return allCases.reversed().first { version in offered.contains { $0 == version.text } }
    }
}

/// A frame of a client.
public struct StompFrame: Sendable, Hashable {
    public struct Header: Sendable, Hashable {
        public var name: String
        public var value: String

        public init(_ name: String, _ value: String) {
            self.name = name
            self.value = value
        }
    }

    public var command: String
    /// In the order in which they were sent; the same name may occur more than once.
    public var headers: [Header]
    public var body: [UInt8]

    public init(_ command: String, _ headers: [Header] = [], body: [UInt8] = []) {
        self.command = command
        self.headers = headers
        self.body = body
    }

    /// The value of a header. Of repeated headers the first one counts.
    public subscript(_ name: String) -> String? { headers.first { $0.name == name }?.value }
}

/// Why a client's bytes are not STOMP: what the ERROR says.
public struct StompFault: Error, Sendable, Hashable {
    /// The header `message`.
    public var summary: String
    /// The body.
    public var detail: String

    public init(_ summary: String, _ detail: String) {
        self.summary = summary
        self.detail = detail
    }
}

extension StringProtocol {
    /// Without spaces and tabs at both ends.
    var trimmingBlanks: String {
        var rest = Substring(self)
        while let first = rest.utf8.first, first == 0x20 || first == 0x09 { rest = rest.dropFirst() }
        while let last = rest.utf8.last, last == 0x20 || last == 0x09 { rest = rest.dropLast() }
        return String(rest)
    }
}
