import ChatCore

/// One Redis process: a memory broker for each room (so that the keys of one room can be lost alone), one for the
/// nodes, and the subscriptions. It is a value, so a lagging replica or a log with a lost tail is an older copy.
struct SimRedis {
    struct Room {
        var broker: MemoryBroker
        /// Every entry that the log ever held in its present history, trimmed or not.
        var truth: [Message] = []
        /// The first seq of `truth`: a node restores only as much of an empty log as it remembered.
        var truthFrom: UInt64 = 0
        var expires: UInt64?
        /// What was forbidden when a moderator was answered last, and what was stored nevertheless.
        var forbidden = SimForbidden()
        var stored: [String] = []
        /// Read positions that went back.
        var regressions: [String] = []
        /// The last position before somebody set it beyond what nodes can follow.
        var stoodAt: Position?
    }

    struct Subscriber: Hashable {
        var node: Int
        var connection: Int
    }

    var identity: BrokerIdentity
    var rooms: [Room]
    var nodes: MemoryBroker
    var subscribers: [[Subscriber]]
    /// The error of its clock, in ms.
    var skew: Int64 = 0
    var isAlive = true
    var stoppedUntil: UInt64 = 0
    let names: [RoomName]
    let settings: MemoryBrokerSettings
    /// One in this many re-sends is answered `.again`; 0 for none.
    var againEvery = 0
    private var resends = 0

    init(names: [RoomName], settings: MemoryBrokerSettings, generation: Int) {
        self.names = names
        self.settings = settings
        identity = Self.identity(generation)
        rooms = names.map { _ in Room(broker: MemoryBroker(settings: settings)) }
        for room in rooms.indices { rooms[room].broker.runID = identity.runID }
        nodes = MemoryBroker(settings: settings)
        subscribers = names.map { _ in [] }
    }

    private static func identity(_ generation: Int) -> BrokerIdentity {
        var random = SimRandom(seed: UInt64(generation))
        let digits = String(random.next() | 1 << 63, radix: 16)
        return BrokerIdentity(runID: digits, replicationID: "repl\(generation)")
    }

    /// The same data in another process.
    func successor(generation: Int, skew: Int64, isForeign: Bool) -> SimRedis {
        var next = self
        next.identity = Self.identity(generation)
        next.subscribers = names.map { _ in [] }
        next.skew = skew
        next.isAlive = true
        next.stoppedUntil = 0
        guard isForeign else { return next }
        for room in next.rooms.indices { next.rooms[room].broker.runID = next.identity.runID }
        return next
    }

    func index(of room: RoomName) -> Int { names.firstIndex(of: room) ?? 0 }

    mutating func apply(_ request: BrokerRequest, now: UInt64, bugs: Set<PlantedBug>) -> MemoryBroker.Answer {
        guard case .room(let name) = request.entity else { return nodes.apply(request, now: now) }
        let index = index(of: name)
        if bugs.contains(.noPersist) { expire(index, now: now) }
        if case .once = request, againEvery > 0 {
            resends += 1
            if resends % againEvery == 0 { return .init(result: .failure(.again), events: []) }
        }
        guard case .reading(.read(_, let reads, _)) = request else {
            return checked(request, index, now, bugs)
        }
        let before = marks(index)
        let answer = carryOut(request, index, now, bugs)
        checkMarks(before: before, reads, index, bugs)
        return answer
    }

    private mutating func checked(
        _ request: BrokerRequest, _ index: Int, _ now: UInt64, _ bugs: Set<PlantedBug>
    ) -> MemoryBroker.Answer {
        let answer = carryOut(request, index, now, bugs)
        keepTruth(request, answer, index, now: now)
        checkRules(request, answer, index, now: now)
        return answer
    }

    /// Planted: the TTL that an empty room got outlives the next `enter`.
    private mutating func expire(_ index: Int, now: UInt64) {
        if let end = rooms[index].expires, end <= now { deleteRoom(index) }
        let isEmpty = view(index, now: now)?.nodes.isEmpty ?? false
        if isEmpty, rooms[index].expires == nil { rooms[index].expires = now + 1_000 }
    }

