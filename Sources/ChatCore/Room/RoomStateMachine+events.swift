/// The dispatch: every event enters here.
extension RoomStateMachine {
    /// Applies the event and appends what the runner has to do, in order. Before it, the runner sets ``wallClock`` and
    /// ``roundTrip``.
    public mutating func handle(_ event: RoomEvent, now: Moment, _ actions: inout [RoomAction]) {
        switch event {
        case .join(let request): join(request, now: now, &actions)
        case .leave(let session): leave(session, now: now, &actions)
        case .send(let request, let ref, let session, let at):
            guard let member = members[session] else { return refuse(event, &actions) }
            accept(request, ref: ref, from: session, member, at: at, now: now, &actions)
        case .signal(let name, let data, _, let session):
            guard let member = members[session] else { return refuse(event, &actions) }
            pass(Signal(node: node, session: session, user: member.user, name: name, data: data), &actions)
        case .roster(let cursor, let ref, let session):
            guard members[session] != nil else { return refuse(event, &actions) }
            tellRoster(to: session, ref: ref, cursor: cursor, &actions)
        case .watched(let isWatched): watch(isWatched, now: now, &actions)
        case .commandsUp(let identity): commandsUp(identity, now: now, &actions)
        case .commandsDown: commandsDown(now: now, &actions)
        case .subscriptionsUp: subscriptionsUp(now: now, &actions)
        case .subscriptionsDown: subscriptionsDown(now: now, &actions)
        case .subscribed: subscribed(now: now, &actions)
        case .unsubscribed: unsubscribed(now: now, &actions)
        case .heard(let event): heard(event, now: now, &actions)
        case .completed(let serial, let result): completed(serial: serial, result, now: now, &actions)
        case .timerFired: timerFired(now: now, &actions)
        case .turnCame: turnCame(now: now, &actions)
        case .logReaches(let newest): logReaches(newest, now: now, &actions)
        case .nodeForgotten: nodeForgotten(now: now, &actions)
        case .nodeLeaves: nodeLeaves(now: now, &actions)
        case .releaseMemory(let bytes): releaseMemory(toBytes: bytes)
        }
        // Within an assert, so that a release build does not even compute what is compared: it grows with the room.
        assert(
            {
                assertInvariants()
                return true
            }())
    }

    /// Each part checks its own invariants after each event. A release build checks nothing.
    package func assertInvariants() {
        order.assertInvariants()
        nodes.assertInvariants(node: node)
        requests.assertInvariants()
        reads.assertInvariants()
        members.assertInvariants()
        presence.assertInvariants()
        sends.assertInvariants()
        sanctions.assertInvariants()
    }

    private func refuse(_ event: RoomEvent, _ actions: inout [RoomAction]) {
        if let refusal = event.refusalOfNonMember { actions.append(refusal) }
    }

    /// The broker answered (or will never answer) the request with this serial.
    private mutating func completed(
        serial: UInt64, _ result: Result<BrokerReply, BrokerError>, now: Moment, _ actions: inout [RoomAction]
    ) {
        if serial & RoomRequests.appendBit != 0 {
            let number = serial & ~RoomRequests.appendBit
            return appendCompleted(number: number, sound(result, &actions), now: now, &actions)
        }
        guard let purpose = requests.take(serial) else { return }
        let result = sound(result, &actions)
        switch purpose {
        case .enter: enterCompleted(serial: serial, result, now: now, &actions)
        case .roster: rosterCompleted(serial: serial, result, now: now, &actions)
        case .presence: presenceCompleted(result, now: now, &actions)
        case .leave: leaveCompleted(result, now: now, &actions)
        case .view(let epochKnown): viewCompleted(result, epochKnown: epochKnown, now: now, &actions)
        case .older: olderCompleted(serial: serial, result, now: now, &actions)
        case .once(let numbers): onceCompleted(serial: serial, numbers, result, now: now, &actions)
        }
    }
}
