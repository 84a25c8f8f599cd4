/// Who connects to a port, which decides what is served there.
enum RouteAudience: Sendable {
    /// The gateway has no other port.
    case everybody
    /// Operators have a port of their own.
    case clients
    case operators

    /// For proxies, which may ask either port.
    private static let health: Set<String> = ["/healthz", "/readyz"]
    private static func isForOperators(_ path: String) -> Bool {
        ["/metrics", "/api/revocations"].contains(path) || path.hasPrefix("/api/users/")
    }

    func isServed(_ path: String) -> Bool {
        switch self {
        case .everybody: true
        case .clients: !Self.isForOperators(path)
        case .operators: Self.isForOperators(path) || Self.health.contains(path)
        }
    }
}
