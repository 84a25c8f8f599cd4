/// Bounds of a ``MemoryBroker``, the same as those of a node with Redis.
public struct MemoryBrokerSettings: Sendable, Hashable {
    /// Messages that a room's log keeps.
    public var historyLength = 1_000
    /// Bytes of messages (``MessageContent/storedBytes``) that `trim` leaves in a log.
    public var historyBytes = 4 * 1_048_576
    /// The same of a log that a participant has not read.
    public var heldLength = 10_000
    public var heldBytes = 16 * 1_048_576
    /// Users in one part of a roster, and rooms in one part of a node's list.
    public var partLength = 500
    /// Of how many participants at most a room is told what they have read.
    public var receipts = 100
    /// How long a room that no node holds is kept.
    public var roomTTL: Duration = .seconds(7 * 86_400)
    /// The same of a room with participants.
    public var conversationTTL: Duration = .seconds(90 * 86_400)
    /// Participants of one room.
    public var participants = 100
    /// Users whom one user may block.
    public var blockedUsers = 1_000
    /// Stars of one user.
    public var stars = 1_000
    /// How long the list of a node's rooms outlives its last heartbeat.
    public var nodeRoomsTTL: Duration = .seconds(7 * 86_400)

    public init() {}

    /// The messages that an append leaves in a log.
    func mostEntries(isHeld: Bool) -> Int { isHeld ? max(historyLength, heldLength) : historyLength }
}

/// Everything that Redis does for Martlet, in memory: the same answers and events to the same requests. The contract
/// suite runs over both.
///
/// A pure value: it has no clock, no randomness and no I/O. Time is an argument, and an answer follows from the
/// requests before it alone. A copy is a snapshot, so a simulator models a restart with a lost tail, or a failover to a
/// lagging replica, by going back to an older copy.
///
/// Differences from Redis, on purpose: logs are trimmed exactly (Redis: `MAXLEN ~`), memory has no limit except the
/// bounds of rooms, and a node has one list of rooms, not the parts of a Cluster.
public struct MemoryBroker: Sendable {
    /// The result of a request.
    public struct Answer: Sendable, Equatable {
        public var result: Result<BrokerReply, BrokerError>
        /// What is published, in order, to all subscribers of the entity's channel.
        public var events: [Publication]

        package init(result: Result<BrokerReply, BrokerError>, events: [Publication]) {
            self.result = result
            self.events = events
        }
    }

    public struct Publication: Sendable, Equatable {
        public var entity: Entity
        public var event: ChannelEvent

        public init(on entity: Entity, event: ChannelEvent) {
            self.entity = entity
            self.event = event
        }
    }

    private struct Node: Sendable {
        var report: NodeReport
        var leaseEnds: UInt64
    }

    private struct NodeRooms: Sendable {
        var names: Set<RoomName> = []
        var expires: UInt64
    }

    public let settings: MemoryBrokerSettings
    /// Identifies the process, in hex digits, like Redis' `run_id`. A copy that goes on as another process gets a new
    /// one.
    public var runID = "0"
    private var rooms: [RoomName: MemoryRoom] = [:]
    private var alive: [NodeID: Node] = [:]
    /// Node → clock of its last report, as `martlet:nodes` has it.
    private var registered: [NodeID: UInt64] = [:]
    private var nodeRooms: [NodeID: NodeRooms] = [:]
    private var tickets: [TicketName: (allows: String, expires: UInt64)] = [:]
    private var nextSweep: UInt64 = 0
    private var users: [UserID: MemoryUser] = [:]
    /// Whether a relay is registered. The model has no relay of its own, so tests and the simulator set this.
    package var isRelayed = false
    /// The rooms that nodes have noted for relays. Whoever plays the relay takes them.
    package var notedRooms: Set<RoomName> = []
    /// The stream of commands.
    private var commands: [CommandEntry] = []

    public init(settings: MemoryBrokerSettings = MemoryBrokerSettings()) {
        self.settings = settings
    }

    /// The number of rooms of which anything is stored.
    public var roomCount: Int { rooms.count }

