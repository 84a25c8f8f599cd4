/// The address of an endpoint: `https://host[:port]/path[?query]`, or `http://` for hosts that are allowed by name.
public struct WebhookURL: Hashable, Sendable, CustomStringConvertible {
    /// Why a text is not such an address.
    public struct Problem: Error, Hashable, Sendable, CustomStringConvertible {
        public let description: String

        public init(_ description: String) {
            self.description = description
        }
    }

    public let isSecure: Bool
    /// In lower case; an IPv6 address without brackets.
    public let host: String
    public let port: Int
    /// Path and query.
    public let target: String

    public init(_ text: String) throws(Problem) {
        var rest: Substring
        if text.lowercased().hasPrefix("https://") {
            (isSecure, rest) = (true, text.dropFirst(8))
        } else if text.lowercased().hasPrefix("http://") {
            (isSecure, rest) = (false, text.dropFirst(7))
        } else {
            throw Problem("expected https://")
        }
        guard text.utf8.count <= 2_048, rest.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
            throw Problem(
                "it is longer than 2048 bytes, or holds a character that is to be percent-encoded")
        }
        guard !rest.contains("#") else { throw Problem("a fragment after '#' means nothing here") }
        let end = rest.firstIndex { $0 == "/" || $0 == "?" } ?? rest.endIndex
        let tail = rest[end...]
        target = tail.hasPrefix("/") ? String(tail) : "/" + tail
        rest = rest[..<end]
        guard !rest.contains("@") else { throw Problem("a name or password before '@' is not supported") }
        var number = isSecure ? 443 : 80
        let bracket = rest.lastIndex(of: "]")
        if let colon = rest.lastIndex(of: ":"), bracket.map({ $0 < colon }) ?? true {
            guard let given = Int(rest[rest.index(after: colon)...]), (1...65_535).contains(given) else {
                throw Problem("the port is not a number from 1 to 65535")
            }
            number = given
            rest = rest[..<colon]
        }
        port = number
        if rest.hasPrefix("[") {
            guard rest.hasSuffix("]") else { throw Problem("'[' without ']'") }
            rest = rest.dropFirst().dropLast()
        }
        guard !rest.isEmpty else { throw Problem("the host is missing") }
        host = rest.lowercased()
    }

    /// For the header `Host`.
    var authority: String {
        let name = host.contains(":") ? "[\(host)]" : host
        return port == (isSecure ? 443 : 80) ? name : "\(name):\(port)"
    }

    public var description: String { "\(isSecure ? "https" : "http")://\(authority)\(target)" }
}
