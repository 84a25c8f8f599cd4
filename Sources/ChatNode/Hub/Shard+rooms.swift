import ChatCore
import ChatGateway
import Logging
import NIOCore

/// The home side: rooms, their actions and their timers.
extension Shard: TickWork {
    /// The room if it is in use here.
    func room(named name: RoomName) -> HomeRoom? {
        if let recentRoom, recentRoom.name == name { return recentRoom }
        guard let slot = slots[name] else { return nil }
        recentRoom = rooms[Int(slot)]
        return recentRoom
    }

    /// The room, put into use if it is not.
    func openRoom(_ name: RoomName) -> HomeRoom {
        if let room = room(named: name) { return room }
        let slot = freeSlots.popLast() ?? UInt32(rooms.count)
        let generation = nextGeneration
        nextGeneration &+= 1
        let spread = Double((UInt64(generation) &* 0x9E37_79B9_7F4A_7C15) >> 40) / Double(1 << 24)
        var machine = RoomStateMachine(room: name, common: common, spread: spread)
        var actions: [RoomAction] = []
        if subscriptions.identity(of: name) != nil { machine.subscriptionsUp(now: now, &actions) }
        if let identity = commands.identity(of: name) { machine.commandsUp(identity, now: now, &actions) }
        let room = HomeRoom(slot: slot, generation: generation, machine: machine, in: machines)
        if Int(slot) == rooms.count { rooms.append(room) } else { rooms[Int(slot)] = room }
        slots[name] = slot
        awakeRooms.append(room)
        return room
    }

    private func closeRoom(_ room: HomeRoom) {
        guard room.look({ $0.isOut }) ?? false, slots[room.name] == room.slot else { return }
        if recentRoom === room { recentRoom = nil }
        endTurn(room)
        forget(room)
        slots[room.name] = nil
        rooms[Int(room.slot)] = nil
        freeSlots.append(room.slot)
    }

    /// Lets something happen in the room and carries out what follows from it. `awake`: for how long the room does not go to rest after it.
    func happen(
        in room: HomeRoom, awake: Duration = Shard.restAfter,
        _ event: (inout RoomStateMachine, Moment, inout [RoomAction]) -> Void
    ) {
        var actions = pool.popLast() ?? []
        let now = now
        awaken(room)
        room.restAt = max(room.restAt, now + awake)
        let cost = room.look { machine in
            machine.wallClock = settings.wallClock()
            machine.roundTrip = link.roundTrip
            event(&machine, now, &actions)
            return machine.memoryCost
        }
        if let cost, cost != room.cost { remember(room, cost) }
        var finished = false
        for action in actions { finished = carryOut(action, room) || finished }
        actions.removeAll(keepingCapacity: actions.capacity <= 1_024)
        if pool.count < 4 { pool.append(actions) }
        if finished { closeRoom(room) } else { arm(room) }
        grantTurns()
    }

    func awaken(_ room: HomeRoom) {
        guard !room.isAwake else { return }
        room.awaken(common)
        awakeRooms.append(room)
    }

    /// Whether the session is in the room or waits to be.
    func has(_ session: SessionID, in room: HomeRoom) -> Bool {
        awaken(room)
        return room.look { $0.has(session) } ?? false
    }

    /// How long nothing happens in a room that goes to rest, and how long one stays awake that could not.
    static let restAfter: Duration = .seconds(1)
    /// The same for what the room's timer begins, mostly to compare a quiet room with its log: about as long as Redis takes to answer. (Of
    /// 10,000 quiet rooms, 333 are compared each second.)
    private static let upkeep: Duration = .milliseconds(100)
    private static let stayAwake: Duration = .seconds(30)