    /// Carries out one request at `now`, ms since 1970, atomically like a function in Redis. `now` may go backwards, as
    /// a machine's clock may.
    public mutating func apply(_ request: BrokerRequest, now: UInt64) -> Answer {
        sweep(now: now)
        switch request {
        case .append(let room, let epoch, let content, let others, let isHeld):
            return on(room, now) { room, settings in
                let limit = settings.mostEntries(isHeld: isHeld)
                let appended = room.append(content, epoch: epoch, limit: limit)
                guard let others, case .success(let position) = appended, position.seq > others.known else {
                    return (appended.map { .appended($0) }, [])
                }
                let message = Message(position: position, content: content)
                return (.success(.appended(position, isPublished: true)), [.message(message, base: others.base)])
            }
        case .publish(let entity, let event):
            return Answer(result: .success(.done), events: [Publication(on: entity, event: event)])
        case .enter(let request):
            if let problem = Self.problem(request) { return Answer(result: .failure(.notStored(problem)), events: []) }
            let runID = runID
            return on(request.room, now) { room, _ in
                if let problem = room.problem(now: now) { return (.failure(problem), []) }
                guard let view = room.enter(request, runID: runID, now: now) else {
                    return (.success(.bring(from: room.log?.lastLive?.position ?? MemoryRoom.nowhere)), [])
                }
                return (
                    .success(.view(view)),
                    [
                        .epoch(
                            view.epoch, base: view.last, nodes: view.nodes, by: request.node,
                            rules: room.moderation.version)
                    ]
                )
            }
        case .view(let room, let after, let page, let knows):
            return on(room, now) { room, _ in
                if let problem = room.problem(now: now) { return (.failure(problem), []) }
                guard let view = room.view(after: after, page: page, knows: knows) else {
                    return (.failure(.missing), [])
                }
                return (.success(.view(view)), [])
            }
        case .leave(let room, let node, let value, _, let isOwn):
            let expires = now + settings.roomTTL.timeToLiveMilliseconds
            return on(room, now) { room, settings in
                if let events = room.leavePart(node, value: value, now: now, limit: settings.partLength) {
                    return (.success(.leaving(cursor: 1)), events)
                }
                let events = room.leave(node, value: value, isOwn: isOwn, now: now, expires: expires)
                return (.success(.left(events != nil)), events ?? [])
            }
        case .once(let request):
            return on(request.room, now) { room, settings in
                if let problem = room.problem(now: now) { return (.failure(problem), []) }
                let (result, events) = room.once(request, limit: settings.mostEntries(isHeld: room.isHeld), now: now)
                return (result.map { .once($0) }, events)
            }
        case .say(let room, let content, let obeysRules):
            return say(room, content, obeysRules: obeysRules, now: now)
        case .moderate(let room, let moderation, let by):
            let (runID, expires) = (runID, now + settings.roomTTL.timeToLiveMilliseconds)
            return on(room, now) { room, _ in
                if let problem = room.problem(now: now) { return (.failure(problem), []) }
                return room.moderate(moderation, by: by, runID: runID, now: now, expires: expires)
            }
        case .amend(let order):
            let (runID, expires) = (runID, now + settings.roomTTL.timeToLiveMilliseconds)
            return on(order.request.room, now) { room, settings in
                // Rules that bind who writes do not keep anybody from reporting.
                var obeysRules = order.obeysRules
                if case .report = order.request.operation { obeysRules = false }
                if let refusal = room.refusal(
                    ofSayingBy: order.user, in: order.request.room, obeysRules: obeysRules, now: now)
                {
                    return (.failure(refusal), [])
                }
                if let problem = room.problem(now: now) { return (.failure(problem), []) }
                let limit = settings.mostEntries(isHeld: room.isHeld)
                return room.amend(order, limit: limit, runID: runID, now: now, expires: expires)
            }
        case .audit(let room, let before, let count):
            return on(room, now) { room, _ in
                let entries = room.audit.reversed().filter { entry in before.map { entry.position < $0 } ?? true }
                return (.success(.audit(Array(entries.prefix(max(1, count))))), [])
            }
        case .rules(let room, let user):
            return on(room, now) { room, _ in
                let all = room.rules
                guard all.version > 0 else { return (.success(.rules(.none)), []) }
                guard let user else { return (.success(.rules(all)), []) }
                let own = RoomModeration(
                    version: all.version, policy: all.policy, bans: all.bans.filter { $0.key == user },
                    mutes: all.mutes.filter { $0.key == user }, conversation: all.conversation?.only(user))
                return (.success(.rules(own)), [])
            }
        case .presence(let request):
            return on(request.room, now) { room, _ in
                guard let reply = room.change(request, now: now) else { return (.failure(.missing), []) }
                let events = reply.notice.map { room.nodes.count > 1 ? [ChannelEvent.presence($0)] : [] } ?? []
                return (.success(.presence(reply)), events)
            }
        case .roster(let room, let cursor):
            return on(room, now) { room, settings in
                (.success(.roster(room.snapshot(cursor: cursor, limit: settings.partLength))), [])
            }
        case .history(let room, let query):
            return on(room, now) { room, _ in (.success(.history(room.history(query))), []) }
        case .trim(let room):
            return on(room, now) { room, settings in
                room.trim(settings)
                return (.success(.done), [])
            }
        case .holders(let room):
            return on(room, now) { room, _ in (.success(.holders(room.nodes)), []) }
        case .conversation(let request):
            let runID = runID
            return on(request.room, now) { room, settings in
                room.converse(request, settings: settings, runID: runID, now: now)
            }
        case .user(let request):
            var user = users.removeValue(forKey: request.user) ?? MemoryUser()
            let result = user.apply(
                request.operation, blockedUsers: settings.blockedUsers, mostStars: settings.stars, now: now)
            if !user.isEmpty { users[request.user] = user }
            return Answer(result: result.map { .user($0) }, events: [])
        case .reading(let request): return reading(request, now: now)
        case .relay(let request): return relay(request)
        case .heartbeat, .nodes, .hold, .release, .rooms, .forget, .tryStoring, .memory, .ping, .command, .commands,
            .storeTicket, .takeTicket:
            return Answer(result: .success(ofNodes(request, now: now)), events: [])
        }
    }

