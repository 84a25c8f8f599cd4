import ChatCore
import ChatGateway
import ChatWire
import NIOCore
import Testing

@testable import ChatHub
@testable import ChatNode

/// The cost of one user on a shard.
@Suite struct UserCostTests {
    final class Outlet: SessionOutlet {
        let protocolID = ProtocolID(rawValue: 0)
        let user: UserID
        var events: [ServerEvent] = []

        init(_ user: UserID) {
            self.user = user
        }

        func send(_ event: ServerEvent) { events.append(event) }
        func send(_ frame: Frame) {}
        func takesPage() -> Bool { true }
        func close(_ reason: CloseReason) {}

        var errors: [WireError.Code] {
            events.compactMap { if case .error(_, let error) = $0 { error.code } else { nil } }
        }
        var rosters: Int { events.count { if case .roster = $0 { true } else { false } } }
    }

    /// Hardly any cost is paid back within a test, however slow the machine is.
    private static let limits: Limits = {
        var limits = Limits()
        limits.costPerSecond = 1_000
        return limits
    }()

    private static func open(_ loop: Loop, limits: Limits = UserCostTests.limits) throws -> (
        SessionID, Outlet, UserRate
    ) {
        let user = try UserID("eve")
        let outlet = Outlet(user)
        let rate = UserRate(UserRate.Rules(limits))
        let identity = SessionIdentity(user: user, device: try DeviceName("d"))
        return (loop.sessions.open(identity, rate: rate, outlet: outlet), outlet, rate)
    }

    private static func isRoster(_ request: BrokerRequest) -> Bool {
        if case .reading(.people) = request { true } else { false }
    }

    private static func isRules(_ request: BrokerRequest) -> Bool {
        if case .rules = request { true } else { false }
    }

    private static func snapshot(_ count: Int) throws -> RosterSnapshot {
        let device = RosterSnapshot.Device(node: try NodeID("n-2"), device: try DeviceName("d"))
        let members = try (0..<count).map { (try UserID("user\($0)"), Set([device])) }
        return RosterSnapshot(
            position: Position(epoch: 1, seq: 1), members: Dictionary(uniqueKeysWithValues: members))
    }

    @Test func rostersOfRoomsThatOneIsNotInAreReadOneAfterTheOtherUntilTheyCostTooMuch() async throws {
        try await LoopBrokerTests().onLoop { parts in
            let (loop, link) = (parts.loops[0], parts.links[0])
            let (id, outlet, _) = try Self.open(loop)
            for number in 0..<60 {
                loop.sessions.perform(
                    .roster(room: try RoomName("room\(number)"), cursor: nil), ref: .own(serial: UInt64(number)),
                    from: id)
            }
            var reads = 0
            let snapshot = try Self.snapshot(10_000)
            // Before each read Redis is asked whether the user is banned.
            func allow() { while link.answer(.success(.rules(.none)), where: Self.isRules) {} }
            allow()
            while link.submitted.contains(where: { Self.isRoster($0.request) }) {
                #expect(link.submitted.count { Self.isRoster($0.request) } == 1, "one at a time")
                reads += 1
                #expect(link.answer(.success(.reading(.people(snapshot))), where: Self.isRoster))
                allow()
            }
            // 30 ms each, of a burst of 200 ms.
            #expect((4...15).contains(reads), "\(reads)")
            #expect(outlet.rosters == reads)
            #expect(outlet.errors == Array(repeating: .rateLimited, count: 60 - reads))
            #expect(loop.metrics.limitRefusals[.costPerSecond].current == 60 - reads)
        }
    }

    @Test func refusalsArePaidForAndWhoOwesForThemIsReadLater() async throws {
        try await LoopBrokerTests().onLoop { parts in
            let loop = parts.loops[0]
            var sessions: [(id: SessionID, rate: UserRate)] = []
            for _ in 0..<8 {
                let (id, _, rate) = try Self.open(loop)
                sessions.append((id, rate))
            }
            let pauses = sessions.map { loop.sessions.refused($0.id) }
            #expect(pauses.allSatisfy { (.milliseconds(100) ..< .milliseconds(200)).contains($0) }, "\(pauses)")
            #expect(Set(pauses).count > 4, "they are not read again at the same moment")
            let (id, rate) = sessions[0]
            // 100 µs each, of a burst of 200 ms.
            for _ in 0..<2_019 { _ = loop.sessions.refused(id) }
            #expect(rate.debt(now: loop.now) > .seconds(1))
            #expect((.milliseconds(500) ..< .seconds(1)).contains(loop.sessions.refused(id)), "a pause is bounded")
            _ = loop.sessions.close(id)
            #expect(loop.sessions.refused(id) == .milliseconds(100))
        }
    }

