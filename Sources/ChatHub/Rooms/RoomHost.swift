import ChatCore

/// The rooms whose home is one loop. It passes events to them and carries out the resulting actions. It knows only the
/// loops on which a room's sessions are; ``SessionHost`` knows the sessions.
///
/// Not thread-safe: confined to its loop.
public final class RoomHost {
    /// The loop's number in the node.
    let index: Int
    let settings: HubSettings
    let link: any BrokerLink
    unowned let context: any RoomHostContext
    let isTracing: Bool
    let common: RoomStateMachine.Common
    private let machines = MachineStore()
    let outboxes: Outboxes
    var table = RoomTable()
    var memory: RoomsMemory
    /// Rooms whose machine is in memory. Some of them may have been closed since.
    private var awakeRooms: [HomeRoom] = []
    private var timers = TimerHeap()
    /// Arrays of actions for reuse.
    private var pool: [[RoomAction]] = []
    /// The rooms that enter or leave now, at each of the broker's servers.
    var turns: Turns<TurnID, BrokerIdentity>
    var isGrantingTurns = false
    /// Whether a room may have a turn, or wait for one: cheaper to ask than `turns`, once for each event.
    var mayGrantTurns = false
    /// The servers that carry out commands, and those that publish, and for which rooms.
    public private(set) var commands = BrokerReach()
    public private(set) var subscriptions = BrokerReach()
    /// Messages shown to rooms since the node started.
    var messages: UInt64 = 0
    /// Who waits for messages without a session.
    var polls = WaitingPolls()
    /// The messages that an operator's hook decides about; nil if there is none.
    var hook: HookQueue<HeldMessage>?
    /// What is to be done about what users have read.
    var reading = LoopReading()
    /// The rooms in which something was said, for relays.
    var notes = RelayNotes()
    /// The users whose home is this loop.
    public let users: UserHost

    /// `count`: the number of loops of the node. `turnsAtOnce`: rooms that enter or leave at once at one server.
    public init(
        index: Int, of count: Int, settings: HubSettings, link: any BrokerLink, tick: LoopTick,
        context: any RoomHostContext, turnsAtOnce: Int = RoomHost.turnsAtOnce
    ) {
        self.index = index
        self.settings = settings
        self.link = link
        self.context = context
        isTracing = context.isTracing
        common = RoomStateMachine.Common(node: settings.node, settings: settings.rooms)
        outboxes = Outboxes(index: index, of: count, tick: tick, context: context)
        memory = RoomsMemory(limit: settings.roomsMemory / max(1, count))
        turns = Turns(limit: turnsAtOnce)
        hook = settings.hook.map { HookQueue($0) }
        users = UserHost(link: link, context: context) { [outboxes] in outboxes.post($0, to: $1) }
    }

    /// The room's home loop: its ``StableHash``, then mixed (the finaliser of MurmurHash3), because FNV alone hardly
    /// carries a name's last bytes into the upper half, so that `room1` to `room99` would all have one home.
    public static func home(of room: RoomName, among count: Int) -> Int {
        home(ofName: room.text, among: count)
    }

    static func home(ofName name: String, among count: Int) -> Int {
        guard count > 1 else { return 0 }
        var hash = StableHash(name).value
        hash = (hash ^ hash >> 33) &* 0xff51_afd7_ed55_8ccd
        return Int((hash >> 32) % UInt64(max(1, count)))
    }

    // MARK: rooms

    /// The number of rooms in use.
    public var count: Int { table.count }

    public func isInUse(_ name: RoomName) -> Bool { table.contains(name) }

    /// The room, if it is in use here.
    func room(named name: RoomName) -> HomeRoom? { table.room(named: name) }

