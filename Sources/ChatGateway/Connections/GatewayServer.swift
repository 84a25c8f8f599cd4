import ChatCore
import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import Synchronization

/// Why the gateway could not start; the text names the address.
public struct GatewayError: Error, Equatable, Sendable, CustomStringConvertible {
    public let description: String

    public init(description: String) {
        self.description = description
    }
}

/// Formats a host and a port as one text.
public enum HostPort {
    /// Puts an IPv6 address in brackets, which separate its colons from the port's (RFC 3986 §3.2.2).
    public static func text(_ host: String, _ port: Int) -> String {
        host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]:\(port)" : "\(host):\(port)"
    }
}

/// One port for WebSocket and HTTP. Sessions stay on the event loop that accepted them; the loops share nothing but a
/// count of connections.
public final class GatewayServer: Sendable {
    private struct Running {
        var listener: any Channel
        var adminListener: (any Channel)?
        /// By the name of the protocol.
        var ports: [String: any Channel]
        var loops: [NIOLoopBound<GatewayLoop>]
        var tls: ServerTLS?
        /// Replaces the certificate when its files change.
        var watch: Task<Void, Never>?
    }

    private let parts: GatewayParts
    /// Nil without a port for operators.
    private let adminRoutes: HTTPRoutes?
    private let group: any EventLoopGroup
    private let running = NIOLockedValueBox<Running?>(nil)

    /// `protocols` are those that clients may use; nil means Martlet's own. The node that implements the service has to
    /// encode for the same ones.
    public init(
        options: GatewayOptions, service: any ChatService,
        authenticator: any Authenticator = DevelopmentAuthenticator(), protocols: ProtocolRegistry? = nil,
        eventLoopGroup: any EventLoopGroup, logger: Logger
    ) {
        var options = options
        let protocols = protocols ?? .standard(limits: options.limits)
        // Bytes that are written to the descriptor are not encrypted.
        if options.certificate != nil { options.writesToDescriptor = false }
        let shared = GatewayShared(options: options)
        let fullness = { @Sendable in shared.fullness.withLockedValue { $0 } }
        let routes = HTTPRoutes(
            options: options, service: service, authenticator: authenticator, fullness: fullness,
            audience: options.adminPort == nil ? .everybody : .clients, addresses: shared.addresses,
            sockJS: protocols.sockJS)
        adminRoutes = options.adminPort.map { [options] _ in
            HTTPRoutes(
                options: options, service: service, authenticator: authenticator, fullness: fullness,
                audience: .operators, addresses: shared.addresses, accounts: routes.accounts)
        }
        parts = GatewayParts(
            options: options, service: service, authenticator: authenticator, logger: logger, routes: routes,
            shared: shared, protocols: protocols)
        group = eventLoopGroup
    }

    /// The port that the server listens on; nil before ``start()``.
    public var boundPort: Int? { running.withLockedValue { $0?.listener.localAddress?.port } }

    /// The port for operators; nil if there is none, and before ``start()``.
    public var boundAdminPort: Int? { running.withLockedValue { $0?.adminListener?.localAddress?.port } }

    /// The port of the protocol that is registered under this name; nil if it has none, and before ``start()``.
    public func boundPort(of name: String) -> Int? {
        running.withLockedValue { $0?.ports[name]?.localAddress?.port }
    }

