import ChatCore

/// The deliveries of rooms to the sessions of this loop.
extension SessionHost {
    /// Delivers what a home loop made for the sessions of this loop in one tick, in order. `made`: when the first
    /// delivery was made.
    public func receive(_ batch: [Delivery], made: Moment) {
        for delivery in batch {
            switch delivery {
            case .broadcast(let room, let frame, let own): broadcast(room, frame, own)
            case .told(let room, let frame, let except): tell(room, frame, except: Set(except))
            case .signal(let room, let frame, let except):
                room.forEachMember { if $0.session != except { $0.outlet.send(frame) } }
            case .goLive(let room, let id, let joined): goLive(room, id, joined)
            case .answer(let id, let event):
                guard let session = sessions[id], maySee(event, session) else { continue }
                if case .error(_, let error) = event { count(error) }
                session.outlet.send(event)
            case .charge(let id, let cost): sessions[id]?.rate.charge(cost, now: context.now)
            case .refuse(let room, let id, let event): refused(room, id, event)
            case .remove(let room, let id, let removal): removed(id, from: room, removal)
            }
        }
        context.fannedOut(after: context.now - made)
    }

    /// Whether the session's token lets it see the event. News go to all sessions of a user, and some of these may read
    /// less than others.
    private func maySee(_ event: ServerEvent, _ session: LocalSession) -> Bool {
        guard case .inbox(.notice(let notice)) = event else { return true }
        return AccessDecision.refusal(of: .read, in: notice.room, by: session.grant) == nil
    }

    /// Sends a frame to all sessions of the room. Sessions that are catching up get it too.
    private func tell(_ room: LocalRoom, _ frame: Frame, except: Set<SessionID>) {
        for (session, outlet) in room.catchingUp where !except.contains(session) { outlet.send(frame) }
        deliveries &+= UInt64(room.count)
        room.forEachMember { if !except.contains($0.session) { $0.outlet.send(frame) } }
    }

    /// From this number of members on, the frame is copied for this loop.
    private static let worthACopy = 16

    private func broadcast(_ room: LocalRoom, _ frame: Frame, _ own: OwnMessage?) {
        if frame.kind == .presence {
            for outlet in room.catchingUp.values { outlet.send(frame) }
        }
        deliveries &+= UInt64(room.count)
        let frame = loops > 1 && room.count >= Self.worthACopy ? frame.copied() : frame
        guard let own else {
            room.forEachMember { $0.outlet.send(frame) }
            return
        }
        broadcastOwn(own, frame, room)
    }

    /// The sessions of the message's sender are shown its key.
    private func broadcastOwn(_ own: OwnMessage, _ frame: Frame, _ room: LocalRoom) {
        let user = own.message.content.user
        let userHash = user.hashValue
        let encoder = settings.encoder
        var ownFrame: Frame?
        room.forEachMember { member in
            guard member.userHash == userHash, member.outlet.user == user else { return member.outlet.send(frame) }
            let protocolID = member.outlet.protocolID
            let shown =
                ownFrame?.encoded(for: protocolID, by: encoder)
                ?? own.frame(in: room.room, for: protocolID, by: encoder)
            ownFrame = shown
            member.outlet.send(shown)
        }
    }

    /// The room answered a join.
    private func goLive(_ room: LocalRoom, _ id: SessionID, _ joined: Joined) {
        guard let session = sessions[id], var membership = session.rooms[room.room] else { return }
        let action = membership.standing.answered(
            joined, for: session.user, bytes: pageBytes, count: Self.joinedPage)
        switch action {
        case .ignore: break
        case .show(let events, let isLive):
            for event in events {
                deliveries &+= event.messageCount
                session.outlet.send(withRights(event, session, membership))
            }
            charge(session.rate, for: events)
            membership.local = room
            session.rooms[room.room] = membership
            if !(joined.ref?.isOfPage ?? false) { context.noted(.joined(room.room, at: joined.position), by: id) }
            if isLive {
                room.add(id, session.outlet)
            } else {
                room.addCatchingUp(id, session.outlet)
                session.pages.append(.missed(room.room))
            }
            if joined.ref?.isOfPage ?? false { session.isPaging = false }
            sendPages(session)
        }
    }

    /// The answer to a join says what the session may do in the room, if a token says so.
    private func withRights(
        _ event: ServerEvent, _ session: LocalSession, _ membership: LocalMembership
    ) -> ServerEvent {
        guard session.grant != nil, case .joined(var joined) = event else { return event }
        joined.rights = membership.rights
        return .joined(joined)
    }

    /// The room refused a join and does not accept the session, or could not read a page for it.
    private func refused(_ room: LocalRoom, _ id: SessionID, _ event: ServerEvent) {
        guard let session = sessions[id], case .error(let ref, let error) = event else { return }
        switch session.rooms[room.room]?.standing.refused(ref) {
        case .ignore, nil: break
        case .leave:
            session.rooms[room.room]?.local?.remove(id)
            session.rooms[room.room] = nil
            count(error)
            session.outlet.send(event)
        case .askAgain:
            session.isPaging = false
            session.pages.append(.missed(room.room))
            sendPages(session)
        }
    }

    /// Charges for the earlier messages that a session is sent.
    private func charge(_ rate: UserRate, for events: [ServerEvent]) {
        var cost: UInt64 = 0
        for event in events {
            switch event {
            case .joined(let joined):
                cost &+= RequestCost.page(joined.messages, read: false)
                cost &+= RequestCost.roster(joined.members?.count ?? 0, read: false)
            case .message(_, let message, _): cost &+= RequestCost.page(CollectionOfOne(message), read: false)
            case .welcome, .left, .sent, .presence, .signal, .gap, .reset, .draining, .history, .roster, .pong,
                .renewed, .expiring, .removed, .moderated, .conversation, .amended, .inbox, .rules, .sanction,
                .participants, .error:
                break
            }
        }
        if cost > 0 { rate.charge(cost, now: context.now) }
    }

    /// Counts a room's refusals because of a limit.
    private func count(_ error: WireError) {
        switch error.code {
        case .tooManyWaiting: context.refused(by: .waitingSendsPerRoom)
        case .rateLimited: context.refused(by: .costPerSecond)
        default: break
        }
    }
}

extension ServerEvent {
    /// The number of messages in the event.
    fileprivate var messageCount: UInt64 {
        switch self {
        case .joined(let joined): UInt64(joined.messages.count)
        case .message: 1
        case .welcome, .left, .sent, .presence, .signal, .gap, .reset, .draining, .history, .roster, .pong, .renewed,
            .expiring, .removed, .moderated, .conversation, .amended, .inbox, .rules, .sanction, .participants, .error:
            0
        }
    }
}
