/// The connections to the broker come and go, and the room's turns to enter and to leave.
extension RoomStateMachine {
    /// The command connection is up, to the broker with this identity.
    mutating func commandsUp(_ identity: BrokerIdentity, now: Moment, _ actions: inout [RoomAction]) {
        commandsUp = true
        self.identity = identity
        switch phase {
        case .entering(let entering):
            if !settings.rules.contains(.enterAfterLoss), order.last != nil { return becomeInside(now: now, &actions) }
            if entering.wasLive, isNeededByNobody, identity == enteredIdentity { return giveUp(&actions) }
            requestEnter(now: now, &actions)
        case .inside: enterAgain(now: now, &actions)
        case .leaving: requestLeave(&actions)
        case .out, .subscribing, .unsubscribing: break
        }
    }

    /// The command connection is lost. Requests on it complete as `.outcomeUnknown`, before or after this.
    mutating func commandsDown(now: Moment, _ actions: inout [RoomAction]) {
        commandsUp = false
        // A refusal that was answered on it does not explain why requests have no answer now.
        lastRefusal = nil
        reads.viewEnded()
        endTurn(&actions)
        switch phase {
        case .inside: phase = .entering(Entering(wasLive: true))
        case .entering(let entering):
            phase = .entering(Entering(wasLive: entering.wasLive && entering.serial == nil && entering.merged == nil))
        case .out, .subscribing, .leaving, .unsubscribing: break
        }
    }

    /// The subscribe connection is up. It has no subscriptions.
    mutating func subscriptionsUp(now: Moment, _ actions: inout [RoomAction]) {
        subscriptionsUp = true
        if phase == .subscribing { actions.append(.subscribe) }
    }

    /// The subscribe connection is lost, all subscriptions with it, and whatever was published since.
    mutating func subscriptionsDown(now: Moment, _ actions: inout [RoomAction]) {
        subscriptionsUp = false
        nodes.channelLost()
        switch phase {
        case .inside where isNeededByNobody && !reads.viewInFlight: giveUp(&actions)
        case .entering, .inside:
            endTurn(&actions)
            phase = .subscribing
        case .unsubscribing: becomeOut(now: now, &actions)
        case .out, .subscribing, .leaving: break
        }
    }

    /// Whether no session is in the room and no send or update waits for the broker.
    ///
    /// After a lost connection such a room is given up instead of entered again; but not at another Redis, which may
    /// have lost messages that this node has.
    private var isNeededByNobody: Bool {
        isUnused && !sends.awaitsBroker && !presence.isUpdating
    }

    private mutating func giveUp(_ actions: inout [RoomAction]) {
        sends.removeAll()
        lingerUntil = nil
        phase = .leaving
        requestLeave(&actions)
    }

    // MARK: turns

    /// Whether the room may enter or leave now. If not, it asks for a turn.
    mutating func takeTurn(_ actions: inout [RoomAction]) -> Bool {
        if turn == .none {
            turn = .awaited
            actions.append(.awaitTurn(urgent: !isUnused))
        }
        return turn == .held
    }

    /// Gives the turn back, or the wish for one.
    mutating func endTurn(_ actions: inout [RoomAction]) {
        guard turn != .none else { return }
        turn = .none
        actions.append(.endTurn)
    }

    /// The room may enter or leave. It gives the turn back if it does not want to any more.
    mutating func turnCame(now: Moment, _ actions: inout [RoomAction]) {
        guard turn == .awaited else { return actions.append(.endTurn) }
        turn = .held
        let asked = requests.nextSerial
        switch phase {
        case .entering: requestEnter(now: now, &actions)
        case .leaving: requestLeave(&actions)
        case .out, .subscribing, .inside, .unsubscribing: break
        }
        if requests.nextSerial == asked { endTurn(&actions) }
    }
}
