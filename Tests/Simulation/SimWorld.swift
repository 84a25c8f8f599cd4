import ChatCore
import ChatHub

/// The whole of Martlet in virtual time: nodes, clients, Redis and the network between them, all generated from one
/// plan. It stops at the first violated guarantee.
final class SimWorld {
    static let wallStart: UInt64 = 1_700_000_000_000
    static let lease = Duration.seconds(3)

    let plan: SimPlan
    var now: UInt64 = 0
    var agenda = Agenda<SimEvent>()
    var random: SimRandom
    let roomNames: [RoomName]
    var servers: [SimRedis]
    /// The server that new connections reach.
    var primary = 0
    var snapshots: [Int: SimRedis] = [:]
    var nodes: [SimNode] = []
    /// The running node of each slot.
    var slots: [Int?]
    var clients: [SimClient]
    var requests: [Int: SimRequest] = [:]
    var nextRequest = 0
    var nextConnection = 1
    /// Nodes with changes in their rooms in this event.
    var touched: [SimNode] = []
    /// Loops whose tick ends with this event.
    var ticking: [SimLoop] = []
    var slowUntil: UInt64 = 0
    /// No more failures occur: everything has to recover.
    var isQuiet = false
    /// When a Redis process last ended.
    var lastServerDeath: UInt64 = 0
    /// Redis lost data, so a reset is legitimate.
    var hasLost = false
    /// Somebody wrote into a room's keys, which may be the only reason for a reset.
    var isVandalised = false
    /// Rooms whose last ID was changed by hand.
    var moved: Set<Int> = []
    var violation: String?
    /// Every message ever stored, on any branch: only these may be shown.
    var stored: [Set<Message>]
    var keepsTrace: Bool
    var trace: [String] = []
    var counters: [RoomCounter: Int] = [:]
    var events = 0

    init(_ plan: SimPlan, trace: Bool = false) throws {
        self.plan = plan
        keepsTrace = trace
        random = SimRandom(seed: plan.seed ^ 0xD15E_A5E0)
        roomNames = try (0..<plan.rooms).map { try RoomName("room\($0)") }
        var settings = MemoryBrokerSettings()
        settings.historyLength = plan.historyLength
        settings.historyBytes = plan.historyBytes
        settings.heldLength = plan.heldLength
        settings.heldBytes = plan.heldBytes
        settings.partLength = plan.partLength
        servers = [SimRedis(names: roomNames, settings: settings, generation: 0)]
        servers[0].againEvery = plan.againEvery
        slots = Array(repeating: nil, count: plan.slots)
        clients = try (0..<plan.clients).map {
            SimClient(
                index: $0, user: try UserID(Self.name(ofClient: $0)), device: try DeviceName("device\($0)"),
                rooms: plan.rooms)
        }
        stored = Array(repeating: [], count: plan.rooms)
        if plan.faults.contains(.reading) { beginConversations() }
    }

    /// Every third client is a second device of the user of an earlier one.
    private static func name(ofClient index: Int) -> String { "user\(index % 3 == 2 ? index - 1 : index)" }

    static func user(ofClient index: Int) -> UserID? { try? UserID(name(ofClient: index)) }

    func log(_ text: @autoclosure () -> String) {
        guard keepsTrace else { return }
        let milliseconds = now / millisecond
        let fraction = String(now / 1_000 % 1_000)
        trace.append("\(milliseconds).\(String(repeating: "0", count: 3 - fraction.count))\(fraction) ms  \(text())")
    }

    func fail(_ text: @autoclosure () -> String) {
        guard violation == nil else { return }
        violation = text()
        log("BROKEN: \(text())")
    }

    var moment: Moment { Moment(nanoseconds: now) }

    func wall(_ skew: Int64) -> UInt64 { UInt64(max(0, Int64(Self.wallStart + now / millisecond) + skew)) }

