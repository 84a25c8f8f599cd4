import ChatCore

/// A message that waits for the decision of the operator's hook.
final class HeldMessage {
    let content: MessageContent
    let room: RoomName
    let then: (Result<MessageContent, WireError>) -> Void

    init(_ content: MessageContent, in room: RoomName, then: @escaping (Result<MessageContent, WireError>) -> Void) {
        self.content = content
        self.room = room
        self.then = then
    }
}

/// What is decided about a message before it goes to its room, whatever protocol it came by: messages of sessions and
/// those of HTTP pass here, on the home loop of their room. First they are compared with the list of words, then the
/// operator's hook is asked.
extension RoomHost {
    /// Whether messages have to be looked at.
    var screensMessages: Bool { settings.words != nil || hook != nil }

    /// Decides about a message from a sender who need not be in the room. `then` is called with the message as it may
    /// be stored, or with why not: at once, or later on this loop if the hook has to be asked. The messages of a room
    /// that the hook is asked about go on in the order in which they came.
    ///
    /// A message that was sent before is not decided again: it is answered like the first one.
    public func screen(
        _ content: MessageContent, in name: RoomName, then: @escaping (Result<MessageContent, WireError>) -> Void
    ) {
        guard screensMessages, !isKnown(content, in: name) else { return then(.success(content)) }
        var content = content
        if let words = settings.words {
            let outcome = words.screen(&content.text)
            if outcome != .clean { context.screened(outcome) }
            guard outcome != .refused else { return then(.failure(.blockedWord)) }
        }
        guard hook != nil else { return then(.success(content)) }
        var actions: [HookQueue<HeldMessage>.Action] = []
        let held = HeldMessage(content, in: name, then: then)
        guard hook?.came(held, in: name, now: context.now, &actions) == true else {
            context.refused(by: .waitingSendsPerRoom)
            return then(.failure(.waitForHook))
        }
        carryOut(actions)
    }

    /// The hook has answered the question.
    public func hookAnswered(_ number: UInt64, _ decision: HookDecision) {
        var actions: [HookQueue<HeldMessage>.Action] = []
        hook?.answered(number, decision, &actions)
        carryOut(actions)
    }

    /// Lets messages go on that have waited for the hook for long enough.
    func hookTimePassed(now: Moment) {
        guard let deadline = hook?.deadline, deadline <= now else { return }
        var actions: [HookQueue<HeldMessage>.Action] = []
        hook?.timePassed(now: now, &actions)
        carryOut(actions)
    }

    private func carryOut(_ actions: [HookQueue<HeldMessage>.Action]) {
        for action in actions {
            switch action {
            case .ask(let number, let held): context.askHook(number, about: held.content, in: held.room)
            case .abandon(let number): context.abandonHook(number)
            case .release(let held, let decision):
                context.decided(decision)
                held.then(result(of: held, decision))
            }
        }
        if let deadline = hook?.deadline { context.wake(at: deadline) }
    }

    private func result(of held: HeldMessage, _ decision: HookDecision) -> Result<MessageContent, WireError> {
        switch decision {
        case .allow: return .success(held.content)
        case .replace(let text):
            var content = held.content
            content.text = text
            return .success(content)
        case .refuse(let reason):
            // Another try may have been stored while the hook thought about this one.
            return isKnown(held.content, in: held.room) ? .success(held.content) : .failure(.rejected(reason))
        case .none: return settings.hook?.allowsUndecided == false ? .failure(.undecided) : .success(held.content)
        }
    }

    /// Whether the room knows the message's key.
    private func isKnown(_ content: MessageContent, in name: RoomName) -> Bool {
        guard let key = content.key, let room = room(named: name) else { return false }
        awaken(room)
        return room.look { $0.knows(key: key, of: content.user) } ?? false
    }
}

extension WireError {
    /// The error for a message with a word of the node's list.
    static let blockedWord = WireError(.blockedWord, "send: the message has a word that is not allowed here")

    /// The error for a message that the operator's hook refuses.
    static func rejected(_ reason: String) -> WireError {
        WireError(
            .rejected, reason.isEmpty ? "send: the message was rejected" : "send: the message was rejected: \(reason)")
    }

    /// The error for a message about which the hook has not decided.
    static let undecided = WireError(
        .unavailable, "send: it could not be decided whether the message is allowed; it was not stored")

    static let waitForHook = WireError(
        .tooManyWaiting, "send: too many messages wait for a decision whether they are allowed")
}
