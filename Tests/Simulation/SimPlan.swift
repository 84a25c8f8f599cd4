import ChatCore
import ChatHub

/// What clients, operators and failures do in one schedule. It is generated from a seed, and shrunk by leaving out
/// moves.
package struct SimPlan: Sendable {
    enum Move: Sendable {
        case connect(client: Int, slot: Int)
        /// The client disconnects; the node notices it after `lag`. Frames of the last `deaf` ns never arrived.
        case disconnect(client: Int, deaf: UInt64, lag: UInt64)
        case join(client: Int, room: Int)
        case leave(client: Int, room: Int)
        case send(client: Int, room: Int, count: Int, keyed: Bool)
        /// A program sends a message without a node.
        case say(room: Int)
        case cutCommands(slot: Int)
        case cutSubscriptions(slot: Int)
        /// The connection only looks alive for this long.
        case silenceCommands(slot: Int, for: UInt64)
        case silenceSubscriptions(slot: Int, for: UInt64)
        case crash(slot: Int, restartAfter: UInt64)
        case stopNode(slot: Int, for: UInt64)
        case stopRedis(for: UInt64)
        case slowNetwork(for: UInt64)
        /// Redis crashes and restarts with the state that it had `lost` ns before.
        case restartRedis(lost: UInt64, down: UInt64)
        /// A replica that lags by `lost` is promoted; nodes may talk to the old primary for another `window`.
        case failover(lost: UInt64, window: UInt64, clockBehind: UInt64)
        /// All keys of the room are deleted.
        case deleteRoom(room: Int)
        /// A program that is not a node publishes an event that no node would.
        case publishNonsense(room: Int, ChannelEvent)
        /// Somebody writes invalid data into the room's keys.
        case spoil(room: Int, Vandalism)
        /// A moderator changes the room's rules or sanctions without a node.
        case moderate(room: Int, Moderation)
        /// Somebody repairs what nodes cannot recover from.
        case mend(room: Int)
        /// The client amends a message that it was shown.
        case amend(client: Int, room: Int)
        /// The client answers in a thread.
        case reply(client: Int, room: Int)
        /// The client says up to where its user has read.
        case read(client: Int, room: Int)
    }

    struct Timed: Sendable {
        var at: UInt64
        var move: Move
    }

    /// The kinds of failures that a plan may contain.
    package struct Faults: OptionSet, Sendable {
        package let rawValue: Int
        package static let cuts = Faults(rawValue: 1)
        package static let crashes = Faults(rawValue: 2)
        package static let stops = Faults(rawValue: 4)
        package static let redis = Faults(rawValue: 8)
        package static let deletes = Faults(rawValue: 16)
        /// Redis crashes and loses its last moments, and nothing else fails: everything has to be recovered.
        package static let lostTail = Faults(rawValue: 32)
        /// Somebody publishes and writes data that no node would.
        package static let vandal = Faults(rawValue: 64)
        /// A moderator bans and mutes users and freezes rooms, and no node may store what that forbids.
        package static let moderation = Faults(rawValue: 128)
        /// Clients amend what they see. It breaks nothing, but is in few schedules.
        package static let amendments = Faults(rawValue: 256)
        /// Rooms are conversations, whose participants read.
        package static let reading = Faults(rawValue: 512)
        package static let none: Faults = []
        package static let all: Faults = [.cuts, .crashes, .stops, .redis]
        /// The sets that have a name, which is the argument of `--faults`. `martlet-sim` uses them in turn if it is not
        /// told which.
        package static let named: [(name: String, faults: Faults)] = [
            ("none", .none), ("cuts", .cuts), ("crashes", [.cuts, .crashes, .stops]), ("redis", .redis), ("all", .all),
            ("tail", .lostTail), ("vandal", [.vandal, .redis]), ("rules", .moderation),
            ("moderated", [.moderation, .cuts, .crashes, .stops, .redis]), ("amend", .amendments),
            ("amended", [.amendments, .moderation, .cuts, .crashes, .stops, .redis]),
            ("amendedTail", [.amendments, .lostTail]), ("reads", .reading),
            ("readers", [.reading, .cuts, .crashes, .stops, .redis]),
        ]

        package init(rawValue: Int) { self.rawValue = rawValue }

        /// The argument of `--faults`: a word, or a number for a set that has no name.
        package var name: String { Self.named.first { $0.faults == self }?.name ?? String(rawValue) }
    }

    package var seed: UInt64
    package var faults: Faults = .none
    var slots = 3
    var rooms = 1
    var clients = 4
    var historyLength = 1_000
    var memoryBytes = 4 * 1_048_576
    var appendWindow = 256
    /// The bytes of one read of a log, and of one page that a session is sent; and the users in one part of a roster.
    var pageBytes = 131_072
    var sessionPageBytes = 262_144
    var partLength = 500
    var historyBytes = 4 * 1_048_576
    /// The bounds of a log that a participant has not read.
    var heldLength = 1_000
    var heldBytes = 4 * 1_048_576
    /// One in this many re-sends must be repeated, as Redis reads its log; 0 for none.
    var againEvery = 0
    /// The error of each slot's clock, in ms.
    var skews: [Int64] = []
    var moves: [Timed] = []
    var end: UInt64 = 10 * second
    var rules = RoomRules.all
    var bugs: Set<PlantedBug> = []
    var viewInterval: Duration = .seconds(5)
    /// False disables a second line of defence, to test the first.
    var heedsForgotten = true
    var knowsForeignRedis = true
    var goneTellsLast = true
    /// Rooms go to rest, and are woken, between any two events.
    var restsRooms: Bool { seed % 5 < 2 }
    /// Rooms and sessions are on two loops of a node.
    var hasHops: Bool { seed % 3 == 1 }

    /// The settings of a node's hosts.
    func hubSettings(of node: NodeID) -> HubSettings {
        var settings = RoomSettings()
        settings.historyLength = historyLength
        settings.memoryBytes = memoryBytes
        settings.pageBytes = pageBytes
        settings.historyBytes = historyBytes
        settings.appendWindow = appendWindow
        // Longer than the bytes of a dead connection live, as the real ten seconds are. An `enter` that is carried out
        // after the room was left and its entry in the node's list was released can be detected by nothing but its own
        // epoch (seed 1011588).
        settings.linger = .milliseconds(1_200)
        settings.viewInterval = bugs.contains(.noQuietView) ? .seconds(1_000_000) : viewInterval
        settings.enterDeadline = .seconds(2)
        settings.returnGrace = .seconds(2)
        settings.limits = Self.limits
        settings.limits.outboundBytes = 4 * sessionPageBytes
        settings.youngSession = .seconds(3)
        settings.rules = rules
        return HubSettings(node: node, rooms: settings, encoder: SimEncoder())
    }

    /// The limits of sessions and users: more than the clients of a schedule ever do, so that no limit is reached.
    static let limits: Limits = {
        var limits = Limits()
        limits.sendWait = .seconds(4)
        limits.joinsPerSecond = 1_000_000
        limits.requestsPerSecond = 1_000_000
        limits.requestBurst = 1_000_000
        // Together with `outboundBytes` it determines the size of a page; frames are not encoded here.
        limits.frameBytes = 1
        limits.costPerSecond = 1_000_000_000_000
        limits.costBurst = 1_000_000_000_000
        limits.userBytesPerSecond = 1_000_000_000
        limits.userBytesBurst = 1_000_000_000
        return limits
    }()

    package init(seed: UInt64, faults: Faults = .all) {
        self.faults = faults
        var random = SimRandom(seed: seed)
        self.seed = seed
        slots = 2 + random.below(3)
        rooms = 1 + random.below(2)
        clients = 2 + random.below(5)
        historyLength = [6, 30, 1_000][random.below(3)]
        if random.oneIn(4) { memoryBytes = 600 }
        if random.oneIn(3) { appendWindow = 1 + random.below(4) }
        skews = (0..<slots).map { _ in
            random.oneIn(3) ? Int64(random.below(240_000)) - 120_000 : Int64(random.below(20))
        }
        // A separate generator, so that the bounds can change without changing every other schedule.
        var bounds = SimRandom(seed: seed ^ 0xB0B0)
        if bounds.oneIn(2) { pageBytes = [1, 90, 400][bounds.below(3)] }
        if bounds.oneIn(3) { sessionPageBytes = 300 }
        if bounds.oneIn(2) { partLength = 1 + bounds.below(2) }
        if historyLength < 1_000, bounds.oneIn(3) { historyBytes = 300 + bounds.below(600) }
        if bounds.oneIn(3) { againEvery = 2 + bounds.below(3) }
        heldLength = historyLength * (1 + bounds.below(3))
        heldBytes = historyBytes * (1 + bounds.below(2))
        let count = 20 + random.below(60)
        end = UInt64(2 + random.below(14)) * second
        for client in 0..<clients {
            let at = random.below(end / 3)
            moves.append(Timed(at: at, move: .connect(client: client, slot: random.below(slots))))
            moves.append(Timed(at: at + millisecond, move: .join(client: client, room: random.below(rooms))))
        }
        let isCalm =
            faults.subtracting([.amendments, .lostTail, .moderation]).isEmpty && faults != [.lostTail, .moderation]
            || faults == .reading
        let mischief = isCalm ? 1_000_000 : [3, 6, 12, 40][random.below(4)]
        var clock = random.below(second)
        for _ in 0..<count {
            // Bursts of moves at nearly the same moment, and then a pause.
            clock += random.oneIn(4) ? random.below(2 * end / UInt64(count) * 2) : random.below(4 * millisecond)
            if clock > end { clock = random.below(end) }
            let move =
                random.oneIn(mischief)
                ? Self.fault(&random, faults, slots: slots, rooms: rooms)
                : Self.habit(&random, slots: slots, rooms: rooms, clients: clients)
            moves.append(Timed(at: clock, move: move))
        }
        if faults.contains(.lostTail) { loseTail(&random) }
        if faults.contains(.moderation) { moderate() }
        if faults.contains(.amendments) { amend() }
        if faults.contains(.reading) { read() }
        moves.sort { $0.at < $1.at }
    }

    /// Up to three restarts that lose the last messages. A node can restore the messages that it received if its memory
    /// reaches back far enough and nobody continued from the shorter log. External programs and nodes that are new to
    /// the room cannot know that they have to wait for such a node, so nobody joins or leaves meanwhile.
    private mutating func loseTail(_ random: inout SimRandom) {
        historyLength = 1_000
        memoryBytes = 4 * 1_048_576
        historyBytes = 4 * 1_048_576
        // A node that entered a moment before remembers the contents of its first page.
        pageBytes = 131_072
        moves.removeAll { if case .say = $0.move { true } else { false } }
        for _ in 0..<1 + random.below(3) {
            let lost = random.below(second)
            let at = end / 4 + random.below(end * 3 / 4)
            moves.removeAll { timed in
                guard timed.at + lost >= at, timed.at < at + 3 * second else { return false }
                switch timed.move {
                case .connect, .disconnect, .join, .leave: return true
                default: return false
                }
            }
            moves.append(
                Timed(at: at, move: .restartRedis(lost: lost, down: random.below(500 * millisecond))))
        }
    }

    /// A moderator is busy, mostly just when the user says something; users insist, and others talk meanwhile.
    private mutating func moderate() {
        var random = SimRandom(seed: seed ^ 0x40DE)
        var moderated: [Timed] = []
        for _ in 0..<4 + random.below(12) {
            let sends = moves.filter { if case .send = $0.move { true } else { false } }
            var (at, client, room) = (random.below(end), random.below(clients), random.below(rooms))
            if let send = random.pick(sends), case .send(let sender, let place, _, _) = send.move, !random.oneIn(4) {
                (at, client, room) = (send.at + random.below(3 * millisecond), sender, place)
                let burst = Move.send(client: sender, room: place, count: 1 + random.below(8), keyed: random.oneIn(2))
                moderated.append(Timed(at: at, move: burst))
                moderated.append(Timed(at: at + random.below(3 * millisecond), move: burst))
            }
            guard let user = SimWorld.user(ofClient: client) else { continue }
            let time: UInt64? = random.oneIn(4) ? 1_000 + UInt64(random.below(4_000)) : nil
            let choices: [Moderation] = [
                .ban(user), .ban(user), .ban(user, for: time), .mute(user, for: time), .mute(user), .freeze(true),
                .posting(.moderators),
            ]
            guard let moderation = random.pick(choices) else { continue }
            moderated.append(Timed(at: at, move: .moderate(room: room, moderation)))
            // What is forbidden is allowed again, sometimes at once.
            let later = at + random.below(random.oneIn(3) ? 20 * millisecond : 2 * second)
            moderated.append(Timed(at: later, move: .moderate(room: room, moderation.reversed)))
        }
        moves += moderated.filter { $0.at <= end }
    }

    /// Clients amend messages and answer in threads, often several at the same moment.
    private mutating func amend() {
        var random = SimRandom(seed: seed ^ 0xA3E4D)
        var clock: UInt64 = 0
        for _ in 0..<10 + random.below(40) {
            clock += random.oneIn(3) ? random.below(end / 10) : random.below(4 * millisecond)
            if clock > end { clock = random.below(end) }
            let (client, room) = (random.below(clients), random.below(rooms))
            let move: Move = random.oneIn(5) ? .reply(client: client, room: room) : .amend(client: client, room: room)
            moves.append(Timed(at: clock, move: move))
        }
    }

    private static func habit(_ random: inout SimRandom, slots: Int, rooms: Int, clients: Int) -> Move {
        let client = random.below(clients)
        let room = random.below(rooms)
        switch random.below(20) {
        case 0, 1: return .connect(client: client, slot: random.below(slots))
        case 2:
            let deaf = random.oneIn(2) ? random.below(50 * millisecond) : 0
            return .disconnect(client: client, deaf: deaf, lag: random.oneIn(2) ? 0 : random.below(second))
        case 3, 4: return .join(client: client, room: room)
        case 5: return .leave(client: client, room: room)
        case 6: return .say(room: room)
        default:
            return .send(
                client: client, room: room, count: 1 + random.below(random.oneIn(4) ? 12 : 2), keyed: !random.oneIn(3))
        }
    }

    private static func fault(_ random: inout SimRandom, _ faults: Faults, slots: Int, rooms: Int) -> Move {
        var choices: [Move] = []
        let slot = random.below(slots)
        if faults.contains(.cuts) {
            let time = random.below(2 * second)
            choices += [
                .cutCommands(slot: slot), .cutSubscriptions(slot: slot), .cutCommands(slot: random.below(slots)),
                .silenceCommands(slot: slot, for: time), .silenceSubscriptions(slot: slot, for: time),
                .slowNetwork(for: time),
            ]
        }
        if faults.contains(.crashes) {
            let crash = Move.crash(slot: slot, restartAfter: random.below(3 * second))
            choices += [crash, crash]
        }
        if faults.contains(.stops) {
            choices += [
                .stopNode(slot: slot, for: random.below(6 * second)), .stopRedis(for: random.below(2 * second)),
            ]
        }
        if faults.contains(.redis) {
            let lost = random.oneIn(3) ? 0 : random.below(random.oneIn(3) ? second : 60 * millisecond)
            choices += [
                .restartRedis(lost: lost, down: random.below(second)),
                .failover(
                    lost: lost, window: random.oneIn(2) ? 0 : random.below(second),
                    clockBehind: random.oneIn(2) ? 0 : random.below(20_000)),
            ]
        }
        if faults.contains(.vandal) {
            let room = random.below(rooms)
            let nonsense = (0..<6).map { _ in Move.publishNonsense(room: room, SimVandal.event(&random)) }
            choices += nonsense + [.spoil(room: room, SimVandal.deed(&random)), .mend(room: room)]
        }
        if faults.contains(.deletes), random.oneIn(3) { choices.append(.deleteRoom(room: random.below(rooms))) }
        return random.pick(choices) ?? .say(room: 0)
    }
}

