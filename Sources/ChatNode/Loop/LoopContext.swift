import ChatAccess
import ChatArchive
import ChatCore
import ChatHub
import Logging
import NIOCore

/// The services of the node for the hosts of one event loop: clocks and timers, the other loops, metrics and the log.
///
/// Confined to its loop, except for constants.
final class LoopContext: @unchecked Sendable {
    // Proof for @unchecked: all members except the constants are accessed only on `eventLoop`.

    let index: Int
    let eventLoop: any EventLoop
    let settings: LoopSettings
    let metrics: NodeMetrics
    let logger: Logger
    /// All loops of the node, this one included. Set once, before anything runs.
    private(set) var loops: [Loop] = []
    /// The node's heartbeat and sweeper, on the first loop.
    private(set) var keeper: Keeper?
    private var timer: LoopTimer?
    private let hook: HookClient?
    private var hookLines = LineRate<HookDecision.Trouble>(pause: .seconds(60))
    /// What was wrong with the hook's last answer.
    private var hookProblem = ""
    private var ignoredLines = LineRate<IgnoredData>(pause: .seconds(60))
    private var archiveLines = LineRate<ArchiveFailure>(pause: .seconds(60))
    let isTracing: Bool

    init(index: Int, eventLoop: any EventLoop, settings: LoopSettings, metrics: NodeMetrics, logger: Logger) {
        self.index = index
        self.eventLoop = eventLoop
        self.settings = settings
        self.metrics = metrics
        self.logger = logger
        isTracing = logger.logLevel <= .trace
        hook = settings.hook.map { HookClient($0, on: eventLoop) }
    }

    func attach(_ loops: [Loop], _ keeper: Keeper) {
        self.loops = loops
        self.keeper = keeper
        timer = LoopTimer(eventLoop) { [unowned self] in own?.rooms.timersDue() }
    }

    /// The loop to which this context belongs; nil before it has started.
    private var own: Loop? { loops.indices.contains(index) ? loops[index] : nil }

    /// All loops but this one.
    var others: [Loop] { loops.filter { $0.index != index } }

    /// Whether the room's home is this loop.
    func isHome(of room: RoomName) -> Bool { RoomHost.home(of: room, among: loops.count) == index }
}

extension LoopContext: RoomHostContext, SessionHostContext {
    var now: Moment { .now }
    var wallClock: UInt64 { settings.wallClock() }

    func atHome(_ loop: Int, _ body: @escaping @Sendable (RoomHost) -> Void) {
        guard loops.indices.contains(loop) else { return }
        let home = loops[loop]
        home.run { body(home.rooms) }
    }

    func atHome(of user: UserID, _ body: @escaping @Sendable (UserHost) -> Void) {
        atHome(UserHost.home(of: user, among: loops.count)) { body($0.users) }
    }

    func heads(of rooms: [RoomName], for user: UserID, _ then: @escaping ([RoomHead?]) -> Void) {
        let homes = Dictionary(grouping: rooms.indices) { RoomHost.home(of: rooms[$0], among: loops.count) }
        var heads = [RoomHead?](repeating: nil, count: rooms.count)
        var open = homes.count
        guard open > 0 else { return then(heads) }
        for (loop, places) in homes {
            let names = places.map { rooms[$0] }
            let took = { (found: [RoomHead?]) in
                for (place, head) in zip(places, found) { heads[place] = head }
                open -= 1
                if open == 0 { then(heads) }
            }
            look(loop, { $0.heads(of: names, for: user) }, took)
        }
    }

    /// Asks another loop's rooms; `then` is called on this loop.
    private func look<Answer: Sendable>(
        _ loop: Int, _ body: @escaping @Sendable (RoomHost) -> Answer, _ then: @escaping (Answer) -> Void
    ) {
        let home = loops[loop]
        guard loop != index else { return then(body(home.rooms)) }
        let bound = NIOLoopBound(then, eventLoop: eventLoop)
        home.run { [eventLoop] in
            let answer = body(home.rooms)
            eventLoop.execute { bound.value(answer) }
        }
    }

    func hand(_ batch: [Delivery], to loop: Int, made: Moment) {
        let target = loops[loop]
        target.run { target.sessions.receive(batch, made: made) }
    }

    func wake(at moment: Moment) { timer?.wake(at: moment, now: now) }

