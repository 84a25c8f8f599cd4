import ChatCore
import ChatGateway
import Logging
import NIOCore
import NIOPosix
import TestSupport

/// A gateway on a free port of loopback, with a fake service.
func withGateway(
    service: FakeService = FakeService(), authenticator: any Authenticator = DevelopmentAuthenticator(),
    loops: Int = 2, protocols: ProtocolRegistry? = nil,
    logger: Logger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }),
    _ change: (inout GatewayOptions) throws -> Void = { _ in },
    _ body: (_ port: Int, _ service: FakeService, _ server: GatewayServer) async throws -> Void
) async throws {
    var options = GatewayOptions(nodeName: "test", nodeID: try NodeID("test-1"))
    options.port = 0
    options.tick = .milliseconds(20)
    options.limits.requestBurst = 100_000
    // When all suites run on two cores, a test may not get to its first write for ten seconds.
    options.handshakeTimeout = .seconds(60)
    try change(&options)
    let group = MultiThreadedEventLoopGroup(numberOfThreads: loops)
    let server = GatewayServer(
        options: options, service: service, authenticator: authenticator, protocols: protocols, eventLoopGroup: group,
        logger: logger)
    do {
        try await server.start()
        guard let port = server.boundPort else { throw TestFailure("no port") }
        try await body(port, service, server)
        await server.stop()
    } catch {
        await server.stop()
        try? await group.shutdownGracefully()
        throw error
    }
    try await group.shutdownGracefully()
}

/// A client that is alone in the room and reads nothing until it is told to, not even the answer to its handshake.
func joinWithoutReading(_ room: RoomName, port: Int, _ service: FakeService) async throws -> TestWebSocket {
    let client = try await TestWebSocket.connect(port: port, "user=slow&room=\(room)", autoRead: false)
    try await eventually("it is in the room") { service.members(of: room) == 1 }
    return client
}
