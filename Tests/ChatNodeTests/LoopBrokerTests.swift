import ChatCore
import ChatGateway
import Logging
import NIOCore
import NIOPosix
import Synchronization
import Testing

@testable import ChatHub
@testable import ChatNode

/// What a loop asks of its broker connections, in which order.
@Suite struct LoopBrokerTests {
    /// Writes down what is submitted; answers only what a test tells it to. Confined to its loop.
    final class FakeLink: BrokerLink {
        weak var delegate: (any BrokerLinkDelegate)?
        var submitted: [(request: BrokerRequest, tag: RequestTag)] = []
        var resets: [Entity] = []
        var confirmations: [(Int?) -> Void] = []
        var scopes: [BrokerScope] = [.everything]

        func start() {}
        func submit(_ request: BrokerRequest, tag: RequestTag) { submitted.append((request, tag)) }
        func subscribe(_ entity: Entity) {}
        func unsubscribe(_ entity: Entity) {}
        func confirm(
            replicas count: Int, of server: BrokerIdentity, within time: Duration, _ then: @escaping (Int?) -> Void
        ) {
            confirmations.append(then)
        }
        func reset(_ entity: Entity) { resets.append(entity) }
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
        let loops: [Loop]
        let links: [FakeLink]
        let keeper: Keeper
    }

    private let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
    let identity = BrokerIdentity(runID: "r", replicationID: "s")

    /// Two loops of a node on one event loop, started.
    func onLoop<Result: Sendable>(
        ackReplicas: Int = 0, roomsMemory: Int? = nil, _ body: @escaping @Sendable (Parts) throws -> Result
    ) async throws -> Result {
        let eventLoop = eventLoop
        return try await eventLoop.submit {
            let node = try NodeID("n-1")
            var hub = HubSettings(
                node: node, rooms: RoomSettings(), encoder: ProtocolRegistry.standard(limits: Limits()))
            if let roomsMemory { hub.roomsMemory = roomsMemory }
            let settings = LoopSettings(hub: hub, ackReplicas: ackReplicas, wallClock: { 1_000 })
            let metrics = NodeMetrics(version: "1", node: "n")
            var logger = Logger(label: "test")
            logger.logLevel = .critical
            let links = [FakeLink(), FakeLink()]
            let loops = links.enumerated().map { index, link in
                Loop(
                    index: index, of: links.count, eventLoop: eventLoop, tick: LoopTick(of: eventLoop),
                    settings: settings, link: link, metrics: metrics, logger: logger)
            }
            let pulse = NodePulse(NodeReport(node: node, address: "", version: "1"), lease: .seconds(10))
            let keeper = Keeper(loop: loops[0], pulse: pulse, logger: logger)
            for loop in loops { loop.start(loops, keeper: keeper) }
            return try body(Parts(loops: loops, links: links, keeper: keeper))
        }.get()
    }

    private static func isHeartbeat(_ request: BrokerRequest) -> Bool {
        if case .heartbeat = request { true } else { false }
    }

    static func isEnter(_ request: BrokerRequest) -> Bool {
        if case .enter = request { true } else { false }
    }

    /// A room of that loop in which somebody waits to be let in, and whose channel is subscribed.
    static func waitingRoom(_ loop: Loop) throws -> RoomName {
        let name = try (0..<100).map { try RoomName("room\($0)") }.first {
            RoomHost.home(of: $0, among: 2) == loop.index
        }
        let room = loop.rooms.openRoom(try #require(name))
        let join = JoinRequest(
            session: SessionID(number: 1, loop: loop.index), user: try UserID("ana"),
            device: try DeviceName("phone"), since: loop.now)
        loop.rooms.happen(.join(join), in: room)
        loop.broker.brokerSubscribed(.room(room.name))
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
            for name in names { rooms[RoomHost.home(of: try RoomName(name), among: count)] += 1 }
            #expect(rooms.allSatisfy { $0 > 200 / count && $0 < 800 / count }, "\(rooms)")
        }
    }

    @Test func theHeartbeatIsTheFirstCommandOnEveryNewConnection() async throws {
        let identity = identity
        try await onLoop { parts in
            let (loop, link) = (parts.loops[0], parts.links[0])
            loop.broker.brokerSubscriptionsUp(identity, .everything)
            _ = try Self.waitingRoom(loop)
            #expect(link.submitted.isEmpty, "there is no connection")
            for _ in 0..<3 {
                loop.broker.brokerCommandsUp(identity, .everything)
                let requests = link.submitted.map(\.request)
                #expect(requests.first.map(Self.isHeartbeat) == true)
                #expect(requests.contains(where: Self.isEnter))
                loop.broker.brokerCommandsDown("lost", .everything)
                link.submitted = []
            }
        }
    }

