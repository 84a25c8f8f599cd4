import ChatCore
import Testing

@testable import ChatHub

/// What becomes of conversations if requests of several nodes overtake one another, and some get lost.
@Suite struct ConversationStepsTests {
    /// A broker that several nodes ask. It carries requests out one at a time, in any order.
    private final class Broker {
        struct Waiting {
            var request: BrokerRequest
            var then: (Result<BrokerReply, BrokerError>) -> Void
        }

        private(set) var memory: MemoryBroker
        private(set) var notices: [(user: Entity, UserNotice)] = []
        private var waiting: [Waiting] = []
        /// The requests that were made so far.
        private(set) var asked = 0
        private var now: UInt64 = 1_700_000_000_000
        private var random: SplitMix64
        /// One request in so many is lost, before or after it is carried out.
        var lossEach = 0

        init(seed: UInt64) {
            var settings = MemoryBrokerSettings()
            settings.participants = 5
            memory = MemoryBroker(settings: settings)
            random = SplitMix64(seed: seed)
        }

        func add(_ request: BrokerRequest, _ then: @escaping (Result<BrokerReply, BrokerError>) -> Void) {
            asked += 1
            waiting.append(Waiting(request: request, then: then))
        }

        /// Carries out one request. False: there is none.
        func step() -> Bool {
            guard !waiting.isEmpty else { return false }
            let next = waiting.remove(at: Int.random(in: 0..<waiting.count, using: &random))
            now += UInt64.random(in: 0...1, using: &random)
            let isLost = lossEach > 0 && Int.random(in: 0..<lossEach, using: &random) == 0
            if isLost, Bool.random(using: &random) {
                next.then(.failure(.outcomeUnknown))
                return true
            }
            let result = apply(next.request)
            next.then(isLost ? .failure(.outcomeUnknown) : result)
            return true
        }

        func finish() { while step() {} }

        func apply(_ request: BrokerRequest) -> Result<BrokerReply, BrokerError> {
            if case .publish(let user, .notice(let notice)) = request { notices.append((user, notice)) }
            return memory.apply(request, now: now).result
        }

        /// Removes an entry of a log, as XDEL does.
        func erase(_ position: Position, in room: RoomName) { memory.spoil(room) { $0.erase(position) } }

        func number(_ range: Range<Int>) -> Int { Int.random(in: range, using: &random) }
    }

    private final class Node: HostContext {
        let broker: Broker
        /// A node that crashed asks nothing more.
        var isAlive = true

        init(_ broker: Broker) { self.broker = broker }

        var now: Moment { Moment(nanoseconds: 0) }
        var wallClock: UInt64 { 0 }
        func atHome(_ loop: Int, _ body: @escaping @Sendable (RoomHost) -> Void) {}
        func ask(_ request: BrokerRequest, _ then: @escaping (Result<BrokerReply, BrokerError>) -> Void) {
            guard isAlive else { return }
            broker.add(request) { [self] in if isAlive { then($0) } }
        }

        func schedule(after delay: Duration, _ body: @escaping () -> Void) {}

        var steps: ConversationSteps { ConversationSteps(context: self, roomsPerUser: 3, pageBytes: 10_000) }
    }

    private let broker: Broker
    private let node: Node
    private let ana: UserID
    private let bo: UserID
    private let cy: UserID
    private let team: RoomName

    init() throws {
        broker = Broker(seed: 1)
        node = Node(broker)
        ana = try UserID("ana")
        bo = try UserID("bo")
        cy = try UserID("cy")
        team = try RoomName("team")
    }

    private func carryOut(
        _ order: ConversationOrder, by user: UserID?, mayDoAll: Bool = false
    ) -> Result<ConversationAnswer, WireError>? {
        var answer: Result<ConversationAnswer, WireError>?
        node.steps.carryOut(order, by: user, mayDoAll: mayDoAll) { answer = $0 }
        broker.finish()
        return answer
    }

    private static func index(_ broker: Broker, _ user: UserID) -> Set<RoomName> {
        guard
            case .success(.user(.rooms(let rooms, _))) = broker.apply(
                .user(UserRequest(.rooms(cursor: 0, count: 1_000), of: user)))
        else { return [] }
        return Set(rooms.map(\.room))
    }

    private static func list(_ broker: Broker, _ room: RoomName) -> ParticipantList? {
        guard
            case .success(.participants(let list)) = broker.apply(
                .conversation(ConversationRequest(.list, in: room, by: nil)))
        else { return nil }
        return list
    }

