import ChatCore
import ChatHub

/// The connections between nodes and Redis. Each is a pipe in both directions; there is no order between two of them.
extension SimWorld {
    // MARK: commands

    func submit(_ node: SimNode, _ owner: SimRequest.Owner, _ request: BrokerRequest) {
        guard node.commands.isUp else {
            agenda.add(.notConnected(node: node.index, owner), at: now)
            return
        }
        let id = nextRequest
        nextRequest += 1
        requests[id] = SimRequest(
            node: node.index, connection: node.commands.number, server: node.commands.server, owner: owner,
            request: request)
        node.commands.open.append(id)
        node.commands.lastArrival = max(node.commands.lastArrival, now + delay())
        agenda.add(.arrive(id), at: node.commands.lastArrival)
    }

    func arrive(_ id: Int) {
        guard let request = requests[id] else { return }
        if request.notBefore > now {
            agenda.add(.arrive(id), at: request.notBefore)
            return
        }
        let server = request.server
        guard servers[server].isAlive else {
            if request.isOrphan { requests[id] = nil }
            return
        }
        if servers[server].stoppedUntil > now {
            agenda.add(.arrive(id), at: servers[server].stoppedUntil)
            return
        }
        let node = nodes[request.node]
        if !request.isOrphan, node.commands.isDead { return }
        let answer = servers[server].apply(request.request, now: wall(servers[server].skew), bugs: plan.bugs)
        note(answer, request.request)
        checkRules(server)
        checkMarks(server)
        if keepsTrace, let text = describe(answer.result) {
            log(
                "redis\(server) \(request.isOrphan ? "(late bytes) " : "")\(node.id): \(describe(request.request)) -> "
                    + "\(text)"
            )
        }
        for publication in answer.events { publish(publication, server) }
        if case .publish(let entity, let event) = request.request, answer.events.isEmpty {
            publish(.init(on: entity, event: event), server)
        }
        guard !request.isOrphan else {
            requests[id] = nil
            return
        }
        guard !node.commands.isSilent else { return }
        node.commands.lastReply = max(node.commands.lastReply, now + delay())
        agenda.add(.reply(id, answer.result), at: node.commands.lastReply)
    }

    func replied(_ id: Int, _ result: Result<BrokerReply, BrokerError>) {
        guard let request = requests[id], !request.isOrphan, let node = awake(request.node, .reply(id, result)),
            node.commands.number == request.connection, !node.commands.isSilent
        else { return }
        requests[id] = nil
        node.commands.open.removeAll { $0 == id }
        completed(node, request.owner, result)
    }

    func completed(_ node: SimNode, _ owner: SimRequest.Owner, _ result: Result<BrokerReply, BrokerError>) {
        switch owner {
        case .room(let tag): node.rooms.completed(tag, result)
        case .ask(let ask): node.loop.answered(ask, result)
        case .sweeper(let serial):
            var actions: [SweepStateMachine.Action] = []
            node.sweeper.completed(serial: serial, result, &actions)
            carryOut(actions, node)
        case .audit(let serial):
            var actions: [HoldingsAudit.Action] = []
            node.audit.completed(serial: serial, result, isHeld: { node.rooms.isInUse($0) }, &actions)
            carryOut(actions, node)
        case .heartbeat:
            if case .success(.heartbeat(let known)) = result {
                if !known, node.isKnown, plan.heedsForgotten {
                    log("\(node.id) was forgotten")
                    node.rooms.nodeForgotten()
                }
                node.isKnown = true
            }
        }
    }

    /// The connection is lost. Some of its bytes may still reach the server, late.
    func cut(_ connection: inout SimNode.Connection) {
        connection.isUp = false
        let late = connection.open.isEmpty ? 0 : random.below(connection.open.count + 1)
        let notBefore = now + (random.oneIn(3) ? random.below(second) : random.below(20 * millisecond))
        for (place, id) in connection.open.enumerated() {
            if place < late {
                requests[id]?.isOrphan = true
                requests[id]?.notBefore = notBefore
            } else {
                requests[id] = nil
            }
        }
        // Requests that the server received before the silence do not arrive a second time; those in transit still do.
        connection.open = []
    }