    // MARK: Relays

    private mutating func relay(_ request: RelayRequest) -> Answer {
        switch request {
        case .books: return Answer(result: .success(.relayed(isRelayed ? [.log] : [])), events: [])
        case .note(_, let book, let rooms, _):
            if book == .log { notedRooms.formUnion(rooms) }
            return Answer(result: .success(.done), events: [])
        }
    }

    // MARK: Rooms

    /// For tests: changes a room's keys as somebody who is no node might.
    package mutating func spoil(_ name: RoomName, _ spoil: (inout MemoryRoom) -> Void) {
        var room = rooms.removeValue(forKey: name) ?? MemoryRoom()
        spoil(&room)
        rooms[name] = room
    }

    mutating func on(
        _ name: RoomName, _ now: UInt64,
        _ body: (inout MemoryRoom, MemoryBrokerSettings) -> (Result<BrokerReply, BrokerError>, [ChannelEvent])
    ) -> Answer {
        // Taken out of the dictionary while it changes, as its log would be copied otherwise.
        var room = rooms.removeValue(forKey: name) ?? MemoryRoom()
        _ = room.expire(now: now)
        let (result, events) = body(&room, settings)
        if !room.expire(now: now) { rooms[name] = room }
        return Answer(result: result, events: events.map { Publication(on: .room(name), event: $0) })
    }

    private mutating func say(
        _ room: RoomName, _ content: MessageContent, obeysRules: Bool, now: UInt64
    ) -> Answer {
        var content = content
        if content.text == "" { content.text = nil }
        if content.data == "" { content.data = nil }
        if content.key == "" { content.key = nil }
        guard content.text != nil || content.data != nil else {
            let problem = "ERR martlet: nothing to say: text and data are empty"
            return Answer(result: .failure(.notStored(problem)), events: [])
        }
        let expires = now + settings.roomTTL.timeToLiveMilliseconds
        let (runID, name) = (runID, room)
        return on(room, now) { room, settings in
            if let refusal = room.refusal(ofSayingBy: content.user, in: name, obeysRules: obeysRules, now: now) {
                return (.failure(refusal), [])
            }
            if let problem = room.problem(now: now) { return (.failure(problem), []) }
            guard
                let (position, repeated, events) = room.say(
                    content, limit: settings.mostEntries(isHeld: room.isHeld), runID: runID, now: now,
                    expires: expires)
            else { return (.failure(.refused), []) }
            return (.success(.said(position, repeated: repeated)), events)
        }
    }

    /// Refuses numbers that the functions in Redis refuse, as numbers in Lua are doubles.
    private static func problem(_ request: EnterRequest) -> String? {
        if !PositionBounds.holds(request.seen) { return "ERR martlet: seen is no whole number below 2^53" }
        if !PositionBounds.holds(request.clock) { return "ERR martlet: clock is no whole number below 2^53" }
        return nil
    }

    // MARK: Nodes