    /// The room, which is put into use if it is not in use yet.
    func openRoom(_ name: RoomName) -> HomeRoom {
        if let room = room(named: name) { return room }
        let now = context.now
        let room = table.add(name) { slot, generation in
            let spread = Double((UInt64(generation) &* 0x9E37_79B9_7F4A_7C15) >> 40) / Double(1 << 24)
            var machine = RoomStateMachine(room: name, common: common, spread: spread)
            var actions: [RoomAction] = []
            if subscriptions.identity(of: name) != nil { machine.handle(.subscriptionsUp, now: now, &actions) }
            if let identity = commands.identity(of: name) { machine.handle(.commandsUp(identity), now: now, &actions) }
            assert(actions.isEmpty, "a new room wants nothing yet")
            return HomeRoom(slot: slot, generation: generation, machine: machine, in: machines)
        }
        awakeRooms.append(room)
        return room
    }

    private func closeRoom(_ room: HomeRoom) {
        guard room.look({ $0.isOut }) ?? false, table.holds(room) else { return }
        endTurn(room)
        memory.forgot(room.cost)
        room.cost = 0
        table.remove(room)
    }

    // MARK: events

    /// Passes an event to the room's machine and carries out the resulting actions. `awake`: the minimum time for which
    /// the room stays awake after it.
    func happen(_ event: RoomEvent, in room: HomeRoom, awake: Duration = RoomHost.restAfter) {
        var actions = pool.popLast() ?? []
        let now = context.now
        awaken(room)
        room.restAt = max(room.restAt, now + awake)
        if isTracing { context.trace("<- \(event.traceText)", in: room.name) }
        let cost = room.look { machine in
            machine.wallClock = context.wallClock
            machine.roundTrip = link.roundTrip
            machine.handle(event, now: now, &actions)
            return machine.memoryCost
        }
        if let cost, cost != room.cost { remember(room, cost) }
        var finished = false
        for action in actions { finished = carryOut(action, room) || finished }
        actions.removeAll(keepingCapacity: actions.capacity <= 1_024)
        if pool.count < 4 { pool.append(actions) }
        if finished { closeRoom(room) } else { arm(room) }
        grantTurns()
        if room.polls != nil { settlePolls(room) }
        if room.reading != nil { settleWatchers(room) }
    }

    private func happenEverywhere(_ event: RoomEvent, in scope: BrokerScope = .everything) {
        for case let room? in table.slots where scope.contains(room.name) { happen(event, in: room) }
    }

    // MARK: awake and at rest

    func awaken(_ room: HomeRoom) {
        guard !room.isAwake else { return }
        room.awaken(common)
        awakeRooms.append(room)
    }

    /// The idle time after which a room goes to rest.
    static let restAfter: Duration = .seconds(1)
    /// The same after an event of the room's timer, which mostly compares a quiet room with its log: about as long as
    /// Redis takes to answer. (Of 10,000 quiet rooms, 333 are compared each second.)
    static let upkeep: Duration = .milliseconds(100)
    /// How long a room that could not go to rest stays awake.
    private static let stayAwake: Duration = .seconds(30)

    /// Puts idle rooms to rest. To be called once a second.
    public func restRooms() {
        let now = context.now
        var kept = 0
        for index in awakeRooms.indices {
            let room = awakeRooms[index]
            guard table.holds(room) else { continue }
            if room.restAt <= now {
                if room.rest(now: now) { continue }
                room.restAt = now + Self.stayAwake
            }
            awakeRooms[kept] = room
            kept += 1
        }
        awakeRooms.removeLast(awakeRooms.count - kept)
        if awakeRooms.isEmpty { awakeRooms = [] }
    }

    /// Puts every room to rest that may rest, even if something has just happened in it, so that the simulator tests
    /// rest between any two events.
    package func restAtOnce() {
        let now = context.now
        awakeRooms.removeAll { !table.holds($0) || $0.rest(now: now) }
    }

    /// Passes a room's machine to the body, for tests and the simulator. A room at rest stays at rest.
    @discardableResult
    package func inspect<Result>(_ name: RoomName, _ body: (inout RoomStateMachine) -> Result) -> Result? {
        room(named: name)?.inspect(common, body)
    }

    /// The same, for rooms that do not rest.
    package func inspectAwake(_ name: RoomName, _ body: (inout RoomStateMachine) -> Void) {
        _ = room(named: name)?.look(body)
    }

    /// The number of rooms whose machine is in memory.
    var awakeCount: Int { awakeRooms.count }

    // MARK: deliveries