    func loseCommands(_ node: SimNode) {
        guard node.commands.isUp else { return }
        log("\(node.id) loses its command connection")
        let lost = node.commands.open.compactMap { requests[$0] }
        cut(&node.commands)
        node.commands.isSilent = false
        node.commands.isDead = false
        node.sweeper.reset()
        node.audit.reset()
        node.rooms.commandsWent(.everything)
        node.rooms.commandsLost(.everything)
        for request in lost { completed(node, request.owner, .failure(.outcomeUnknown)) }
        reconnectCommands(node)
    }

    func reconnectCommands(_ node: SimNode) {
        node.commands.number = nextConnection
        nextConnection += 1
        let wait = 5 * millisecond + random.below(random.oneIn(3) ? 500 * millisecond : 20 * millisecond)
        agenda.add(.commandsConnect(node: node.index, number: node.commands.number), at: now + wait)
    }

    func commandsConnect(_ index: Int, _ number: Int, _ event: SimEvent) {
        guard let node = awake(index, event), node.commands.number == number, !node.commands.isUp else { return }
        let server = serverToReach()
        guard servers[server].isAlive, servers[server].stoppedUntil <= now else { return reconnectCommands(node) }
        node.commands.server = server
        node.commands.isUp = true
        node.commands.lastArrival = now
        node.commands.lastReply = now
        log("\(node.id) commands up to redis\(server)")
        let identity = servers[server].identity
        node.rooms.commandsCame(identity, .everything)
        // This comes first, so that no room lists a node that nobody would find dead (seed 202155).
        reportAlive(node)
        node.rooms.commandsReturned(identity, .everything)
    }

    /// The primary; during a failover it may still be the old one.
    private func serverToReach() -> Int {
        if !isQuiet, let old = servers.indices.last(where: { $0 != primary && servers[$0].isAlive }), random.oneIn(2) {
            return old
        }
        return primary
    }

    // MARK: subscriptions

    func subscribe(_ node: SimNode, _ room: Int, on: Bool) {
        guard node.subscriptions.isUp else { return }
        let number = node.subscriptions.number
        if on, plan.bugs.contains(.forgetResubscribe), node.subscriptions.subscribed.contains(room) {
            agenda.add(.takenForSubscribed(node: node.index, number: number, room: room), at: now)
            return
        }
        if on {
            node.subscriptions.subscribed.insert(room)
            node.subscriptions.machine.subscribe(
                .room(roomNames[room]), channel: roomNames[room].text, now: moment)
        } else {
            node.subscriptions.subscribed.remove(room)
            node.subscriptions.machine.unsubscribe(
                .room(roomNames[room]), channel: roomNames[room].text, now: moment)
        }
        if on, plan.bugs.contains(.enterBeforeSubscribed) {
            agenda.add(.takenForSubscribed(node: node.index, number: number, room: room), at: now)
        }
        node.subscriptions.lastArrival = max(node.subscriptions.lastArrival, now + delay())
        agenda.add(
            .subscribeArrives(node: node.index, number: number, room: room, on: on), at: node.subscriptions.lastArrival)
    }

    func subscribeArrives(_ index: Int, _ number: Int, _ room: Int, _ on: Bool, _ event: SimEvent) {
        let node = nodes[index]
        guard node.isAlive, node.subscriptions.number == number, !node.subscriptions.isDead else { return }
        let server = node.subscriptions.server
        guard servers[server].isAlive else { return }
        guard servers[server].stoppedUntil <= now else {
            agenda.add(event, at: servers[server].stoppedUntil)
            return
        }
        let subscriber = SimRedis.Subscriber(node: index, connection: number)
        servers[server].subscribers[room].removeAll { $0 == subscriber }
        if on { servers[server].subscribers[room].append(subscriber) }
        // As in Redis, an acknowledgement contains the number of channels that the connection is subscribed to by then.
        let count = servers[server].subscribers.count { $0.contains(subscriber) }
        node.subscriptions.lastReply = max(node.subscriptions.lastReply, now + delay())
        agenda.add(
            .subscribeAnswered(node: index, number: number, room: room, on: on, count: count),
            at: node.subscriptions.lastReply)
    }

