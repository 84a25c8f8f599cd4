import Testing

@testable import ChatCore

/// Drives one room machine by hand: keeps its unanswered requests, moves the clock, and answers as a broker would.
struct RoomHarness {
    static let start = Moment(nanoseconds: 1_000_000_000_000)

    var machine: RoomStateMachine
    var now = RoomHarness.start
    /// Unanswered requests in the order in which they were submitted.
    var open: [(serial: UInt64, request: BrokerRequest)] = []
    /// All actions of the machine so far.
    var history: [RoomAction] = []
    /// If false, the test gives the room its turns.
    var givesTurns = true
    var turnsAwaited = 0
    var turnsEnded = 0

    let me: NodeID
    let other: NodeID
    let room: RoomName
    var identity = BrokerIdentity(runID: "run1", replicationID: "repl1")

    init(settings: RoomSettings = RoomSettings()) throws {
        me = try NodeID("me-1")
        other = try NodeID("other-1")
        room = try RoomName("lobby")
        machine = RoomStateMachine(room: room, node: me, settings: settings, spread: 0.5)
    }

    @discardableResult
    mutating func on(_ event: RoomEvent) -> [RoomAction] {
        var actions: [RoomAction] = []
        machine.wallClock = now.nanoseconds / 1_000_000
        machine.handle(event, now: now, &actions)
        actions = withTurns(actions)
        for action in actions {
            if case .submit(let request, let serial) = action, serial != RequestTag.ignoredSerial {
                open.append((serial, request))
            }
        }
        history += actions
        return actions
    }

    /// Gives the room each turn at once when it asks for it, so that what it does then comes at the place of the
    /// request.
    private mutating func withTurns(_ actions: [RoomAction]) -> [RoomAction] {
        var result: [RoomAction] = []
        for action in actions {
            switch action {
            case .awaitTurn:
                turnsAwaited += 1
                guard givesTurns else { continue }
                var next: [RoomAction] = []
                machine.handle(.turnCame, now: now, &next)
                result += withTurns(next)
            case .endTurn: turnsEnded += 1
            default: result.append(action)
            }
        }
        return result
    }

    var release: RoomAction { .submit(.release(room: room, node: me), serial: RequestTag.ignoredSerial) }

    // MARK: events

    @discardableResult
    mutating func linksUp() -> [RoomAction] {
        commandsUp() + subscriptionsUp()
    }

    @discardableResult
    mutating func commandsUp() -> [RoomAction] {
        on(.commandsUp(identity))
    }

    /// The command connection is lost: its requests end as `outcomeUnknown`.
    @discardableResult
    mutating func commandsDown() -> [RoomAction] {
        let lost = open
        open = []
        var actions = on(.commandsDown)
        for (serial, _) in lost {
            actions += on(.completed(serial: serial, .failure(.outcomeUnknown)))
        }
        return actions
    }

    @discardableResult
    mutating func subscriptionsDown() -> [RoomAction] { on(.subscriptionsDown) }

    @discardableResult
    mutating func subscriptionsUp() -> [RoomAction] { on(.subscriptionsUp) }

    @discardableResult
    mutating func subscribed() -> [RoomAction] { on(.subscribed) }

    @discardableResult
    mutating func unsubscribed() -> [RoomAction] { on(.unsubscribed) }

    @discardableResult
    mutating func join(
        _ session: UInt64, _ user: String = "ana", device: String = "phone", after: Position? = nil, history: Int = 50,
        young: Bool = false, ref: Ref? = nil
    ) throws -> [RoomAction] {
        let since = young ? now : Moment(nanoseconds: 0)
        let request = JoinRequest(
            session: SessionID(raw: session), user: try UserID(user), device: try DeviceName(device), since: since,
            ref: ref ?? .number("\(session)"), after: after, history: history)
        return on(.join(request))
    }

