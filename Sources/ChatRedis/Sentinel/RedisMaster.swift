import ChatCore
import Logging
import NIOCore

/// Finds the master that Sentinel monitors, for all links of a node, and notifies them when it changes.
///
/// Works on one event loop from ``start()`` to ``stop()``; it may be called from any thread.
public final class RedisMaster: @unchecked Sendable {
    // Safe as @unchecked Sendable: every member but the constants is accessed on `eventLoop` only (see `onLoop`).

    public let url: SentinelURL
    private let eventLoop: any EventLoop
    private let logger: Logger
    private let peers: [SentinelPeer]
    private let masterConnector: RedisConnector
    private var machine: SentinelStateMachine
    private var timer: Scheduled<Void>?
    private var timerAt: Moment?
    private var followers: [@Sendable (RedisConnector) -> Void] = []
    private var waiters: [UInt64: EventLoopPromise<RedisURL>] = [:]
    private var nextWaiter: UInt64 = 0
    private var isStopped = false

    /// Throws if the URL's certificate authority cannot be read. Does not connect yet.
    ///
    /// `deadline` limits the time of a sentinel's answer; `connectTimeout` applies to the Redis that is found.
    public convenience init(
        _ url: SentinelURL, deadline: Duration = .seconds(1), connectTimeout: Duration = .seconds(5),
        eventLoop: any EventLoop, logger: Logger
    ) throws(RedisSetupError) {
        var settings = SentinelStateMachine.Settings(sentinels: url.sentinels.count)
        settings.deadline = deadline
        try self.init(url, settings, connectTimeout: connectTimeout, eventLoop: eventLoop, logger: logger)
    }

    init(
        _ url: SentinelURL, _ settings: SentinelStateMachine.Settings, connectTimeout: Duration,
        eventLoop: any EventLoop, logger: Logger
    ) throws(RedisSetupError) {
        self.url = url
        self.eventLoop = eventLoop
        self.logger = logger
        machine = SentinelStateMachine(settings)
        masterConnector = try RedisConnector(url: url.master(host: "", port: 0), timeout: connectTimeout)
        var peers: [SentinelPeer] = []
        for (index, sentinel) in url.sentinels.enumerated() {
            let connector = try RedisConnector(url: sentinel, timeout: settings.deadline)
            peers.append(
                SentinelPeer(
                    index, connector, masterName: url.masterName, clientName: "martlet:sentinel", eventLoop: eventLoop))
        }
        self.peers = peers
    }

    /// Starts to query the sentinels. Called once.
    public func start() {
        onLoop { [self] in
            for peer in peers { peer.owner = self }
            happen { $0.started(now: $1, &$2) }
        }
    }

    /// Closes all connections; followers are not called any more, and pending `find` calls fail.
    public func stop() {
        onLoop { [self] in
            isStopped = true
            timer?.cancel()
            timer = nil
            followers = []
            for peer in peers { peer.close() }
            let error = RedisSetupError(.noSentinel, "\(url): the node has stopped to look for the master")
            for waiter in waiters.values { waiter.fail(error) }
            waiters = [:]
        }
    }

    /// The master, as soon as it is known. Throws the reason if it is not known in time.
    public func find(within patience: Duration) async throws(RedisSetupError) -> RedisURL {
        let future = eventLoop.flatSubmit { [self] in waitForMaster(patience) }
        do {
            return try await future.get()
        } catch let error as RedisSetupError {
            throw error
        } catch {
            throw RedisSetupError(.noSentinel, "\(url): \(error)")
        }
    }

    /// `led` is called at once if the master is known, and whenever it changes, on this object's loop.
    func follow(_ led: @escaping @Sendable (RedisConnector) -> Void) {
        onLoop { [self] in
            guard !isStopped else { return }
            followers.append(led)
            if let master = machine.master { led(connector(to: master)) }
        }
    }

    /// Called when a connection to the master failed, or when the server is not a master.
    func troubled() {
        onLoop { [self] in happen { $0.troubled(now: $1, &$2) } }
    }

    // MARK: On the loop