    /// Rounds of the sweeper until it begins to sweep a node without a heartbeat; nil: it does not.
    private static func roundsUntilItSweeps(_ keeper: Keeper, _ link: FakeLink) throws -> Int? {
        let dead = NodeRecord(node: try NodeID("dead-1"), report: nil)
        return (1...12).first { _ in
            keeper.round()
            while link.answer(.success(.nodes([dead])), where: { if case .nodes = $0 { true } else { false } }) {}
            return link.answer(
                .failure(.outcomeUnknown), where: { if case .rooms(dead.node, _) = $0 { true } else { false } })
        }
    }

    @Test(arguments: [
        BrokerError.notStored("OOM command not allowed when used memory > 'maxmemory'."),
        .notStored("NOREPLICAS Not enough good replicas to write."), .malformed("heartbeat: ERR quota exceeded"),
    ])
    func whoseHeartbeatIsRefusedCallsNobodyDeadAndWaitsAfterwards(error: BrokerError) async throws {
        let identity = identity
        try await onLoop { parts in
            let (loop, link) = (parts.loops[0], parts.links[0])
            let keeper = parts.keeper
            loop.broker.brokerSubscriptionsUp(identity, .everything)
            loop.broker.brokerCommandsUp(identity, .everything)
            #expect(link.answer(.success(.heartbeat(known: false)), where: Self.isHeartbeat))
            let patience = try #require(try Self.roundsUntilItSweeps(keeper, link))
            #expect(patience > 2)

            let beat = try #require(keeper.pulse.beat(clock: 2))
            let refused = Result<BrokerReply, BrokerError>.failure(error)
            keeper.health.heartbeat(keeper.pulse.answered(beat, refused), refused, now: loop.now)
            #expect(try Self.roundsUntilItSweeps(keeper, link) == nil)
            // Redis takes it again; if it said why it did not, a write has to be taken, too.
            let taken = Result<BrokerReply, BrokerError>.success(.heartbeat(known: true))
            keeper.health.heartbeat(keeper.pulse.answered(beat, taken), taken, now: loop.now)
            keeper.health.stored(asked: loop.now + .seconds(2), now: loop.now + .seconds(2))
            #expect(try Self.roundsUntilItSweeps(keeper, link) == patience, "as after a lost connection")
        }
    }

    @Test func anAppendThatIsRefusedAsksAtOnceWhetherAnythingCanBeStored() async throws {
        let identity = identity
        try await onLoop { parts in
            let (loop, link) = (parts.loops[0], parts.links[0])
            loop.broker.brokerSubscriptionsUp(identity, .everything)
            loop.broker.brokerCommandsUp(identity, .everything)
            #expect(link.answer(.failure(.missing), where: Self.isProbe))
            link.submitted = []
            _ = try Self.waitingRoom(loop)
            #expect(link.answer(.failure(.notStored("WRONGTYPE k is a string")), where: Self.isEnter))
            #expect(!link.submitted.contains { Self.isProbe($0.request) }, "that is about one key")
            #expect(parts.keeper.health.mayJudge)
        }
    }

    private static func isProbe(_ request: BrokerRequest) -> Bool {
        if case .tryStoring = request { true } else { false }
    }

    @Test func whoIsForgottenEntersOnTheOtherShardsAgain() async throws {
        let identity = identity
        try await onLoop { parts in
            for loop in parts.loops {
                loop.broker.brokerSubscriptionsUp(identity, .everything)
                loop.broker.brokerCommandsUp(identity, .everything)
            }
            for link in parts.links {
                #expect(link.answer(.success(.heartbeat(known: false)), where: Self.isHeartbeat))
                link.submitted = []
            }
            let name = try Self.waitingRoom(parts.loops[1])
            // `enter` is answered, so that another one is news.
            let epoch: UInt64 = 7
            let node = try NodeID("n-1")
            let view = Self.view(ofANewRoomWith: node, epoch: epoch)
            #expect(parts.links[1].answer(.success(.view(view)), where: Self.isEnter))
            parts.loops[1].broker.brokerHeard(.room(name), .epoch(epoch, base: 0, nodes: view.nodes, by: node))
            #expect(parts.loops[1].rooms.room(named: name)?.look({ $0.isLive }) == true)
            parts.links[1].submitted = []
            parts.loops[0].broker.brokerCommandsDown("lost", .everything)
            parts.loops[0].broker.brokerCommandsUp(identity, .everything)
            #expect(parts.links[0].answer(.success(.heartbeat(known: false)), where: Self.isHeartbeat))
            #expect(parts.links[1].submitted.contains { Self.isEnter($0.request) })
        }
    }