    func subscribeAnswered(_ index: Int, _ number: Int, _ room: Int, _ on: Bool, _ count: Int, _ event: SimEvent) {
        guard let node = awake(index, event), node.subscriptions.number == number, !node.subscriptions.isSilent else {
            return
        }
        let action = onChannel(of: room) {
            node.subscriptions.machine.received(on ? .subscribe : .unsubscribe, channel: $0, count: Int64(count))
        }
        switch action {
        case .subscribed: node.rooms.subscribed(roomNames[room])
        case .unsubscribed: node.rooms.unsubscribed(roomNames[room])
        case .ignore, .heard, .left, .ponged: fail("\(node.id) takes an acknowledgement for \(action)")
        case .fail(let text): fail("\(node.id) gives up its subscribe connection: \(text)")
        }
    }

    /// The room counts as subscribed without an answer, for planted bugs.
    func takenForSubscribed(_ index: Int, _ number: Int, _ room: Int, _ event: SimEvent) {
        guard let node = awake(index, event), node.subscriptions.number == number else { return }
        node.rooms.subscribed(roomNames[room])
    }

    private func onChannel<Result>(of room: Int, _ body: (UnsafeBufferPointer<UInt8>) -> Result) -> Result {
        Array(roomNames[room].text.utf8).withUnsafeBufferPointer(body)
    }

    func publish(_ publication: MemoryBroker.Publication, _ server: Int) {
        guard let name = publication.entity.room else { return }
        let room = servers[server].index(of: name)
        for subscriber in servers[server].subscribers[room] {
            let node = nodes[subscriber.node]
            guard node.isAlive, node.subscriptions.number == subscriber.connection, !node.subscriptions.isDead else {
                continue
            }
            node.subscriptions.lastReply = max(node.subscriptions.lastReply, now + delay())
            agenda.add(
                .publication(node: node.index, number: subscriber.connection, room: room, publication.event),
                at: node.subscriptions.lastReply)
        }
    }

    func publicationArrives(_ index: Int, _ number: Int, _ room: Int, _ news: ChannelEvent, _ event: SimEvent) {
        guard let node = awake(index, event), node.subscriptions.number == number, !node.subscriptions.isSilent else {
            return
        }
        var news = news
        if plan.bugs.contains(.epochsForgetTheRules), case .epoch(let epoch, let base, let nodes, let by, _) = news {
            let known = node.rooms.inspect(roomNames[room]) { $0.rules ?? 0 } ?? 0
            news = .epoch(epoch, base: base, nodes: nodes, by: by, rules: known)
        }
        if case .gone(let gone, let value, let nodes, _) = news,
            !plan.goneTellsLast || plan.bugs.contains(.goneWithoutLast)
        {
            news = .gone(gone, value: value, nodes: nodes, last: Position(epoch: 0, seq: 0))
        }
        let action = onChannel(of: room) { node.subscriptions.machine.received(.message, channel: $0, count: nil) }
        guard case .heard = action else { return }
        log("\(node.id) hears \(describe(news))")
        node.rooms.heard(news, in: roomNames[room])
    }

    func cutSubscriber(_ node: SimNode) {
        for server in servers.indices {
            for room in servers[server].subscribers.indices {
                servers[server].subscribers[room].removeAll { $0.node == node.index }
            }
        }
        node.subscriptions.isUp = false
    }

    func loseSubscriptions(_ node: SimNode) {
        guard node.subscriptions.isUp else { return }
        log("\(node.id) loses its subscribe connection")
        cutSubscriber(node)
        node.subscriptions.isSilent = false
        node.subscriptions.isDead = false
        if !plan.bugs.contains(.forgetResubscribe) { node.subscriptions.subscribed = [] }
        reconnectSubscriptions(node)
        node.rooms.subscriptionsWent(.everything)
        node.rooms.subscriptionsLost(.everything)
    }