    /// Starts to listen. Throws a ``GatewayError`` if an address cannot be bound, or a ``CertificateError``.
    public func start() async throws {
        var port = GatewayPort(routes: parts.routes, takesProxyHeaders: parts.options.takesProxyHeaders)
        if let files = parts.options.certificate { port.tls = try ServerTLS(files, logger: parts.logger) }
        let tls = port.tls
        var loops: [NIOLoopBound<GatewayLoop>] = []
        let count = Array(group.makeIterator()).count
        for (index, loop) in group.makeIterator().enumerated() {
            let parts = parts
            loops.append(
                try await loop.submit {
                    let gateway = GatewayLoop(eventLoop: loop, parts: parts, index: index, loops: count)
                    gateway.start()
                    return NIOLoopBound(gateway, eventLoop: loop)
                }.get())
        }
        parts.shared.loops.withLockedValue { $0 = loops }
        do throws(GatewayError) {
            let listener = try await listen(loops, port, parts.options.host, parts.options.port)
            let adminListener: (any Channel)?
            var ports: [String: any Channel] = [:]
            do throws(GatewayError) {
                for (name, number) in parts.options.protocolPorts {
                    var own = port
                    own.opensWebSockets = false
                    own.protocolName = name
                    ports[name] = try await listen(loops, own, parts.options.host, number)
                }
                adminListener = try await listenForOperators(loops)
            } catch {
                for channel in [listener] + ports.values { try? await channel.close().get() }
                throw error
            }
            let watch = tls.map { [interval = parts.options.certificateCheck] tls in
                Task { await tls.watch(every: interval) }
            }
            running.withLockedValue {
                $0 = Running(
                    listener: listener, adminListener: adminListener, ports: ports, loops: loops, tls: tls,
                    watch: watch)
            }
        } catch {
            await stop(loops)
            throw error
        }
    }

    private func listenForOperators(_ loops: [NIOLoopBound<GatewayLoop>]) async throws(GatewayError) -> (any Channel)? {
        guard let routes = adminRoutes, let number = parts.options.adminPort else { return nil }
        let port = GatewayPort(routes: routes, opensWebSockets: false)
        return try await listen(loops, port, parts.options.adminHost, number)
    }

    private func listen(
        _ loops: [NIOLoopBound<GatewayLoop>], _ port: GatewayPort, _ host: String, _ number: Int
    ) async throws(GatewayError) -> any Channel {
        do {
            return try await bind(loops, port, host, number)
        } catch {
            throw GatewayError(
                description: "cannot listen on \(HostPort.text(host, number)): \(Self.text(of: error))")
        }
    }

