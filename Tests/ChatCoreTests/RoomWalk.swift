import TestSupport

@testable import ChatCore

/// A random walk of one room machine through joins, leaves, sends, answers, errors, lost connections and timers,
/// against the smallest useful broker. It checks only that the life cycle never gets stuck; the simulator checks the
/// rest.
struct RoomWalk {
    var room: RoomHarness
    var random: SplitMix64
    var commands = false
    var subscriptions = false
    var subscribed = false
    var wanted: Set<UInt64> = []
    var epoch: UInt64 = 100
    var seq: UInt64 = 0
    var base: UInt64 = 0
    var value: UInt64?
    var echoes: [ChannelEvent] = []
    var acknowledgements: [Bool] = []
    var handled = 0
    var nextSession: UInt64 = 1

    init(seed: UInt64) throws {
        room = try RoomHarness()
        random = SplitMix64(seed: seed)
    }

    mutating func run(steps: Int) {
        for _ in 0..<steps {
            switch random.below(16) {
            case 0:
                if commands {
                    loseCommands()
                } else {
                    commands = true
                    _ = room.commandsUp()
                }
            case 1:
                if subscriptions {
                    loseSubscriptions()
                } else {
                    subscriptions = true
                    _ = room.subscriptionsUp()
                }
            case 2, 3: enterSession()
            case 4, 5:
                if let session = wanted.min() {
                    wanted.remove(session)
                    room.leave(session)
                }
            case 6, 7: if let session = wanted.min() { room.send(session, "m", key: random.below(2) == 0 ? "k" : nil) }
            case 8, 9: _ = room.pass(.milliseconds(Int64(1) << Int64(random.below(14))))
            case 10: answerOne(failing: true)
            default: progress()
            }
            collect()
        }
    }

    /// Lets everything succeed, and returns the phase in which that ends.
    mutating func settle(wanted want: Bool) -> String {
        if want {
            enterSession()
        } else {
            for session in wanted { room.leave(session) }
            wanted = []
        }
        for round in 0..<400 {
            collect()
            var turns = 0
            if !commands {
                commands = true
                _ = room.commandsUp()
            }
            if !subscriptions {
                subscriptions = true
                _ = room.subscriptionsUp()
            }
            collect()
            while !acknowledgements.isEmpty || !echoes.isEmpty || !room.open.isEmpty {
                progress()
                collect()
                turns += 1
                guard turns < 10_000 else { return "\(room.machine.phaseName), asking for ever" }
            }
            let phase = room.machine.phaseName
            if phase == (want ? "inside" : "out"), round > 3, room.machine.waitingSends == 0 { return phase }
            _ = room.pass(.milliseconds(100))
        }
        return "\(room.machine.phaseName), waiting sends \(room.machine.waitingSends)"
    }

    private mutating func enterSession() {
        _ = try? room.join(nextSession)
        wanted.insert(nextSession)
        nextSession += 1
    }

    private mutating func loseCommands() {
        commands = false
        for (_, request) in room.open where random.below(2) == 0 { _ = carryOut(request) }
        room.commandsDown()
    }

    private mutating func loseSubscriptions() {
        subscriptions = false
        subscribed = false
        echoes = []
        acknowledgements = []
        room.subscriptionsDown()
    }

    /// Carries out the machine's actions.
    private mutating func collect() {
        while handled < room.history.count {
            switch room.history[handled] {
            case .subscribe: if subscriptions { acknowledgements.append(true) }
            case .unsubscribe: if subscriptions { acknowledgements.append(false) }
            case .resetLinks:
                if commands { loseCommands() }
                if subscriptions { loseSubscriptions() }
            case .refuseJoin(let session, _): wanted.remove(session.raw)
            default: break
            }
            handled += 1
        }
    }

    private mutating func progress() {
        let pick = random.below(3)
        if pick == 0, !acknowledgements.isEmpty {
            subscribed = acknowledgements.removeFirst()
            if subscribed { room.subscribed() } else { room.unsubscribed() }
        } else if pick == 1, !echoes.isEmpty {
            room.hear(echoes.removeFirst())
        } else {
            answerOne(failing: false)
        }
    }

    private mutating func answerOne(failing: Bool) {
        guard commands, let (serial, request) = room.open.first else { return }
        room.open.removeFirst()
        var result: Result<BrokerReply, BrokerError>
        if failing {
            result = .failure(random.below(2) == 0 ? .notStored("OOM") : .malformed("?"))
        } else {
            result = carryOut(request)
        }
        room.on(.completed(serial: serial, result))
    }

    private mutating func carryOut(_ request: BrokerRequest) -> Result<BrokerReply, BrokerError> {
        switch request {
        case .append(_, let tried, _, let others, _):
            guard tried >= epoch else { return .failure(.refused) }
            seq += 1
            return .success(.appended(Position(epoch: epoch, seq: seq), isPublished: others != nil))
        case .enter(let enter):
            epoch = max(epoch, enter.seen) + 1
            value = epoch
            base = seq
            if subscribed { echoes.append(.epoch(epoch, base: seq, nodes: [room.me: epoch], by: room.me)) }
            return .success(.view(view(after: enter.after)))
        case .view(_, let after, _, _): return .success(.view(view(after: after)))
        case .leave(_, _, let held, _, _):
            let was = value == held
            if was { value = nil }
            return .success(.left(was))
        case .once(let once):
            guard once.epoch == epoch else { return .failure(.refused) }
            let outcomes = once.sends.map { _ -> OnceOutcome in
                seq += 1
                return .stored(Position(epoch: epoch, seq: seq))
            }
            return .success(.once(OnceReply(epoch: epoch, base: base, outcomes: outcomes)))
        case .presence(let presence):
            guard presence.value == value else { return .failure(.missing) }
            return .success(.presence(PresenceReply(position: Position(epoch: 1, seq: 0), notice: nil)))
        case .roster:
            return .success(.roster(RosterSnapshot(position: Position(epoch: 1, seq: 0), members: [:])))
        default: return .success(.done)
        }
    }

    /// The log is one link of the chain here: every epoch counts as the beginning of the same history.
    private func view(after: Position?) -> RoomView {
        let content = MessageContent(user: room.machine.members.all.values.first?.user ?? Self.nobody, at: 0, text: "m")
        let entries = (min(after?.seq ?? 0, seq)..<seq).map {
            Message(position: Position(epoch: epoch, seq: $0 + 1), content: content)
        }
        var view = room.view(epoch, last: seq, base: base, value: value ?? 0, links: [(epoch, base)], entries: entries)
        if let after, after.epoch < epoch { view.verdict = .ok }
        return view
    }

    private static var nobody: UserID {
        guard let user = try? UserID("nobody") else { fatalError("a valid name") }
        return user
    }
}
