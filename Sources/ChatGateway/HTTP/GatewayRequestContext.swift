import Hummingbird
import HummingbirdCore
import Logging

/// The context of a request of the HTTP API.
struct GatewayRequestContext: RequestContext {
    struct Source: RequestContextSource {
        let logger: Logger
        let client: PeerAddress?
    }

    var coreContext: CoreRequestContextStorage
    /// The client's address: as trusted proxies state it, or else the peer's. Nil if it is unknown.
    let client: PeerAddress?

    init(source: Source) {
        coreContext = .init(source: source)
        client = source.client
    }
}