    /// Adds a delivery to the batch for that loop; the batch is handed over at the end of the tick.
    public func post(_ delivery: Delivery, to loop: Int) { outboxes.post(delivery, to: loop) }

    // MARK: timers

    /// Sets the timer for the moment at which the room wants to be woken.
    private func arm(_ room: HomeRoom) {
        guard let wake = room.look({ $0.nextWake }) ?? nil else { return }
        if let armed = room.wake, armed <= wake { return }
        room.wake = wake
        timers.add(.init(moment: wake, slot: room.slot, generation: room.generation), rooms: table.count) {
            self.room(wantedBy: $0) != nil
        }
        armTimers()
    }

    private func armTimers() {
        if let next = timers.next { context.wake(at: next) }
        if let next = hook?.deadline { context.wake(at: next) }
        if let next = polls.nextDeadline { context.wake(at: next) }
        if let next = reading.deadline { context.wake(at: next) }
        if let next = users.deadline { context.wake(at: next) }
    }

    /// The room of the entry; nil if it is gone, or no longer wants to be woken then.
    private func room(wantedBy entry: TimerHeap.Entry) -> HomeRoom? {
        guard let room = table.room(in: entry.slot, generation: entry.generation) else { return nil }
        return room.wake == entry.moment ? room : nil
    }

    /// Wakes the rooms whose moment has come. Called as requested by ``RoomHostContext/wake(at:)``.
    public func timersDue() {
        let now = context.now
        while let entry = timers.popDue(now) {
            guard let room = room(wantedBy: entry) else { continue }
            room.wake = nil
            happen(.timerFired, in: room, awake: Self.upkeep)
        }
        hookTimePassed(now: now)
        pollTimePassed(now: now)
        readTimePassed(now: now)
        users.timePassed(now: now)
        armTimers()
    }

    // MARK: events of the broker

    /// A request with that tag was answered. Answers to requests that no room made are not passed to this host.
    public func completed(_ tag: RequestTag, _ result: Result<BrokerReply, BrokerError>) {
        guard tag.wantsAnswer, let room = table.room(in: tag.owner, generation: tag.generation) else { return }
        switch result {
        case .success(.presence), .success(.left(true)): note(room.name, .presence)
        default: break
        }
        // The request has already determined how long the room stays awake.
        happen(.completed(serial: tag.serial, result), in: room, awake: .zero)
    }

    /// The room that made the request, for a log line.
    public func name(of tag: RequestTag) -> RoomName? {
        table.room(in: tag.owner, generation: tag.generation)?.name
    }

    public func subscribed(_ name: RoomName) {
        if let room = room(named: name) { happen(.subscribed, in: room) }
    }

    public func unsubscribed(_ name: RoomName) {
        if let room = room(named: name) { happen(.unsubscribed, in: room) }
    }

    public func heard(_ event: ChannelEvent, in name: RoomName) {
        if case .reads(let marks) = event { return heard(marks, in: name) }
        if let room = room(named: name) { happen(.heard(event), in: room) }
    }

    /// Whether a message at that position, of an epoch that began at `base`, is known.
    public func knows(_ position: Position, base: UInt64, in name: RoomName) -> Bool {
        room(named: name)?.look { $0.knows(position, base: base) } ?? false
    }

    /// From now on that server carries out commands for these rooms. Rooms are told by ``commandsReturned(_:_:)``, so
    /// that the node can report first that it lives.
    public func commandsCame(_ identity: BrokerIdentity, _ scope: BrokerScope) { commands.came(scope, identity) }

    public func commandsReturned(_ identity: BrokerIdentity, _ scope: BrokerScope) {
        happenEverywhere(.commandsUp(identity), in: scope)
        readsConnected()
    }

    public func commandsWent(_ scope: BrokerScope) { commands.went(scope) }

    public func commandsLost(_ scope: BrokerScope) { happenEverywhere(.commandsDown, in: scope) }

    public func subscriptionsCame(_ identity: BrokerIdentity, _ scope: BrokerScope) {
        subscriptions.came(scope, identity)
    }