/// Faults that are planted into the simulated world, one at a time, to test the simulator. Faults inside the state
/// machine are ``RoomRules``.
enum PlantedBug: String, CaseIterable, Sendable {
    /// Appends are never refused.
    case noFence
    /// `enter` is sent before SUBSCRIBE is acknowledged.
    case enterBeforeSubscribed
    /// Own messages are shown before Redis has answered.
    case deliverBeforeReply
    /// After the subscribe connection was restored, a room counts as subscribed.
    case forgetResubscribe
    /// `once` appends without a new epoch (race 2).
    case onceDoesNotRaise
    /// `once` begins its epoch before it appends (race 2).
    case onceRaisesBefore
    /// `once` stores a message although it cannot know whether it is new (race 4).
    case onceStoresUnknown
    /// `leave` removes the entry without comparing it (race 5).
    case leaveWithoutComparing
    /// Redis is never queried when nothing seems wrong (race 6).
    case noQuietView
    /// `gone` does not include the end of the log (race 6).
    case goneWithoutLast
    /// `enter` does not raise the epoch above those that were seen (race 8).
    case enterForgetsSeen
    /// A node that returns appends what it thinks is missing (race 12).
    case putBackBlindly
    /// A room expires while nodes hold it (race 14).
    case noPersist
    /// A node that was swept may still append (race 18).
    case sweepDoesNotFence
    /// The deliveries of rooms to sessions in one tick arrive in another order.
    case deliveriesAreSwapped
    /// What a session missed comes in pages, and each page loses its last message.
    case pagesLoseTheirEnd
    /// Messages are also delivered to sessions that are catching up.
    case catchingUpHearsAll
    /// A session's answers carry the node's reference instead of the client's.
    case answersKeepTheirRef
    /// A new subscribe connection is taken for subscribed to what the one before was.
    case subscriptionsOutliveTheirConnection
    /// The rules change without a new epoch (race 19).
    case moderateDoesNotRaise
    /// The news of epochs, and views, do not say that there are other rules (race 19).
    case epochsForgetTheRules
    /// Pages show messages as they were sent.
    case pagesAreNotFolded
    /// A deleted message can be edited.
    case lateEditsAreTaken
    /// A deletion leaves the content in the log.
    case deletionsKeepContents
    /// Redis stores a read position below the one that it has.
    case readsGoBack
    /// A call that stores what was read and gets no answer is taken for carried out.
    case readsAreForgotten
}

extension Moderation {
    /// What allows again what this forbids.
    var reversed: Moderation {
        switch self {
        case .impose(let kind, let user, _, _): .lift(kind, from: user)
        case .lift(let kind, let user): .impose(kind, on: user, for: nil, reason: "")
        case .kick(let user, _, _): .lift(.ban, from: user)
        case .freeze(let isFrozen): .freeze(!isFrozen)
        case .posting, .slowMode, .uniqueFor: .posting(.open)
        case .members: .members(.everybody)
        }
    }
}
