import ChatCore
import Logging
import NIOCore

/// A link from one event loop to a Redis Cluster: a ``RedisLink`` to each of its masters, and a ``ClusterRouter`` that
/// decides which of them gets which request.
///
/// All of it runs on one loop, like every link. Links to masters are added and removed as ``RedisCluster`` reports
/// them.
public final class RedisClusterLink: BrokerLink {
    public weak var delegate: (any BrokerLinkDelegate)?
    private let settings: RedisLinkSettings
    private let cluster: RedisCluster
    private let codec: any RedisCodecProtocol
    private let eventLoop: any EventLoop
    private let tick: LoopTick
    private let logger: Logger
    private let observer: (any RedisLinkObserver)?
    private var router: ClusterRouter
    private var parts: [ClusterRouter.PartID: Part] = [:]
    /// Answers to calls of the owner, which are delivered after the call has returned.
    private var deferred: [ClusterRouter.Action] = []
    private var isStopping = false
    /// The interval at which the Cluster is queried while something is wrong.
    private static let patience: TimeAmount = .milliseconds(250)

    /// `settings` are those of the link to each master, except for the address. `nodesSlot` is the slot of
    /// ``Entity/nodes``.
    public init(
        settings: RedisLinkSettings, cluster: RedisCluster, nodesSlot: HashSlot, codec: any RedisCodecProtocol,
        eventLoop: any EventLoop, tick: LoopTick, logger: Logger, observer: (any RedisLinkObserver)? = nil
    ) {
        self.settings = settings
        self.cluster = cluster
        self.codec = codec
        self.eventLoop = eventLoop
        self.tick = tick
        self.logger = logger
        self.observer = observer
        router = ClusterRouter(nodesSlot: nodesSlot)
    }

    /// A link to one master, and the receiver of its callbacks.
    fileprivate final class Part {
        let id: ClusterRouter.PartID
        let link: RedisLink
        weak var owner: RedisClusterLink?
        /// The server that answers on its command connection.
        var identity: BrokerIdentity?

        init(_ id: ClusterRouter.PartID, _ link: RedisLink, owner: RedisClusterLink) {
            self.id = id
            self.link = link
            self.owner = owner
        }
    }

    // MARK: BrokerLink

    public func start() {
        let bound = NIOLoopBound(Weak(self), eventLoop: eventLoop)
        cluster.follow { [eventLoop] topology in
            eventLoop.execute { bound.value.object?.happen { $0.cameToKnow(topology, &$1) } }
        }
        // A connection to a frozen server does not fail for seconds.
        eventLoop.scheduleRepeatedTask(initialDelay: Self.patience, delay: Self.patience) { task in
            guard let link = bound.value.object, !link.isStopping else { return task.cancel() }
            if link.router.isTroubled { link.cluster.troubled(best: nil, last: nil) }
        }
    }

    public var scopes: [BrokerScope] { router.scopes }

    public var roundTrip: Duration { parts.values.map(\.link.roundTrip).max() ?? .milliseconds(1) }

    public func submit(_ request: BrokerRequest, tag: RequestTag) {
        call { $0.submit(request, tag, &$1) }
    }

    public func subscribe(_ entity: Entity) {
        call { $0.subscribe(entity, &$1) }
    }

    public func unsubscribe(_ entity: Entity) {
        call { $0.unsubscribe(entity, &$1) }
    }

    public var keepsOldList: Bool { router.keepsOldList }

    public func keepOldList(_ isKept: Bool) -> Bool { router.keepOldList(isKept) }

    public func confirm(
        replicas count: Int, of server: BrokerIdentity, within time: Duration, _ then: @escaping (Int?) -> Void
    ) {
        guard let part = parts.values.first(where: { $0.identity == server }) else {
            return eventLoop.assumeIsolatedUnsafeUnchecked().execute { then(nil) }
        }
        part.link.confirm(replicas: count, of: server, within: time, then)
    }

    public var hasUnread: Bool { parts.values.contains { $0.link.hasUnread } }

    public func reset(_ entity: Entity) {
        guard let id = router.owner(of: entity) else { return }
        parts[id]?.link.reset(entity)
    }

    public func stop() {
        isStopping = true
        for part in parts.values { part.link.stop() }
    }

    // MARK: Actions

    /// Handles a call of the owner, which gets no callback before the call has returned.
    private func call(_ event: (inout ClusterRouter, inout [ClusterRouter.Action]) -> Void) {
        var actions: [ClusterRouter.Action] = []
        event(&router, &actions)
        for action in actions {
            guard !perform(action) else { continue }
            deferred.append(action)
            if deferred.count == 1 { eventLoop.assumeIsolatedUnsafeUnchecked().execute { self.tellDeferred() } }
        }
    }

    private func tellDeferred() {
        let actions = deferred
        deferred = []
        for action in actions { tell(action) }
    }

