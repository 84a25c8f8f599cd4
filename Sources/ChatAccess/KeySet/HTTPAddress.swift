/// The address of an HTTP request of ours: `https://host[:port]/path[?query]`, or `http://…`, without a name, a
/// password and a fragment. Who may be spoken to without TLS, its users decide: ``KeySetURL``, and webhooks.
public struct HTTPAddress: Hashable, Sendable {
    /// Why a text is not such an address.
    public struct Problem: Error, Hashable, Sendable, CustomStringConvertible {
        public let description: String

        public init(description: String) {
            self.description = description
        }
    }

    public let isSecure: Bool
    /// A name, or an address without brackets.
    public let host: String
    public let port: Int
    /// Path and query.
    public let target: String

    public init(_ text: String) throws(Problem) {
        var rest: Substring
        if text.lowercased().hasPrefix("https://") {
            isSecure = true
            rest = text.dropFirst(8)
        } else if text.lowercased().hasPrefix("http://") {
            isSecure = false
            rest = text.dropFirst(7)
        } else {
            throw Problem(description: "expected https://")
        }
        guard rest.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
            throw Problem(description: "it contains a space, or a character that is to be percent-encoded")
        }
        guard !rest.contains("#") else { throw Problem(description: "a fragment after '#' means nothing here") }
        let end = rest.firstIndex { $0 == "/" || $0 == "?" } ?? rest.endIndex
        let tail = rest[end...]
        target = tail.hasPrefix("/") ? String(tail) : "/" + tail
        rest = rest[..<end]
        guard !rest.contains("@") else { throw Problem(description: "a name or password before '@' is not supported") }
        var number = isSecure ? 443 : 80
        let bracket = rest.lastIndex(of: "]")
        if let colon = rest.lastIndex(of: ":"), bracket.map({ $0 < colon }) ?? true {
            guard let given = Int(rest[rest.index(after: colon)...]), (1...65_535).contains(given) else {
                throw Problem(description: "the port is not a number from 1 to 65535")
            }
            number = given
            rest = rest[..<colon]
        }
        port = number
        if rest.hasPrefix("[") {
            guard rest.hasSuffix("]") else { throw Problem(description: "'[' without ']'") }
            rest = rest.dropFirst().dropLast()
        }
        guard !rest.isEmpty else { throw Problem(description: "the host is missing") }
        host = String(rest)
    }

    /// The value of the Host header.
    public var authority: String {
        let name = host.contains(":") ? "[\(host)]" : host
        return port == (isSecure ? 443 : 80) ? name : "\(name):\(port)"
    }
}
