import NIOCore

/// The address of a key set: `https://host[:port]/path[?query]`. `http://` is accepted for hosts of this machine only,
/// because whoever can change the key set on its way can sign tokens.
public struct KeySetURL: Hashable, Sendable, CustomStringConvertible {
    public typealias Problem = HTTPAddress.Problem

    private let whole: HTTPAddress
    public var isSecure: Bool { whole.isSecure }
    public var host: String { whole.host }
    public var port: Int { whole.port }
    /// Path and query.
    public var target: String { whole.target }

    public init(_ text: String) throws(Problem) {
        whole = try HTTPAddress(text)
        guard isSecure || host.lowercased() == "localhost" || address?.isLoopback == true else {
            throw Problem(description: "http:// is for this machine only, use https://")
        }
    }

    /// The host as an address; nil if it is a name.
    var address: SocketAddress? { try? SocketAddress(ipAddress: host, port: port) }

    /// The value of the Host header.
    var authority: String { whole.authority }

    public var description: String { "\(isSecure ? "https" : "http")://\(authority)\(target)" }
}

extension SocketAddress {
    /// 127.0.0.0/8 or ::1.
    var isLoopback: Bool {
        switch self {
        case .v4: ipAddress?.hasPrefix("127.") == true
        case .v6: ipAddress == "::1"
        case .unixDomainSocket: false
        }
    }
}
