import ChatCore

extension ClientStateMachine {
    /// Handles a frame from the node.
    mutating func received(_ frame: ServerFrame, now: Moment) {
        switch connection {
        case .idle, .waiting, .closed: return
        case .connecting, .ready: break
        }
        switch frame {
        case .event(let event): received(event, now)
        case .joined(let joined, let through): entered(joined, through: through, now)
        case .fault(let ref, let fault): received(fault, ref, now)
        case .unknown: break
        }
    }

    /// Handles a frame that cannot be read. What it contained is unknown, so the connection is given up.
    mutating func receivedUnreadable(_ problem: String, now: Moment) {
        drop(.unreadable(problem), now)
    }

    private mutating func received(_ event: ServerEvent, _ now: Moment) {
        switch event {
        case .message(let name, let message, _): show(message, in: name)
        case .welcome(let welcome): welcomed(welcome, now)
        case .joined(let joined): entered(joined, now)
        case .left(_, let name): left(name, now)
        case .sent(let ref, let name, let position, let at, let repeated):
            guard let id = ref?.serial else { return }
            settle(id, in: name, .success(.sent(Sent(position: position, at: at, repeated: repeated))), now)
        case .presence(let name, let joined, let left, let count):
            guard let change = rooms[name]?.presenceChanged(joined: joined, left: left, count: count) else { return }
            actions.append(.emit(.presence(name, joined: change.joined, left: change.left, count: change.count)))
        case .signal(let name, let user, let signal, let data):
            guard rooms[name] != nil else { return }
            actions.append(.emit(.signal(name, user: user, name: signal, data: data)))
        case .gap(let name, let gap):
            guard rooms[name]?.phase == .joined else { return }
            lost(gap, in: name)
        case .reset(let name, let reset):
            guard rooms[name]?.phase == .joined else { return }
            rooms[name]?.last = reset.position
            actions.append(.emit(.reset(name, reset)))
        case .draining(let milliseconds): draining(milliseconds, now)
        case .history(let ref, _, let page): answered(ref, .history(page))
        case .roster(let ref, _, let page): answered(ref, .roster(page))
        case .amended(let ref, _, let reply): answered(ref, .amended(reply))
        case .conversation(let ref, let answer): answered(ref, .conversation(answer))
        case .participants(let name, let changes):
            guard rooms[name] != nil else { return }
            actions.append(.emit(.participants(name, changes)))
        case .inbox(let event): received(event)
        case .pong, .error, .renewed, .expiring, .removed, .moderated, .rules, .sanction: break
        }
    }

    // MARK: The connection

    private mutating func welcomed(_ welcome: Welcome, _ now: Moment) {
        guard case .connecting = connection else { return }
        connection = .ready(welcome, leaveAt: nil)
        failures = 0
        silence.welcomed(heartbeat: .seconds(welcome.heartbeat), now)
        let limits = welcome.limits
        bucket.reset(
            rate: options.keepsToRateLimit ? limits.requestsPerSecond : 0, burst: limits.requestBurst, now: now)
        actions.append(.emit(.connected(welcome)))
        refuseLongAmendments()
        watchAgain(now)
        pump(now)
    }

    private mutating func draining(_ milliseconds: UInt64, _ now: Moment) {
        guard case .ready(let welcome, nil) = connection else { return }
        let wait = Duration.milliseconds(Int64(clamping: min(milliseconds, 3_600_000)))
        connection = .ready(welcome, leaveAt: now + wait)
        actions.append(.emit(.draining(reconnectAfter: wait)))
    }

    // MARK: Rooms

    private mutating func entered(_ joined: Joined, through: Position? = nil, _ now: Moment) {
        let name = joined.room
        guard let room = rooms[name], room.phase == .joining(ref: joined.ref?.serial) else { return }
        let news = JoinedRoom(
            room: name, position: joined.position, members: joined.members, count: joined.count,
            resumption: joined.resumption, receipts: joined.receipts)
        rooms[name]?.phase = .joined
        rooms[name]?.joined = news
        rooms[name]?.members = joined.members.map { Set($0.map(\.user)) }
        rooms[name]?.count = joined.count
        rooms[name]?.refusals = 0
        if roomInURL == name { roomInURL = nil }
        actions.append(.emit(.joined(news)))
        switch joined.resumption {
        case .fresh: rooms[name]?.last = nil
        case .reset(let reset):
            rooms[name]?.last = nil
            actions.append(.emit(.reset(name, reset)))
        case .complete: break
        case .gap(let gap): lost(gap, in: name)
        }
        for message in joined.messages {
            // Changes of the page's own messages are folded into them, so what is missing here is none.
            pass(to: message.position, in: name)
            show(message, in: name)
        }
        if let through, let last = rooms[name]?.last, last.seq < through.seq { rooms[name]?.last = through }
        // A resumed room continues where it was: messages that are not in this answer follow as events.
        if joined.resumption != .complete, (rooms[name]?.last?.seq ?? 0) < joined.position.seq, joined.messages.isEmpty
        {
            rooms[name]?.last = joined.position
        }
        if rooms[name]?.last == nil { rooms[name]?.last = joined.position }
        for waiter in room.joinWaiters { actions.append(.complete(waiter.id, .success(.joined(news)))) }
        rooms[name]?.joinWaiters = []
        pump(now)
    }

