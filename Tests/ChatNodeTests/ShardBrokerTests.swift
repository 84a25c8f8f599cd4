import ChatCore
import ChatGateway
import Logging
import NIOCore
import NIOPosix
import Synchronization
import Testing

@testable import ChatNode

/// What a shard asks of its broker connections, in which order.
@Suite struct ShardBrokerTests {
    /// Writes down what is submitted; answers only what a test tells it to. Confined to its loop.
    final class FakeLink: BrokerLink {
        weak var delegate: (any BrokerLinkDelegate)?
        var submitted: [(request: BrokerRequest, tag: RequestTag)] = []
        var resets: [RoomName] = []
        var confirmations: [(Int?) -> Void] = []
        var scopes: [BrokerScope] = [.everything]

        func start() {}
        func submit(_ request: BrokerRequest, tag: RequestTag) { submitted.append((request, tag)) }
        func subscribe(_ room: RoomName) {}
        func unsubscribe(_ room: RoomName) {}
        func confirm(
            replicas count: Int, of server: BrokerIdentity, within time: Duration, _ then: @escaping (Int?) -> Void
        ) {
            confirmations.append(then)
        }
        func reset(_ room: RoomName) { resets.append(room) }
        func stop() {}

        /// Answers the oldest request that `matches`.
        func answer(_ result: Result<BrokerReply, BrokerError>, where matches: (BrokerRequest) -> Bool) -> Bool {
            guard let index = submitted.firstIndex(where: { matches($0.request) }) else { return false }
            let tag = submitted.remove(at: index).tag
            delegate?.brokerCompleted(tag, result)
            return true
        }
    }

    struct Parts: @unchecked Sendable {  // made on a loop and used there only
        let shards: [Shard]
        let links: [FakeLink]
    }

    private let loop = MultiThreadedEventLoopGroup.singleton.next()
    let identity = BrokerIdentity(runID: "r", replicationID: "s")

    /// Two shards on one loop, started.
    func onLoop<Result: Sendable>(
        ackReplicas: Int = 0, _ body: @escaping @Sendable (Parts) throws -> Result
    ) async throws -> Result {
        let loop = loop
        return try await loop.submit {
            let node = try NodeID("n-1")
            var settings = ShardSettings(node: node, rooms: RoomSettings(), wallClock: { 1_000 })
            settings.ackReplicas = ackReplicas
            let metrics = NodeMetrics(version: "1", node: "n")
            var logger = Logger(label: "test")
            logger.logLevel = .critical
            let links = [FakeLink(), FakeLink()]
            let shards = links.enumerated().map { index, link in
                Shard(
                    index: index, loop: loop, tick: LoopTick(of: loop),
                    settings: settings, link: link, metrics: metrics, logger: logger)
            }
            let pulse = NodePulse(NodeReport(node: node, address: "", version: "1"), lease: .seconds(10))
            let keeper = Keeper(shard: shards[0], pulse: pulse, logger: logger)
            for shard in shards { shard.start(shards: shards, keeper: keeper) }
            return try body(Parts(shards: shards, links: links))
        }.get()
    }

    private static func isHeartbeat(_ request: BrokerRequest) -> Bool {
        if case .heartbeat = request { true } else { false }
    }

    static func isEnter(_ request: BrokerRequest) -> Bool {
        if case .enter = request { true } else { false }
    }