    /// Puts the rooms to rest in which nothing happens. Once a second.
    func restRooms() {
        let now = now
        var kept = 0
        for index in awakeRooms.indices {
            let room = awakeRooms[index]
            guard rooms[Int(room.slot)] === room else { continue }
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

    /// Gives up the rooms that nobody is in; returns how many are still in use.
    func leaveRooms() async -> Int {
        await withCheckedContinuation { continuation in
            run { [self] in
                happenEverywhere { $0.nodeLeaves(now: $1, &$2) }
                continuation.resume(returning: slots.count)
            }
        }
    }

    func happenEverywhere(
        in scope: BrokerScope = .everything, _ event: (inout RoomStateMachine, Moment, inout [RoomAction]) -> Void
    ) {
        for case let room? in rooms where scope.contains(room.name) { happen(in: room, event) }
    }

    /// What this shard is doing.
    func load() -> Load {
        let waiting = rooms.reduce(0) { $0 + ($1?.look { $0.waitingSends } ?? 0) }
        return Load(
            sessions: sessions.count, rooms: slots.count, waitingSends: waiting, messages: messages,
            deliveries: deliveries, memory: memory)
    }

    // MARK: actions

    /// True if the room is finished.
    private func carryOut(_ action: RoomAction, _ room: HomeRoom) -> Bool {
        switch action {
        case .subscribe: link.subscribe(room.name)
        case .unsubscribe: link.unsubscribe(room.name)
        case .submit(let request, let serial):
            link.submit(request, tag: RequestTag(owner: room.slot, generation: room.generation, serial: serial))
        case .awaitTurn(let isUrgent): awaitTurn(room, isUrgent: isUrgent)
        case .endTurn: endTurn(room)
        case .resetLinks: link.reset(room.name)
        case .deliver(let message): deliver(message, room)
        case .deliverGap(let gap): broadcast(.gap(room: room.name, gap), room)
        case .deliverReset(let reset): broadcast(.reset(room: room.name, reset), room)
        case .deliverPresence(let joined, let left, let count):
            broadcast(.presence(room: room.name, joined: joined, left: left, count: count), room)
        case .deliverPresenceApart(let joined, let left, let count, let except):
            let event = ServerEvent.presence(room: room.name, joined: joined, left: left, count: count)
            let frame = SharedFrame(event, codec: codec)
            room.forEachLoop { post(.presence($1, frame, except: except), to: $0) }
        case .deliverSignal(let signal): deliver(signal, room)
        case .goLive(let session, let joined):
            if !(joined.ref?.isOfPage ?? false), let result = RecoveryResult(joined.resumption) {
                metrics.recoveries[result].increment()
            }
            post(.goLive(room.members(on: session.loop), session, joined), to: session.loop)
        case .answer(let session, let event): answer(session, event)
        case .refuseJoin(let session, let event):
            room.sessionWent(from: session.loop)
            post(.refuse(room.members(on: session.loop), session, event), to: session.loop)
        case .refusePage(let session, let event):
            post(.refuse(room.members(on: session.loop), session, event), to: session.loop)
        case .sawNodes(let nodes): suspect(nodes, in: room)
        case .finished: return true
        case .count(let counter):
            metrics.count(counter)
            if let event = NodeNews.Event(counter) { keeper?.news.happened(event, in: room.name, now: now) }
            if case .ignored(let kind) = counter { sayIgnored(kind, in: room.name) }
        }
        return false
    }

    private func sayIgnored(_ kind: IgnoredData, in room: RoomName) {
        guard let count = ignoredLines.happened(kind, now: now) else { return }
        logger.warning(
            "a room was told what no node of ours said; ignored (see martlet doctor)",
            metadata: [
                LogKey.reason: "\(kind)", LogKey.error: "\(kind.text)", LogKey.room: "\(room)",
                LogKey.count: "\(count)", LogKey.shard: "\(index)",
            ])
    }

    private func deliver(_ message: Message, _ room: HomeRoom) {
        messages &+= 1
        let name = room.name
        let frame = SharedFrame(.message(room: name, message, showKey: false), codec: codec)
        let own = message.content.clientKey != nil ? OwnMessage(message) : nil
        room.forEachLoop { post(.broadcast($1, frame, own: own), to: $0) }
    }

    private func deliver(_ signal: Signal, _ room: HomeRoom) {
        let event = ServerEvent.signal(room: room.name, user: signal.user, name: signal.name, data: signal.data)
        let frame = SharedFrame(event, codec: codec)
        let except = signal.node == settings.node ? signal.session : SessionID(raw: 0)
        room.forEachLoop { post(.signal($1, frame, except: except), to: $0) }
    }

    private func broadcast(_ event: ServerEvent, _ room: HomeRoom) {
        let frame = SharedFrame(event, codec: codec)
        room.forEachLoop { post(.broadcast($1, frame, own: nil), to: $0) }
    }

    /// Puts a delivery into the batch for that loop; the batch leaves at the end of the tick.
    func post(_ delivery: Delivery, to loop: Int) {
        outboxes[loop].append(delivery)
        guard !flush.isAsked else { return }
        outboxesSince = now
        tick.ask(flush, self)
    }

    func tickEnded(_ phase: LoopTick.Phase) {
        for target in outboxes.indices where !outboxes[target].isEmpty {
            var batch: [Delivery] = []
            swap(&batch, &outboxes[target])
            guard target == index else {
                let shard = shards[target]
                shard.run { [batch, since = outboxesSince] in shard.receive(batch, made: since) }
                continue
            }
            receive(batch, made: outboxesSince)
            // Its room is used again.
            batch.removeAll(keepingCapacity: batch.capacity <= 4_096)
            if outboxes[target].isEmpty { swap(&batch, &outboxes[target]) }
        }
    }

    // MARK: timers

    /// Sees to it that the room is woken when it wants to be.
    private func arm(_ room: HomeRoom) {
        guard let wake = room.look({ $0.nextWake }) ?? nil else { return }
        if let armed = room.wake, armed <= wake { return }
        room.wake = wake
        timers.add(.init(moment: wake, slot: room.slot, generation: room.generation), rooms: slots.count) {
            self.room(wantedBy: $0) != nil
        }
        schedule()
    }

    /// The room that is to be woken then; nil: it is gone, or has changed its mind.
    private func room(wantedBy entry: TimerHeap.Entry) -> HomeRoom? {
        guard Int(entry.slot) < rooms.count, let room = rooms[Int(entry.slot)] else { return nil }
        return room.generation == entry.generation && room.wake == entry.moment ? room : nil
    }

    private func schedule() {
        guard let next = timers.next else { return }
        if let scheduled {
            guard next < scheduled.at else { return }
            scheduled.task.cancel()
        }
        schedule(next, in: max(.zero, next - now), putOff: 0)
    }

    /// `putOff`: how often it was put off already.
    private func schedule(_ next: Moment, in delay: Duration, putOff: Int) {
        let due = now + delay
        let task = loop.scheduleTask(in: .nanoseconds(Int64(clamping: delay.nanosecondsRoundedUp))) { [self] in
            // The loop was held up: what Redis has said meanwhile is read before rooms are told that it did not answer.
            guard now - due > Self.heldUp, putOff < Self.mostPutOff else { return fire() }
            schedule(next, in: Self.forReading, putOff: putOff + 1)
        }
        scheduled = (next, task)
    }

    private static let heldUp: Duration = .milliseconds(100)
    private static let forReading: Duration = .milliseconds(10)
    private static let mostPutOff = 3

    private func fire() {
        scheduled = nil
        let now = now
        while let entry = timers.popDue(now) {
            guard let room = room(wantedBy: entry) else { continue }
            room.wake = nil
            happen(in: room, awake: Self.upkeep) { $0.timerFired(now: $1, &$2) }
        }
        schedule()
    }
}

extension Duration {
    /// Whole nanoseconds, rounded up, so that a timer never fires before its moment.
    var nanosecondsRoundedUp: Int64 {
        let parts = components
        let (seconds, overflow) = parts.seconds.multipliedReportingOverflow(by: 1_000_000_000)
        guard !overflow else { return parts.seconds < 0 ? .min : .max }
        return seconds &+ (parts.attoseconds + 999_999_999) / 1_000_000_000
    }
}

extension SessionID {
    /// A session's ID holds the loop that accepted it in its low byte.
    init(number: UInt64, loop: Int) {
        self.init(raw: number << 8 | UInt64(loop & 0xFF))
    }

    var loop: Int { Int(raw & 0xFF) }
}
