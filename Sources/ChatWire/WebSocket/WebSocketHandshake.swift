/// The server's side of the opening handshake (RFC 6455 §4.2), apart from who the client is: what a request for the
/// WebSocket path is answered with.
///
/// Subprotocols: one of those offered that we speak is chosen; a client that offers none is taken without (it then
/// speaks the first of ours); one that offers only others is refused with 400. §4.2.2 would also allow to take it
/// without a subprotocol, but then a browser closes the connection without telling anybody why.
public struct WebSocketHandshake: Sendable {
    public struct Refusal: Error, Hashable, Sendable {
        public var status: Int
        public var message: String
        /// Fields that the status needs.
        public var fields: [(name: String, value: String)]

        public static func == (left: Refusal, right: Refusal) -> Bool {
            left.status == right.status && left.message == right.message
                && left.fields.map { $0.name + $0.value } == right.fields.map { $0.name + $0.value }
        }

        public func hash(into hasher: inout Hasher) {
            hasher.combine(status)
            hasher.combine(message)
        }
    }

    public struct Acceptance: Hashable, Sendable {
        /// The value of `Sec-WebSocket-Accept`.
        public var accept: String
        /// Nil: the client offered none.
        public var subprotocol: String?
    }

    public var subprotocols: [String]
    /// Nil: any. Otherwise the origins (`https://chat.example.org`) whose pages may connect; a client that sends no
    /// Origin is no browser and may always.
    public var allowedOrigins: Set<String>?

    public init(subprotocols: [String], allowedOrigins: Set<String>? = nil) {
        self.subprotocols = subprotocols
        self.allowedOrigins = allowedOrigins
    }

    /// Judges a request for the WebSocket path.
    public func judge(_ head: RequestHead) throws(Refusal) -> Acceptance {
        guard head.method == "GET" else {
            throw Refusal(405, "a WebSocket is opened with GET", [("Allow", "GET")])
        }
        let version = ("Sec-WebSocket-Version", "13")
        guard head.list("upgrade").contains(where: { $0.lowercased() == "websocket" }),
            head.list("connection").contains(where: { $0.lowercased() == "upgrade" })
        else { throw Refusal(426, "this path speaks WebSocket", [("Upgrade", "websocket"), version]) }
        guard head.only("sec-websocket-version") == "13" else {
            throw Refusal(426, "only version 13 of WebSocket is spoken", [("Upgrade", "websocket"), version])
        }
        guard let key = head.only("sec-websocket-key"), WebSocketAccept.isKey(key) else {
            throw Refusal(400, "Sec-WebSocket-Key must be there once and be the base64 of 16 bytes")
        }
        guard head.values("transfer-encoding").isEmpty, head.values("content-length").allSatisfy({ $0 == "0" }) else {
            throw Refusal(400, "a handshake has no body")
        }
        if let allowedOrigins, let origin = head.values("origin").first, !allowedOrigins.contains(origin.lowercased()) {
            throw Refusal(403, "pages of this origin may not connect")
        }
        let offered = head.list("sec-websocket-protocol")
        let chosen = offered.first(where: { subprotocols.contains($0) })
        if chosen == nil, !offered.isEmpty {
            throw Refusal(
                400, "none of the subprotocols offered is spoken here; spoken: \(subprotocols.joined(separator: ", "))")
        }
        return Acceptance(accept: WebSocketAccept.value(forKey: key), subprotocol: chosen)
    }
}

extension WebSocketHandshake.Refusal {
    init(_ status: Int, _ message: String, _ fields: [(name: String, value: String)] = []) {
        self.init(status: status, message: message, fields: fields)
    }
}