    @Test func whoIsAddedHasTheRoomInTheIndexAndIsTold() throws {
        #expect(carryOut(.create(team, [bo]), by: ana) == .success(.done(team, .group, isChanged: true)))
        #expect(Self.index(broker, ana) == [team] && Self.index(broker, bo) == [team])
        #expect(Self.list(broker, team)?.pending.isEmpty == true)
        let invited = UserNotice(.invited, team, conversation: .group, by: "ana")
        #expect(Set(broker.notices.map(\.user)) == [.user(ana), .user(bo)])
        #expect(broker.notices.allSatisfy { $0.1 == invited })
        #expect(carryOut(.create(team, [bo]), by: ana) == .success(.done(team, .group, isChanged: false)))
        #expect(broker.notices.count == 2)
        #expect(carryOut(.remove(team, bo), by: ana) == .success(.done(team, .group, isChanged: true)))
        #expect(Self.index(broker, bo).isEmpty)
        #expect(broker.notices.last?.1 == UserNotice(.removed, team, by: "ana"))
    }

    @Test func anIndexThatWasLostIsWrittenWhenItsUserLooksAtTheRoom() throws {
        _ = try #require(carryOut(.create(team, [bo]), by: ana)).get()
        _ = broker.apply(.user(UserRequest(.drop(team, version: 1 << 52), of: bo)))
        #expect(Self.index(broker, bo).isEmpty)
        _ = try #require(carryOut(.participants(team), by: ana)).get()
        #expect(Self.index(broker, bo).isEmpty)
        _ = try #require(carryOut(.participants(team), by: bo)).get()
        #expect(Self.index(broker, bo) == [team])
        _ = try #require(carryOut(.remove(team, bo), by: ana)).get()
        _ = try #require(carryOut(.participants(team), by: bo)).get()
        #expect(Self.index(broker, bo).isEmpty)
    }

    @Test func aUserIsInAFewRoomsAtMost() throws {
        for name in ["a", "b", "c"] {
            _ = try #require(carryOut(.create(try RoomName(name), []), by: bo)).get()
        }
        guard case .failure(let error)? = carryOut(.create(team, [bo]), by: ana) else { throw NameError("no refusal") }
        #expect(error.code == .tooManyEntries && Self.list(broker, team) == nil)
        _ = try #require(carryOut(.create(team, []), by: ana)).get()
        #expect(carryOut(.invite(team, [bo]), by: ana) == .failure(error))
        _ = try #require(carryOut(.leave(try RoomName("a")), by: bo)).get()
        #expect(carryOut(.invite(team, [bo]), by: ana) == .success(.done(team, .group, isChanged: true)))
        // Who is there already may be invited again.
        #expect(carryOut(.invite(team, [bo]), by: ana) == .success(.done(team, .group, isChanged: false)))
    }

    @Test func whoIsBlockedNeitherBeginsNorSends() throws {
        let room = try #require(RoomName(directOf: ana, and: bo))
        #expect(carryOut(.block(bo), by: ana) == .success(.done(room, .direct, isChanged: true)))
        guard case .failure(let error)? = carryOut(.direct(ana), by: bo) else { throw NameError("no refusal") }
        #expect(error.code == .blocked && Self.list(broker, room) == nil)
        #expect(carryOut(.blocked, by: ana) == .success(.blocked([bo])))
        // Who blocks may begin it, and then the other one may not send.
        #expect(carryOut(.direct(bo), by: ana) == .success(.done(room, .direct, isChanged: true)))
        #expect(Self.list(broker, room)?.participants[ana]?.blocks == true)
        #expect(carryOut(.unblock(bo), by: ana) == .success(.done(room, .direct, isChanged: true)))
        #expect(Self.list(broker, room)?.participants[ana]?.blocks == false)
        #expect(carryOut(.direct(ana), by: bo) == .success(.done(room, .direct, isChanged: false)))
        #expect(carryOut(.direct(bo), by: bo) == .failure(WireError(.badField, "user must name somebody else")))
    }

