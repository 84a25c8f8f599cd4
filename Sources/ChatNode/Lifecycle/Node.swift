import ChatArchive
import ChatCore
import ChatGateway
import ChatHub
import ChatRedis
import Logging
import NIOCore
import NIOPosix
import ServiceLifecycle

/// A Martlet node: event loops with three hosts each, the gateway in front of them and the broker behind them. It runs
/// until it is asked to leave (SIGTERM or SIGINT through the service group), and then leaves in order.
public struct Node: Service {
    /// The version that heartbeats and `/metrics` report.
    public static let version = "0.2.0"

    let configuration: NodeConfiguration
    let metrics: NodeMetrics
    let logger: Logger
    /// Called with the port once the node listens, for `MARTLET_PORT=0` and for tests.
    let onListening: @Sendable (Int) -> Void
    let protocols: (@Sendable (Limits) -> ProtocolRegistry)?
    /// Called with the numbers of the ports of protocols, by their names, once the node listens.
    let onListeningToPorts: @Sendable ([String: Int]) -> Void
    let revocations = NodeRevocations()

    /// `protocols`: what clients may speak, within the configured limits; nil for what is configured.
    public init(
        configuration: NodeConfiguration, metrics: NodeMetrics, logger: Logger,
        protocols: (@Sendable (Limits) -> ProtocolRegistry)? = nil,
        onListeningToPorts: @escaping @Sendable ([String: Int]) -> Void = { _ in },
        onListening: @escaping @Sendable (Int) -> Void = { _ in }
    ) {
        self.onListeningToPorts = onListeningToPorts
        self.protocols = protocols
        self.configuration = configuration
        self.metrics = metrics
        self.logger = logger
        self.onListening = onListening
    }

    /// Runs the node. Throws if it cannot start: the address is taken, or Redis answers but cannot be used (wrong
    /// password, too old). A Redis that does not answer is waited for; a host name that does not resolve is waited for
    /// only for `MARTLET_REDIS_NAME_WAIT`.
    public func run() async throws {
        let identity = try NodeID.unique(name: configuration.node.name)
        var logger = logger
        logger[metadataKey: LogKey.node] = "\(identity)"
        let group = MultiThreadedEventLoopGroup(numberOfThreads: configuration.node.eventLoops)
        do {
            try await serve(identity, on: group, logger)
        } catch is CancellationError {
            logger.notice("asked to leave before it began")
        } catch {
            try? await group.shutdownGracefully()
            throw error
        }
        try await group.shutdownGracefully()
    }