    /// Handles an event of a connection or of the Cluster.
    fileprivate func happen(_ event: (inout ClusterRouter, inout [ClusterRouter.Action]) -> Void) {
        var actions: [ClusterRouter.Action] = []
        event(&router, &actions)
        for action in actions where !perform(action) { tell(action) }
    }

    /// Returns false if the action is for the owner.
    private func perform(_ action: ClusterRouter.Action) -> Bool {
        switch action {
        case .open(let id, let address, let slots): open(id, address, slots)
        case .serves(let id, let slots): parts[id]?.link.replicationTag = Self.tag(in: slots)
        case .close(let id): parts.removeValue(forKey: id)?.link.stop()
        case .submit(let id, let request, let tag): parts[id]?.link.submit(request, tag: tag)
        case .subscribe(let id, let entity): parts[id]?.link.subscribe(entity)
        case .unsubscribe(let id, let entity): parts[id]?.link.unsubscribe(entity)
        case .look(let best, let last): cluster.troubled(best: best, last: last)
        case .complete, .commandsUp, .commandsDown, .subscriptionsUp, .subscriptionsDown: return false
        }
        return true
    }

    private func tell(_ action: ClusterRouter.Action) {
        switch action {
        case .complete(let tag, let result): delegate?.brokerCompleted(tag, result)
        case .commandsUp(let identity, let scope): if !isStopping { delegate?.brokerCommandsUp(identity, scope) }
        case .commandsDown(let reason, let scope): if !isStopping { delegate?.brokerCommandsDown(reason, scope) }
        case .subscriptionsUp(let identity, let scope):
            if !isStopping { delegate?.brokerSubscriptionsUp(identity, scope) }
        case .subscriptionsDown(let reason, let scope):
            if !isStopping { delegate?.brokerSubscriptionsDown(reason, scope) }
        case .open, .serves, .close, .submit, .subscribe, .unsubscribe, .look: break
        }
    }

    private func open(_ id: ClusterRouter.PartID, _ address: ClusterAddress, _ slots: SlotSet) {
        guard !isStopping else { return }
        var settings = settings
        settings.url = cluster.url.node(address)
        settings.kind = .clusterMaster
        settings.master = nil
        let link = RedisLink(
            settings: settings, connector: RedisConnector(cluster.connector, url: settings.url), codec: codec,
            eventLoop: eventLoop, tick: tick, logger: logger, observer: observer)
        link.replicationTag = Self.tag(in: slots)
        let part = Part(id, link, owner: self)
        parts[id] = part
        link.delegate = part
        link.cluster = part
        link.start()
    }

    /// A hash tag in one of the slots.
    private static func tag(in slots: SlotSet) -> String? { slots.first?.tag }
}

extension RedisClusterLink.Part: BrokerLinkDelegate, RedisLinkCluster {
    func brokerCompleted(_ tag: RequestTag, _ result: Result<BrokerReply, BrokerError>) {
        owner?.happen { $0.completed(tag.serial, result, &$1) }
    }

    func brokerSubscribed(_ entity: Entity) {
        if let owner, owner.hears(entity, from: id) { owner.delegate?.brokerSubscribed(entity) }
    }

    func brokerUnsubscribed(_ entity: Entity) {
        if let owner, owner.hears(entity, from: id) { owner.delegate?.brokerUnsubscribed(entity) }
    }

    func brokerHeard(_ entity: Entity, _ event: ChatCore.ChannelEvent) {
        if let owner, owner.hears(entity, from: id) { owner.delegate?.brokerHeard(entity, event) }
    }

    func brokerKnows(_ room: RoomName, _ position: Position, base: UInt64) -> Bool {
        owner?.delegate?.brokerKnows(room, position, base: base) ?? false
    }

    func brokerCommandsUp(_ identity: BrokerIdentity, _ scope: BrokerScope) {
        self.identity = identity
        owner?.happen { [id] in $0.commandsUp(id, identity, &$1) }
    }

    func brokerCommandsDown(_ reason: String, _ scope: BrokerScope) {
        identity = nil
        owner?.happen { [id] in $0.commandsDown(id, reason, &$1) }
    }

    func brokerSubscriptionsUp(_ identity: BrokerIdentity, _ scope: BrokerScope) {
        owner?.happen { [id] in $0.subscriptionsUp(id, identity, &$1) }
    }

    func brokerSubscriptionsDown(_ reason: String, _ scope: BrokerScope) {
        owner?.happen { [id] in $0.subscriptionsDown(id, reason, &$1) }
    }

    func brokerRefused(_ text: String) { owner?.delegate?.brokerRefused(text) }

    func channelLeft(_ entity: Entity, _ reason: String, from link: RedisLink) {
        owner?.happen { [id] in $0.channelLeft(entity, reason, from: id, &$1) }
    }
}

extension RedisClusterLink {
    fileprivate func hears(_ entity: Entity, from id: ClusterRouter.PartID) -> Bool { router.hears(entity, from: id) }
}
