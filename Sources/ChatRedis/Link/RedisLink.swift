import ChatCore
import Logging
import NIOCore

/// A ``BrokerLink`` to one Redis, over a command connection and a subscribe connection.
///
/// Confined to one loop, without locks. All requests of a loop tick are sent in one write. They wait for their answers
/// in a queue of plain values (``CommandQueue``), without a promise for each.
///
/// - If a command is unanswered for `commandTimeout`, the command connection is closed, as RESP has no request IDs that
///   would allow to abandon one command. Everything in flight completes as `.outcomeUnknown`.
/// - On a loss the delegate gets `brokerCommandsDown` first, then the completions of what was in flight.
/// - `brokerCommandsDown` and `brokerSubscriptionsDown` are also called for every failed attempt to connect, with its
///   reason.
/// - With ``RedisLinkSettings/master`` all connections lead to the Redis that Sentinel names, and move together. If two
///   connections reach different servers nevertheless (because a DNS name has changed), the older one is closed.
/// - READONLY means that the master has become a replica: all connections are closed.
/// - While more than `queuedBytes` bytes are unanswered, a request completes as `.notStored`, in its turn.
///
/// The link ends only by ``stop()``.
public final class RedisLink: BrokerLink, TickWork {
    public weak var delegate: (any BrokerLinkDelegate)?
    public let settings: RedisLinkSettings
    public let eventLoop: any EventLoop
    let codec: any RedisCodecProtocol
    let observer: (any RedisLinkObserver)?
    let logger: Logger

    let commands: RedisConnection
    let subscriptions: RedisConnection
    let replicas: RedisConnection?
    /// The run ID of the server on each connection that is up.
    var servers: [RedisConnectionRole: String] = [:]

    // Commands
    var queue = CommandQueue()
    var writer = RESPWriter()
    var commandsBeforeTick = 0
    /// Publications that are sent at the end of the tick.
    var publishing = PublishBatches()
    /// The number of appends of which others have to hear in this tick, and in the last tick that had any.
    var sharedAppends = 0
    var recentSharedAppends = 0
    var lastCommandActivity = Moment(nanoseconds: 0)
    var isBatchSampled = false
    /// Whether a command was answered READONLY.
    var isReadOnly = false

    // Subscriptions
    var machine: SubscriptionStateMachine
    var subscriptionBatch: [SubscriptionOrder] = []
    var subscriptionPing = false
    var lastSubscriptionActivity = Moment(nanoseconds: 0)
    var ignoredLines = LineRate<IgnoredData>(pause: .seconds(60))

    /// In a Cluster: told of channels that this server does not serve any more, as slots move.
    weak var cluster: (any RedisLinkCluster)?
    /// In a Cluster: the hash tag of a slot that is served here.
    var replicationTag: String?

    // Replicas
    var confirmations = RingBuffer<Confirmation>()

    private var isStopping = false
    private let loopTick: LoopTick
    private let flush = LoopTick.Errand(.broker)
    /// The current time, read once a tick.
    private var tickNow: Moment?
    private var checks: RepeatedTask?
    private let stoppedPromise: EventLoopPromise<Void>

    /// The time that Redis takes to answer, smoothed over commands and PINGs (1/8 of each new sample, as in RFC 6298).
    public private(set) var roundTrip: Duration = .milliseconds(1)
    private var hasRoundTrip = false

    /// `tick` is that of the event loop. Throws if the URL's certificate authority cannot be read. Does not connect
    /// yet.
    public convenience init(
        settings: RedisLinkSettings, codec: any RedisCodecProtocol, eventLoop: any EventLoop, tick: LoopTick,
        logger: Logger, observer: (any RedisLinkObserver)? = nil
    ) throws(RedisSetupError) {
        let connector =
            settings.master == nil ? try RedisConnector(url: settings.url, timeout: settings.connectTimeout) : nil
        self.init(
            settings: settings, connector: connector, codec: codec, eventLoop: eventLoop, tick: tick, logger: logger,
            observer: observer)
    }