    private func serve(_ identity: NodeID, on group: MultiThreadedEventLoopGroup, _ logger: Logger) async throws {
        let brokers = try await BrokerFactory.make(
            configuration, node: identity, group: group, metrics: metrics, logger: logger)
        let limits = configuration.roomSettings.limits
        var protocols =
            protocols?(limits) ?? .standard(limits: limits, speaksStomp: configuration.listener.speaksStomp)
        if let profile = try configuration.readSocketIOProfile() { protocols.registerSocketIO(profile) }
        var hubSettings = HubSettings(node: identity, rooms: configuration.roomSettings, encoder: protocols)
        hubSettings.receipts = configuration.rooms.receipts
        hubSettings.roomsMemory = configuration.rooms.allMemoryBytes
        hubSettings.tokenGrace = configuration.tokenGrace
        hubSettings.editWindow = UInt64(clamping: configuration.rooms.editWindow.wholeMilliseconds)
        let words = try WordFile(configuration, logger: logger)
        hubSettings.words = words?.screen
        hubSettings.hook = configuration.hookSettings
        var settings = LoopSettings(
            hub: hubSettings, ackReplicas: configuration.redis.ackReplicas,
            ackDeadline: configuration.redis.ackDeadline, wallClock: { WallClock.milliseconds })
        settings.hook = try configuration.hookTarget()
        settings.archive = configuration.archive.map { ArchiveReader($0) }
        let eventLoops = Array(group.makeIterator())
        let loops = try eventLoops.enumerated().map { index, eventLoop in
            let tick = LoopTick(of: eventLoop)
            let link = try brokers.link(index, eventLoop, tick)
            return Loop(
                index: index, of: eventLoops.count, eventLoop: eventLoop, tick: tick, settings: settings, link: link,
                metrics: metrics, logger: logger)
        }
        let hub = Hub(loops: loops, settings: settings, metrics: metrics)
        guard let first = loops.first else { return }
        let tokens = try authenticator(Tickets { await first.ask($0) }, logger)
        try tokens?.start(on: first.eventLoop)
        defer { tokens?.stop() }
        hub.attach(tokens)
        let report = NodeReport(
            node: identity, address: "", version: Self.version, started: WallClock.milliseconds)
        let pulse = NodePulse(report, lease: NodeLife.timeToLive(lease: configuration.node.lease))
        let keeper = Keeper(loop: first, pulse: pulse, logger: logger)
        for loop in loops { try await loop.eventLoop.submit { loop.start(loops, keeper: keeper) }.get() }
        let commands = CommandReader(keeper: keeper, hub: hub, revocations: revocations, logger: logger)
        let life = NodeLife(
            node: identity, configuration: configuration, hub: hub, keeper: keeper, commands: commands, words: words,
            logger: logger)
        await life.firstBeat(within: .seconds(2))
        await commands.begin(within: .seconds(2))

        let plan = try DescriptorPlan.current(configuration)
        if let plan, plan.isBound {
            logger.notice(
                "connections are bounded by the limit of open files",
                metadata: [
                    LogKey.count: "\(plan.connections)", LogKey.remedy: "raise the limit (ulimit -n, LimitNOFILE=)",
                ])
        }
        var options = configuration.gatewayOptions(identity, plan)
        options.incomingHooks = try configuration.readHooks()
        let gateway = GatewayServer(
            options: options, service: hub,
            authenticator: tokens ?? DevelopmentAuthenticator(), protocols: protocols, eventLoopGroup: group,
            logger: logger)
        do {
            try await gateway.start()
        } catch {
            // No link may send anything after its loop has ended.
            for loop in loops { try? await loop.eventLoop.submit { loop.broker.link.stop() }.get() }
            brokers.stop()
            for loop in loops { try? await loop.eventLoop.submit {}.get() }
            throw error
        }
        hub.attach(gateway)
        let port = gateway.boundPort ?? configuration.listener.port
        life.address = HostPort.text(configuration.listener.host, port)
        logger.notice("listening", metadata: [LogKey.address: "\(life.address)"])
        if let port = gateway.boundAdminPort {
            logger.notice(
                "serving operators",
                metadata: [LogKey.address: "\(HostPort.text(configuration.listener.adminHost, port))"])
        }
        let stomp = gateway.boundPort(of: ProtocolRegistry.stompPort)
        if let stomp {
            logger.notice(
                "serving STOMP",
                metadata: [LogKey.address: "\(HostPort.text(configuration.listener.host, stomp))"])
        }
        if tokens == nil {
            logger.warning(
                "development mode: anybody may claim to be any user and may do everything",
                metadata: [LogKey.remedy: "set MARTLET_TOKEN_HMAC_SECRET or another key of tokens"])
        }
        onListeningToPorts(stomp.map { [ProtocolRegistry.stompPort: $0] } ?? [:])
        onListening(port)

        await life.run()
        await life.leave(gateway)
        for loop in loops { try? await loop.eventLoop.submit { loop.broker.link.stop() }.get() }
        brokers.stop()
    }

    /// Verifies tokens; nil in development mode.
    private func authenticator(_ tickets: Tickets, _ logger: Logger) throws -> TokenAuthenticator? {
        guard configuration.access.isOn else { return nil }
        return try TokenAuthenticator(
            configuration.access, revocations: revocations, tickets: tickets, metrics: metrics, logger: logger,
            clock: { WallClock.milliseconds })
    }
}
