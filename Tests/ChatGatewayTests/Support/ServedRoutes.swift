import ChatCore

@testable import ChatGateway

/// All routes of a gateway but the static files.
func servedRoutes(_ service: FakeService = FakeService()) throws -> [HTTPRoutes.Route] {
    let options = GatewayOptions(nodeName: "test", nodeID: try NodeID("test-1"))
    let caller = APICaller(options: options, authenticator: DevelopmentAuthenticator())
    return HTTPRoutes.routes(
        RoomsAPI(options: options, service: service, caller: caller), AccessAPI(service: service, caller: caller),
        ConversationsAPI(service: service, caller: caller), service)
}