    /// The random delay of a transmission.
    func delay() -> UInt64 {
        if now < slowUntil, random.oneIn(3) { return random.below(300 * millisecond) }
        if random.oneIn(40) { return random.below(30 * millisecond) }
        return 50_000 + random.below(random.oneIn(4) ? 3 * millisecond : 300_000)
    }

    // MARK: running

    /// Runs the plan, and then lets everything settle. Returns the first violation; nil if every guarantee was kept.
    func run() -> String? {
        for slot in 0..<plan.slots { agenda.add(.start(slot: slot), at: 0) }
        for (index, timed) in plan.moves.enumerated() {
            agenda.add(.move(index), at: timed.at)
            switch timed.move {
            case .restartRedis(let lost, _), .failover(let lost, _, _):
                agenda.add(.snapshot(move: index), at: timed.at - min(timed.at, lost))
            default: break
            }
        }
        advance(to: plan.end)
        quieten()
        // Long enough for leases, backoffs, lost doorbells and the last retries. A lease ends later by as much as
        // failovers have set back Redis' clock, as a TTL refers to that clock (seeds 2209524, 2217524).
        let setBack = servers.map { UInt64(max(0, -$0.skew)) }.max() ?? 0
        for _ in 0..<12 + Int(setBack / 5_000) where violation == nil {
            advance(to: now + 5 * second)
            if violation == nil, isSettled() { break }
        }
        if violation == nil { checkSettled() }
        return violation
    }

    private func advance(to end: UInt64) {
        var atOnce = 0
        while violation == nil, let next = agenda.nextTime, next <= end, let (time, event) = agenda.pop() {
            atOnce = time == now ? atOnce + 1 : 0
            now = time
            events += 1
            if atOnce > 20_000 { fail("time stands still: \(event)") }
            happen(event)
            settle()
        }
        now = max(now, end)
    }

    /// No failures from now on: every crashed node starts again, and every client connects.
    private func quieten() {
        isQuiet = true
        log("--- quiet from here ---")
        slowUntil = 0
        if isVandalised { for room in roomNames.indices { mend(room) } }
        if plan.faults.contains(.moderation) { for room in roomNames.indices { allowAll(room) } }
        for slot in slots.indices where slots[slot] == nil { agenda.add(.start(slot: slot), at: now) }
        for client in clients where client.session == nil { reconnect(client, after: 0) }
    }

    private func happen(_ event: SimEvent) {
        switch event {
        case .move(let index): make(plan.moves[index].move, index)
        case .arrive(let id): arrive(id)
        case .reply(let id, let result): replied(id, result)
        case .notConnected(let node, let owner):
            guard let node = awake(node, event) else { return }
            completed(node, owner, .failure(.notConnected))
        case .commandsConnect(let node, let number): commandsConnect(node, number, event)
        case .subscriptionsConnect(let node, let number): subscriptionsConnect(node, number, event)
        case .loseCommands(let node, let number):
            guard let node = awake(node, event), node.commands.number == number else { return }
            loseCommands(node)
        case .loseSubscriptions(let node, let number):
            guard let node = awake(node, event), node.subscriptions.number == number else { return }
            loseSubscriptions(node)
        case .subscribeArrives(let node, let number, let room, let on): subscribeArrives(node, number, room, on, event)
        case .subscribeAnswered(let node, let number, let room, let on, let count):
            subscribeAnswered(node, number, room, on, count, event)
        case .takenForSubscribed(let node, let number, let room): takenForSubscribed(node, number, room, event)
        case .publication(let node, let number, let room, let news): publicationArrives(node, number, room, news, event)
        case .hasRead(let node, let session):
            guard let node = awake(node, event) else { return }
            node.outlets[session]?.hasReadAll()
        case .timer(let node, let at):
            guard let node = awake(node, event) else { return }
            node.loop.fire(at: at)
        case .task(let node, let task):
            guard let node = awake(node, event) else { return }
            node.loop.run(task: task)
        case .heartbeat(let node):
            guard let node = awake(node, event) else { return }
            beat(node)
        case .sweep(let node):
            guard let node = awake(node, event) else { return }
            agenda.add(.sweep(node: node.index), at: now + second + random.below(200 * millisecond))
            var actions: [SweepStateMachine.Action] = []
            node.sweeper.roundBegan(&actions)
            carryOut(actions, node)
            node.rounds += 1
            guard node.rounds % 3 == 0 else { return }
            var more: [HoldingsAudit.Action] = []
            node.audit.roundBegan(&more)
            carryOut(more, node)
        case .start(let slot): start(slot)
        case .sessionLost(let node, let session):
            guard let node = awake(node, event) else { return }
            closeSession(node, session)
        case .said(let node, let session, let request):
            guard let node = awake(node, event) else { return }
            node.outlets[session]?.received(request)
        case .clientConnect(let client, let connection):
            guard clients[client].connection == connection, clients[client].session == nil else { return }
            connect(clients[client], slot: random.below(plan.slots))
        case .clientRejoin(let client, let connection, let room):
            guard clients[client].connection == connection else { return }
            join(clients[client], room)
        case .clientResend(let client, let connection, let room, let key):
            guard clients[client].connection == connection else { return }
            resend(clients[client], room, key)
        case .frame(let client, let connection, let frame):
            guard clients[client].connection == connection else { return }
            received(clients[client], frame)
        case .snapshot(let move): snapshots[move] = servers[primary]
        case .serverUp(let server): primary = server
        case .serverDies(let server): serverDies(server)
        }
    }

