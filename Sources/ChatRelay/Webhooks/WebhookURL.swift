public import ChatAccess

/// The address of an endpoint: `https://host[:port]/path[?query]`, or `http://` for hosts that are allowed by name.
public struct WebhookURL: Hashable, Sendable, CustomStringConvertible {
    public typealias Problem = HTTPAddress.Problem

    private static let mostBytes = 2_048

    private let whole: HTTPAddress
    public var isSecure: Bool { whole.isSecure }
    /// In lower case; an IPv6 address without brackets.
    public let host: String
    public var port: Int { whole.port }
    /// Path and query.
    public var target: String { whole.target }

    public init(_ text: String) throws(Problem) {
        guard text.utf8.count <= Self.mostBytes else {
            throw Problem(description: "it is longer than \(Self.mostBytes) bytes")
        }
        whole = try HTTPAddress(text)
        host = whole.host.lowercased()
    }

    /// The value of the Host header.
    var authority: String { whole.authority.lowercased() }

    public var description: String { "\(isSecure ? "https" : "http")://\(authority)\(target)" }
}