    @Test func signalsToManyAreRefusedWhenTheyCostTooMuchAndSmallTalkIsNot() async throws {
        try await LoopBrokerTests().onLoop { parts in
            let (loop, link) = (parts.loops[0], parts.links[0])
            loop.broker.brokerSubscriptionsUp(BrokerIdentity(runID: "r", replicationID: "s"), .everything)
            loop.broker.brokerCommandsUp(BrokerIdentity(runID: "r", replicationID: "s"), .everything)
            let name = try LoopBrokerTests.waitingRoom(loop)
            try LoopBrokerTests.enter(name, loop, link)
            let room = try #require(loop.rooms.room(named: name))
            for number in 2..<501 {
                let join = JoinRequest(
                    session: SessionID(number: UInt64(number), loop: 0), user: try UserID("user\(number)"),
                    device: try DeviceName("d"), since: loop.now)
                loop.rooms.join(join, to: name, UserRate(UserRate.Rules(Limits())))
            }
            #expect(room.look { $0.receivers } == 500)
            let (id, outlet, _) = try Self.open(loop)
            loop.sessions.perform(.join(room: name, after: nil, history: nil), ref: nil, from: id)
            let data = "\"\(String(repeating: "x", count: 60_000))\""
            for _ in 0..<50 { loop.sessions.perform(.signal(room: name, name: "s", data: data), ref: nil, from: id) }
            loop.rooms.outboxes.tickEnded(.deliveries)
            let refused = outlet.errors.count { $0 == .rateLimited }
            #expect((40...48).contains(refused), "65 ms each: \(refused)")
            #expect(loop.metrics.limitRefusals[.costPerSecond].current == refused)

            let (other, quiet, _) = try Self.open(loop)
            loop.sessions.perform(.join(room: name, after: nil, history: nil), ref: nil, from: other)
            for _ in 0..<20 {
                loop.sessions.perform(.signal(room: name, name: "typing", data: nil), ref: nil, from: other)
            }
            loop.rooms.outboxes.tickEnded(.deliveries)
            #expect(quiet.errors.isEmpty)
        }
    }

    @Test func bytesThatAreSaidHaveABudgetOfTheirOwn() async throws {
        try await LoopBrokerTests().onLoop { parts in
            let loop = parts.loops[0]
            var limits = Limits()
            limits.userBytesPerSecond = 1_024
            limits.userBytesBurst = 100_000
            limits.costBurst = 100_000_000
            let (id, outlet, _) = try Self.open(loop, limits: limits)
            let send = SendRequest(room: try RoomName("nowhere"), text: String(repeating: "x", count: 60_000))
            for _ in 0..<5 { loop.sessions.perform(.send(send), ref: nil, from: id) }
            loop.rooms.outboxes.tickEnded(.deliveries)
            #expect(outlet.errors.count { $0 == .rateLimited } == 3)
            #expect(loop.metrics.limitRefusals[.userBytesPerSecond].current == 3)
        }
    }

    @Test func aHundredRoomsAreJoinedAtOnceAndLeaveAndPingGoOn() async throws {
        try await LoopBrokerTests().onLoop { parts in
            let (id, outlet, rate) = try Self.open(parts.loops[0])
            for number in 0..<100 {
                parts.loops[0].sessions.perform(
                    .join(room: try RoomName("room\(number)"), after: nil, history: nil), ref: nil, from: id)
            }
            #expect(outlet.errors.isEmpty)
            rate.charge(40_000_000_000, now: parts.loops[0].now)
            parts.loops[0].sessions.perform(.leave(room: try RoomName("room1")), ref: nil, from: id)
            #expect(!outlet.errors.contains(.rateLimited))
            parts.loops[0].sessions.perform(
                .join(room: try RoomName("room1"), after: nil, history: nil), ref: nil, from: id)
            #expect(outlet.errors.last == .rateLimited)
        }
    }

