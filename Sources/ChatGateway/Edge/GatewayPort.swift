/// One of the gateway's ports: what is served there, and what a connection to it begins with.
struct GatewayPort: Sendable {
    var routes: HTTPRoutes
    /// Whether WebSockets can be opened.
    var opensWebSockets = true
    /// The protocol that is spoken there in place of HTTP, by the name of its registration.
    var protocolName: String?
    /// Nil: connections are plaintext.
    var tls: ServerTLS?
    /// Whether trusted proxies may begin a connection with a header of the PROXY protocol.
    var takesProxyHeaders = false

    /// Whether something may precede HTTP on a connection, which ``PrefaceHandler`` reads.
    var hasPreface: Bool { tls != nil || takesProxyHeaders }
}