    @Test func anErasedUserIsInNoRoomAndHasNothing() throws {
        let rooms = try (0..<45).map { try RoomName("room\($0)") }
        for room in rooms {
            _ = try broker.apply(.conversation(ConversationRequest(.create([bo]), in: room, by: ana))).get()
            node.steps.settle(room)
        }
        broker.finish()
        func say(_ user: UserID, _ room: RoomName, _ count: Int) throws {
            for number in 0..<count {
                let content = MessageContent(user: user, at: 7, text: "\(number)")
                _ = try broker.apply(.say(room: room, content: content)).get()
            }
        }
        for room in rooms {
            try say(ana, room, 1)
            try say(bo, room, room == rooms[3] ? 900 : 2)
        }
        _ = try #require(carryOut(.block(cy), by: bo)).get()
        let direct = try #require(RoomName(directOf: bo, and: ana))
        _ = try broker.apply(.conversation(ConversationRequest(.direct(ana, bo), in: direct, by: ana))).get()
        node.steps.settle(direct)
        // An entry that no room knows of.
        let stale = UserRequest(.index(try RoomName("gone"), .group, version: 5, since: 1, partner: nil), of: bo)
        _ = try broker.apply(.user(stale)).get()
        broker.finish()
        broker.lossEach = 7
        var parts = 0
        var isDone = false
        while !isDone {
            parts += 1
            try #require(parts < 200)
            node.steps.erase(bo) { if case .success(let progress) = $0 { isDone = progress.isDone } }
            broker.finish()
        }
        broker.lossEach = 0
        #expect(parts > 2)
        for room in rooms + [direct] {
            let list = try #require(Self.list(broker, room))
            #expect(list.participants[bo] == nil && list.reads[bo] == nil && list.participants[ana] != nil)
            let query = HistoryQuery(anchor: .newest, limit: 1_000, bytes: 1_000_000)
            guard case .success(.history(let page)) = broker.apply(.history(room: room, query: query)) else {
                throw NameError("no history")
            }
            let said = page.messages.filter { $0.content.text != nil }
            #expect(said.map(\.content.user) == (room == direct ? [] : [ana]), "\(room)")
        }
        #expect(Self.index(broker, bo).isEmpty)
        #expect(carryOut(.blocked, by: bo) == .success(.blocked([])))
    }

    @Test func aStarStaysWhenTheLogIsTrimmedAndGoesWhenItsMessageWasErased() throws {
        func say(_ text: String) throws -> Position {
            let content = MessageContent(user: bo, at: 7, text: text)
            guard case .success(.said(let position, _)) = broker.apply(.say(room: team, content: content)) else {
                throw NameError("not said")
            }
            return position
        }
        let (first, second, third) = (try say("first"), try say("second"), try say("third"))
        #expect(carryOut(.star(team, first), by: ana) == .success(.starred(team, first, true)))
        #expect(carryOut(.star(team, second), by: ana) == .success(.starred(team, second, true)))
        let none = Position(epoch: first.epoch, seq: 77)
        guard case .failure(let error)? = carryOut(.star(team, none), by: ana) else { throw NameError("no refusal") }
        #expect(error.code == .badField)
        func stars() throws -> [String] {
            guard case .success(.stars(let stars, nil))? = carryOut(.stars(limit: 10, before: nil), by: ana) else {
                throw NameError("no stars")
            }
            return stars.compactMap(\.text)
        }
        #expect(try stars() == ["second", "first"])
        broker.erase(second, in: team)
        #expect(try stars() == ["first"])
        broker.erase(first, in: team)
        #expect(try stars() == ["first"], "the log does not reach back that far")
        _ = third
        #expect(carryOut(.unstar(team, first), by: ana) == .success(.starred(team, first, false)))
        #expect(try stars().isEmpty)
    }

    private func say(_ text: String, by user: UserID, in room: RoomName) throws -> Position {
        let content = MessageContent(user: user, at: 7, text: text)
        guard case .success(.said(let position, _)) = broker.apply(.say(room: room, content: content)) else {
            throw NameError("not said")
        }
        return position
    }

    private func stars(of user: UserID) throws -> [String] {
        let request = UserRequest(.stars(before: nil, PageBounds(count: 100, bytes: 100_000)), of: user)
        guard case .success(.user(.stars(let stars, _))) = broker.apply(.user(request)) else {
            throw NameError("no stars")
        }
        return stars.compactMap(\.text).sorted()
    }

    /// Erases, and removes the copies as a room's host does.
    private func erase(_ operation: AmendRequest.Operation, in room: RoomName) throws {
        let order = AmendOrder(
            AmendRequest(room: room, operation), by: ana, at: 9, mayAmendAny: true, obeysRules: false)
        guard case .success(.amended(let reply)) = broker.apply(.amend(order)) else { throw NameError("not erased") }
        node.steps.eraseCopies(after: operation, reply, in: room)
        broker.finish()
    }