    private func bind(
        _ loops: [NIOLoopBound<GatewayLoop>], _ port: GatewayPort, _ host: String, _ number: Int
    ) async throws -> any Channel {
        let options = parts.options
        var byLoop: [ObjectIdentifier: NIOLoopBound<GatewayLoop>] = [:]
        for (eventLoop, gateway) in zip(group.makeIterator(), loops) { byLoop[ObjectIdentifier(eventLoop)] = gateway }
        let gateways = byLoop
        var bootstrap = ServerBootstrap(group: group)
        // Connections inherit these options from the listening socket (socket(7)); the kernel does not change them
        // later.
        if let bytes = options.sendBufferBytes {
            bootstrap = bootstrap.serverChannelOption(.socketOption(.so_sndbuf), value: .init(bytes))
        }
        if let bytes = options.receiveSocketBytes {
            bootstrap = bootstrap.serverChannelOption(.socketOption(.so_rcvbuf), value: .init(bytes))
        }
        return
            try await bootstrap
            .serverChannelOption(.backlog, value: options.backlog)
            .serverChannelInitializer { [parts] channel in
                channel.eventLoop.makeCompletedFuture {
                    let gate = AcceptGate(
                        options: parts.options, shared: parts.shared, logger: parts.logger,
                        reports: port.opensWebSockets)
                    try channel.pipeline.syncOperations.addHandler(gate)
                }
            }
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            // Without HTTP and WebSockets nothing else may show that a quiet peer has gone.
            .childChannelOption(.socketOption(.so_keepalive), value: port.protocolName == nil ? 0 : 1)
            .childChannelOption(.maxMessagesPerRead, value: 1)
            .childChannelOption(.recvAllocator, value: BriefReads(capacity: options.receiveBufferBytes))
            .childChannelOption(.writeBufferWaterMark, value: .init(low: 16_384, high: 32_768))
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    guard let gateway = gateways[ObjectIdentifier(channel.eventLoop)] else {
                        throw GatewayError(description: "a connection on a loop that is not the gateway's")
                    }
                    let connection = ConnectionHandler(gateway: gateway.value, port: port)
                    if port.hasPreface {
                        try channel.pipeline.syncOperations.addHandler(PrefaceHandler(connection, port: port))
                    }
                    try channel.pipeline.syncOperations.addHandler(connection)
                }
            }
            .bind(host: host, port: number).get()
    }

    private static func text(of error: any Error) -> String {
        guard let error = error as? IOError else { return "\(error)" }
        switch error.errnoCode {
        case EADDRINUSE: return "the address is in use by another program"
        case EACCES: return "not allowed (ports below 1024 need a privilege)"
        case EADDRNOTAVAIL: return "this machine has no such address"
        default: return "\(error)"
        }
    }

    /// Closes the listening socket for clients. Open connections stay, but a handshake on one of them is answered with
    /// 503.
    public func stopAccepting() async {
        guard
            let (listeners, loops) = running.withLockedValue({
                $0.map { ([$0.listener] + Array($0.ports.values), $0.loops) }
            })
        else { return }
        for listener in listeners { try? await listener.close().get() }
        for loop in loops {
            try? await Self.on(loop) {
                $0.isDraining = true
                $0.engines.endPolling()
            }
        }
    }

    /// Asks every session to reconnect at a different time within `spread`, and closes it with `reason` at that time if
    /// it is still open. Returns when all are closed, at the latest after `spread` plus the close timeout.
    public func closeAll(_ reason: CloseReason, spread: Duration) async {
        guard let loops = running.withLockedValue({ $0?.loops }) else { return }
        for loop in loops { try? await Self.on(loop) { $0.closeAll(reason, spread: spread) } }
        let clock = ContinuousClock()
        let end = clock.now + spread + parts.options.closeTimeout + parts.options.tick * 2
        while clock.now < end, await counters().sessions > 0 { try? await clock.sleep(for: .milliseconds(20)) }
    }

    /// Closes the listener, waits a bounded time for requests that are being answered, closes every connection, and
    /// ends the timers. Returns when answers that are still pending were abandoned; then the event loops may be shut
    /// down.
    public func stop() async {
        await stopAccepting()
        guard let (loops, watch, admin) = running.withLockedValue({ $0.map { ($0.loops, $0.watch, $0.adminListener) } })
        else { return }
        watch?.cancel()
        try? await admin?.close().get()
        // A request that was accepted is answered before its connection is closed.
        await answersEnd()
        await stop(loops)
        await answersEnd()
    }

    /// Returns when no request is being answered, at the latest after the close timeout.
    private func answersEnd() async {
        let clock = ContinuousClock()
        let end = clock.now + parts.options.closeTimeout
        while clock.now < end, parts.shared.answering.load(ordering: .relaxed) > 0 {
            try? await clock.sleep(for: .milliseconds(5))
        }
    }

    private func stop(_ loops: [NIOLoopBound<GatewayLoop>]) async {
        for loop in loops { try? await Self.on(loop) { $0.stop() } }
        parts.shared.loops.withLockedValue { $0 = [] }
    }

    /// The sum of all loops' counters.
    public func counters() async -> GatewayCounters {
        var sum = GatewayCounters()
        for loop in running.withLockedValue({ $0?.loops }) ?? [] {
            if let counters = try? await Self.on(loop, { $0.counters }) { sum.add(counters) }
        }
        sum.limitRefusals[.costOfAddress] = parts.routes.accounts.refused
        sum.limitRefusals[.ticketsPerMinutePerUser] = parts.routes.accounts.ticketsRefused
        sum.limitRefusals[.failuresPerMinutePerAddress] = parts.shared.addresses.refused
        sum.isFull = parts.shared.fullness.withLockedValue { $0 } != nil
        sum.timesFull = parts.shared.timesFull.load(ordering: .relaxed)
        sum.acceptErrors = parts.shared.acceptErrors.load(ordering: .relaxed)
        sum.certificateExpires = running.withLockedValue { $0?.tls }?.expires
        return sum
    }

    private static func on<Value: Sendable>(
        _ loop: NIOLoopBound<GatewayLoop>, _ body: @escaping @Sendable (GatewayLoop) -> Value
    ) async throws -> Value {
        try await loop.eventLoop.submit { body(loop.value) }.get()
    }
}
