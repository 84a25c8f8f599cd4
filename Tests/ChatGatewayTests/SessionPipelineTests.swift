import ChatCore
import ChatWire
import Logging
import NIOCore
import NIOEmbedded
import Testing

@testable import ChatGateway

/// The gateway's handlers in a channel without sockets, in which the test decides when a tick of the loop ends.
struct SessionPipelineTests {
    private func open(_ service: FakeService) throws -> (EmbeddedChannel, GatewayLoop) {
        var options = GatewayOptions(nodeName: "test", nodeID: try NodeID("test-1"))
        options.limits.requestBurst = 10_000
        let logger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
        let routes = HTTPRoutes(options: options, service: service, authenticator: DevelopmentAuthenticator())
        let channel = EmbeddedChannel()
        let gateway = GatewayLoop(
            eventLoop: channel.eventLoop,
            parts: GatewayParts(
                options: options, service: service, authenticator: DevelopmentAuthenticator(), logger: logger,
                routes: routes, shared: GatewayShared(options: options),
                protocols: .standard(limits: options.limits)))
        try channel.pipeline.syncOperations.addHandler(ConnectionHandler(gateway: gateway))
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        try channel.writeInbound(ByteBuffer(string: TestWebSocket.handshake("user=ana&room=a")))
        channel.embeddedEventLoop.run()
        #expect(
            try channel.readOutbound(as: ByteBuffer.self).map { String(buffer: $0) }?.hasPrefix("HTTP/1.1 101 ") == true
        )
        return (channel, gateway)
    }

    private func outbound(_ channel: EmbeddedChannel) throws -> [String] {
        var all: [String] = []
        while let buffer = try channel.readOutbound(as: ByteBuffer.self) {
            all.append(String(decoding: buffer.readableBytesView, as: UTF8.self))
        }
        return all
    }

    @Test func afterTheHandshakeTheSessionIsTheOnlyHandler() throws {
        let (channel, _) = try open(FakeService())
        #expect(throws: (any Error).self) { try channel.pipeline.syncOperations.handler(type: ConnectionHandler.self) }
        #expect(throws: Never.self) { try channel.pipeline.syncOperations.handler(type: ChannelSession.self) }
        _ = try channel.finish()
    }

    @Test func whatOneTickBringsIsOneWrite() throws {
        let service = FakeService()
        let (channel, gateway) = try open(service)
        let opening = try outbound(channel)
        #expect(opening.count == 1, "welcome and joined leave together")
        let lobby = try RoomName("a")
        for number in 0..<10 {
            let content = MessageContent(user: try UserID("bob"), at: 0, text: "\(number)")
            service.deliver(
                .message(room: lobby, Message(position: Position(epoch: 1, seq: 1), content: content), showKey: false),
                to: lobby,
                except: nil)
        }
        #expect(try outbound(channel) == [], "nothing leaves before the tick ends")
        channel.embeddedEventLoop.run()
        let written = try outbound(channel)
        #expect(written.count == 1)
        #expect(written.first?.split(separator: "\"text\":").count == 11)
        #expect(gateway.counters.queuedBytes == 0)
        _ = try channel.finish()
        #expect(service.sessions == 0)
    }

    @Test func aTickThatBringsMoreThanMayWaitReachesAPeerThatKeepsUp() throws {
        let service = FakeService()
        let (channel, gateway) = try open(service)
        _ = try outbound(channel)
        let lobby = try RoomName("a")
        let content = MessageContent(user: try UserID("bob"), at: 0, text: String(repeating: "x", count: 60_000))
        for seq in 1...100 {
            let message = Message(position: Position(epoch: 1, seq: UInt64(seq)), content: content)
            service.deliver(.message(room: lobby, message, showKey: false), to: lobby, except: nil)
        }
        channel.embeddedEventLoop.run()
        #expect(try outbound(channel).joined().split(separator: "\"position\":").count == 101)
        #expect(gateway.counters.sessionsClosed.isEmpty)
        #expect(gateway.counters.queuedBytes == 0)
        _ = try channel.finish()
    }

    @Test func aServiceThatClosesWhileItSendsIsToldOnlyAfterwards() throws {
        let service = FakeService()
        let (channel, _) = try open(service)
        _ = try outbound(channel)
        service.closeSessions(.ended)
        channel.embeddedEventLoop.run()
        #expect(service.sessions == 0)
        #expect(try outbound(channel).count == 1)
        try channel.writeInbound(ByteBuffer(bytes: [0x88, 0x80, 0, 0, 0, 0]))
        _ = try? channel.finish()
    }
}
