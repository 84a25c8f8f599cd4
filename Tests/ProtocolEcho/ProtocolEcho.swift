import ArgumentParser
import ChatCore
import ChatGateway
import ChatWire
import Glibc
import Logging
import NIOCore
import NIOPosix

/// The gateway's transports under small applications, for conformance suites of others: what they test is the code that
/// the node runs, without rooms.
@main struct ProtocolEcho: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "protocol-echo",
        abstract: "Serves the transports of Martlet under small applications, for conformance suites.",
        discussion: """
            ws://…/ and ws://…/echo: each message comes back, text and binary. /engine.io/: each message of Engine.IO \
            comes back. /socket.io/: the application that the suite of the Socket.IO protocol expects (auth, message, \
            message-with-ack, the namespace /custom). /healthz says that it is there. It ends with its standard input, \
            or with SIGTERM.
            """)

    @Option(help: "Address to listen on.")
    var host = "127.0.0.1"

    @Option(help: "Port; 0 means any free one, which is printed.")
    var port = 3_000

    @Option(help: "Engine.IO: time between pings, in milliseconds.")
    var pingInterval = 300

    @Option(help: "Engine.IO: time to answer a ping, in milliseconds.")
    var pingTimeout = 200

    @Option(help: "Engine.IO: bytes of one payload, and of one message over WebSocket.")
    var maxPayload = 1_000_000

    @Option(help: "Socket.IO: time to connect to a namespace, in milliseconds.")
    var connectTimeout = 1_000

    @Option(help: "WebSocket: bytes of one message, at most 16777216.")
    var maxMessage = 16_777_216

    @Option(help: "Event loops.")
    var loops = 2

    func validate() throws {
        for (name, value, range) in [
            ("--port", port, 0...65_535), ("--ping-interval", pingInterval, 1...3_600_000),
            ("--ping-timeout", pingTimeout, 1...3_600_000), ("--max-payload", maxPayload, 1...100_000_000),
            ("--connect-timeout", connectTimeout, 1...3_600_000), ("--max-message", maxMessage, 125...16_777_216),
            ("--loops", loops, 1...64),
        ] where !range.contains(value) {
            throw ValidationError("\(name) must be from \(range.lowerBound) to \(range.upperBound)")
        }
    }

    func run() async throws {
        var options = GatewayOptions(nodeName: "protocol-echo", nodeID: try NodeID("protocol-echo"))
        options.host = host
        options.port = port
        options.limits.frameBytes = max(maxMessage, maxPayload)
        options.limits.outboundBytes = 4 * options.limits.frameBytes
        options.limits.badFramesPerMinute = 1_000_000
        options.limits.failuresPerMinutePerAddress = 1_000_000
        let group = MultiThreadedEventLoopGroup(numberOfThreads: loops)
        let server = GatewayServer(
            options: options, service: EchoService(), protocols: protocols(options.limits), eventLoopGroup: group,
            logger: Logger(label: "protocol-echo"))
        try await server.start()
        print("listening on \(HostPort.text(host, server.boundPort ?? port))")
        fflush(nil)
        // Whoever started it may end it by closing its input.
        await Task.detached { while readLine() != nil {} }.value
        await server.stop()
        try await group.shutdownGracefully()
    }

    private func protocols(_ limits: Limits) -> ProtocolRegistry {
        var registry = ProtocolRegistry(limits: limits)
        for path in ["/", "/echo"] { registry.register(at: path, subprotocol: nil) { _ in EchoProtocol() } }
        let settings = EngineSettings(
            pingInterval: .milliseconds(pingInterval), pingTimeout: .milliseconds(pingTimeout), maxPayload: maxPayload)
        registry.registerEngine(at: ["/engine.io/", "/engine.io"], settings: settings) { EngineEcho($0) }
        var rules = SocketStateMachine.Limits()
        rules.connectTimeout = .milliseconds(connectTimeout)
        rules.packetBytes = maxPayload
        registry.registerEngine(at: ["/socket.io/", "/socket.io"], settings: settings) { [rules] in
            SocketEcho($0, rules)
        }
        return registry
    }
}