    /// Records what was stored.
    private mutating func keepTruth(_ request: BrokerRequest, _ answer: MemoryBroker.Answer, _ index: Int, now: UInt64)
    {
        switch (request, answer.result) {
        case (.append(_, _, let content, _, _), .success(.appended(let position, _))):
            rooms[index].truth.append(Message(position: position, content: content))
        case (.once(let once), .success(.once(let reply))):
            for (send, outcome) in zip(once.sends, reply.outcomes) {
                guard case .stored(let position) = outcome else { continue }
                rooms[index].truth.append(Message(position: position, content: send.content))
            }
        case (.say(_, let content, _), .success(.said(let position, false))):
            rooms[index].truth.append(Message(position: position, content: content))
        case (.amend, .success(.amended(let reply))) where reply.outcome == .stored:
            for case .message(let message, _) in answer.events.map(\.event) { rooms[index].truth.append(message) }
        case (.enter(let enter), .success(.view(let view))):
            // The log was begun anew, or was set back by a vandal and may then hold a seq 0.
            if view.last == 0 { (rooms[index].truth, rooms[index].truthFrom) = (entries(index, now: now), 0) }
            if enter.identityChanged { takeNewEntries(index, now: now) }
        default: break
        }
    }

    /// Promise 14: after the answer to a moderator nothing is stored that is forbidden, by whatever node.
    private mutating func checkRules(
        _ request: BrokerRequest, _ answer: MemoryBroker.Answer, _ index: Int, now: UInt64
    ) {
        func check(_ content: MessageContent, _ position: Position) {
            guard let why = rooms[index].forbidden.refusal(of: content.user, now: now) else { return }
            rooms[index].stored.append("\(content.text ?? "") of \(content.user) at \(position), who \(why)")
        }
        switch (request, answer.result) {
        case (.moderate(_, let moderation, _), .success(.moderated)):
            rooms[index].forbidden.note(moderation, now: now)
        case (.append(_, _, let content, _, _), .success(.appended(let position, _))),
            (.say(_, let content, _), .success(.said(let position, false))):
            check(content, position)
        case (.once(let once), .success(.once(let reply))):
            for (send, outcome) in zip(once.sends, reply.outcomes) {
                if case .stored(let position) = outcome { check(send.content, position) }
            }
        case (.amend, .success(.amended(let reply))) where reply.outcome == .stored:
            for case .message(let message, _) in answer.events.map(\.event) { check(message.content, message.position) }
        default: break
        }
    }

    private mutating func takeNewEntries(_ index: Int, now: UInt64) {
        let entries = entries(index, now: now)
        let known = rooms[index].truth.last?.position
        if known == nil { rooms[index].truthFrom = entries.first?.position.seq ?? 0 }
        for entry in entries where known.map({ $0 < entry.position }) ?? true { rooms[index].truth.append(entry) }
    }

    /// The entries that the log holds now.
    mutating func entries(_ index: Int, now: UInt64) -> [Message] {
        let query = HistoryQuery(anchor: .newest, limit: 10_000)
        guard
            case .success(.history(let page)) = rooms[index].broker.apply(
                .history(room: names[index], query: query), now: now
            ).result
        else { return [] }
        return page.messages
    }

    mutating func view(_ index: Int, now: UInt64) -> RoomView? {
        guard
            case .success(.view(let view)) = rooms[index].broker.apply(
                .view(room: names[index], after: nil, page: PageBounds(count: 0)), now: now
            ).result
        else { return nil }
        return view
    }

    mutating func deleteRoom(_ index: Int) {
        rooms[index] = Room(broker: MemoryBroker(settings: settings))
        rooms[index].broker.runID = identity.runID
    }

    // MARK: repetitions