    @Test func whileRedisIsFullNoRoomIsBegunAndThoseThatAreThereAreJoined() async throws {
        try await LoopBrokerTests().onLoop { parts in
            let (loop, link) = (parts.loops[0], parts.links[0])
            let (id, outlet, _) = try Self.open(loop)
            let names = try (0..<100).map { try RoomName("room\($0)") }.filter { RoomHost.home(of: $0, among: 2) == 0 }
            loop.settings.hub.redisSpace.isShort = true
            let isHolders = { (request: BrokerRequest) in if case .holders = request { true } else { false } }
            let isHistory = { (request: BrokerRequest) in if case .history = request { true } else { false } }
            loop.sessions.perform(.join(room: names[0], after: nil, history: nil), ref: .own(serial: 1), from: id)
            #expect(link.answer(.success(.holders([:])), where: isHolders))
            let empty = HistoryPage(messages: [], newest: nil, hasOlder: false, hasNewer: false)
            #expect(link.answer(.success(.history(empty)), where: isHistory))
            #expect(outlet.errors == [.noSpace] && loop.rooms.room(named: names[0]) == nil)
            #expect(loop.metrics.limitRefusals[.redisMemory].current == 1)

            loop.sessions.perform(.join(room: names[1], after: nil, history: nil), ref: .own(serial: 2), from: id)
            #expect(link.answer(.success(.holders([try NodeID("n-2"): 7])), where: isHolders))
            #expect(loop.rooms.room(named: names[1]) != nil)
            loop.sessions.perform(.join(room: names[2], after: nil, history: nil), ref: .own(serial: 3), from: id)
            loop.sessions.perform(.leave(room: names[2]), ref: nil, from: id)
            #expect(link.answer(.success(.holders([try NodeID("n-2"): 7])), where: isHolders))
            #expect(loop.rooms.room(named: names[2]) == nil, "it left before Redis answered")
            #expect(outlet.errors.count { $0 == .noSpace } == 1)
        }
    }

    @Test func theRoomsThatWereQuietForLongestForgetFirst() async throws {
        let parts = try await LoopBrokerTests().onLoop(roomsMemory: 800_000) { parts in
            let (loop, link) = (parts.loops[0], parts.links[0])
            let identity = BrokerIdentity(runID: "r", replicationID: "s")
            loop.broker.brokerSubscriptionsUp(identity, .everything)
            loop.broker.brokerCommandsUp(identity, .everything)
            let user = try UserID("ana")
            for name in try Self.rooms() {
                let join = JoinRequest(
                    session: SessionID(number: 1, loop: 0), user: user, device: try DeviceName("d"), since: loop.now)
                loop.rooms.join(join, to: name, UserRate(UserRate.Rules(Limits())))
                loop.broker.brokerSubscribed(.room(name))
                try LoopBrokerTests.enter(name, loop, link)
                for seq in 1...UInt64(18) {
                    let content = MessageContent(user: user, at: seq, text: String(repeating: "x", count: 10_000))
                    let message = Message(position: Position(epoch: 5_000, seq: seq), content: content)
                    loop.broker.brokerHeard(.room(name), .message(message, base: 0))
                }
            }
            #expect(loop.rooms.memory.used > 400_000 && loop.rooms.memory.isReleasing)
            return parts
        }
        let loop = parts.loops[0]
        let end = ContinuousClock.now + .seconds(30)
        while try await loop.eventLoop.submit({ loop.rooms.memory.isReleasing }).get() {
            try #require(ContinuousClock.now < end)
        }
        try await loop.eventLoop.submit {
            let costs = try Self.rooms().compactMap { loop.rooms.room(named: $0)?.cost }
            #expect(costs.count == 3)
            #expect(costs[0] < 20_000 && costs[1] < 20_000 && costs[2] > 150_000, "\(costs)")
            #expect(loop.rooms.memory.used == costs.reduce(0, +))
            #expect(loop.rooms.memory.released > 300_000)
        }.get()
    }

    /// Three rooms whose home is the first of two shards.
    private static func rooms() throws -> [RoomName] {
        Array(try (0..<100).map { try RoomName("room\($0)") }.filter { RoomHost.home(of: $0, among: 2) == 0 }.prefix(3))
    }
}
