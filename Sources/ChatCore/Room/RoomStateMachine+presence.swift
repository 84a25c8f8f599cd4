/// Who is in the room: what Redis is told, and what sessions are told.
extension RoomStateMachine {
    /// Sends the presence changes that are due.
    mutating func flushPresence(now: Moment, _ actions: inout [RoomAction]) {
        guard isInside else { return }
        if let update = presence.takeUpdate(now: now) {
            let request = PresenceRequest(room: room, node: node, value: nodes.enterValue, changes: update)
            _ = submit(.presence(request), .presence, &actions)
        } else if !presence.isUpdating, presence.flushAt == nil {
            // There is nothing to tell Redis, so no answer will come: a user came and left within a moment, say.
            tell(RoomPresence.Difference(), &actions)
        }
        readRosterIfNeeded(now: now, &actions)
    }

    private mutating func readRosterIfNeeded(now: Moment, _ actions: inout [RoomAction]) {
        guard isInside, presence.wantsRoster, presence.reading == nil, presence.readAt.map({ $0 <= now }) ?? true else {
            return
        }
        readRoster(&actions)
    }

    /// Asks for the first part of the roster.
    mutating func readRoster(_ actions: inout [RoomAction]) {
        let serial = submit(.roster(room: room), .roster, &actions)
        presence.readBegan(serial)
    }

    mutating func presenceCompleted(
        _ result: Result<BrokerReply, BrokerError>, now: Moment, _ actions: inout [RoomAction]
    ) {
        switch result {
        case .success(.presence(let reply)):
            presence.updateSucceeded()
            if let notice = reply.notice {
                let difference = presence.apply(notice, node: node)
                tell(difference, &actions)
            }
            flushPresence(now: now, &actions)
            // News that do not change the roster: a user came back before Redis was told of the leave, say.
            if !presence.isUpdating { tell(RoomPresence.Difference(), &actions) }
        case .failure(.missing):
            // The node was swept, or its entry deleted: it enters again, then tells everything.
            presence.updateFailed(retry: now)
            enterAgain(now: now, &actions)
        case .success, .failure:
            presence.updateFailed(retry: now + .seconds(1))
        }
    }

    mutating func rosterCompleted(
        serial: UInt64, _ result: Result<BrokerReply, BrokerError>, now: Moment, _ actions: inout [RoomAction]
    ) {
        guard presence.reading == serial else { return }
        if case .success(.roster(let part)) = result, part.cursor != 0 {
            let next = submit(.roster(room: room, cursor: part.cursor), .roster, &actions)
            return presence.readPart(part, next: next)
        }
        if case .success(.roster(let snapshot)) = result {
            let difference = presence.replace(with: snapshot, node: node, flush: now)
            tell(difference, &actions)
            // If something was missed while the roster was read, it is read once more, but not at once: notices may be
            // on their way.
            presence.readAgain(at: now + settings.presenceInterval)
        } else {
            presence.readFailed(retry: now + .seconds(1))
        }
        answerJoins(now: now, &actions)
        flushPresence(now: now, &actions)
    }

    mutating func heardPresence(_ notice: PresenceNotice, now: Moment, _ actions: inout [RoomAction]) {
        // A notice of a Redis that answered for the room before: its stream is another one, even if its positions seem
        // to follow.
        guard identity?.signs(notice.run) ?? true else { return }
        let difference = presence.apply(notice, node: node)
        tell(difference, &actions)
        readRosterIfNeeded(now: now, &actions)
    }

    /// Tells all sessions what changed, and those that joined meanwhile the part that they do not know yet.
    private mutating func tell(_ difference: RoomPresence.Difference, _ actions: inout [RoomAction]) {
        guard !difference.isEmpty || presence.hasNews else { return }
        let told = presence.takeNews(difference)
        guard !told.isEmpty else { return }
        let count = presence.count
        if count > settings.limits.rosterInline || told.apart.isEmpty {
            let isLarge = count > settings.limits.rosterInline
            return actions.append(
                .deliverPresence(joined: isLarge ? [] : told.joined, left: isLarge ? [] : told.left, count: count))
        }
        actions.append(
            .deliverPresenceApart(
                joined: told.joined, left: told.left, count: count, except: told.apart.map(\.session)))
        for apart in told.apart where !apart.joined.isEmpty || !apart.left.isEmpty {
            let event = ServerEvent.presence(room: room, joined: apart.joined, left: apart.left, count: count)
            actions.append(.answer(apart.session, event))
        }
    }

    /// A member asks for a page of the roster.
    func tellRoster(to session: SessionID, ref: Ref?, cursor: String?, _ actions: inout [RoomAction]) {
        guard presence.position != nil else {
            let error = WireError(.unavailable, "roster: it is not read yet; try again")
            return actions.append(.answer(session, .error(ref: ref, error)))
        }
        let page = presence.page(after: cursor, limit: settings.limits.rosterPage)
        actions.append(.answer(session, .roster(ref: ref, room: room, page)))
    }

    /// A member signals: to everybody here at once, and to other nodes by the channel if there are any. Never stored.
    func pass(_ signal: Signal, _ actions: inout [RoomAction]) {
        actions.append(.deliverSignal(signal))
        if hasOthers, isInside {
            actions.append(.submit(.publish(room: room, event: .signal(signal)), serial: RequestTag.ignoredSerial))
        }
    }
}