    @discardableResult
    mutating func leave(_ session: UInt64) -> [RoomAction] {
        on(.leave(SessionID(raw: session)))
    }

    @discardableResult
    mutating func send(
        _ session: UInt64, _ text: String, key: String? = nil, again: Bool? = nil, since: Position? = nil
    ) -> [RoomAction] {
        let request = SendRequest(room: room, text: text, key: key, again: again, since: since)
        let at = now.nanoseconds / 1_000_000
        return on(.send(request, ref: .string(text), from: SessionID(raw: session), at: at))
    }

    @discardableResult
    mutating func hear(_ event: ChannelEvent) -> [RoomAction] { on(.heard(event)) }

    @discardableResult
    mutating func hearMessage(_ message: Message, base: UInt64?) -> [RoomAction] {
        hear(.message(message, base: base))
    }

    @discardableResult
    mutating func hearEpoch(_ epoch: UInt64, base: UInt64, nodes: [NodeID: UInt64], by node: NodeID) -> [RoomAction] {
        hear(.epoch(epoch, base: base, nodes: nodes, by: node))
    }

    /// Moves the clock and fires the timer whenever the machine wants it.
    @discardableResult
    mutating func pass(_ duration: Duration) -> [RoomAction] {
        let end = now + duration
        var actions: [RoomAction] = []
        var fired = 0
        while let wake = machine.nextWake, wake <= end {
            now = max(now, wake)
            actions += on(.timerFired)
            fired += 1
            guard fired < 10_000 else {
                Issue.record("the timer asks to be called again and again")
                break
            }
        }
        now = end
        return actions
    }

    // MARK: answers

    enum Kind { case append, enter, view, leave, once, presence, roster }

    func isKind(_ request: BrokerRequest, _ kind: Kind) -> Bool {
        switch (request, kind) {
        case (.append, .append), (.enter, .enter), (.view, .view), (.leave, .leave),
            (.once, .once),
            (.presence, .presence),
            (.roster, .roster):
            true
        default: false
        }
    }

    func asked(_ kind: Kind) -> [BrokerRequest] { open.map(\.request).filter { isKind($0, kind) } }

    /// Answers the oldest open request of that kind.
    @discardableResult
    mutating func answer(
        _ kind: Kind, _ result: Result<BrokerReply, BrokerError>, at location: SourceLocation = #_sourceLocation
    ) -> [RoomAction] {
        guard let index = open.firstIndex(where: { isKind($0.request, kind) }) else {
            Issue.record("no open \(kind); open are \(open.map(\.request))", sourceLocation: location)
            return []
        }
        let serial = open.remove(at: index).serial
        return on(.completed(serial: serial, result))
    }

    func position(_ epoch: UInt64, _ seq: UInt64) -> Position { Position(epoch: epoch, seq: seq) }

    func message(_ epoch: UInt64, _ seq: UInt64, _ text: String = "hi", by user: String = "bo", key: String? = nil)
        throws
        -> Message
    {
        Message(
            position: position(epoch, seq),
            content: MessageContent(user: try UserID(user), at: 1, text: text, key: key))
    }

    /// A view of the room at `epoch`-`last`, in which this node has been since `value`.
    func view(
        _ epoch: UInt64, last: UInt64, base: UInt64? = nil, value: UInt64? = nil, others: [NodeID: UInt64] = [:],
        links: [(UInt64, UInt64)]? = nil, history: UInt64? = nil, verdict: Verdict = .ok, entries: [Message] = []
    ) -> RoomView {
        let base = base ?? last
        let chain = (links ?? [(epoch, base)]).map { EpochLink(epoch: $0.0, base: $0.1) }
        return RoomView(
            verdict: verdict, epoch: epoch, last: last, base: base,
            chain: EpochChain(links: chain, history: history ?? chain[0].epoch),
            nodes: others.merging([me: value ?? epoch]) { $1 }, entries: entries)
    }