    func reconnectSubscriptions(_ node: SimNode) {
        node.subscriptions.number = nextConnection
        nextConnection += 1
        let wait = 5 * millisecond + random.below(random.oneIn(3) ? 500 * millisecond : 20 * millisecond)
        agenda.add(.subscriptionsConnect(node: node.index, number: node.subscriptions.number), at: now + wait)
    }

    func subscriptionsConnect(_ index: Int, _ number: Int, _ event: SimEvent) {
        guard let node = awake(index, event), node.subscriptions.number == number, !node.subscriptions.isUp else {
            return
        }
        let server = serverToReach()
        guard servers[server].isAlive, servers[server].stoppedUntil <= now else { return reconnectSubscriptions(node) }
        node.subscriptions.server = server
        node.subscriptions.isUp = true
        if !plan.bugs.contains(.subscriptionsOutliveTheirConnection) {
            node.subscriptions.machine = SubscriptionStateMachine(frame: ChannelFrame(before: 0, behind: 0))
        }
        node.subscriptions.lastArrival = now
        node.subscriptions.lastReply = now
        log("\(node.id) subscriptions up to redis\(server)")
        node.rooms.subscriptionsCame(servers[server].identity, .everything)
        node.rooms.subscriptionsReturned(.everything)
    }

    // MARK: Redis itself

    /// The process ends: every connection to it breaks, some of them noticed later than others.
    func serverDies(_ server: Int) {
        guard servers[server].isAlive else { return }
        log("redis\(server) dies")
        servers[server].isAlive = false
        lastServerDeath = now
        for node in nodes where node.isAlive {
            if node.commands.isUp, node.commands.server == server {
                agenda.add(
                    .loseCommands(node: node.index, number: node.commands.number),
                    at: now + random.below(30 * millisecond))
            }
            if node.subscriptions.isUp, node.subscriptions.server == server {
                agenda.add(
                    .loseSubscriptions(node: node.index, number: node.subscriptions.number),
                    at: now + random.below(30 * millisecond))
            }
        }
    }

    func restartRedis(_ move: Int, down: UInt64) {
        let old = primary
        let state = snapshots[move] ?? servers[old]
        noteLoss(from: servers[old], to: state)
        let next = servers.count
        servers.append(state.successor(generation: next, skew: servers[old].skew, isForeign: plan.knowsForeignRedis))
        servers[next].isAlive = false
        serverDies(old)
        primary = next
        servers[next].isAlive = true
        servers[next].stoppedUntil = now + down
        log("redis\(next) starts with \(state.rooms.map { $0.truth.last?.position.description ?? "nothing" })")
    }

    func failover(_ move: Int, window: UInt64, clockBehind: UInt64) {
        let old = primary
        let state = snapshots[move] ?? servers[old]
        hasLost = true
        let next = servers.count
        servers.append(
            state.successor(
                generation: next, skew: servers[old].skew - Int64(clockBehind), isForeign: plan.knowsForeignRedis))
        primary = next
        log("redis\(next) takes over with \(state.rooms.map { $0.truth.last?.position.description ?? "nothing" })")
        if window == 0 { serverDies(old) } else { agenda.add(.serverDies(old), at: now + window) }
    }

    private func noteLoss(from old: SimRedis, to new: SimRedis) {
        for (left, right) in zip(old.rooms, new.rooms) where left.truth.count != right.truth.count { hasLost = true }
        // If epochs without messages are lost, positions at the beginning of the history become void.
        hasLost = true
    }

    // MARK: misfortunes

