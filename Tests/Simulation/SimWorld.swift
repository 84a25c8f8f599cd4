import ChatCore

/// The whole of Martlet in virtual time: nodes, clients, Redis and the network between them, everything from one plan. It stops
/// at the first broken promise.
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
    /// The living node of each slot.
    var slots: [Int?]
    var clients: [SimClient]
    var requests: [Int: SimRequest] = [:]
    var nextRequest = 0
    var nextConnection = 1
    var nextSession: UInt64 = 1
    var slowUntil: UInt64 = 0
    /// No more misfortunes: everything has to come right.
    var isQuiet = false
    /// When a Redis last ended.
    var lastServerDeath: UInt64 = 0
    /// Redis lost something, so a reset is no lie.
    var hasLost = false
    /// Somebody wrote into a room's keys, so that a reset may have no other reason.
    var isVandalised = false
    /// Rooms whose last ID was moved by hand.
    var moved: Set<Int> = []
    var violation: String?
    /// Every position ever taken, in whatever branch: what may be shown.
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
        settings.partLength = plan.partLength
        servers = [SimRedis(names: roomNames, settings: settings, generation: 0)]
        servers[0].againEvery = plan.againEvery
        slots = Array(repeating: nil, count: plan.slots)
        clients = try (0..<plan.clients).map {
            // Every third client is a second device of an earlier one's user.
            SimClient(
                index: $0, user: try UserID("user\($0 % 3 == 2 ? $0 - 1 : $0)"), device: try DeviceName("device\($0)"),
                rooms: plan.rooms)
        }
        stored = Array(repeating: [], count: plan.rooms)
    }

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

    /// How long something takes to get through.
    func delay() -> UInt64 {
        if now < slowUntil, random.oneIn(3) { return random.below(300 * millisecond) }
        if random.oneIn(40) { return random.below(30 * millisecond) }
        return 50_000 + random.below(random.oneIn(4) ? 3 * millisecond : 300_000)
    }

    // MARK: running

    /// Runs the plan, then lets everything settle. Returns what was broken first; nil: every promise was kept.
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
        // Long enough for leases, backoffs, lost doorbells and the last retries; a lease ends later by as much as Redis' clock was
        // set back by failovers, for a TTL is a moment of that clock (seeds 2209524, 2217524).
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
        }
        now = max(now, end)
    }

    /// Nothing bad happens from now on: everybody who crashed starts again, everybody connects.
    private func quieten() {
        isQuiet = true
        log("--- quiet from here ---")
        slowUntil = 0
        if isVandalised { for room in roomNames.indices { mend(room) } }
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
        case .subscribeAnswered(let node, let number, let room, let on):
            subscribeAnswered(node, number, room, on, event)
        case .publication(let node, let number, let room, let news): publicationArrives(node, number, room, news, event)
        case .nextPage(let node, let session, let room):
            guard let node = awake(node, event) else { return }
            nextPage(node, session, room)
        case .timer(let node, let room, let generation, let at):
            guard let node = awake(node, event), let slot = node.rooms[room], slot.generation == generation,
                slot.wake == at
            else { return }
            slot.wake = nil
            happen(node, room) { $0.timerFired(now: $1, &$2) }
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
        case .said(let node, let session, let room, let request, let ref):
            guard let node = awake(node, event) else { return }
            said(node, session, room, request, ref)
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

    /// The node, if it lives and runs; a stopped one gets the event when it goes on.
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
        let node = SimNode(index: index, slot: slot, id: id, started: now, skew: skew, rooms: plan.rooms)
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
        // In order: the same seed has to tell the same story, and a dictionary has another order in every process.
        for (_, session) in node.sessions.sorted(by: { $0.key < $1.key })
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

    /// Lets something happen in a room and carries out what follows.
    func happen(
        _ node: SimNode, _ room: Int, _ event: (inout RoomStateMachine, Moment, inout [RoomAction]) -> Void
    ) {
        guard let slot = node.rooms[room] else { return }
        var actions: [RoomAction] = []
        slot.machine.wallClock = wall(node.skew)
        event(&slot.machine, moment, &actions)
        var finished = false
        for action in actions { if carryOut(action, node, room, slot) { finished = true } }
        defer { grantTurns(node) }
        if finished, slot.machine.isOut {
            checkOut(node, room)
            node.rooms[room] = nil
            node.turns.ended(room)
            return
        }
        checkBounds(slot, node)
        if plan.restsRooms { restAndWake(slot, node) }
        if let wake = slot.machine.nextWake {
            let at = max(now, wake.nanoseconds)
            if slot.wake.map({ $0 > at }) ?? true {
                slot.wake = at
                agenda.add(.timer(node: node.index, room: room, generation: slot.generation, at: at), at: at)
            }
        }
    }

    private func grantTurns(_ node: SimNode) {
        guard !node.isGrantingTurns else { return }
        node.isGrantingTurns = true
        defer { node.isGrantingTurns = false }
        while let room = node.turns.next() {
            guard node.rooms[room] != nil else {
                node.turns.ended(room)
                continue
            }
            happen(node, room) { $0.turnCame(now: $1, &$2) }
        }
    }

    /// A room that may rest rests and is woken, again and again: nobody may ever notice.
    private func restAndWake(_ slot: SimNode.Room, _ node: SimNode) {
        guard let rest = slot.machine.rest(now: moment) else { return }
        var woken = RoomStateMachine(waking: rest, room: slot.machine.room, common: slot.machine.common)
        if woken.rest(now: moment)?.isSame(as: rest) != true {
            fail("node \(node.id): room \(slot.machine.room) does not wake as what it went to rest")
        }
        woken.roundTrip = slot.machine.roundTrip
        slot.machine = woken
    }

    func happenEverywhere(
        _ node: SimNode, _ event: (inout RoomStateMachine, Moment, inout [RoomAction]) -> Void
    ) {
        for room in node.rooms.indices { happen(node, room, event) }
    }

    func openRoom(_ node: SimNode, _ room: Int) -> SimNode.Room {
        if let slot = node.rooms[room] { return slot }
        var settings = RoomSettings()
        settings.historyLength = plan.historyLength
        settings.memoryBytes = plan.memoryBytes
        settings.pageBytes = plan.pageBytes
        settings.historyBytes = plan.historyBytes
        settings.appendWindow = plan.appendWindow
        // Longer than the bytes of a dead connection live, as ten seconds are: an `enter` that is carried out after the room was left
        // and its entry in the node's list released has no witness but its own epoch (seed 1011588).
        settings.linger = .milliseconds(1_200)
        settings.viewInterval = plan.bugs.contains(.noQuietView) ? .seconds(1_000_000) : plan.viewInterval
        settings.enterDeadline = .seconds(2)
        settings.returnGrace = .seconds(2)
        settings.limits.sendWait = .seconds(4)
        settings.youngSession = .seconds(3)
        settings.rules = plan.rules
        let spread = Double(random.below(1_000)) / 1_000
        var machine = RoomStateMachine(room: roomNames[room], node: node.id, settings: settings, spread: spread)
        var actions: [RoomAction] = []
        if node.subscriptions.isUp { machine.subscriptionsUp(now: moment, &actions) }
        if node.commands.isUp {
            machine.commandsUp(servers[node.commands.server].identity, now: moment, &actions)
        }
        let slot = SimNode.Room(machine: machine, generation: node.nextGeneration)
        node.nextGeneration += 1
        node.rooms[room] = slot
        return slot
    }

    /// A link that has much to do takes plain steps: always, never, or now and then, as the schedule has it.
    private func takesPlainSteps() -> Bool {
        switch plan.seed % 3 {
        case 0: false
        case 1: random.oneIn(2)
        default: true
        }
    }

    /// True if the room is finished.
    private func carryOut(_ action: RoomAction, _ node: SimNode, _ room: Int, _ slot: SimNode.Room) -> Bool {
        switch action {
        case .subscribe:
            subscribe(node, room, on: true)
            if plan.bugs.contains(.enterBeforeSubscribed) {
                agenda.add(
                    .subscribeAnswered(node: node.index, number: node.subscriptions.number, room: room, on: true),
                    at: now)
            }
        case .unsubscribe: subscribe(node, room, on: false)
        case .submit(let request, let serial):
            let request = takesPlainSteps() ? request.inPlainSteps : request
            log("\(node.id) asks \(describe(request))")
            submit(node, .room(room, generation: slot.generation, serial: serial), request)
            if plan.bugs.contains(.deliverBeforeReply),
                case .append(_, let epoch, let content) = request.inPlainSteps
            {
                let position = Position(epoch: epoch, seq: (slot.machine.position?.seq ?? 0) + 1)
                broadcast(
                    .message(room: roomNames[room], Message(position: position, content: content), showKey: false),
                    slot, node)
            }
        case .awaitTurn(let isUrgent): node.turns.ask(room, at: 0, isUrgent: isUrgent)
        case .endTurn: node.turns.ended(room)
        case .resetLinks:
            log("\(node.id) resets its links")
            if node.commands.isUp { agenda.add(.loseCommands(node: node.index, number: node.commands.number), at: now) }
            if node.subscriptions.isUp {
                agenda.add(.loseSubscriptions(node: node.index, number: node.subscriptions.number), at: now)
            }
        case .deliver(let message):
            log("\(node.id) shows \(message.position) \(message.content.text ?? "")")
            broadcast(.message(room: roomNames[room], message, showKey: false), slot, node)
        case .deliverGap(let gap): broadcast(.gap(room: roomNames[room], gap), slot, node)
        case .deliverReset(let reset):
            if plan.faults == .lostTail {
                fail("\(node.id) resets room\(room) to \(reset.position) though it knew what Redis lost")
            }
            broadcast(.reset(room: roomNames[room], reset), slot, node)
        case .deliverPresence(let joined, let left, let count):
            tell(.presence(room: roomNames[room], joined: joined, left: left, count: count), except: [], node, room)
        case .deliverPresenceApart(let joined, let left, let count, let except):
            tell(.presence(room: roomNames[room], joined: joined, left: left, count: count), except: except, node, room)
        case .deliverSignal: break
        case .goLive(let session, let joined):
            goLive(session, joined, node, room, slot)
        case .answer(let session, let event): toSession(node, session, event)
        case .refuseJoin(let session, let event), .refusePage(let session, let event):
            refused(session, event, node, room, slot)
        case .sawNodes(let seen):
            for (other, value) in seen.sorted(by: { $0.key < $1.key }) {
                node.sweeper.saw(other, value: value, in: roomNames[room])
            }
        case .finished: return true
        case .count(let counter): counters[counter, default: 0] += 1
        }
        return false
    }

    private func goLive(_ id: SessionID, _ joined: Joined, _ node: SimNode, _ room: Int, _ slot: SimNode.Room) {
        guard let session = node.sessions[id], var standing = session.standings[room] else { return }
        let user = clients[session.client].user
        let action = standing.answered(joined, for: user, bytes: plan.sessionPageBytes, count: 100)
        node.sessions[id]?.standings[room] = standing
        switch action {
        case .ignore: break
        case .show(let events, let isLive):
            for event in events { toSession(node, id, event) }
            if isLive { slot.live.insert(id) } else { slot.live.remove(id) }
            if !isLive { readsOn(node, id, room) }
        }
    }

    private func refused(_ id: SessionID, _ event: ServerEvent, _ node: SimNode, _ room: Int, _ slot: SimNode.Room) {
        guard case .error(let ref, _) = event, var standing = node.sessions[id]?.standings[room] else { return }
        let action = standing.refused(ref)
        node.sessions[id]?.standings[room] = standing
        switch action {
        case .ignore: break
        case .leave:
            slot.live.remove(id)
            node.sessions[id]?.rooms.remove(room)
            node.sessions[id]?.standings[room] = nil
            toSession(node, id, event, refusedRoom: room)
        case .askAgain: readsOn(node, id, room)
        }
    }

    private func readsOn(_ node: SimNode, _ id: SessionID, _ room: Int) {
        agenda.add(.nextPage(node: node.index, id, room: room), at: now + random.below(20 * millisecond))
    }

    private func nextPage(_ node: SimNode, _ id: SessionID, _ room: Int) {
        guard let session = node.sessions[id], let next = node.sessions[id]?.standings[room]?.nextPage() else { return }
        let client = clients[session.client]
        let request = JoinRequest(
            session: id, user: client.user, device: client.device, since: moment, ref: next.ref, after: next.after)
        _ = openRoom(node, room)
        happen(node, room) { $0.join(request, now: $1, &$2) }
    }

    /// Presence goes to all who were told a roster, those that catch up among them.
    private func tell(_ event: ServerEvent, except: [SessionID], _ node: SimNode, _ room: Int) {
        for (id, session) in node.sessions.sorted(by: { $0.key < $1.key }) where !except.contains(id) {
            guard let standing = session.standings[room], standing.unanswered == nil else { continue }
            toSession(node, id, event)
        }
    }

    private func broadcast(_ event: ServerEvent, _ slot: SimNode.Room, _ node: SimNode) {
        for session in slot.live.sorted() { toSession(node, session, event) }
    }

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
            case .swept: break
            }
        }
    }
}