    /// Joins session 1 and brings the room to `inside` at `epoch`-`last`, with the roster read and the own presence
    /// written.
    mutating func goInside(
        epoch: UInt64 = 100, last: UInt64 = 0, others: [NodeID: UInt64] = [:], entries: [Message] = [],
        links: [(UInt64, UInt64)]? = nil, history: UInt64? = nil
    ) throws {
        linksUp()
        try join(1)
        subscribed()
        answer(
            .enter,
            .success(.view(view(epoch, last: last, others: others, links: links, history: history, entries: entries))))
        hearEpoch(epoch, base: last, nodes: others.merging([me: epoch]) { $1 }, by: me)
        settlePresence()
    }

    /// Answers the machine's `enter` and delivers its event.
    @discardableResult
    mutating func finishEnter(_ view: RoomView, at location: SourceLocation = #_sourceLocation) -> [RoomAction] {
        let actions = answer(.enter, .success(.view(view)), at: location)
        return actions + hearEpoch(view.epoch, base: view.base, nodes: view.nodes, by: me) + answerFirstRoster()
    }

    /// Joins wait for the first roster, which is requested right after `enter`.
    @discardableResult
    mutating func answerFirstRoster() -> [RoomAction] {
        var actions: [RoomAction] = []
        // The first roster that was requested may belong to an earlier attempt to enter.
        while machine.presence.position == nil, !asked(.roster).isEmpty {
            actions += answer(.roster, .success(.roster(RosterSnapshot(position: position(1, 0), members: [:]))))
        }
        return actions
    }

    mutating func settlePresence() {
        while !asked(.roster).isEmpty {
            answer(.roster, .success(.roster(RosterSnapshot(position: position(1, 0), members: [:]))))
        }
        while !asked(.presence).isEmpty {
            answer(.presence, .success(.presence(PresenceReply(position: position(1, 0), notice: nil))))
        }
    }
}

extension [RoomAction] {
    /// The texts shown to everybody, in order.
    var shown: [String] {
        compactMap { if case .deliver(let message) = $0 { message.content.text } else { nil } }
    }

    var shownPositions: [Position] {
        compactMap { if case .deliver(let message) = $0 { message.position } else { nil } }
    }

    var gaps: [Gap] { compactMap { if case .deliverGap(let gap) = $0 { gap } else { nil } } }
    var resets: [Reset] { compactMap { if case .deliverReset(let reset) = $0 { reset } else { nil } } }
    var joined: [Joined] { compactMap { if case .goLive(_, let joined) = $0 { joined } else { nil } } }

    /// The positions acknowledged to senders, in order, and whether they were repeats.
    var sent: [Position] {
        compactMap { if case .answer(_, .sent(_, _, let position, _, _)) = $0 { position } else { nil } }
    }

    var repeated: [Position] {
        compactMap { if case .answer(_, .sent(_, _, let position, _, true)) = $0 { position } else { nil } }
    }

    var errors: [WireError.Code] {
        compactMap { action in
            switch action {
            case .answer(_, .error(_, let error)), .refuseJoin(_, .error(_, let error)),
                .refusePage(_, .error(_, let error)):
                error.code
            default: nil
            }
        }
    }

    var requests: [BrokerRequest] {
        compactMap { if case .submit(let request, _) = $0 { request } else { nil } }
    }

    var appended: [String] {
        requests.compactMap { if case .append(_, _, let content, _, _) = $0 { content.text } else { nil } }
    }

    var published: [Message] {
        requests.compactMap { if case .publish(_, .message(let message, _)) = $0 { message } else { nil } }
    }

    var views: Int { requests.count { if case .view = $0 { true } else { false } } }
    var enters: Int { requests.count { if case .enter = $0 { true } else { false } } }
    var leaves: Int { requests.count { if case .leave = $0 { true } else { false } } }

    var onces: [OnceRequest] {
        requests.compactMap { if case .once(let request) = $0 { request } else { nil } }
    }
}
