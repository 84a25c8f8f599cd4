import ChatCore
import ChatHub

/// The environment of a simulated node's hosts, in virtual time: clocks, timers and the link, whose connections
/// ``SimWorld`` cuts, silences and delays. The hosts get the same calls and results as in a real node.
final class SimLoop: @unchecked Sendable {
    // Safe as @unchecked Sendable: a schedule runs on one thread.

    unowned let world: SimWorld
    weak var node: SimNode?
    weak var delegate: (any BrokerLinkDelegate)?
    /// Tasks for the end of the tick, which is the end of the current event.
    private var tickTasks: [@Sendable () -> Void] = []
    private var asks: [UInt64: (Result<BrokerReply, BrokerError>) -> Void] = [:]
    private var nextAsk: UInt64 = 1
    private var tasks: [Int: () -> Void] = [:]
    private var nextTask = 0
    private var wake: UInt64?
    /// When the last of what goes to rooms, and to sessions, arrives there.
    private var toHome: UInt64 = 0
    private var toSessions: UInt64 = 0

    init(world: SimWorld) {
        self.world = world
    }

    func makeTick() -> LoopTick {
        LoopTick { [unowned self] task in
            tickTasks.append(task)
            world.ticking.append(self)
        }
    }

    /// The end of the tick.
    func tickEnds() {
        let tasks = tickTasks
        tickTasks = []
        for task in tasks { task() }
    }

    // MARK: events

    func fire(at: UInt64) {
        guard wake == at else { return }
        wake = nil
        node?.rooms.timersDue()
    }

    func run(task: Int) { tasks.removeValue(forKey: task)?() }

    func answered(_ ask: UInt64, _ result: Result<BrokerReply, BrokerError>) {
        asks.removeValue(forKey: ask)?(result)
    }
}

extension SimLoop: RoomHostContext, SessionHostContext {
    var now: Moment {
        if let node, world.touched.last !== node { world.touched.append(node) }
        return world.moment
    }
    var wallClock: UInt64 { world.wall(node?.skew ?? 0) }

    func atHome(_ loop: Int, _ body: @escaping @Sendable (RoomHost) -> Void) {
        hop(&toHome) { [unowned self] in if let node { body(node.rooms) } }
    }

    func atHome(of user: UserID, _ body: @escaping @Sendable (UserHost) -> Void) {
        if let node { body(node.rooms.users) }
    }

    func heads(of rooms: [RoomName], for user: UserID, _ then: @escaping ([RoomHead?]) -> Void) {
        guard let node else { return }
        then(node.rooms.heads(of: rooms, for: user))
    }

    /// In schedules with hops, sessions and rooms are on two loops: what one hands to the other arrives later, in
    /// order.
    private func hop(_ last: inout UInt64, _ body: @escaping () -> Void) {
        guard world.plan.hasHops else { return body() }
        last = max(last, world.now + world.random.below(2 * millisecond))
        run(at: last, body)
    }

    func wake(at moment: Moment) {
        guard let node else { return }
        let at = max(world.now, moment.nanoseconds)
        if let wake, wake <= at { return }
        wake = at
        world.agenda.add(.timer(node: node.index, at: at), at: at)
    }

    func schedule(after delay: Duration, _ body: @escaping () -> Void) {
        run(at: (world.moment + delay).nanoseconds, body)
    }

    private func run(at: UInt64, _ body: @escaping () -> Void) {
        guard let node else { return }
        nextTask += 1
        tasks[nextTask] = body
        world.agenda.add(.task(node: node.index, nextTask), at: at)
    }

    func hand(_ batch: [Delivery], to loop: Int, made: Moment) {
        hop(&toSessions) { [unowned self] in
            if let node { node.sessions.receive(world.tampered(batch, on: node), made: made) }
        }
    }

    func ask(_ request: BrokerRequest, _ then: @escaping (Result<BrokerReply, BrokerError>) -> Void) {
        guard let node else { return }
        let ask = nextAsk
        nextAsk += 1
        if case .reading(.read(_, let reads, _)) = request, world.plan.bugs.contains(.readsAreForgotten) {
            asks[ask] = { result in
                let known = reads.map { ReadOutcome(.known, mark: ReadMark($0.position), unread: 0) }
                then(result.isLost ? .success(.reading(.read(known))) : result)
            }
        } else {
            asks[ask] = then
        }
        world.submit(node, .ask(ask), request)
    }

    func answerStored(_ session: SessionID, _ event: ServerEvent, in room: RoomName) {
        node?.rooms.post(.answer(session, event), to: session.loop)
    }