    @Test func aRoundThatIsNotHeardCostsTheConnections() async throws {
        let identity = identity
        try await onLoop { parts in
            let (loop, link) = (parts.loops[0], parts.links[0])
            loop.broker.brokerSubscriptionsUp(identity, .everything)
            loop.broker.brokerCommandsUp(identity, .everything)
            loop.broker.brokerSubscribed(try #require(loop.broker.proof.probes.first).entity)
            #expect(link.submitted.contains { if case .publish = $0.request { true } else { false } })
            loop.audit(deadline: .seconds(60))
            #expect(link.resets.isEmpty, "not yet")
            loop.audit(deadline: .zero)
            #expect(link.resets.count == 1)
            loop.audit(deadline: .seconds(60))
            #expect(link.resets.count == 1, "a new round has its own time")
        }
    }

    @Test func eachMasterOfAClusterHasItsOwnRooms() async throws {
        let identity = identity
        try await onLoop { parts in
            let (loop, link) = (parts.loops[0], parts.links[0])
            let name = try Self.waitingRoom(loop)
            let own = SlotSet([HashSlot(of: name)])
            let (there, elsewhere) = (
                BrokerScope(own, holdsNodes: false), BrokerScope(SlotSet.all.subtracting(own), holdsNodes: true)
            )
            link.scopes = [there, elsewhere]
            loop.broker.brokerSubscriptionsUp(identity, elsewhere)
            loop.broker.brokerCommandsUp(identity, elsewhere)
            #expect(!link.submitted.contains { Self.isEnter($0.request) }, "another master's connections")
            #expect(loop.rooms.commands.identity(of: name) == nil && !loop.rooms.commands.isWhole)
            let other = BrokerIdentity(runID: "r2", replicationID: "s2")
            loop.broker.brokerSubscriptionsUp(other, there)
            loop.broker.brokerSubscribed(.room(name))
            loop.broker.brokerCommandsUp(other, there)
            #expect(link.submitted.contains { Self.isEnter($0.request) })
            #expect(loop.rooms.commands.identity(of: name) == other && loop.rooms.commands.isWhole)
            #expect(loop.broker.proof.probes.count == 2, "each master is proven by itself")
            // The master fails over that has this room's part of the node's list: it may have lost the part.
            loop.broker.brokerCommandsDown("lost", elsewhere)
            #expect(loop.rooms.room(named: name)?.look({ $0.isHeld }) == true)
            link.submitted = []
            loop.broker.brokerCommandsUp(identity, elsewhere)
            #expect(link.submitted.map(\.request).first.map(Self.isHeartbeat) == true)
            #expect(link.submitted.contains { $0.request == .hold(room: name, node: loop.settings.hub.node) })
            #expect(!link.submitted.contains { Self.isEnter($0.request) }, "the room itself is as it was")
        }
    }

    private static func prove(_ entity: Entity, _ loop: Loop, _ link: FakeLink) {
        loop.broker.brokerSubscribed(entity)
        for case .publish(entity, let event) in link.submitted.map(\.request) { loop.broker.brokerHeard(entity, event) }
        while link.answer(.success(.done), where: { $0 == .tryStoring(entity) }) {}
    }

    /// The rounds of all parts that are reached come back.
    private static func proveAll(_ loop: Loop, _ link: FakeLink) {
        loop.broker.proof.begin()
        for probe in loop.broker.proof.probes { prove(probe.entity, loop, link) }
    }

    /// While a master is away it is so for all nodes: were they all red, a proxy would let nobody into the others'
    /// rooms either.
    @Test func aNodeThatHadAllMastersIsReadyWithoutOne() async throws {
        let (first, second) = (identity, BrokerIdentity(runID: "r2", replicationID: "s2"))
        let own = SlotSet([HashSlot(of: try RoomName("lobby"))])
        let (there, elsewhere) = (
            BrokerScope(own, holdsNodes: false), BrokerScope(SlotSet.all.subtracting(own), holdsNodes: true)
        )
        // All in one turn of the loop: what is proven is so for a few seconds only.
        try await onLoop { parts in
            let (loop, link) = (parts.loops[0], parts.links[0])
            link.scopes = [there, elsewhere]
            loop.broker.brokerSubscriptionsUp(first, elsewhere)
            loop.broker.brokerCommandsUp(first, elsewhere)
            Self.proveAll(loop, link)
            #expect(
                loop.broker.proof.whyUnready()?.contains("for some of the cluster's slots") == true,
                "it never had the other")
            loop.broker.brokerSubscriptionsUp(second, there)
            loop.broker.brokerCommandsUp(second, there)
            Self.proveAll(loop, link)
            #expect(loop.broker.proof.whyUnready() == nil)
            // Another round, which only one of the two brings back.
            loop.broker.proof.reset(in: .everything)
            loop.broker.proof.begin()
            let silent = loop.broker.proof.probes[1].entity
            Self.prove(loop.broker.proof.probes[0].entity, loop, link)
            loop.audit(deadline: .zero)
            #expect(link.resets == [silent], "the other master's connections are sound")
            #expect(loop.broker.proof.whyUnready() == nil)
            Self.proveAll(loop, link)
            loop.broker.brokerCommandsDown("lost", there)
            #expect(loop.broker.proof.whyUnready() == nil, "a message goes round through the other one")
            loop.broker.brokerCommandsDown("lost", elsewhere)
            #expect(loop.broker.proof.whyUnready()?.contains("no command connection") == true)
        }
    }