    private mutating func left(_ name: RoomName, _ now: Moment) {
        guard let room = rooms[name] else { return }
        guard case .leaving = room.phase else { return }
        for waiter in room.leaveWaiters { actions.append(.complete(waiter.id, .success(.left))) }
        rooms[name]?.leaveWaiters = []
        actions.append(.emit(.left(name)))
        if room.wantedAgain {
            rooms[name]?.wantedAgain = false
            rooms[name]?.last = nil
            rooms[name]?.phase = .out
        } else {
            forget(name, .notJoined)
        }
        pump(now)
    }

    /// Counts what is before that position as shown.
    private mutating func pass(to position: Position, in name: RoomName) {
        guard let last = rooms[name]?.last, position.seq > last.seq + 1 else { return }
        rooms[name]?.last = Position(epoch: last.epoch, seq: position.seq - 1)
    }

    /// Shows a message if it is newer than all that were shown.
    private mutating func show(_ message: Message, in name: RoomName) {
        // Changed in place, because this runs for each message, and a copy of the room would cost more than everything
        // else.
        guard let index = rooms.index(forKey: name) else { return }
        switch rooms.values[index].phase {
        case .joined, .leaving: break
        case .out, .joining, .gone: return
        }
        if let last = rooms.values[index].last {
            if message.position.seq <= last.seq {
                if options.showsAll { actions.append(.emit(.shown(message, in: name))) }
                return
            }
            if message.position.seq > last.seq + 1, !options.showsAll {
                // The node should have announced this hole. It is reported in any case.
                actions.append(.emit(.gap(name, Gap(after: last, before: message.position))))
            }
        }
        rooms.values[index].last = message.position
        actions.append(.emit(.shown(message, in: name)))
    }

    private mutating func lost(_ gap: Gap, in name: RoomName) {
        actions.append(.emit(.gap(name, gap)))
        guard let last = rooms[name]?.last, gap.before.seq > 0, gap.before.seq - 1 > last.seq else { return }
        rooms[name]?.last = Position(epoch: last.epoch, seq: gap.before.seq - 1)
    }

    // MARK: Answers

    mutating func answered(_ ref: Ref?, _ reply: Reply) {
        guard let id = ref?.serial, let index = lookups.firstIndex(where: { $0.id == id }) else { return }
        lookups.remove(at: index)
        actions.append(.complete(id, .success(reply)))
    }

    mutating func settle(
        _ id: RequestID, in name: RoomName, _ result: Result<Reply, ClientError>, _ now: Moment
    ) {
        guard let index = rooms[name]?.sends.firstIndex(where: { $0.id == id }) else { return }
        rooms[name]?.sends.remove(at: index)
        rooms[name]?.refusals = 0
        roomOfSend[id] = nil
        if roomOfSend.isEmpty { silence.allAnswered() }
        actions.append(.complete(id, result))
        pump(now)
    }

    private mutating func received(_ fault: ServerFault, _ ref: UInt64?, _ now: Moment) {
        guard let ref else {
            switch roomInURL.flatMap({ rooms[$0]?.phase }) {
            case .joining(ref: nil): if let name = roomInURL { joinRefused(name, fault, now) }
            // The join in the URL was replaced by our own one, which carries more (`after`, `history`) and will be
            // answered.
            case .joining where fault.known == .tooManyWaiting: break
            case .out, .joining, .joined, .leaving, .gone, nil: actions.append(.emit(.fault(fault)))
            }
            return
        }
        if let name = roomOfSend[ref] {
            sendRefused(ref, name, fault, now)
        } else if let index = lookups.firstIndex(where: { $0.id == ref }) {
            if fault.retry {
                lookups[index].written = false
                lookups[index].pausedUntil = now + (lookups[index].isRead ? Self.readInterval : .milliseconds(200))
            } else {
                let lookup = lookups.remove(at: index)
                actions.append(.complete(ref, .failure(.refused(fault))))
                watchRefused(lookup, now)
            }
        } else if let name = roomOrder.first(where: { rooms[$0]?.phase == .joining(ref: ref) }) {
            joinRefused(name, fault, now)
        } else {
            actions.append(.emit(.fault(fault)))
        }
    }

    private mutating func joinRefused(_ name: RoomName, _ fault: ServerFault, _ now: Moment) {
        if fault.retry {
            rooms[name]?.phase = .out
            if roomInURL == name { roomInURL = nil }
            rooms[name]?.pause(now)
            return
        }
        if rooms[name]?.joinWaiters.isEmpty == true {
            actions.append(.emit(.fault(fault)))
            actions.append(.emit(.left(name)))
        }
        forget(name, .refused(fault))
    }

    private mutating func sendRefused(_ id: RequestID, _ name: RoomName, _ fault: ServerFault, _ now: Moment) {
        guard let index = rooms[name]?.sends.firstIndex(where: { $0.id == id }) else { return }
        guard fault.retry else {
            settle(id, in: name, .failure(.refused(fault)), now)
            return
        }
        rooms[name]?.sends[index].inFlight = false
        switch fault.known {
        case .rateLimited, .tooManyWaiting, .slowMode, .notStored, .draining: break
        // Whatever the refusal was, an earlier attempt may have been stored.
        default: rooms[name]?.sends[index].maybeStored = true
        }
        rooms[name]?.pause(now)
    }
}
