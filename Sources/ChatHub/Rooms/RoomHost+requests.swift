import ChatCore

/// The requests of sessions to rooms, and their charges to the user.
extension RoomHost {
    /// A session asks to join the room, or for more of what it has missed.
    func join(_ request: JoinRequest, to name: RoomName, _ rate: UserRate) {
        let isNew = room(named: name) == nil
        let room = openRoom(name)
        if isNew {
            rate.charge(RequestCost.newRoom, now: context.now)
            room.payer = rate
        }
        let comes = !has(request.session, in: room)
        if comes { room.sessionCame(request.session) }
        let cost = room.look { (comes ? $0.costOfComing : 0) &+ $0.costOfMissed(after: request.after) }
        rate.charge(cost ?? 0, now: context.now)
        happen(.join(request), in: room)
    }

    /// A session leaves the room, if it is in it.
    func leave(_ session: SessionID, _ name: RoomName, _ rate: UserRate) {
        guard let room = room(named: name), has(session, in: room) else { return }
        room.sessionWent(session)
        if room.protocols.isEmpty { flushReads(of: name) }
        rate.charge(room.look { $0.costOfComing } ?? 0, now: context.now)
        happen(.leave(session), in: room)
    }

    func send(_ request: SendRequest, ref: Ref?, from session: SessionID, at: UInt64, _ rate: UserRate) {
        let event = RoomEvent.send(request, ref: ref, from: session, at: at)
        guard
            let room = admit(
                event, to: request.room, session, ref, rate, cost: { $0.cost(of: request, from: session) })
        else { return }
        // Whoever is no member is told by the room.
        guard screensMessages, let user = room.look({ $0.user(of: session) }) ?? nil else {
            return happen(event, in: room)
        }
        let content = MessageContent(user: user, at: at, text: request.text, data: request.data, key: request.key)
        screen(content, in: request.room) { [weak self] result in
            self?.sendScreened(result, of: request, ref: ref, from: session, at: at)
        }
    }

    /// What was decided about the words of a message. Its session and its room may have gone meanwhile.
    private func sendScreened(
        _ result: Result<MessageContent, WireError>, of request: SendRequest, ref: Ref?, from session: SessionID,
        at: UInt64
    ) {
        switch result {
        case .failure(let error): post(.answer(session, .error(ref: ref, error)), to: session.loop)
        case .success(let content):
            var request = request
            request.text = content.text
            let event = RoomEvent.send(request, ref: ref, from: session, at: at)
            guard let room = room(named: request.room) else { return refuseNonMember(event) }
            happen(event, in: room)
        }
    }

    private func refuseNonMember(_ event: RoomEvent) {
        guard case .answer(let session, let answer)? = event.refusalOfNonMember else { return }
        post(.answer(session, answer), to: session.loop)
    }

    func signal(_ name: String, data: String?, ref: Ref?, from session: SessionID, in room: RoomName, _ rate: UserRate)
    {
        let bytes = name.utf8.count + (data?.utf8.count ?? 0)
        let event = RoomEvent.signal(name: name, data: data, ref: ref, from: session)
        onlyMembers(of: room, event, session, ref, rate) { RequestCost.fanOut(bytes: bytes, to: $0.receivers) }
    }

    func roster(of room: RoomName, cursor: String?, ref: Ref?, for session: SessionID, _ rate: UserRate) {
        let event = RoomEvent.roster(cursor: cursor, ref: ref, from: session)
        onlyMembers(of: room, event, session, ref, rate) { RequestCost.roster($0.users, read: false) }
    }

    /// Passes a members-only event to the room, if its user may spend what it costs.
    private func onlyMembers(
        of name: RoomName, _ event: RoomEvent, _ session: SessionID, _ ref: Ref?, _ rate: UserRate,
        cost: (inout RoomStateMachine) -> UInt64
    ) {
        guard let room = admit(event, to: name, session, ref, rate, cost: cost) else { return }
        happen(event, in: room)
    }

    /// The room, awake, if its user may spend what the event costs; nil: the session was told why not. A room that is
    /// not in use has no members.
    private func admit(
        _ event: RoomEvent, to name: RoomName, _ session: SessionID, _ ref: Ref?, _ rate: UserRate,
        cost: (inout RoomStateMachine) -> UInt64
    ) -> HomeRoom? {
        guard let room = room(named: name) else {
            refuseNonMember(event)
            return nil
        }
        awaken(room)
        guard rate.spend(room.look(cost) ?? 0, now: context.now) else {
            post(.answer(session, .error(ref: ref, settings.rooms.limits.tooDear)), to: session.loop)
            return nil
        }
        return room
    }

    /// Whether the session is in the room or waits for the answer to its join.
    func has(_ session: SessionID, in room: HomeRoom) -> Bool {
        awaken(room)
        return room.look { $0.has(session) } ?? false
    }

    /// The cost of a moderation, of which each session of the room may be told.
    public func cost(ofModerating name: RoomName) -> UInt64 { RequestCost.moderation &+ costOfTelling(name) }

    /// The cost of telling each session of the room about a change of its rules.
    func costOfTelling(_ name: RoomName) -> UInt64 {
        let room = room(named: name)
        if let room { awaken(room) }
        let receivers = room?.look { $0.receivers } ?? nil
        return RequestCost.fanOut(bytes: 256, to: receivers ?? RequestCost.unknownReceivers)
    }

    /// The cost of a message from a sender who need not be in the room.
    public func cost(ofSaying content: MessageContent, in name: RoomName) -> UInt64 {
        let room = room(named: name)
        if let room { awaken(room) }
        let receivers = room?.look { $0.receivers } ?? nil
        let bytes = (content.text?.utf8.count ?? 0) + (content.data?.utf8.count ?? 0)
        var cost = RequestCost.request &+ RequestCost.read
        cost &+= RequestCost.fanOut(bytes: bytes, to: receivers ?? RequestCost.unknownReceivers)
        if content.key != nil { cost &+= RequestCost.keyLookup }
        return cost &+ RequestCost.mentions(content.extra)
    }
}