    func make(_ move: SimPlan.Move, _ index: Int) {
        func node(_ slot: Int) -> SimNode? { slots[slot].map { nodes[$0] } }
        switch move {
        case .connect(let client, let slot): connect(clients[client], slot: slot)
        case .disconnect(let client, let deaf, let lag): disconnect(clients[client], deaf: deaf, lag: lag)
        case .join(let client, let room): wantRoom(clients[client], room)
        case .leave(let client, let room): leaveRoom(clients[client], room)
        case .send(let client, let room, let count, let keyed):
            for _ in 0..<count { say(clients[client], room, keyed: keyed) }
        case .say(let room): outsiderSays(room)
        case .cutCommands(let slot): if let node = node(slot) { loseCommands(node) }
        case .cutSubscriptions(let slot): if let node = node(slot) { loseSubscriptions(node) }
        case .silenceCommands(let slot, let time):
            guard let node = node(slot), node.commands.isUp else { return }
            log("\(node.id) command connection goes silent")
            node.commands.isSilent = true
            node.commands.isDead = random.oneIn(2)
            agenda.add(.loseCommands(node: node.index, number: node.commands.number), at: now + time)
        case .silenceSubscriptions(let slot, let time):
            guard let node = node(slot), node.subscriptions.isUp else { return }
            log("\(node.id) subscribe connection goes silent")
            node.subscriptions.isSilent = true
            node.subscriptions.isDead = random.oneIn(2)
            agenda.add(.loseSubscriptions(node: node.index, number: node.subscriptions.number), at: now + time)
        case .crash(let slot, let restartAfter): crash(slot, restartAfter: restartAfter)
        case .stopNode(let slot, let time):
            guard let node = node(slot) else { return }
            log("\(node.id) is stopped for \(time / millisecond) ms")
            if node.stoppedUntil <= now { node.stoppedUntil = now + time }
        case .stopRedis(let time):
            log("redis\(primary) is stopped for \(time / millisecond) ms")
            if servers[primary].stoppedUntil <= now { servers[primary].stoppedUntil = now + time }
        case .slowNetwork(let time): slowUntil = now + time
        case .restartRedis(_, let down): restartRedis(index, down: down)
        case .failover(_, let window, let clockBehind): failover(index, window: window, clockBehind: clockBehind)
        case .publishNonsense(let room, let event):
            guard servers[primary].isAlive, servers[primary].stoppedUntil <= now else { return }
            publish(.init(on: .room(roomNames[room]), event: event), primary)
        case .spoil(let room, let deed): spoil(room, deed)
        case .mend(let room): mend(room)
        case .read(let client, let room): read(clients[client], room)
        case .moderate(let room, let moderation): moderate(room, moderation)
        case .amend(let client, let room): amend(clients[client], room)
        case .reply(let client, let room): answerInThread(clients[client], room)
        case .deleteRoom(let room):
            log("the keys of room\(room) are deleted")
            hasLost = true
            servers[primary].deleteRoom(room)
        }
    }

    /// `insists`: the order is taken by a Redis that is stopped as well.
    private func moderate(_ room: Int, _ moderation: Moderation, insists: Bool = false) {
        guard servers[primary].isAlive, insists || servers[primary].stoppedUntil <= now else { return }
        let request = BrokerRequest.moderate(room: roomNames[room], moderation, by: "moderator")
        let answer = servers[primary].apply(request, now: wall(servers[primary].skew), bugs: plan.bugs)
        log("redis\(primary) moderator: \(describe(request)) -> \(describe(answer.result) ?? "")")
        for publication in answer.events { publish(publication, primary) }
    }

    /// Everything is allowed again.
    func allowAll(_ room: Int) {
        for index in clients.indices {
            guard let user = Self.user(ofClient: index) else { continue }
            moderate(room, .unban(user), insists: true)
            moderate(room, .unmute(user), insists: true)
        }
        moderate(room, .freeze(false), insists: true)
        moderate(room, .posting(.open), insists: true)
    }

    /// Promise 14, on every branch of the data.
    private func checkRules(_ server: Int) {
        for room in servers[server].rooms.indices {
            if let first = servers[server].rooms[room].stored.first {
                return fail("redis\(server) stores in room\(room) \(first)")
            }
        }
    }

    private func outsiderSays(_ room: Int) {
        guard servers[primary].isAlive, servers[primary].stoppedUntil <= now, let user = try? UserID("bot") else {
            return
        }
        let content = MessageContent(user: user, at: wall(0), text: "said at \(now / millisecond)")
        let request = BrokerRequest.say(room: roomNames[room], content: content)
        let answer = servers[primary].apply(request, now: wall(servers[primary].skew), bugs: plan.bugs)
        note(answer, request)
        log("redis\(primary) bot: \(describe(request)) -> \(describe(answer.result) ?? "")")
        for publication in answer.events { publish(publication, primary) }
    }
}
