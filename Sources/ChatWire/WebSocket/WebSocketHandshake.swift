/// The server's side of the opening handshake (RFC 6455 §4.2), except for authentication: determines the answer to a
/// request for the WebSocket path.
///
/// Subprotocols: one of the offered subprotocols that we support is selected. A client that offers none is accepted
/// without one, and then uses the first of ours. A client that offers only unknown ones is refused with 400. §4.2.2
/// would also allow to accept it without a subprotocol, but then a browser closes the connection without giving a
/// reason.
public struct WebSocketHandshake: Sendable {
    public struct Refusal: Error, Sendable {
        /// The kind of problem, for the counters.
        public enum Kind: Sendable {
            /// Not GET, no upgrade to WebSocket, another version, an invalid key, or a body.
            case noHandshake
            case origin
            case subprotocol
        }

        public var kind: Kind
        public var status: Int
        public var message: String
        /// Header fields that the status requires.
        public var fields: [(name: String, value: String)]
    }

    public struct Acceptance: Hashable, Sendable {
        /// The value of `Sec-WebSocket-Accept`.
        public var accept: String
        /// Nil if the client offered none.
        public var subprotocol: String?
    }

    public var subprotocols: [String]
    /// Nil means any. Otherwise the origins (`https://chat.example.org`) whose pages may connect; a client that sends
    /// no Origin is not a browser and is always allowed.
    public var allowedOrigins: Set<String>?

    public init(subprotocols: [String], allowedOrigins: Set<String>? = nil) {
        self.subprotocols = subprotocols
        self.allowedOrigins = allowedOrigins
    }

    /// Whether a request asks for a WebSocket, well or badly.
    public static func isAskedFor(in head: RequestHead) -> Bool {
        head.method == "GET" && head.list("upgrade").contains { $0.lowercased() == "websocket" }
            && head.list("connection").contains { $0.lowercased() == "upgrade" }
    }

    /// Validates a request for the WebSocket path.
    public func judge(_ head: RequestHead) throws(Refusal) -> Acceptance {
        guard head.method == "GET" else {
            throw Refusal(405, "a WebSocket is opened with GET", [("Allow", "GET")])
        }
        let version = ("Sec-WebSocket-Version", "13")
        // An upgrade in an HTTP/1.0 request must be ignored (RFC 9110 §7.8).
        guard !head.isOld, head.list("upgrade").contains(where: { $0.lowercased() == "websocket" }),
            head.list("connection").contains(where: { $0.lowercased() == "upgrade" })
        else { throw Refusal(426, "this path is for WebSocket", [("Upgrade", "websocket"), version]) }
        guard head.only("sec-websocket-version") == "13" else {
            throw Refusal(426, "only version 13 of WebSocket is supported", [("Upgrade", "websocket"), version])
        }
        guard let key = head.only("sec-websocket-key"), WebSocketAccept.isKey(key) else {
            throw Refusal(400, "Sec-WebSocket-Key must be there once and be the base64 of 16 bytes")
        }
        guard head.framing == .none else { throw Refusal(400, "a handshake has no body") }
        if let allowedOrigins, let origin = head.first("origin"), !allowedOrigins.contains(origin.lowercased()) {
            throw Refusal(403, "pages of this origin may not connect", kind: .origin)
        }
        let offered = head.list("sec-websocket-protocol")
        let chosen = offered.first(where: { subprotocols.contains($0) })
        if chosen == nil, !offered.isEmpty {
            throw Refusal(
                400, "none of the subprotocols offered is spoken here; spoken: \(subprotocols.joined(separator: ", "))",
                kind: .subprotocol)
        }
        return Acceptance(accept: WebSocketAccept.value(forKey: key), subprotocol: chosen)
    }
}

extension WebSocketHandshake.Refusal {
    init(_ status: Int, _ message: String, _ fields: [(name: String, value: String)] = [], kind: Kind = .noHandshake) {
        self.init(kind: kind, status: status, message: message, fields: fields)
    }
}
