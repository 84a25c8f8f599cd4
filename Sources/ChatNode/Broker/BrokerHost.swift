import ChatArchive
import ChatCore
import ChatHub
import Logging
import NIOCore

/// One loop's connections to the broker. It passes their events to the rooms, and makes requests on behalf of the node
/// and of HTTP requests. Its periodic checks have types of their own: ``ReadinessProof``, ``LoopAudits``,
/// ``ReplicaAcks``.
///
/// Not thread-safe: confined to its loop.
final class BrokerHost: @unchecked Sendable {
    // Proof for @unchecked: all members except the constants are accessed only on the loop.

    let link: any BrokerLink
    let rooms: RoomHost
    unowned let context: LoopContext
    let acks: ReplicaAcks
    let proof: ReadinessProof
    let audits: LoopAudits
    private var continuations: [UInt64: (Result<BrokerReply, BrokerError>) -> Void] = [:]
    private var nextContinuation: UInt64 = 1
    private var settings: HubSettings { context.settings.hub }

    init(link: any BrokerLink, rooms: RoomHost, context: LoopContext) {
        self.link = link
        self.rooms = rooms
        self.context = context
        acks = ReplicaAcks(link: link, rooms: rooms, context: context)
        proof = ReadinessProof(link: link, rooms: rooms, context: context)
        audits = LoopAudits(rooms: rooms, context: context)
    }

    func start() {
        link.delegate = self
        link.start()
    }

    // MARK: our own requests

    /// The owner in the tags of requests that no room made.
    static let ownTag: UInt32 = .max

    /// Makes a request on behalf of the node, of a session's page or of an HTTP request. `then` is called once, on the
    /// loop.
    func ask(_ request: BrokerRequest, _ then: @escaping (Result<BrokerReply, BrokerError>) -> Void) {
        if case .history(let room, let query) = request, case .time(let time) = query.anchor {
            return search(TimeSearch(time: time), in: room, query, then)
        }
        let serial = nextContinuation
        nextContinuation += 1
        continuations[serial] = noting(request, completing(request, then))
        link.submit(request, tag: RequestTag(owner: Self.ownTag, generation: 0, serial: serial))
    }

    /// The room of a request that stores something need not be in use on this node, so nothing else says that relays
    /// have to read it.
    private func noting(
        _ request: BrokerRequest, _ then: @escaping (Result<BrokerReply, BrokerError>) -> Void
    ) -> (Result<BrokerReply, BrokerError>) -> Void {
        guard settings.relay.isRegistered, let written = request.written else { return then }
        return { [rooms] result in
            if case .success = result {
                for book in written.books { rooms.note(written.room, book) }
            }
            then(result)
        }
    }

    /// Goes on with a search, message by message, and reads the page around what it finds.
    private func search(
        _ search: TimeSearch, in room: RoomName, _ query: HistoryQuery,
        _ then: @escaping (Result<BrokerReply, BrokerError>) -> Void
    ) {
        var question = query
        guard case .ask(let anchor) = search.step else {
            if case .found(let position) = search.step { question.anchor = .around(position) }
            return ask(.history(room: room, query: question)) { result in
                guard case .success(.history(var page)) = result else { return then(result) }
                page.searchCost = search.cost
                then(.success(.history(page)))
            }
        }
        (question.anchor, question.limit, question.bytes) = (anchor, 1, 1)
        ask(.history(room: room, query: question)) { [self] result in
            guard case .success(.history(let page)) = result else { return then(result) }
            var search = search
            search.take(page.messages.first)
            self.search(search, in: room, query, then)
        }
    }

    /// A page of history for a client goes on in the archive where the log ends.
    private func completing(
        _ request: BrokerRequest, _ then: @escaping (Result<BrokerReply, BrokerError>) -> Void
    ) -> (Result<BrokerReply, BrokerError>) -> Void {
        guard case .history(let room, let query) = request, query.isFolded, let archive = context.settings.archive
        else { return then }
        return { [context] result in
            guard case .success(.history(let page)) = result else { return then(result) }
            let held = NIOLoopBound((then, context), eventLoop: context.eventLoop)
            archive.complete(page, of: query, in: room) { completed in
                held.eventLoop.execute {
                    let (then, context) = held.value
                    switch completed {
                    case .success(let page): then(.success(.history(page)))
                    case .failure(let failure):
                        context.archiveFailed(failure)
                        then(.failure(.notStored("the archive cannot be read")))
                    }
                }
            }
        }
    }

    /// Sends the node's heartbeat on this loop's connection.
    private func sayWeLive() {
        guard let keeper = context.keeper, let beat = keeper.pulse.beat(clock: context.wallClock) else { return }
        ask(beat.request) { [self] result in
            let verdict = keeper.pulse.answered(beat, result)
            keeper.health.heartbeat(verdict, result, now: context.now)
            // Rooms of this loop enter after the heartbeat in any case.
            guard verdict == .forgotten else { return }
            keeper.forgotten()
            for other in context.others { other.run { other.rooms.nodeForgotten() } }
        }
    }
}

// MARK: events of the connections