    @Test func afterAnOutageANodeIsReadyWhenItsRoomsAreEnteredAgain() async throws {
        let identity = identity
        try await onLoop { parts in
            let (loop, link) = (parts.loops[0], parts.links[0])
            loop.broker.brokerSubscriptionsUp(identity, .everything)
            loop.broker.brokerCommandsUp(identity, .everything)
            try Self.enter(try Self.waitingRoom(loop), loop, link)
            Self.proveAll(loop, link)
            #expect(loop.broker.proof.whyUnready() == nil)
            loop.broker.brokerCommandsDown("lost", .everything)
            loop.broker.proof.reset(in: .everything)
            loop.broker.brokerCommandsUp(identity, .everything)
            #expect(link.submitted.filter { Self.isEnter($0.request) }.count == 1)
            Self.proveAll(loop, link)
            #expect(loop.broker.proof.whyUnready()?.contains("1 rooms are not entered again") == true)
        }
    }

    @Test func requestsFromOutsideWaitForReplicasToo() async throws {
        let identity = identity
        let parts = try await onLoop(ackReplicas: 1) { parts in
            parts.loops[0].broker.brokerCommandsUp(identity, .everything)
            return parts
        }
        let room = try RoomName("lobby")
        for (count, expected) in [(1, true), (0, false), (nil, false)] as [(Int?, Bool)] {
            async let isReplicated = parts.loops[0].isReplicated(in: room)
            try await Self.eventually(on: eventLoop) { !parts.links[0].confirmations.isEmpty }
            try await eventLoop.submit { parts.links[0].confirmations.removeFirst()(count) }.get()
            #expect(await isReplicated == expected)
        }
        async let isReplicated = parts.loops[0].isReplicated(in: room)
        try await Self.eventually(on: eventLoop) { !parts.links[0].confirmations.isEmpty }
        try await eventLoop.submit { parts.loops[0].broker.brokerCommandsDown("lost", .everything) }.get()
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
            parts.loops[0].broker.brokerCommandsUp(other, there)
            parts.loops[0].broker.brokerCommandsUp(identity, elsewhere)
            return parts
        }
        async let first = parts.loops[0].isReplicated(in: rooms[0])
        try await Self.eventually(on: eventLoop) { parts.links[0].confirmations.count == 1 }
        async let second = parts.loops[0].isReplicated(in: rooms[1])
        try await Self.eventually(on: eventLoop) { parts.links[0].confirmations.count == 2 }
        // The first one's master fails: the other one is not refused for it.
        try await eventLoop.submit {
            parts.loops[0].broker.brokerCommandsDown("lost", there)
            parts.links[0].confirmations[1](1)
            parts.links[0].confirmations[0](1)
        }.get()
        let (isFirst, isSecond) = await (first, second)
        #expect(!isFirst && isSecond)
        #expect(await parts.loops[0].isReplicated(in: rooms[0]) == false, "nobody answers for the room")
    }

    private static func eventually(
        on loop: any EventLoop, _ condition: @escaping @Sendable () -> Bool
    ) async throws {
        let end = ContinuousClock.now + .seconds(30)
        while try await !loop.submit(condition).get() { try #require(ContinuousClock.now < end) }
    }
}