    /// `connector` leads to ``RedisLinkSettings/url``; nil if ``RedisLinkSettings/master`` provides the address.
    init(
        settings: RedisLinkSettings, connector: RedisConnector?, codec: any RedisCodecProtocol,
        eventLoop: any EventLoop, tick: LoopTick, logger: Logger, observer: (any RedisLinkObserver)?
    ) {
        self.settings = settings
        loopTick = tick
        self.codec = codec
        self.eventLoop = eventLoop
        self.logger = logger
        self.observer = observer
        machine = Self.machine(codec, settings)
        commands = RedisConnection(
            role: .commands, settings: settings, connector: connector, eventLoop: eventLoop, codec: codec)
        subscriptions = RedisConnection(
            role: .subscriptions, settings: settings, connector: connector, eventLoop: eventLoop, codec: nil)
        replicas =
            settings.confirmsReplicas
            ? RedisConnection(
                role: .replicas, settings: settings, connector: connector, eventLoop: eventLoop, codec: nil) : nil
        stoppedPromise = eventLoop.makePromise()
        for connection in connections { connection.owner = self }
    }

    deinit { stoppedPromise.succeed() }

    /// Completes when the link has stopped and has no work left on the loop.
    public var stopped: EventLoopFuture<Void> { stoppedPromise.futureResult }

    private func newMachine() -> SubscriptionStateMachine { Self.machine(codec, settings) }

    private static func machine(
        _ codec: any RedisCodecProtocol, _ settings: RedisLinkSettings
    ) -> SubscriptionStateMachine {
        SubscriptionStateMachine(frame: codec.channelFrame, mayLeave: settings.kind == .clusterMaster)
    }

    // MARK: BrokerLink

    var connections: [RedisConnection] { [commands, subscriptions] + (replicas.map { [$0] } ?? []) }

    public func start() {
        for connection in connections { connection.start() }
        follow()
        let interval = min(
            max(min(settings.pingInterval, settings.commandTimeout) / 8, .milliseconds(5)), .milliseconds(250))
        checks = eventLoop.scheduleRepeatedTask(initialDelay: TimeAmount(interval), delay: TimeAmount(interval)) {
            [bound = NIOLoopBound(Weak(self), eventLoop: eventLoop)] task in
            guard let link = bound.value.object else { return task.cancel() }
            link.check()
        }
    }

    public func submit(_ request: BrokerRequest, tag: RequestTag) {
        enqueue(request, tag: tag, isStopping: isStopping)
        scheduleTick()
    }

    public func subscribe(_ entity: Entity) {
        order(entity, subscribes: true)
    }

    public func unsubscribe(_ entity: Entity) {
        order(entity, subscribes: false)
    }

    public var hasUnread: Bool { connections.contains { $0.hasUnread } }

    public func reset(_ entity: Entity) {
        onNextTick { link in
            link.dropAll(RedisSetupError(.closed, "\(link.commands.place): the connection was given up by the node"))
        }
    }

    public func stop() {
        guard !isStopping else { return }
        isStopping = true
        // What was submitted before is sent in this tick, and its answers are waited for within the usual deadline.
        onNextTick { link in
            link.subscriptions.stop()
            link.replicas?.stop()
            link.failConfirmations()
            link.machine = link.newMachine()
            if !link.commands.isUp { link.commands.stop() }
            link.finishIfStopping()
        }
    }

    // MARK: Ticks

    var now: Moment {
        if let tickNow { return tickNow }
        let now = RedisConnection.now()
        if flush.isAsked { tickNow = now }
        return now
    }

    func scheduleTick() {
        loopTick.ask(flush, self)
    }

    /// Sends what was submitted since the last tick.
    public func tickEnded(_ phase: LoopTick.Phase) {
        flushCommands()
        if !isStopping { flushSubscriptions() }
        tickNow = nil
        settle()
        finishIfStopping()
    }