    private mutating func ofNodes(_ request: BrokerRequest, now: UInt64) -> BrokerReply {
        switch request {
        case .hold(_, let node, _), .release(_, let node, _), .rooms(let node, _):
            if let rooms = nodeRooms[node], rooms.expires <= now { nodeRooms[node] = nil }
        case .heartbeat(let report, _):
            if let rooms = nodeRooms[report.node], rooms.expires <= now { nodeRooms[report.node] = nil }
        case .nodes, .forget, .tryStoring, .memory, .ping, .command, .commands, .storeTicket, .takeTicket, .append,
            .publish, .enter, .view, .leave, .once, .say, .moderate, .amend, .audit, .rules, .presence, .roster,
            .history, .holders, .trim, .conversation, .user, .reading, .relay:
            break
        }
        switch request {
        case .heartbeat(let report, let lease):
            let known = alive[report.node].map { $0.leaseEnds > now } ?? false
            alive[report.node] = Node(report: report, leaseEnds: now + lease.timeToLiveMilliseconds)
            registered[report.node] = report.clock
            nodeRooms[report.node]?.expires = now + settings.nodeRoomsTTL.timeToLiveMilliseconds
            return .heartbeat(known: known)
        case .nodes:
            let order = registered.sorted { ($0.value, $0.key.text) < ($1.value, $1.key.text) }
            return .nodes(
                order.map { entry in
                    let node = alive[entry.key]
                    return NodeRecord(node: entry.key, report: node.flatMap { $0.leaseEnds > now ? $0.report : nil })
                })
        case .hold(let room, let node, _):
            var rooms = nodeRooms.removeValue(forKey: node) ?? NodeRooms(expires: 0)
            rooms.names.insert(room)
            rooms.expires = now + settings.nodeRoomsTTL.timeToLiveMilliseconds
            nodeRooms[node] = rooms
            return .done
        case .release(let room, let node, _):
            nodeRooms[node]?.names.remove(room)
            if nodeRooms[node]?.names.isEmpty == true { nodeRooms[node] = nil }
            return .done
        case .rooms(let node, let cursor):
            let names = nodeRooms[node].map { $0.names.sorted { $0.text < $1.text } } ?? []
            let (part, next) = MemoryParts.part(of: names, from: cursor, limit: settings.partLength) { $0.text }
            return next == 0 ? .rooms(part) : .someRooms(part, cursor: next)
        case .forget(let node, _):
            alive[node] = nil
            registered[node] = nil
            nodeRooms[node] = nil
            return .done
        case .memory: return .memory(used: 0, most: 0)
        case .command(let command, let by):
            let last = commands.last?.position ?? Position(epoch: 0, seq: 0)
            let isLater = now > last.epoch
            let position = Position(epoch: isLater ? now : last.epoch, seq: isLater ? 0 : last.seq + 1)
            commands.append(CommandEntry(position: position, command: command.dated(now), by: by))
            return .commanded(position)
        case .commands(let after, let count):
            let rest = commands.drop { entry in after.map { entry.position <= $0 } ?? false }
            return .commands(Array(rest.prefix(count)))
        case .storeTicket(let name, let allowed, let life):
            tickets[name] = (allowed, now + life.timeToLiveMilliseconds)
            return .done
        case .takeTicket(let name):
            let ticket = tickets.removeValue(forKey: name)
            return .ticket(ticket.flatMap { $0.expires > now ? $0.allows : nil })
        case .tryStoring, .ping, .append, .publish, .enter, .view, .leave, .once, .say, .moderate, .amend, .audit,
            .rules, .presence, .roster, .history, .holders, .trim, .conversation, .user, .reading, .relay:
            return .done
        }
    }

    /// Releases the memory of what has expired, at most a minute late; nobody can see it in between.
    private mutating func sweep(now: UInt64) {
        guard now >= nextSweep else { return }
        nextSweep = now + 60_000
        for name in Array(rooms.keys) where rooms[name]?.expire(now: now) == true { rooms[name] = nil }
        for (node, entry) in alive where entry.leaseEnds <= now { alive[node] = nil }
        for (name, ticket) in tickets where ticket.expires <= now { tickets[name] = nil }
        for (node, rooms) in nodeRooms where rooms.expires <= now { nodeRooms[node] = nil }
    }
}

extension MemoryRoom {
    /// See ``HistoryQuery``.
    func history(_ query: HistoryQuery) -> HistoryPage {
        let page = query.page
        let place = query.anchor.position ?? Position(epoch: 0, seq: 0)
        let all = log?.entries ?? []
        var (older, newer) = (all, all[all.endIndex...])
        var (olderCount, newerCount) = (0, 0)
        switch query.anchor {
        case .newest:
            olderCount = older.reversed().fitting(page)
        case .before:
            older = log?.entries(before: place) ?? []
            newer = all[older.endIndex...]
            olderCount = older.reversed().fitting(page)
        case .after:
            newer = log?.entries(after: place) ?? []
            older = all[..<newer.startIndex]
            newerCount = newer.fitting(page)
        case .around, .time:
            older = log?.entries(before: place) ?? []
            newer = all[older.endIndex...]
            let half = PageBounds(count: page.count, bytes: page.bytes / 2)
            let (olderFit, newerFit) = (older.reversed().fitting(half), newer.fitting(half))
            olderCount = min(olderFit, max(page.count / 2, page.count - newerFit))
            newerCount = min(newerFit, page.count - olderCount)
        }
        var messages = Array(older.suffix(olderCount)) + newer.prefix(newerCount)
        if query.isFolded { for place in messages.indices { takeState(of: &messages[place]) } }
        var hasOlder = older.count > olderCount
        // Redis asks for the log's first entry, which is no tombstone.
        if case .after(let position) = query.anchor {
            hasOlder = log?.firstLive.map { $0.position <= position } ?? false
        }
        return HistoryPage(
            messages: messages, newest: log?.lastLive?.position, hasOlder: hasOlder,
            hasNewer: newer.count > newerCount)
    }
}