    /// A wrong `once`: without a new epoch, or with one that begins before the appends. A first attempt that was
    /// refused because of the new epoch may then be retried in that same epoch before its node has seen the repetition,
    /// and is stored as well (seed 300994). If the epoch comes last, a node that learns it has to show everything up to
    /// its base, including the repetition.
    private mutating func once(
        _ once: OnceRequest, _ index: Int, _ now: UInt64, raisesFirst: Bool
    ) -> MemoryBroker.Answer {
        guard var view = view(index, now: now) else { return .init(result: .failure(.missing), events: []) }
        guard view.epoch == once.epoch else { return .init(result: .failure(.refused), events: []) }
        var outcomes: [OnceOutcome] = []
        var events: [MemoryBroker.Publication] = []
        let there = entries(index, now: now)
        let first = there.first?.position.seq ?? view.last + 1
        var found: [UserKey: OnceOutcome] = [:]
        for message in there
        where once.known == 0 || message.position.seq > once.known || message.position.seq <= once.knownFrom {
            if let key = UserKey(message.content) { found[key] = .repeated(message.position, at: message.content.at) }
        }
        let others = view.nodes.keys.contains { $0 != once.node }
        var stored = false
        for send in once.sends {
            guard let key = UserKey(send.content) else { continue }
            if let outcome = found[key] {
                outcomes.append(outcome)
            } else if send.again, first > (send.since?.seq ?? 0) + 1 {
                outcomes.append(.outcomeUnknown)
            } else {
                if raisesFirst, others, !stored { raise(&view, once, index, now, &events) }
                let append = BrokerRequest.append(room: once.room, epoch: view.epoch, content: send.content)
                let answer = rooms[index].broker.apply(append, now: now)
                guard case .success(.appended(let position, _)) = answer.result else { continue }
                stored = true
                outcomes.append(.stored(position))
                found[key] = .repeated(position, at: send.content.at)
                let message = Message(position: position, content: send.content)
                if others { events.append(.init(on: .room(once.room), event: .message(message, base: view.base))) }
            }
        }
        let reply = OnceReply(epoch: view.epoch, base: view.base, outcomes: outcomes)
        return .init(result: .success(.once(reply)), events: events)
    }

    /// Begins an epoch, as if a node had entered and left.
    private mutating func raise(
        _ view: inout RoomView, _ once: OnceRequest, _ index: Int, _ now: UInt64,
        _ events: inout [MemoryBroker.Publication]
    ) {
        guard let node = try? NodeID("once") else { return }
        let enter = EnterRequest(room: once.room, node: node, page: PageBounds(count: 0))
        guard case .success(.view(let next)) = rooms[index].broker.apply(.enter(enter), now: now).result else { return }
        _ = rooms[index].broker.apply(
            .leave(room: once.room, node: node, value: next.epoch, isOwn: true), now: now)
        view.epoch = next.epoch
        view.base = next.base
        events.append(
            .init(on: .room(once.room), event: .epoch(next.epoch, base: next.base, nodes: view.nodes, by: once.node)))
    }

    // MARK: planted bugs