    func sawNodes(_ nodes: [NodeID: UInt64], in room: RoomName) {
        for (other, value) in nodes.sorted(by: { $0.key < $1.key }) { node?.sweeper.saw(other, value: value, in: room) }
    }

    func counted(_ counter: RoomCounter, in room: RoomName) { world.counters[counter, default: 0] += 1 }
    func recovered(_ resumption: Resumption) {}
    func refused(by limit: HubLimit) { world.fail("\(name) refuses a request because of \(limit)") }
    func fannedOut(after time: Duration) {}

    private var name: String { node?.id.text ?? "a node that is gone" }
    var isTracing: Bool { world.keepsTrace }
    func trace(_ text: String, in room: RoomName) { world.log("\(name) \(room) \(text)") }
}

extension SimLoop: BrokerLink {
    func start() {}
    func stop() {}

    func submit(_ request: BrokerRequest, tag: RequestTag) {
        guard let node else { return }
        let request = world.takesPlainSteps() ? request.withoutPublishing : request
        world.log("\(node.id) asks \(world.describe(request))")
        world.submit(node, .room(tag), request)
        world.showTooEarly(request, on: node)
    }

    func subscribe(_ entity: Entity) {
        if let node, let room = entity.room { world.subscribe(node, world.index(of: room), on: true) }
    }

    func unsubscribe(_ entity: Entity) {
        if let node, let room = entity.room { world.subscribe(node, world.index(of: room), on: false) }
    }

    func reset(_ entity: Entity) {
        if let node { world.resetLinks(node) }
    }
}

extension Result<BrokerReply, BrokerError> {
    fileprivate var isLost: Bool {
        switch self {
        case .failure(.outcomeUnknown), .failure(.notConnected): true
        case .success, .failure: false
        }
    }
}

extension BrokerRequest {
    /// What a busy link does of the request in one step: an append that leaves publishing to the caller.
    fileprivate var withoutPublishing: BrokerRequest {
        guard case .append(let room, let epoch, let content, _, let isHeld) = self else { return self }
        return .append(room: room, epoch: epoch, content: content, isHeld: isHeld)
    }
}

/// One session of a simulated client on the node that accepted it: the shipped ``SessionStateMachine`` between the
/// client and the hosts.
final class SimSession: SessionOutlet {
    unowned let world: SimWorld
    unowned let node: SimNode
    let client: Int
    /// The number of the client's connection; a reconnected client has another one.
    let connection: Int
    let user: UserID
    var id = SessionID(raw: 0)
    private var machine: SessionStateMachine
    /// The client has read what it was sent, so it may be sent a page.
    private var hasRead = false
    private var isWaitingToRead = false

    init(world: SimWorld, node: SimNode, client: SimClient, limits: Limits) {
        self.world = world
        self.node = node
        self.client = client.index
        connection = client.connection
        user = client.user
        machine = SessionStateMachine(limits: limits, heartbeat: .seconds(25), now: world.moment)
    }

    var protocolID: ProtocolID { ProtocolID(rawValue: 0) }

    /// A request of the client arrives.
    func received(_ request: ClientRequest) {
        switch machine.received(request, now: world.moment) {
        case .perform(let body, let ref): node.sessions.perform(body, ref: ref, from: id)
        case .reply(let event): world.toClient(self, event)
        case .replyAndClose, .doNothing: world.fail("session \(id.raw) is closed by its limits")
        }
    }

    func send(_ event: ServerEvent) {
        guard let event = world.plan.bugs.contains(.answersKeepTheirRef) ? event : machine.outgoing(event) else {
            return
        }
        world.toClient(self, event)
    }

    func send(_ frame: Frame) { world.toClient(self, frame.event) }

    /// Each page waits until the client has read everything before it.
    func takesPage() -> Bool {
        guard !hasRead else {
            hasRead = false
            return true
        }
        if !isWaitingToRead {
            isWaitingToRead = true
            world.readsSoon(self)
        }
        return false
    }

    func hasReadAll() {
        isWaitingToRead = false
        hasRead = true
        node.sessions.drained(id)
    }

    func close(_ reason: CloseReason) { world.fail("session \(id.raw) is closed: \(reason)") }

    func closed() { machine.closed() }
}

/// Passes events to the simulation's clients without encoding them.
struct SimEncoder: FrameEncoder {
    private final class Encoding: FrameEncoding {
        func copied() -> any FrameEncoding { self }
    }

    func encode(_ event: ServerEvent, for protocolID: ProtocolID, viewer: UserID?) -> any FrameEncoding { Encoding() }
}