    private func onLoop(_ body: @escaping @Sendable () -> Void) {
        if eventLoop.inEventLoop { body() } else { eventLoop.execute(body) }
    }

    private func waitForMaster(_ patience: Duration) -> EventLoopFuture<RedisURL> {
        let promise = eventLoop.makePromise(of: RedisURL.self)
        if let master = machine.master {
            promise.succeed(url.master(host: master.host, port: master.port))
            return promise.futureResult
        }
        let id = nextWaiter
        nextWaiter += 1
        waiters[id] = promise
        eventLoop.scheduleTask(in: TimeAmount(patience)) { [self] in
            waiters.removeValue(forKey: id)?.fail(whyUnknown())
        }
        return promise.futureResult
    }

    private func whyUnknown() -> RedisSetupError {
        let reasons = zip(peers, machine.troubles ?? []).map { "\($0.place) \($1)" }.joined(separator: "; ")
        let name = url.masterName
        if machine.isNameUnknown {
            return RedisSetupError(.unknownMaster, "no sentinel knows a master \"\(name)\": \(reasons)")
        }
        let troubles = (machine.troubles ?? []).compactMap { $0 }
        if !troubles.isEmpty, troubles.allSatisfy({ $0.hasPrefix(SentinelDialogue.noSentinel) }) {
            return RedisSetupError(
                .notRedis,
                "\(reasons): let MARTLET_REDIS_URL name it with redis:// (or redis+cluster://), or the sentinels' port "
                    + "(26379)"
            )
        }
        return RedisSetupError(
            .noSentinel, "no sentinel knows the address of \"\(name)\"" + (reasons.isEmpty ? "" : ": \(reasons)"))
    }

    private func connector(to address: SentinelStateMachine.Address) -> RedisConnector {
        RedisConnector(masterConnector, url: url.master(host: address.host, port: address.port))
    }

    private func happen(_ event: (inout SentinelStateMachine, Moment, inout [SentinelStateMachine.Action]) -> Void) {
        guard !isStopped else { return }
        var actions: [SentinelStateMachine.Action] = []
        event(&machine, RedisConnection.now(), &actions)
        for action in actions { run(action) }
        arm()
    }

    private func run(_ action: SentinelStateMachine.Action) {
        switch action {
        case .connect(let index): peers[index].connect()
        case .ask(let index): peers[index].ask()
        case .close(let index): peers[index].close()
        case .lead(let address):
            let target = connector(to: address)
            logger.notice(
                "sentinel names the master", metadata: ["address": "\(target.url.place)", "value": "\(url.masterName)"])
            for follower in followers { follower(target) }
            for waiter in waiters.values { waiter.succeed(target.url) }
            waiters = [:]
        case .lost(let index, let reason):
            logger.warning(
                "a sentinel cannot be asked", metadata: ["address": "\(peers[index].place)", "error": "\(reason)"])
        case .back(let index):
            logger.notice("a sentinel answers again", metadata: ["address": "\(peers[index].place)"])
        }
    }

    private func arm() {
        guard let wake = machine.nextWake, !isStopped else { return }
        if let timerAt, timer != nil, timerAt <= wake { return }
        timer?.cancel()
        timerAt = wake
        let delay = max(.zero, wake - RedisConnection.now()) + .milliseconds(1)
        timer = eventLoop.scheduleTask(in: TimeAmount(delay)) { [weak self] in
            guard let self else { return }
            self.timer = nil
            self.happen { $0.timerFired(now: $1, &$2) }
        }
    }
}

extension RedisMaster: SentinelPeerOwner {
    func sentinelConnected(_ index: Int) {
        happen { $0.connected(index, now: $1, &$2) }
    }

    func sentinelSaid(_ index: Int, _ event: SentinelDialogue.Event) {
        switch event {
        case .answered(let answer): happen { $0.answered(index, answer, now: $1, &$2) }
        case .switched: happen { $0.switched(now: $1, &$2) }
        case .none, .failed: break
        }
    }

    func sentinelFailed(_ index: Int, _ reason: String) {
        happen { $0.failed(index, reason, now: $1, &$2) }
    }
}