    /// A room of that shard in which somebody waits to be let in, and whose channel is subscribed.
    static func waitingRoom(_ shard: Shard) throws -> RoomName {
        let name = try (0..<100).map { try RoomName("room\($0)") }.first {
            Shard.home(of: $0, among: 2) == shard.index
        }
        let room = shard.openRoom(try #require(name))
        let join = JoinRequest(
            session: SessionID(number: 1, loop: shard.index), user: try UserID("ana"),
            device: try DeviceName("phone"), since: shard.now)
        shard.happen(in: room) { $0.join(join, now: $1, &$2) }
        shard.brokerSubscribed(room.name)
        return room.name
    }

    /// What Redis answers to the first node that enters a room in which nothing was said.
    static func view(ofANewRoomWith node: NodeID, epoch: UInt64) -> RoomView {
        RoomView(
            verdict: .ok, epoch: epoch, last: 0, base: 0,
            chain: EpochChain(links: [EpochLink(epoch: epoch, base: 0)], history: epoch), nodes: [node: epoch],
            entries: [])
    }

    @Test(arguments: [2, 3, 4, 8, 16])
    func roomsWhoseNamesDifferLittleHaveDifferentHomes(count: Int) throws {
        for names in [(0..<400).map { "room\($0)" }, (0..<400).map { "general-\($0 + 1_000)-x" }] {
            var rooms = Array(repeating: 0, count: count)
            for name in names { rooms[Shard.home(of: try RoomName(name), among: count)] += 1 }
            #expect(rooms.allSatisfy { $0 > 200 / count && $0 < 800 / count }, "\(rooms)")
        }
    }

    @Test func theHeartbeatIsTheFirstCommandOnEveryNewConnection() async throws {
        let identity = identity
        try await onLoop { parts in
            let (shard, link) = (parts.shards[0], parts.links[0])
            shard.brokerSubscriptionsUp(identity, .everything)
            _ = try Self.waitingRoom(shard)
            #expect(link.submitted.isEmpty, "there is no connection")
            for _ in 0..<3 {
                shard.brokerCommandsUp(identity, .everything)
                let requests = link.submitted.map(\.request)
                #expect(requests.first.map(Self.isHeartbeat) == true)
                #expect(requests.contains(where: Self.isEnter))
                shard.brokerCommandsDown("lost", .everything)
                link.submitted = []
            }
        }
    }

    /// Rounds of the sweeper until it asks who lives; nil: it does not ask.
    private static func roundsUntilItAsks(_ keeper: Keeper, _ link: FakeLink) -> Int? {
        (1...12).first { _ in
            keeper.round()
            return link.submitted.contains { if case .nodes = $0.request { true } else { false } }
        }
    }

    @Test(arguments: [
        BrokerError.notStored("OOM command not allowed when used memory > 'maxmemory'."),
        .notStored("NOREPLICAS Not enough good replicas to write."), .malformed("heartbeat: ERR quota exceeded"),
    ])
    func whoseHeartbeatIsRefusedCallsNobodyDeadAndWaitsAfterwards(error: BrokerError) async throws {
        let identity = identity
        try await onLoop { parts in
            let (shard, link) = (parts.shards[0], parts.links[0])
            let keeper = try #require(shard.keeper)
            shard.brokerSubscriptionsUp(identity, .everything)
            shard.brokerCommandsUp(identity, .everything)
            #expect(link.answer(.success(.heartbeat(known: false)), where: Self.isHeartbeat))
            let patience = try #require(Self.roundsUntilItAsks(keeper, link))
            #expect(patience > 2)
            #expect(link.answer(.success(.nodes([])), where: { if case .nodes = $0 { true } else { false } }))

            let beat = try #require(keeper.pulse.beat(clock: 2))
            let refused = Result<BrokerReply, BrokerError>.failure(error)
            keeper.health.heartbeat(keeper.pulse.answered(beat, refused), refused, now: shard.now)
            #expect(Self.roundsUntilItAsks(keeper, link) == nil)
            // Redis takes it again; if it said why it did not, a write has to be taken, too.
            let taken = Result<BrokerReply, BrokerError>.success(.heartbeat(known: true))
            keeper.health.heartbeat(keeper.pulse.answered(beat, taken), taken, now: shard.now)
            keeper.health.stored(asked: shard.now + .seconds(2), now: shard.now + .seconds(2))
            #expect(Self.roundsUntilItAsks(keeper, link) == patience, "as after a lost connection")
        }
    }

    @Test func anAppendThatIsRefusedAsksAtOnceWhetherAnythingCanBeStored() async throws {
        let identity = identity
        try await onLoop { parts in
            let (shard, link) = (parts.shards[0], parts.links[0])
            shard.brokerSubscriptionsUp(identity, .everything)
            shard.brokerCommandsUp(identity, .everything)
            #expect(link.answer(.failure(.missing), where: Self.isProbe))
            link.submitted = []
            _ = try Self.waitingRoom(shard)
            #expect(link.answer(.failure(.notStored("WRONGTYPE k is a string")), where: Self.isEnter))
            #expect(!link.submitted.contains { Self.isProbe($0.request) }, "that is about one key")
            #expect(shard.keeper?.health.mayJudge == true)
        }
    }

    private static func isProbe(_ request: BrokerRequest) -> Bool {
        if case .append(let room, _, _) = request { room.text.hasPrefix("~probe") } else { false }
    }

    @Test func whoIsForgottenEntersOnTheOtherShardsAgain() async throws {
        let identity = identity
        try await onLoop { parts in
            for shard in parts.shards {
                shard.brokerSubscriptionsUp(identity, .everything)
                shard.brokerCommandsUp(identity, .everything)
            }
            for link in parts.links {
                #expect(link.answer(.success(.heartbeat(known: false)), where: Self.isHeartbeat))
                link.submitted = []
            }
            let name = try Self.waitingRoom(parts.shards[1])
            // `enter` is answered, so that another one is news.
            let epoch: UInt64 = 7
            let node = try NodeID("n-1")
            let view = Self.view(ofANewRoomWith: node, epoch: epoch)
            #expect(parts.links[1].answer(.success(.view(view)), where: Self.isEnter))
            parts.shards[1].brokerHeard(name, .epoch(epoch, base: 0, nodes: view.nodes, by: node))
            #expect(parts.shards[1].room(named: name)?.look({ $0.isLive }) == true)
            parts.links[1].submitted = []
            parts.shards[0].brokerCommandsDown("lost", .everything)
            parts.shards[0].brokerCommandsUp(identity, .everything)
            #expect(parts.links[0].answer(.success(.heartbeat(known: false)), where: Self.isHeartbeat))
            #expect(parts.links[1].submitted.contains { Self.isEnter($0.request) })
        }
    }

    @Test func aRoundThatIsNotHeardCostsTheConnections() async throws {
        let identity = identity
        try await onLoop { parts in
            let (shard, link) = (parts.shards[0], parts.links[0])
            shard.brokerSubscriptionsUp(identity, .everything)
            shard.brokerCommandsUp(identity, .everything)
            shard.brokerSubscribed(try #require(shard.probes.first).room)
            #expect(link.submitted.contains { if case .publish = $0.request { true } else { false } })
            shard.auditConnections(deadline: .seconds(60))
            #expect(link.resets.isEmpty, "not yet")
            shard.auditConnections(deadline: .zero)
            #expect(link.resets.count == 1)
            shard.auditConnections(deadline: .seconds(60))
            #expect(link.resets.count == 1, "a new round has its own time")
        }
    }

    @Test func eachMasterOfAClusterHasItsOwnRooms() async throws {
        let identity = identity
        try await onLoop { parts in
            let (shard, link) = (parts.shards[0], parts.links[0])
            let name = try Self.waitingRoom(shard)
            let own = SlotSet([HashSlot(of: name)])
            let (there, elsewhere) = (
                BrokerScope(own, holdsNodes: false), BrokerScope(SlotSet.all.subtracting(own), holdsNodes: true)
            )
            link.scopes = [there, elsewhere]
            shard.brokerSubscriptionsUp(identity, elsewhere)
            shard.brokerCommandsUp(identity, elsewhere)
            #expect(!link.submitted.contains { Self.isEnter($0.request) }, "another master's connections")
            #expect(shard.commands.identity(of: name) == nil && !shard.commands.isWhole)
            let other = BrokerIdentity(runID: "r2", replicationID: "s2")
            shard.brokerSubscriptionsUp(other, there)
            shard.brokerSubscribed(name)
            shard.brokerCommandsUp(other, there)
            #expect(link.submitted.contains { Self.isEnter($0.request) })
            #expect(shard.commands.identity(of: name) == other && shard.commands.isWhole)
            #expect(shard.probes.count == 2, "each master is proven by itself")
            // The master of the nodes' keys fails over: what this room wrote down there may be lost.
            shard.brokerCommandsDown("lost", elsewhere)
            #expect(shard.room(named: name)?.look({ $0.isHeld }) == true)
            link.submitted = []
            shard.brokerCommandsUp(identity, elsewhere)
            #expect(link.submitted.map(\.request).first.map(Self.isHeartbeat) == true)
            #expect(link.submitted.contains { $0.request == .hold(room: name, node: shard.settings.node) })
            #expect(!link.submitted.contains { Self.isEnter($0.request) }, "the room itself is as it was")
        }
    }

    private static func prove(_ room: RoomName, _ shard: Shard, _ link: FakeLink) {
        shard.brokerSubscribed(room)
        for case .publish(room, let event) in link.submitted.map(\.request) { shard.brokerHeard(room, event) }
        // The room is not there: an append and a function say so.
        for _ in 0..<2 {
            while link.answer(
                .failure(.missing),
                where: {
                    switch $0 {
                    case .append(room, _, _), .view(room, _, _): true
                    default: false
                    }
                })
            {}
        }
    }

    /// The rounds of all parts that are reached come back.
    private static func proveAll(_ shard: Shard, _ link: FakeLink) {
        shard.startProbes()
        for probe in shard.probes { prove(probe.room, shard, link) }
    }

    /// While a master is away it is so for all nodes: were they all red, a proxy would let nobody into the others' rooms either.
    @Test func aNodeThatHadAllMastersIsReadyWithoutOne() async throws {
        let (first, second) = (identity, BrokerIdentity(runID: "r2", replicationID: "s2"))
        let own = SlotSet([HashSlot(of: try RoomName("lobby"))])
        let (there, elsewhere) = (
            BrokerScope(own, holdsNodes: false), BrokerScope(SlotSet.all.subtracting(own), holdsNodes: true)
        )
        // All in one turn of the loop: what is proven is so for a few seconds only.
        try await onLoop { parts in
            let (shard, link) = (parts.shards[0], parts.links[0])
            link.scopes = [there, elsewhere]
            shard.brokerSubscriptionsUp(first, elsewhere)
            shard.brokerCommandsUp(first, elsewhere)
            Self.proveAll(shard, link)
            #expect(shard.whyUnready()?.contains("for some of the cluster's slots") == true, "it never had the other")
            shard.brokerSubscriptionsUp(second, there)
            shard.brokerCommandsUp(second, there)
            Self.proveAll(shard, link)
            #expect(shard.whyUnready() == nil)
            // Another round, which only one of the two brings back.
            for probe in shard.probes.indices { shard.probes[probe].reset() }
            shard.startProbes()
            let silent = shard.probes[1].room
            Self.prove(shard.probes[0].room, shard, link)
            shard.auditConnections(deadline: .zero)
            #expect(link.resets == [silent], "the other master's connections are sound")
            #expect(shard.whyUnready() == nil)
            Self.proveAll(shard, link)
            shard.brokerCommandsDown("lost", there)
            #expect(shard.whyUnready() == nil, "a message goes round through the other one")
            shard.brokerCommandsDown("lost", elsewhere)
            #expect(shard.whyUnready()?.contains("no command connection") == true)
        }
    }

    @Test func afterAnOutageANodeIsReadyWhenItsRoomsAreEnteredAgain() async throws {
        let identity = identity
        try await onLoop { parts in
            let (shard, link) = (parts.shards[0], parts.links[0])
            shard.brokerSubscriptionsUp(identity, .everything)
            shard.brokerCommandsUp(identity, .everything)
            try Self.enter(try Self.waitingRoom(shard), shard, link)
            Self.proveAll(shard, link)
            #expect(shard.whyUnready() == nil)
            shard.brokerCommandsDown("lost", .everything)
            shard.resetProbes(in: .everything)
            shard.brokerCommandsUp(identity, .everything)
            #expect(link.submitted.filter { Self.isEnter($0.request) }.count == 1)
            Self.proveAll(shard, link)
            #expect(shard.whyUnready()?.contains("1 rooms are not entered again") == true)
        }
    }

    @Test func requestsFromOutsideWaitForReplicasToo() async throws {
        let identity = identity
        let parts = try await onLoop(ackReplicas: 1) { parts in
            parts.shards[0].brokerCommandsUp(identity, .everything)
            return parts
        }
        let room = try RoomName("lobby")
        for (count, expected) in [(1, true), (0, false), (nil, false)] as [(Int?, Bool)] {
            async let isReplicated = parts.shards[0].isReplicated(in: room)
            try await Self.eventually(on: loop) { !parts.links[0].confirmations.isEmpty }
            try await loop.submit { parts.links[0].confirmations.removeFirst()(count) }.get()
            #expect(await isReplicated == expected)
        }
        async let isReplicated = parts.shards[0].isReplicated(in: room)
        try await Self.eventually(on: loop) { !parts.links[0].confirmations.isEmpty }
        try await loop.submit { parts.shards[0].brokerCommandsDown("lost", .everything) }.get()
        #expect(await isReplicated == false, "a lost connection confirms nothing")
    }

    @Test func eachMasterConfirmsWhatItStored() async throws {
        let identity = identity
        let other = BrokerIdentity(runID: "r2", replicationID: "s2")
        let rooms = [try RoomName("lobby"), try RoomName("garden")]
        let slot = SlotSet([HashSlot(of: rooms[0])])
        let (there, elsewhere) = (
            BrokerScope(slot, holdsNodes: false), BrokerScope(SlotSet.all.subtracting(slot), holdsNodes: true)
        )
        let parts = try await onLoop(ackReplicas: 1) { parts in
            parts.links[0].scopes = [there, elsewhere]
            parts.shards[0].brokerCommandsUp(other, there)
            parts.shards[0].brokerCommandsUp(identity, elsewhere)
            return parts
        }
        async let first = parts.shards[0].isReplicated(in: rooms[0])
        try await Self.eventually(on: loop) { parts.links[0].confirmations.count == 1 }
        async let second = parts.shards[0].isReplicated(in: rooms[1])
        try await Self.eventually(on: loop) { parts.links[0].confirmations.count == 2 }
        // The first one's master fails: the other one is not refused for it.
        try await loop.submit {
            parts.shards[0].brokerCommandsDown("lost", there)
            parts.links[0].confirmations[1](1)
            parts.links[0].confirmations[0](1)
        }.get()
        let (isFirst, isSecond) = await (first, second)
        #expect(!isFirst && isSecond)
        #expect(await parts.shards[0].isReplicated(in: rooms[0]) == false, "nobody answers for the room")
    }

    private static func eventually(
        on loop: any EventLoop, _ condition: @escaping @Sendable () -> Bool
    ) async throws {
        let end = ContinuousClock.now + .seconds(30)
        while try await !loop.submit(condition).get() { try #require(ContinuousClock.now < end) }
    }
}
