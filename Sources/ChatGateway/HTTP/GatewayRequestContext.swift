import Hummingbird
import HummingbirdCore
import Logging

/// What a request of the HTTP API brings besides itself.
struct GatewayRequestContext: RequestContext {
    struct Source: RequestContextSource {
        let logger: Logger
        let client: PeerAddress?
    }

    var coreContext: CoreRequestContextStorage
    /// Where it comes from: what trusted proxies say of it, or the connection's other end. Nil: unknown.
    let client: PeerAddress?

    init(source: Source) {
        coreContext = .init(source: source)
        client = source.client
    }
}