    private mutating func carryOut(
        _ request: BrokerRequest, _ index: Int, _ now: UInt64, _ bugs: Set<PlantedBug>
    ) -> MemoryBroker.Answer {
        switch request {
        case .append(let room, let epoch, let content, let others, _) where bugs.contains(.noFence):
            let current = max(epoch, view(index, now: now)?.epoch ?? epoch)
            return rooms[index].broker.apply(
                .append(room: room, epoch: current, content: content, others: others), now: now)
        case .once(var once) where bugs.contains(.onceStoresUnknown):
            for place in once.sends.indices { once.sends[place].again = false }
            return rooms[index].broker.apply(.once(once), now: now)
        case .once(let once) where bugs.contains(.onceDoesNotRaise):
            return self.once(once, index, now, raisesFirst: false)
        case .moderate where bugs.contains(.moderateDoesNotRaise): return moderateWithoutEpoch(request, index, now)
        case .once(let once) where bugs.contains(.onceRaisesBefore):
            return self.once(once, index, now, raisesFirst: true)
        case .leave(let room, let node, _, _, let isOwn) where bugs.contains(.leaveWithoutComparing):
            let value = view(index, now: now)?.nodes[node] ?? 0
            return rooms[index].broker.apply(.leave(room: room, node: node, value: value, isOwn: isOwn), now: now)
        case .leave(let room, let node, let value, let cursor, _) where bugs.contains(.sweepDoesNotFence):
            return rooms[index].broker.apply(
                .leave(room: room, node: node, value: value, cursor: cursor, isOwn: true), now: now)
        case .enter(var enter) where bugs.contains(.enterForgetsSeen):
            enter.seen = 0
            enter.clock = 0
            return rooms[index].broker.apply(.enter(enter), now: now)
        case .amend(let order) where bugs.contains(.lateEditsAreTaken): return amendLate(order, index, now)
        case .amend(let order) where bugs.contains(.deletionsKeepContents): return amendKeeping(order, index, now)
        case .enter(let enter) where bugs.contains(.putBackBlindly) && enter.identityChanged:
            return putBackBlindly(enter, index, now)
        default: return rooms[index].broker.apply(request, now: now)
        }
    }

    /// An edit of a message that was deleted is appended.
    private mutating func amendLate(_ order: AmendOrder, _ index: Int, _ now: UInt64) -> MemoryBroker.Answer {
        let answer = rooms[index].broker.apply(.amend(order), now: now)
        guard answer.result == .failure(.forbidden(AmendProblem.messageDeleted.error)),
            case .edit(let of, let text, _) = order.request.operation, let view = view(index, now: now)
        else { return answer }
        let content = MessageContent(
            user: order.user, at: order.at, text: text, key: order.request.key,
            extra: MessageExtra(amendment: Amendment(.edit, of: of, number: 9)))
        let append = BrokerRequest.append(room: order.request.room, epoch: view.epoch, content: content)
        guard case .success(.appended(let position, _)) = rooms[index].broker.apply(append, now: now).result else {
            return answer
        }
        let entry = ChannelEvent.message(Message(position: position, content: content), base: nil)
        return .init(
            result: .success(.amended(AmendReply(position, .stored))),
            events: [.init(on: .room(order.request.room), event: entry)])
    }

    private mutating func amendKeeping(_ order: AmendOrder, _ index: Int, _ now: UInt64) -> MemoryBroker.Answer {
        var before: MemoryRoom?
        rooms[index].broker.spoil(names[index]) { before = $0 }
        let answer = rooms[index].broker.apply(.amend(order), now: now)
        if let before { rooms[index].broker.spoil(names[index]) { $0.takeContents(of: before) } }
        return answer
    }

    private mutating func moderateWithoutEpoch(
        _ request: BrokerRequest, _ index: Int, _ now: UInt64
    ) -> MemoryBroker.Answer {
        var before: MemoryRoom?
        rooms[index].broker.spoil(names[index]) { before = $0 }
        var answer = rooms[index].broker.apply(request, now: now)
        if let before { rooms[index].broker.spoil(names[index]) { $0.takeEpoch(of: before) } }
        answer.events = []
        return answer
    }

    private mutating func putBackBlindly(_ enter: EnterRequest, _ index: Int, _ now: UInt64) -> MemoryBroker.Answer {
        var enter = enter
        let there = Set(entries(index, now: now).map(\.position))
        let last = view(index, now: now)
        for message in enter.tail where !there.contains(message.position) && message.position.seq > (last?.last ?? 0) {
            let append = BrokerRequest.append(room: enter.room, epoch: last?.epoch ?? 0, content: message.content)
            _ = rooms[index].broker.apply(append, now: now)
        }
        enter.tail = []
        return rooms[index].broker.apply(.enter(enter), now: now)
    }
}