    func schedule(after delay: Duration, _ body: @escaping () -> Void) {
        eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(delay.nanosecondsRoundedUp), body)
    }

    func ask(_ request: BrokerRequest, _ then: @escaping (Result<BrokerReply, BrokerError>) -> Void) {
        own?.broker.ask(request, then)
    }

    func answerStored(_ session: SessionID, _ event: ServerEvent, in room: RoomName) {
        guard let own else { return }
        guard settings.ackReplicas > 0 else { return own.rooms.post(.answer(session, event), to: session.loop) }
        own.broker.acks.hold(.session(session, event), in: room)
    }

    // MARK: reports of the hosts

    /// Passes the nodes that a room lists to the sweeper, which compares them with the live nodes.
    func sawNodes(_ nodes: [NodeID: UInt64], in room: RoomName) {
        let others = nodes.filter { $0.key != settings.hub.node }
        guard !others.isEmpty, let keeper else { return }
        keeper.loop.run { keeper.saw(others, in: room) }
    }

    func counted(_ counter: RoomCounter, in room: RoomName) {
        metrics.count(counter)
        if let event = NodeNews.Event(counter) { keeper?.news.happened(event, in: room, now: now) }
        if case .ignored(let kind) = counter { sayIgnored(kind, in: room) }
    }

    func counted(reads: Int) { metrics.reads.increment(by: reads) }

    private func sayIgnored(_ kind: IgnoredData, in room: RoomName) {
        guard let count = ignoredLines.happened(kind, now: now) else { return }
        logger.warning(
            "a room received data that no node wrote; the data is ignored (see martlet doctor)",
            metadata: [
                LogKey.reason: "\(kind)", LogKey.error: "\(kind.text)", LogKey.room: "\(room)",
                LogKey.count: "\(count)", LogKey.shard: "\(index)",
            ])
    }

    /// A page of history needed the archive, which cannot be read.
    func archiveFailed(_ failure: ArchiveFailure) {
        metrics.archiveFailures.increment()
        guard let count = archiveLines.happened(failure, now: now) else { return }
        logger.warning(
            "the archive cannot be read, so history that the logs no longer hold is refused",
            metadata: [LogKey.error: "\(failure)", LogKey.count: "\(count)", LogKey.shard: "\(index)"])
    }

    func screened(_ outcome: WordScreen.Outcome) {
        if let result = WordResult(outcome) { metrics.words[result].increment() }
    }

    func askHook(_ number: UInt64, about content: MessageContent, in room: RoomName) {
        guard let hook else { return }
        let began = now
        hook.ask(
            number, id: "\(settings.hub.node)-\(index)-\(number)", about: content, in: room, now: wallClock,
            maxBytes: settings.hub.rooms.limits.frameBytes
        ) { [weak self] decision, problem in
            guard let self else { return }
            metrics.hookAnswers.observe(now - began)
            if let problem { hookProblem = problem }
            own?.rooms.hookAnswered(number, decision)
        }
    }

    func abandonHook(_ number: UInt64) { hook?.abandon(number) }

    func decided(_ decision: HookDecision) {
        metrics.hookDecisions[HookResult(decision)].increment()
        guard case .none(let trouble) = decision, let count = hookLines.happened(trouble, now: now) else { return }
        let error = trouble == .late ? "no answer in time" : hookProblem
        logger.warning(
            "the hook has not decided about messages",
            metadata: [
                LogKey.reason: "\(trouble.rawValue)", LogKey.error: "\(error)", LogKey.count: "\(count)",
                LogKey.shard: "\(index)",
            ])
    }

    func recovered(_ resumption: Resumption) {
        if let result = RecoveryResult(resumption) { metrics.recoveries[result].increment() }
    }

    func refused(by limit: HubLimit) { metrics.limitRefusals[LimitLabel(limit)].increment() }

    func forbade(_ right: Rights) {
        if let label = RightLabel(right) { metrics.forbidden[label].increment() }
    }

    func noted(_ deed: SessionDeed, by session: SessionID) {
        switch deed {
        case .opened(let user, let device):
            logger.debug(
                "session opened",
                metadata: [LogKey.session: "\(session.raw)", LogKey.member: "\(user)", LogKey.device: "\(device)"])
        case .joined(let room, let position):
            logger.debug(
                "session joined a room",
                metadata: [
                    LogKey.session: "\(session.raw)", LogKey.room: "\(room)", LogKey.position: "\(position)",
                ])
        case .left(let room):
            logger.debug(
                "session left a room", metadata: [LogKey.session: "\(session.raw)", LogKey.room: "\(room)"])
        case .removed(let room, let reason):
            logger.debug(
                "session was made to leave a room",
                metadata: [
                    LogKey.session: "\(session.raw)", LogKey.room: "\(room)", LogKey.reason: "\(reason.rawValue)",
                ])
        }
    }

    func fannedOut(after time: Duration) { metrics.fanout.observe(time) }

    func trace(_ text: String, in room: RoomName) {
        logger.trace("\(text)", metadata: [LogKey.room: "\(room)", LogKey.shard: "\(index)"])
    }
}
