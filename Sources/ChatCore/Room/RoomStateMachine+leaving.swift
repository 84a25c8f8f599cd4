/// How the room is left: the linger ends, then `leave`, then UNSUBSCRIBE.
extension RoomStateMachine {
    /// Starts the linger when the last session has left, and ends it when one has come.
    mutating func considerLinger(now: Moment) {
        guard isUnused else {
            lingerUntil = nil
            return
        }
        switch phase {
        case .inside, .entering: if lingerUntil == nil { lingerUntil = now + settings.linger }
        case .out, .subscribing, .leaving, .unsubscribing: break
        }
    }

    /// The node shuts down: a room without sessions does not linger.
    mutating func nodeLeaves(now: Moment, _ actions: inout [RoomAction]) {
        guard isUnused, lingerUntil != nil else { return }
        lingerEnded(now: now, &actions)
    }

    /// The linger has ended: leaves the room, unless something is still at the broker.
    mutating func lingerEnded(now: Moment, _ actions: inout [RoomAction]) {
        lingerUntil = nil
        guard isUnused else { return }
        switch phase {
        case .inside:
            guard !sends.awaitsBroker, !reads.viewInFlight, !presence.isUpdating else {
                lingerUntil = now + .milliseconds(100)
                return
            }
            sends.removeAll()
            phase = .leaving
            requestLeave(&actions)
        case .entering(let entering)
        where entering.serial == nil && entering.merged == nil && entering.retryAt != nil && commandsUp
            && !mayBeRegistered:
            // Redis refuses the room and no session wants it any more. (A node that may be registered goes on trying,
            // so that it can leave.)
            requestUnsubscribe(now: now, &actions)
        case .entering:
            lingerUntil = now + .milliseconds(100)
        case .out, .subscribing, .leaving, .unsubscribing:
            break
        }
    }

    /// Asks the broker to take this node out of the room, if the connection is up and the room has its turn.
    mutating func requestLeave(_ actions: inout [RoomAction]) {
        guard commandsUp, takeTurn(&actions) else { return }
        leaveRetryAt = nil
        _ = submit(.leave(room: room, node: node, value: nodes.enterValue, isOwn: true), .leave, &actions)
    }

    mutating func leaveCompleted(
        _ result: Result<BrokerReply, BrokerError>, now: Moment, _ actions: inout [RoomAction]
    ) {
        guard phase == .leaving else { return }
        if case .success(.leaving(let cursor)) = result {
            let next = BrokerRequest.leave(room: room, node: node, value: nodes.enterValue, cursor: cursor, isOwn: true)
            _ = submit(next, .leave, &actions)
            return
        }
        endTurn(&actions)
        switch result {
        case .success(let reply):
            // `false`: the node was swept, or an older Redis lists it with another value. Then the node's list keeps
            // the room, and the audit of holdings looks into it (simulator, seed 3050).
            if reply == .left(true) {
                actions.append(.submit(.release(room: room, node: node), serial: RequestTag.ignoredSerial))
            }
            requestUnsubscribe(now: now, &actions)
        case .failure:
            // A living node that stays registered is never swept, so its members would stay in the roster. If the
            // connection is lost, `leave` is asked again as soon as it is back.
            leaveRetryAt = now + settings.enterDeadline
        }
    }

    mutating func requestUnsubscribe(now: Moment, _ actions: inout [RoomAction]) {
        endTurn(&actions)
        phase = .unsubscribing
        leaveRetryAt = nil
        if subscriptionsUp {
            actions.append(.unsubscribe)
        } else {
            becomeOut(now: now, &actions)
        }
    }

    /// The UNSUBSCRIBE was acknowledged.
    mutating func unsubscribed(now: Moment, _ actions: inout [RoomAction]) {
        guard phase == .unsubscribing else { return }
        becomeOut(now: now, &actions)
    }

    /// The room is out of use; if sessions came meanwhile, it begins again.
    mutating func becomeOut(now: Moment, _ actions: inout [RoomAction]) {
        phase = .out
        forget()
        if isUnused {
            actions.append(.finished)
        } else {
            begin(now: now, &actions)
        }
    }

    /// Without a subscription, what is known of the room may be out of date. Sessions and their sends remain.
    private mutating func forget() {
        order.forget()
        sanctions.forget()
        nodes.forget()
        requests.forget()
        reads.forget()
        presence.forget()
        enteredIdentity = nil
        mayBeRegistered = false
        lingerUntil = nil
    }
}
