/// A ``BrokerLink`` to a ``MemoryBrokerHub``. Both of its connections are up from the start and never fail by
/// themselves.
///
/// Confined to one event loop, like every link: all calls, and ``receive(_:connection:)``, happen there.
public final class MemoryBrokerLink: BrokerLink {
    /// The identity that every link reports. It never changes, as the memory is lost only together with its node.
    public static let identity = BrokerIdentity(runID: "memory", replicationID: "memory")

    private enum State {
        /// Can transition to: `up`, `stopped`.
        case idle
        /// Can transition to: `stopped`.
        case up
        /// Final.
        case stopped
    }

    public weak var delegate: (any BrokerLinkDelegate)?
    private let send: (MemoryBrokerCall) -> Void
    private let `defer`: (@escaping () -> Void) -> Void
    private var state = State.idle
    /// Incremented by every reset. News of an older connection are dropped, like the bytes of a dead connection.
    private var connection: UInt64 = 0
    /// The tags that were submitted and are not completed, in order.
    private var waiting: [RequestTag] = []
    private var waitingHead = 0

    /// - Parameters:
    ///   - send: passes a call on to ``MemoryBrokerHub/perform(_:from:now:)``, in order, now or later.
    ///   - defer: runs a closure on the link's loop after the current call has returned; closures keep their order.
    public init(send: @escaping (MemoryBrokerCall) -> Void, defer: @escaping (@escaping () -> Void) -> Void) {
        self.send = send
        self.defer = `defer`
    }

    /// A link whose hub lives in the same isolation: one loop, or a test.
    ///
    /// `clock`: ms since 1970.
    public convenience init(
        hub: MemoryBrokerHub, clock: @escaping () -> UInt64, defer: @escaping (@escaping () -> Void) -> Void
    ) {
        // The hub must reach the link before the link exists.
        let link = Weak<MemoryBrokerLink>()
        let client = hub.connect { news, connection in
            `defer` { link.object?.receive(news, connection: connection) }
        }
        self.init(send: { hub.perform($0, from: client, now: clock()) }, defer: `defer`)
        link.object = self
    }

    public func start() {
        guard case .idle = state else { return }
        state = .up
        announce()
    }

    public func submit(_ request: BrokerRequest, tag: RequestTag) {
        switch state {
        case .up:
            waiting.append(tag)
            send(.submit(request, tag))
        case .idle, .stopped:
            `defer` { [weak self] in self?.delegate?.brokerCompleted(tag, .failure(.notConnected)) }
        }
    }

    public func subscribe(_ entity: Entity) {
        if case .up = state { send(.subscribe(entity)) }
    }

    public func unsubscribe(_ entity: Entity) {
        if case .up = state { send(.unsubscribe(entity)) }
    }

    public func reset(_ entity: Entity) {
        guard case .up = state else { return }
        connection += 1
        send(.reconnect(connection: connection))
        let lost = waiting[waitingHead...]
        waiting = []
        waitingHead = 0
        `defer` { [weak self] in
            guard let self, let delegate = self.delegate, case .up = self.state else { return }
            delegate.brokerCommandsDown("reset", .everything)
            for tag in lost { delegate.brokerCompleted(tag, .failure(.outcomeUnknown)) }
            delegate.brokerSubscriptionsDown("reset", .everything)
        }
        announce()
    }

    public func stop() {
        guard case .up = state else {
            state = .stopped
            return
        }
        state = .stopped
        // This ends the subscriptions. What was submitted before still completes.
        send(.reconnect(connection: connection))
    }

    /// What the hub tells this link, in order. `connection` comes from ``MemoryBrokerHub/connect(_:)``'s closure.
    public func receive(_ news: MemoryBrokerNews, connection: UInt64) {
        guard connection == self.connection else { return }
        switch (news, state) {
        case (.completed(let tag, let result), _):
            completed()
            delegate?.brokerCompleted(tag, result)
        case (.subscribed(let entity), .up):
            delegate?.brokerSubscribed(entity)
        case (.unsubscribed(let entity), .up):
            delegate?.brokerUnsubscribed(entity)
        case (.heard(let entity, let event), .up):
            delegate?.brokerHeard(entity, event)
        case (.subscribed, .idle), (.subscribed, .stopped), (.unsubscribed, .idle), (.unsubscribed, .stopped),
            (.heard, .idle), (.heard, .stopped):
            break
        }
    }

    private func completed() {
        guard waitingHead < waiting.count else { return }
        waitingHead += 1
        if waitingHead == waiting.count || waitingHead > 1_024 {
            waiting.removeFirst(waitingHead)
            waitingHead = 0
        }
    }

    private func announce() {
        `defer` { [weak self] in
            guard let self, let delegate = self.delegate, case .up = self.state else { return }
            delegate.brokerCommandsUp(Self.identity, .everything)
            delegate.brokerSubscriptionsUp(Self.identity, .everything)
        }
    }
}