    /// The node, if it is running; a stopped one gets the event when it continues.
    func awake(_ index: Int, _ event: SimEvent) -> SimNode? {
        let node = nodes[index]
        guard node.isAlive else { return nil }
        if node.stoppedUntil > now {
            agenda.add(event, at: node.stoppedUntil)
            return nil
        }
        return node
    }

    // MARK: nodes

    private func start(_ slot: Int) {
        guard slots[slot] == nil else { return }
        let index = nodes.count
        guard let id = try? NodeID("n\(slot)-\(index)") else { return }
        let skew = slot < plan.skews.count ? plan.skews[slot] : 0
        let node = SimNode(
            index: index, slot: slot, id: id, skew: skew, settings: plan.hubSettings(of: id), world: self)
        nodes.append(node)
        slots[slot] = index
        log("node \(id) starts")
        reconnectCommands(node)
        reconnectSubscriptions(node)
        agenda.add(.heartbeat(node: index), at: now + 10 * millisecond)
        agenda.add(.sweep(node: index), at: now + second)
    }

    func crash(_ slot: Int, restartAfter: UInt64) {
        guard let index = slots[slot] else { return }
        let node = nodes[index]
        log("node \(node.id) crashes")
        cut(&node.commands)
        cutSubscriber(node)
        node.isAlive = false
        slots[slot] = nil
        // In order, as the same seed must produce the same run, and the order of a dictionary differs between
        // processes.
        for (_, session) in node.outlets.sorted(by: { $0.key < $1.key })
        where clients[session.client].connection == session.connection {
            lost(clients[session.client], deaf: 0)
        }
        agenda.add(.start(slot: slot), at: now + restartAfter)
    }

    private func beat(_ node: SimNode) {
        agenda.add(.heartbeat(node: node.index), at: now + second)
        reportAlive(node)
    }

    func reportAlive(_ node: SimNode) {
        let report = NodeReport(node: node.id, address: "", version: "", clock: wall(node.skew))
        submit(node, .heartbeat, .heartbeat(report, lease: Self.lease))
    }

    /// The end of an event: ticks end, and the state of nodes is checked.
    private func settle() {
        while let loop = ticking.popLast() { loop.tickEnds() }
        let nodes = touched
        touched.removeAll(keepingCapacity: true)
        for node in nodes where node.isAlive {
            let held = Set(roomNames.indices.filter { node.rooms.isInUse(roomNames[$0]) })
            for room in node.held.subtracting(held) { checkOut(node, room) }
            node.held = held
            for room in held { checkBounds(node, roomNames[room]) }
            if plan.restsRooms { node.rooms.restAtOnce() }
        }
    }