    private func onNextTick(_ body: @escaping (RedisLink) -> Void) {
        scheduleTick()
        eventLoop.assumeIsolatedUnsafeUnchecked().execute { body(self) }
    }

    /// Closes connections whose deadlines have passed, and sends PING on silent ones.
    private func check() {
        let now = RedisConnection.now()
        checkCommands(now: now, isStopping: isStopping)
        guard !isStopping else { return }
        checkSubscriptions(now: now)
        checkConfirmations(now: now)
    }

    func finishIfStopping() {
        guard isStopping, queue.isEmpty, publishing.isEmpty else { return }
        commands.stop()
        checks?.cancel()
        checks = nil
        stoppedPromise.succeed()
    }

    func sampled(roundTrip sample: Duration) {
        roundTrip = hasRoundTrip ? roundTrip.smoothed(with: sample) : sample
        hasRoundTrip = true
    }
}

/// The owner of a link to one of a Cluster's masters. Called on the link's loop.
protocol RedisLinkCluster: AnyObject {
    /// The channel of the entity is not subscribed any more, or cannot be; `reason` is Redis' error if there was one.
    func channelLeft(_ entity: Entity, _ reason: String, from link: RedisLink)
}

extension RedisLink: RedisConnectionOwner {
    func connectionUp(_ role: RedisConnectionRole, _ info: RedisServerInfo) {
        let attempt = role == .commands ? commands.attempts : subscriptions.attempts
        observer?.redisConnected(role, attempt: attempt)
        logger.debug(
            "connected to redis",
            metadata: ["channel": "\(role.rawValue)", "shard": "\(settings.loopIndex)", "attempt": "\(attempt)"])
        servers[role] = info.identity.runID
        switch role {
        case .commands:
            lastCommandActivity = RedisConnection.now()
            delegate?.brokerCommandsUp(info.identity, .everything)
        case .subscriptions:
            lastSubscriptionActivity = RedisConnection.now()
            delegate?.brokerSubscriptionsUp(info.identity, .everything)
        case .replicas:
            break
        }
        dropStrangers(to: role)
    }

    func connectionDown(_ role: RedisConnectionRole, _ error: RedisSetupError, wasUp: Bool) {
        observer?.redisDisconnected(role)
        logger.debug(
            "no connection to redis",
            metadata: ["channel": "\(role.rawValue)", "shard": "\(settings.loopIndex)", "error": "\(error.message)"])
        servers[role] = nil
        // `.moved` comes from Sentinel itself. Any other error may mean that there is a new master.
        if error.code != .moved { settings.master?.troubled() }
        switch role {
        case .commands:
            writer = RESPWriter()
            commandsBeforeTick = 0
            publishing.removeAll()
            let completions = queue.connectionLost()
            if !isStopping { delegate?.brokerCommandsDown(error.message, .everything) }
            for completion in completions { deliver(completion) }
            if isStopping { commands.stop() }
            finishIfStopping()
        case .subscriptions:
            machine = newMachine()
            subscriptionBatch.removeAll()
            if !isStopping { delegate?.brokerSubscriptionsDown(error.message, .everything) }
        case .replicas:
            failConfirmations()
        }
    }

    func connectionReplied(_ role: RedisConnectionRole, _ arena: RESPArena, readAt: Moment) -> Bool {
        switch role {
        case .commands: commandReplied(arena, readAt: readAt)
        case .subscriptions: subscriptionReplied(arena, readAt: readAt)
        case .replicas: confirmationReplied(arena)
        }
    }

    func connectionReadEnded(_ role: RedisConnectionRole) {
        if role == .commands { isBatchSampled = false }
        finishIfStopping()
    }
}

extension Duration {
    /// 7/8 of this value plus 1/8 of the sample. It uses shifts, as dividing a Duration is a 128-bit division.
    fileprivate func smoothed(with sample: Duration) -> Duration {
        Duration(attoseconds: attoseconds - attoseconds >> 3 + sample.attoseconds >> 3)
    }
}
