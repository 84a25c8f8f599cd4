/// One of the gateway's ports: what is served there, and what a connection to it begins with.
struct GatewayPort: Sendable {
    var routes: HTTPRoutes
    /// Nil: connections are plaintext.
    var tls: ServerTLS?

    /// Whether something precedes HTTP on a connection, which ``PrefaceHandler`` reads.
    var hasPreface: Bool { tls != nil }
}