    /// Whether a link under load uses plain commands: always, never, or sometimes, as the schedule determines.
    func takesPlainSteps() -> Bool {
        switch plan.seed % 3 {
        case 0: false
        case 1: random.oneIn(2)
        default: true
        }
    }

    func resetLinks(_ node: SimNode) {
        log("\(node.id) resets its links")
        if node.commands.isUp { agenda.add(.loseCommands(node: node.index, number: node.commands.number), at: now) }
        if node.subscriptions.isUp {
            agenda.add(.loseSubscriptions(node: node.index, number: node.subscriptions.number), at: now)
        }
    }

    // MARK: sessions

    func readsSoon(_ session: SimSession) {
        agenda.add(.hasRead(node: session.node.index, session.id), at: now + random.below(20 * millisecond))
    }

    // MARK: planted bugs

    /// Planted: own messages are shown before Redis has answered.
    func showTooEarly(_ request: BrokerRequest, on node: SimNode) {
        guard plan.bugs.contains(.deliverBeforeReply),
            case .append(let room, let epoch, let content, _, _) = request
        else { return }
        let seq = node.rooms.inspect(room) { $0.position?.seq ?? 0 } ?? 0
        let message = Message(position: Position(epoch: epoch, seq: seq + 1), content: content)
        for (_, outlet) in node.outlets.sorted(by: { $0.key < $1.key }) {
            toClient(outlet, .message(room: room, message, showKey: false))
        }
    }

    /// The deliveries of a loop to sessions, changed by the planted bugs of hosts.
    func tampered(_ batch: [Delivery], on node: SimNode) -> [Delivery] {
        if plan.bugs.contains(.deliveriesAreSwapped), batch.count > 1, random.oneIn(8) { return batch.reversed() }
        if plan.bugs.contains(.pagesLoseTheirEnd) { return batch.map(losingItsEnd) }
        if plan.bugs.contains(.pagesAreNotFolded) { return batch.map(unfolded) }
        guard plan.bugs.contains(.catchingUpHearsAll) else { return batch }
        for case .broadcast(let room, let frame, _) in batch {
            for (_, outlet) in room.catchingUp.sorted(by: { $0.key < $1.key }) { outlet.send(frame) }
        }
        return batch
    }

    private func losingItsEnd(_ delivery: Delivery) -> Delivery {
        guard case .goLive(let room, let id, var joined) = delivery, joined.ref?.isOfPage ?? false,
            joined.messages.count > 1
        else { return delivery }
        joined.messages.removeLast()
        return .goLive(room, id, joined)
    }

    private func unfolded(_ delivery: Delivery) -> Delivery {
        guard case .goLive(let room, let id, var joined) = delivery else { return delivery }
        let known = Dictionary(truth(index(of: joined.room)).map { ($0.position, $0) }) { first, _ in first }
        joined.messages = joined.messages.map { $0.content.deleted == nil ? known[$0.position] ?? $0 : $0 }
        return .goLive(room, id, joined)
    }

    // MARK: sweeping

    func carryOut(_ actions: [HoldingsAudit.Action], _ node: SimNode) {
        for action in actions {
            switch action {
            case .submit(let request, let serial): submit(node, .audit(serial), request)
            case .left(let room): log("\(node.id) was listed in \(room), which it does not hold, and left")
            }
        }
    }

    func carryOut(_ actions: [SweepStateMachine.Action], _ node: SimNode) {
        for action in actions {
            switch action {
            case .submit(let request, let serial): submit(node, .sweeper(serial), request)
            case .found(let dead, _): log("\(node.id) finds \(dead) dead")
            case .swept, .keepOldList: break
            }
        }
    }
}