    public func subscriptionsReturned(_ scope: BrokerScope) { happenEverywhere(.subscriptionsUp, in: scope) }

    public func subscriptionsWent(_ scope: BrokerScope) { subscriptions.went(scope) }

    public func subscriptionsLost(_ scope: BrokerScope) { happenEverywhere(.subscriptionsDown, in: scope) }

    /// Whether both connections that serve the entity are up.
    public func isReached(_ entity: Entity) -> Bool {
        commands.identity(of: entity) != nil && subscriptions.identity(of: entity) != nil
    }

    /// The node's lease had run out, so other nodes may have taken it out of its rooms.
    public func nodeForgotten() { happenEverywhere(.nodeForgotten) }

    /// Gives up the rooms without sessions, as the node leaves. Returns how many are still in use.
    public func leaveRooms() -> Int {
        flushReads()
        happenEverywhere(.nodeLeaves)
        return table.count
    }

    /// A failover may have lost the lists of rooms that are kept in the scope. Rooms in the scope enter again, which
    /// writes them down; rooms of other masters notice nothing, so they are written down again here.
    public func holdAgain(in scope: BrokerScope) {
        let isOldList = scope.holdsNodes && link.keepsOldList
        for case let room? in table.slots
        where !scope.contains(room.name)
            && (isOldList || scope.contains(.node(settings.node, Holdings.slot(of: room.name))))
        {
            holdAgain(room)
        }
    }

    /// Whether a node of schema 1 lives, which reads only the old list.
    public func keepOldList(_ isKept: Bool) {
        guard link.keepOldList(isKept) else { return }
        for case let room? in table.slots { holdAgain(room) }
    }

    private func holdAgain(_ room: HomeRoom) {
        guard room.look({ $0.isHeld }) ?? true else { return }
        let tag = RequestTag(owner: room.slot, generation: room.generation, serial: RequestTag.ignoredSerial)
        link.submit(.hold(room: room.name, node: settings.node), tag: tag)
    }

    // MARK: audits

    /// The number of rooms whose servers are reached and that have not returned yet.
    public var recoveringRooms: Int {
        table.slots.count { $0.map { isReached(.room($0.name)) && ($0.look { $0.isRecovering } ?? false) } ?? false }
    }

    /// The number of slots of rooms, some of which may be empty.
    public var slotCount: Int { table.slots.count }

    /// The seq of the newest message of the room in that slot; nil if the room is not live, or no other node is in it.
    public func sharedSeq(slot: Int) -> UInt64? { table.slots[slot]?.sharedSeq }

    /// The room in that slot, whose log the caller reads and then reports to ``logReaches(_:in:)``.
    public func sharedRoom(slot: Int) -> (name: RoomName, generation: UInt32)? {
        table.slots[slot].map { ($0.name, $0.generation) }
    }

    /// A read of a room's log showed that the log reaches to that position.
    public func logReaches(_ newest: Position, in room: (name: RoomName, generation: UInt32)) {
        guard let home = self.room(named: room.name), home.generation == room.generation, !home.reaches(newest) else {
            return
        }
        happen(.logReaches(newest), in: home)
    }

    // MARK: load

    public var load: HubLoad {
        var load = HubLoad()
        load.rooms = table.count
        load.waitingSends = table.slots.reduce(0) { $0 + ($1?.look { $0.waitingSends } ?? 0) }
        load.messages = messages
        load.polls = polls.count
        load.memory = memory
        return load
    }
}

extension SessionID {
    /// A session's ID contains the loop that accepted it (its lowest byte) and the protocol that it speaks (the next
    /// byte), so that a room's home loop knows both of every session.
    public init(number: UInt64, loop: Int, protocolID: ProtocolID = ProtocolID(rawValue: 0)) {
        self.init(raw: number << 16 | UInt64(protocolID.rawValue) << 8 | UInt64(loop & 0xFF))
    }

    /// The loop that accepted it.
    public var loop: Int { Int(raw & 0xFF) }
    /// The protocol that it speaks.
    public var protocolID: ProtocolID { ProtocolID(rawValue: UInt8(truncatingIfNeeded: raw >> 8)) }
}
