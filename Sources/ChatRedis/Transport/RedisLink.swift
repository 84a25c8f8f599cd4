import ChatCore
import Logging
import NIOCore

/// An event loop's way to Redis: ``BrokerLink`` over one command connection and one subscribe connection.
///
/// All on one loop, without locks: whoever makes it hands it to that loop. What a loop tick submits leaves in one
/// write, and requests wait in a queue of plain values (``CommandQueue``), without a promise each.
///
/// - A command that is unanswered for `commandTimeout` costs the command connection, for RESP has no request IDs by
///   which it could be left alone: all that is in flight completes as `.outcomeUnknown`.
/// - On a loss the delegate hears `brokerCommandsDown` first, then the completions of what was in flight.
/// - `brokerCommandsDown` and `brokerSubscriptionsDown` are said for every failed try to connect, with its reason.
/// - When more than `queuedBytes` are unanswered, a request completes as `.notStored`, in its turn.
///
/// Ends only by ``stop()``.
public final class RedisLink: BrokerLink {
    public weak var delegate: (any BrokerLinkDelegate)?
    public let settings: RedisLinkSettings
    public let eventLoop: any EventLoop
    let codec: any RedisCodecProtocol
    let observer: (any RedisLinkObserver)?
    let logger: Logger

    let commands: RedisConnection
    let subscriptions: RedisConnection

    // Commands
    var queue = CommandQueue()
    var writer = RESPWriter()
    var commandsBeforeTick = 0
    var lastCommandActivity = Moment(nanoseconds: 0)
    var isBatchSampled = false

    // Subscriptions
    var machine = SubscriptionStateMachine()
    var subscriptionBatch: [SubscriptionOrder] = []
    var subscriptionPing = false
    var lastSubscriptionActivity = Moment(nanoseconds: 0)
    var badPayloads = BadPayloads()

    private var isStopping = false
    private var isTickScheduled = false
    /// The clock, read once a tick.
    private var tickNow: Moment?
    private var checks: RepeatedTask?
    private let stoppedPromise: EventLoopPromise<Void>

    /// How long Redis takes to answer: smoothed over commands and PINGs (1/8 of each new sample, as TCP does it, RFC
    /// 6298).
    public private(set) var roundTrip: Duration = .milliseconds(1)
    private var hasRoundTrip = false

    /// Throws if the URL's certificate authority cannot be read. Does not connect yet.
    public init(
        settings: RedisLinkSettings, codec: any RedisCodecProtocol, eventLoop: any EventLoop, logger: Logger,
        observer: (any RedisLinkObserver)? = nil
    ) throws(RedisSetupError) {
        self.settings = settings
        self.codec = codec
        self.eventLoop = eventLoop
        self.logger = logger
        self.observer = observer
        let connector = try RedisConnector(url: settings.url, timeout: settings.connectTimeout)
        commands = RedisConnection(
            role: .commands, settings: settings, connector: connector, eventLoop: eventLoop, codec: codec)
        subscriptions = RedisConnection(
            role: .subscriptions, settings: settings, connector: connector, eventLoop: eventLoop, codec: nil)
        stoppedPromise = eventLoop.makePromise()
        commands.owner = self
        subscriptions.owner = self
    }

    deinit { stoppedPromise.succeed() }

    /// Done when the link has stopped: nothing of it is left on the loop.
    public var stopped: EventLoopFuture<Void> { stoppedPromise.futureResult }

    // MARK: BrokerLink

    public func start() {
        commands.start()
        subscriptions.start()
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

    public func subscribe(_ room: RoomName) {
        order(room, subscribes: true)
    }

    public func unsubscribe(_ room: RoomName) {
        order(room, subscribes: false)
    }

    public func reset() {
        onNextTick { link in
            let error = RedisSetupError(
                .closed, "redis at \(link.settings.url): the connection was given up by the node")
            link.commands.drop(error)
            link.subscriptions.drop(error)
        }
    }

    public func stop() {
        guard !isStopping else { return }
        isStopping = true
        // What was submitted before this leaves in this tick; then the answers are waited for, as long as any
        // command's.
        onNextTick { link in
            link.subscriptions.stop()
            link.machine = SubscriptionStateMachine()
            if !link.commands.isUp { link.commands.stop() }
            link.finishIfStopping()
        }
    }

    // MARK: Ticks

    var now: Moment {
        if let tickNow { return tickNow }
        let now = RedisConnection.now()
        if isTickScheduled { tickNow = now }
        return now
    }

    func scheduleTick() {
        guard !isTickScheduled else { return }
        isTickScheduled = true
        eventLoop.assumeIsolatedUnsafeUnchecked().execute { self.tick() }
    }

    /// Sends what was submitted since the last one.
    private func tick() {
        isTickScheduled = false
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

    /// Looks for deadlines that passed and for silence.
    private func check() {
        let now = RedisConnection.now()
        checkCommands(now: now, isStopping: isStopping)
        if !isStopping { checkSubscriptions(now: now) }
    }

    func finishIfStopping() {
        guard isStopping, queue.isEmpty else { return }
        commands.stop()
        checks?.cancel()
        checks = nil
        stoppedPromise.succeed()
    }

    func sampled(roundTrip sample: Duration) {
        roundTrip = hasRoundTrip ? roundTrip * 7 / 8 + sample / 8 : sample
        hasRoundTrip = true
    }
}

/// Lets a timer not keep its object alive.
private struct Weak<Object: AnyObject> {
    weak var object: Object?
    init(_ object: Object) { self.object = object }
}

extension RedisLink: RedisConnectionOwner {
    func connectionUp(_ role: RedisConnectionRole, _ info: RedisServerInfo) {
        let attempt = role == .commands ? commands.attempts : subscriptions.attempts
        observer?.redisConnected(role, attempt: attempt)
        logger.debug(
            "connected to redis",
            metadata: ["channel": "\(role.rawValue)", "shard": "\(settings.loopIndex)", "attempt": "\(attempt)"])
        switch role {
        case .commands:
            lastCommandActivity = RedisConnection.now()
            delegate?.brokerCommandsUp(info.identity)
        case .subscriptions:
            lastSubscriptionActivity = RedisConnection.now()
            delegate?.brokerSubscriptionsUp(info.identity)
        }
    }

    func connectionDown(_ role: RedisConnectionRole, _ error: RedisSetupError, wasUp: Bool) {
        observer?.redisDisconnected(role)
        logger.debug(
            "no connection to redis",
            metadata: ["channel": "\(role.rawValue)", "shard": "\(settings.loopIndex)", "error": "\(error.message)"])
        switch role {
        case .commands:
            writer = RESPWriter()
            commandsBeforeTick = 0
            let completions = queue.connectionLost()
            if !isStopping { delegate?.brokerCommandsDown(error.message) }
            for completion in completions { deliver(completion) }
            if isStopping { commands.stop() }
            finishIfStopping()
        case .subscriptions:
            machine = SubscriptionStateMachine()
            subscriptionBatch.removeAll()
            if !isStopping { delegate?.brokerSubscriptionsDown(error.message) }
        }
    }

    func connectionReplied(_ role: RedisConnectionRole, _ arena: RESPArena, readAt: Moment) -> Bool {
        switch role {
        case .commands: commandReplied(arena, readAt: readAt)
        case .subscriptions: subscriptionReplied(arena, readAt: readAt)
        }
    }

    func connectionReadEnded(_ role: RedisConnectionRole) {
        if role == .commands { isBatchSampled = false }
        finishIfStopping()
    }
}