    /// Erased text leaves Redis, and so do the copies that users have starred.
    @Test func copiesGoWithTheirMessages() throws {
        var said: [Position] = []
        for (number, user) in [bo, bo, cy, bo, cy, ana].enumerated() {
            said.append(try say("text \(number)", by: user, in: team))
        }
        let starrers = [ana, bo, cy]
        for user in starrers {
            for position in said {
                #expect(carryOut(.star(team, position), by: user) == .success(.starred(team, position, true)))
            }
        }
        try erase(.delete(of: said[0]), in: team)
        for user in starrers { #expect(try stars(of: user) == (1...5).map { "text \($0)" }) }
        guard case .failure? = carryOut(.star(team, said[0]), by: ana) else {
            throw NameError("a tombstone was starred")
        }
        try erase(.deleteRange(from: said[1], to: said[2]), in: team)
        for user in starrers { #expect(try stars(of: user) == (3...5).map { "text \($0)" }) }
        let asked = broker.asked
        try erase(.deleteRange(from: said[1], to: said[2]), in: team)
        #expect(broker.asked == asked, "nothing is looked for where nothing was erased")
        let other = try RoomName("other")
        let elsewhere = try say("elsewhere", by: bo, in: other)
        _ = carryOut(.star(other, elsewhere), by: ana)
        try erase(.deleteUser(bo, from: nil), in: team)
        #expect(try stars(of: ana) == ["elsewhere", "text 4", "text 5"])
        #expect(try stars(of: cy) == ["text 4", "text 5"])
        #expect(carryOut(.unstar(team, said[4]), by: ana) == .success(.starred(team, said[4], false)))
        let left = UserRequest(.starrers(in: nil, at: nil, after: nil, count: 10), of: cy)
        guard case .success(.user(.starrers(let known, _))) = broker.apply(.user(left)) else { throw NameError("none") }
        #expect(Set(known.map(\.user)) == [bo, cy], "who takes a star back is no longer in the author's list")
    }

    /// The log holds nothing of it any more, so only the author's list tells where the copies are.
    @Test(arguments: [0, 5])
    func nothingThatAnErasedUserSaidIsLeftInStars(lossEach: Int) throws {
        for number in 0..<130 {
            let room = try RoomName("room \(number % 3)")
            let position = try say("text \(number)", by: bo, in: room)
            for user in [ana, cy] { _ = carryOut(.star(room, position), by: user) }
            broker.erase(position, in: room)
        }
        #expect(try stars(of: ana).count == 100 && stars(of: cy).count == 100, "of each the first page")
        broker.lossEach = lossEach
        var (isDone, parts) = (false, 0)
        while !isDone {
            parts += 1
            try #require(parts < 1_000)
            node.steps.erase(bo) { if case .success(let progress) = $0 { isDone = progress.isDone } }
            broker.finish()
        }
        #expect(try stars(of: ana).isEmpty && stars(of: cy).isEmpty)
    }

    @Test(arguments: Array(UInt64(1)...200))
    func bothSidesAgreeInTheEnd(seed: UInt64) throws {
        let broker = Broker(seed: seed)
        let users = try (0..<7).map { try UserID("user\($0)") }
        let groups = [team, try RoomName("other")]
        let nodes = (0..<3).map { _ in Node(broker) }
        broker.lossEach = 6
        for _ in 0..<60 {
            let node = nodes[broker.number(0..<3)]
            let (user, other) = (users[broker.number(0..<7)], users[broker.number(0..<7)])
            let group = groups[broker.number(0..<2)]
            let order: ConversationOrder
            switch broker.number(0..<8) {
            case 0: order = .create(group, [other])
            case 1: order = .leave(group)
            case 2: order = .remove(group, other)
            case 3: order = .direct(other)
            case 4: order = .block(other)
            case 5: order = .unblock(other)
            default: order = .invite(group, [other])
            }
            let mayDoAll = broker.number(0..<2) == 0
            node.steps.carryOut(order, by: user, mayDoAll: mayDoAll) { _ in }
            for _ in 0..<broker.number(0..<12) { _ = broker.step() }
            if broker.number(0..<20) == 0 {
                // It crashed, and another one takes its place.
                node.isAlive = broker.number(0..<2) == 0
            }
        }
        broker.lossEach = 0
        broker.finish()
        // What any node does that comes to the rooms later.
        let survivor = Node(broker)
        var rooms = groups
        for user in users {
            for other in users { if let room = RoomName(directOf: user, and: other) { rooms.append(room) } }
        }
        for room in Set(rooms) { survivor.steps.settle(room) }
        broker.finish()
        for room in Set(rooms) {
            let list = Self.list(broker, room)
            #expect(list?.pending.isEmpty ?? true, "seed \(seed): \(room)")
            #expect(list?.participants.count ?? 0 <= 5, "seed \(seed)")
            if room.isDirect { #expect(list?.participants.count ?? 2 == 2, "seed \(seed)") }
            for user in users {
                // An entry too many is dropped by whoever reads it; one too few would never be found.
                guard list?.participants[user] != nil else { continue }
                #expect(Self.index(broker, user).contains(room), "seed \(seed): \(user) lacks \(room)")
            }
        }
    }
}
