import ChatJSON
import ChatWire

/// A node's WebSocket address: `ws://host[:port][/path][?query]`, or `wss:`. The default path is `/ws`.
public struct ClientURL: Hashable, Sendable, CustomStringConvertible {
    public var secure: Bool
    public var host: String
    public var port: Int
    public var path: String
    /// Without the question mark; empty if there is none.
    public var query: String

    /// Throws ``ClientError/badArgument(_:)``, which says what is wrong with the address.
    public init(_ text: String) throws(ClientError) {
        func bad(_ problem: String) -> ClientError { .badArgument("address '\(text.prefix(200))': \(problem)") }
        var rest: Substring
        if text.hasPrefix("ws://") {
            secure = false
            rest = text.dropFirst(5)
        } else if text.hasPrefix("wss://") {
            secure = true
            rest = text.dropFirst(6)
        } else {
            throw bad("expected ws:// or wss://")
        }
        if rest.unicodeScalars.contains(where: { $0.value <= 0x20 || $0.value == 0x7F }) {
            throw bad("it contains a space or a control character")
        }
        if let hash = rest.firstIndex(of: "#") { rest = rest[..<hash] }
        let end = rest.firstIndex { $0 == "/" || $0 == "?" } ?? rest.endIndex
        var authority = rest[..<end]
        guard !authority.contains("@") else { throw bad("a name or password before '@' is not supported") }
        let tail = rest[end...]
        let mark = tail.firstIndex(of: "?") ?? tail.endIndex
        path = tail[..<mark].isEmpty || tail[..<mark] == "/" ? "/ws" : String(tail[..<mark])
        query = String(tail[mark...].dropFirst())
        port = secure ? 443 : 80
        let bracket = authority.lastIndex(of: "]")
        if let colon = authority.lastIndex(of: ":"), bracket.map({ $0 < colon }) ?? true {
            guard let number = Int(authority[authority.index(after: colon)...]), (1...65_535).contains(number) else {
                throw bad("the port is not a number from 1 to 65535")
            }
            port = number
            authority = authority[..<colon]
        }
        if authority.hasPrefix("[") {
            guard authority.hasSuffix("]") else { throw bad("'[' without ']'") }
            authority = authority.dropFirst().dropLast()
        }
        guard !authority.isEmpty else { throw bad("the host is missing") }
        host = String(authority)
    }

    /// The request target: path and query, followed by more parameters, which are percent-encoded here.
    public func target(adding parameters: [(name: String, value: String)]) -> String {
        var result = path
        var separator = "?"
        if !query.isEmpty {
            result += "?" + query
            separator = "&"
        }
        for parameter in parameters {
            result += "\(separator)\(percentEncoded(parameter.name))=\(percentEncoded(parameter.value))"
            separator = "&"
        }
        return result
    }

    /// The value of the Host header.
    public var authority: String {
        let name = host.contains(":") ? "[\(host)]" : host
        return port == (secure ? 443 : 80) ? name : "\(name):\(port)"
    }

    public var description: String { "\(secure ? "wss" : "ws")://\(authority)\(target(adding: []))" }
}