extension BrokerHost: BrokerLinkDelegate {
    func brokerCompleted(_ tag: RequestTag, _ result: Result<BrokerReply, BrokerError>) {
        if case .failure(.notStored(let text)) = result { redisRefused(text, tag) }
        guard tag.owner == Self.ownTag else { return rooms.completed(tag, result) }
        continuations.removeValue(forKey: tag.serial)?(result)
    }

    func brokerSubscribed(_ entity: Entity) {
        if let room = entity.room { rooms.subscribed(room) } else { proof.subscribed(entity) }
    }

    func brokerUnsubscribed(_ entity: Entity) {
        if let room = entity.room { rooms.unsubscribed(room) }
    }

    func brokerHeard(_ entity: Entity, _ event: ChatCore.ChannelEvent) {
        if case .user(let user) = entity { return rooms.users.heard(event, of: user) }
        guard let name = entity.room else { return proof.heard(event, on: entity) }
        if case .message(let message, _) = event {
            let lag = Double(context.wallClock) - Double(message.content.at)
            context.metrics.brokerLag.observe(max(0, lag / 1_000))
        }
        rooms.heard(event, in: name)
    }

    func brokerKnows(_ name: RoomName, _ position: Position, base: UInt64) -> Bool {
        rooms.knows(position, base: base, in: name)
    }

    func brokerCommandsUp(_ identity: BrokerIdentity, _ scope: BrokerScope) {
        rooms.commandsCame(identity, scope)
        say(.commands, scope, isWhole: rooms.commands.isWhole)
        // The heartbeat comes first on this connection, before any room can be entered on it.
        if scope.holdsNodes {
            resetKeeper()
            sayWeLive()
        }
        if !scope.isWhole { rooms.holdAgain(in: scope) }
        rooms.commandsReturned(identity, scope)
        proof.begin()
    }

    func brokerCommandsDown(_ reason: String, _ scope: BrokerScope) {
        if !rooms.commands.isEmpty, !scope.isOneSlot { context.metrics.redisReconnects.increment() }
        rooms.commandsWent(scope)
        audits.connectionLost()
        if scope.holdsNodes { resetKeeper() }
        proof.commandsLost(reason)
        say(.commands, scope, isWhole: false, reason)
        acks.serversWent()
        rooms.commandsLost(scope)
    }

    func brokerSubscriptionsUp(_ identity: BrokerIdentity, _ scope: BrokerScope) {
        rooms.subscriptionsCame(identity, scope)
        say(.subscriptions, scope, isWhole: rooms.subscriptions.isWhole)
        proof.reset(in: scope)
        rooms.subscriptionsReturned(scope)
        // Rooms come first on this connection.
        rooms.users.connected(identity, scope)
        proof.begin()
    }

    func brokerSubscriptionsDown(_ reason: String, _ scope: BrokerScope) {
        if !rooms.subscriptions.isEmpty, !scope.isOneSlot { context.metrics.redisReconnects.increment() }
        rooms.subscriptionsWent(scope)
        rooms.users.disconnected(scope)
        proof.subscriptionsLost(reason, scope)
        say(.subscriptions, scope, isWhole: false, reason)
        rooms.subscriptionsLost(scope)
    }

    /// Gives other nodes time to send their heartbeats.
    private func resetKeeper() {
        if let keeper = context.keeper, keeper.loop.index == context.index { keeper.connectionChanged() }
    }

    private enum Connection {
        case commands, subscriptions

        /// The label of the metric.
        var label: String {
            switch self {
            case .commands: "commands"
            case .subscriptions: "subscriptions"
            }
        }
        /// The word in log lines.
        var word: String {
            switch self {
            case .commands: "command"
            case .subscriptions: "subscribe"
            }
        }
    }

    /// `reason`: why the connection is down. In a Cluster the connection to each master gets a line of its own, too.
    private func say(_ connection: Connection, _ scope: BrokerScope, isWhole: Bool, _ reason: String? = nil) {
        context.metrics.redisUp(connection: connection.label, shard: context.index, isWhole)
        if !scope.isWhole {
            var metadata: Logger.Metadata = [
                LogKey.shard: "\(context.index)", LogKey.channel: "\(connection.word)",
                LogKey.slots: "\(scope.slots.summary)",
            ]
            if let reason { metadata[LogKey.error] = "\(reason)" }
            // The slots of a Cluster move by the thousand, one after the other.
            let level: Logger.Level = scope.isOneSlot ? .debug : .info
            context.logger.log(
                level: level, reason == nil ? "redis serves slots again" : "redis does not serve slots",
                metadata: metadata)
        }
        guard !scope.isOneSlot, isWhole || reason != nil else { return }
        context.keeper?.news.connection(connection.word, shard: context.index, down: reason, now: context.now)
    }

    func brokerRefused(_ text: String) {
        guard let kind = RefusalKind(text: text) else { return }
        context.keeper?.health.refused(kind, text, now: context.now)
    }

    /// Redis refused a request, but is still reachable. If the refusal may concern more than one key, the node tests at
    /// once whether anything can be stored.
    private func redisRefused(_ text: String, _ tag: RequestTag) {
        guard let kind = RefusalKind(text: text) else { return }
        let isOfRoom = tag.owner != Self.ownTag
        context.keeper?.health.refused(kind, text, in: isOfRoom ? rooms.name(of: tag) : nil, now: context.now)
        if kind.isGeneral, isOfRoom { proof.beginWrites() }
    }
}
