import ChatCore
import Testing

@testable import ChatRedis

/// Random histories of a Cluster, from a seed: slots move, masters fail, refuse and come back, while rooms make
/// requests. The invariants are checked at every step.
@Suite struct ClusterRouterWalkTests {
    /// The environment of a router: masters with their queues, and the owner of the link.
    private struct World {
        struct Master {
            var slots: SlotSet
            var commands = false
            var subscriptions = false
            /// Unanswered requests, in order.
            var queue: [(request: BrokerRequest, tag: RequestTag)] = []
        }

        var router: ClusterRouter
        var random: SplitMix64
        let nodesSlot: HashSlot
        let node: NodeID
        let rooms: [RoomName]
        var masters: [UInt32: Master] = [:]
        // What the owner was told.
        var commandsUp = SlotSet()
        var subscriptionsUp = SlotSet()
        /// Unanswered tags by room, in order.
        var open: [RoomName: [UInt64]] = [:]
        var nextTag: UInt64 = 1
        var enters: Set<UInt64> = []
        /// The lists into which a room has to be written before it is entered, and those into which it was. (true: the
        /// old one.)
        var wanted: [RoomName: Set<Bool>] = [:]
        var held: [RoomName: Set<Bool>] = [:]
        var problems: [String] = []

        mutating func happen(_ event: (inout ClusterRouter, inout [ClusterRouter.Action]) -> Void) {
            var actions: [ClusterRouter.Action] = []
            event(&router, &actions)
            for action in actions { see(action) }
        }

        mutating func expect(_ holds: Bool, _ text: @autoclosure () -> String) {
            if !holds { problems.append(text()) }
        }

        private mutating func see(_ action: ClusterRouter.Action) {
            switch action {
            case .open(let id, _, let slots):
                expect(masters[id] == nil, "\(id) is opened twice")
                masters[id] = Master(slots: slots)
            case .serves(let id, let slots):
                expect(masters[id] != nil, "\(id) is not open")
                masters[id]?.slots = slots
            case .close(let id):
                expect(masters[id] != nil, "\(id) is not open")
                masters[id] = nil
            case .submit(let id, let request, let tag):
                let slot = request.entity.slot(nodes: nodesSlot)
                guard let master = masters[id] else { return expect(false, "\(request) goes to nobody") }
                expect(master.commands && master.slots.contains(slot), "\(request) goes to \(id)")
                if case .enter(let enter) = request {
                    let isHeld = held[enter.room, default: []].isSuperset(of: wanted[enter.room, default: [false]])
                    expect(isHeld, "\(enter.room) is entered before it is held")
                }
                masters[id]?.queue.append((request, tag))
            case .subscribe(let id, let entity), .unsubscribe(let id, let entity):
                let slot = entity.slot(nodes: nodesSlot)
                expect(
                    masters[id]?.subscriptions == true && masters[id]?.slots.contains(slot) == true,
                    "\(entity) at \(id)")
            case .look: break
            case .complete(let tag, let result):
                let room = rooms[Int(tag.owner)]
                guard let place = open[room]?.firstIndex(of: tag.serial) else {
                    return expect(false, "\(room): \(tag.serial) is answered twice")
                }
                // A room that cannot be held is not entered, whatever else is in flight.
                let isEnter = enters.remove(tag.serial) != nil && result == .failure(.notConnected)
                expect(place == 0 || isEnter, "\(room): \(tag.serial) is answered out of order")
                open[room]?.remove(at: place)
            case .commandsUp(_, let scope): commandsUp.formUnion(scope.slots)
            case .commandsDown(_, let scope): commandsUp.subtract(scope.slots)
            case .subscriptionsUp(_, let scope): subscriptionsUp.formUnion(scope.slots)
            case .subscriptionsDown(_, let scope): subscriptionsUp.subtract(scope.slots)
            }
        }

        // MARK: Steps

        mutating func step() {
            let id = masters.keys.sorted().randomElement(using: &random)
            let room = rooms.randomElement(using: &random) ?? rooms[0]
            switch Int.random(in: 0..<100, using: &random) {
            case 0..<4: move()
            case 4..<8: if let id { toggleCommands(id) }
            case 8..<12: if let id { toggleSubscriptions(id) }
            case 12..<14: if let id { happen { $0.channelLeft(.room(room), "left", from: id, &$1) } }
            case 14..<50: if let id { answer(id) }
            case 50..<65:
                // Behind another hold it waits; until then the other one counts.
                if !masters.values.contains(where: { $0.queue.contains { Self.holds($0.request, room) } }) {
                    held[room] = []
                    wanted[room] = router.keepsOldList ? [false, true] : [false]
                }
                ask(.hold(room: room, node: node), room, wanted: false)
                ask(.enter(EnterRequest(room: room, node: node, page: PageBounds(count: 1))), room)
            case 65..<67:
                let isKept = Bool.random(using: &random)
                if !isKept { for room in wanted.keys { wanted[room] = [false] } }
                _ = router.keepOldList(isKept)
            case 67..<70: ask(.release(room: room, node: node), room, wanted: false)
            case 70..<75: happen { $0.submit(.nodes, RequestTag(owner: 0, generation: 0, serial: 0), &$1) }
            default: ask(.roster(room: room), room)
            }
            // Only sometimes, because it copies the router.
            if Int.random(in: 0..<4, using: &random) == 0 { look(at: room) }
        }

        private static func holds(_ request: BrokerRequest, _ room: RoomName) -> Bool {
            if case .hold(room, _, _) = request { true } else { false }
        }

        private mutating func ask(_ request: BrokerRequest, _ room: RoomName, wanted: Bool = true) {
            let serial = wanted ? nextTag : RequestTag.ignoredSerial
            if wanted {
                nextTag += 1
                open[room, default: []].append(serial)
                if case .enter = request { enters.insert(serial) }
            }
            let owner = UInt32(rooms.firstIndex(of: room) ?? 0)
            happen { $0.submit(request, RequestTag(owner: owner, generation: 0, serial: serial), &$1) }
        }

        /// The owner relies on what it was told: every slot that is up must be served.
        private mutating func look(at room: RoomName) {
            let slot = HashSlot(of: room)
            var copy = router
            var actions: [ClusterRouter.Action] = []
            copy.subscribe(.room(room), &actions)
            expect(subscriptionsUp.contains(slot) == !actions.isEmpty, "\(room): the owner knows better of its channel")
            actions = []
            copy.submit(.roster(room: room), RequestTag(owner: 0, generation: 0, serial: .max), &actions)
            let isRefused =
                actions == [
                    .complete(RequestTag(owner: 0, generation: 0, serial: .max), .failure(.notConnected))
                ]
            // It waits behind a hold.
            expect(commandsUp.contains(slot) == !isRefused || actions.isEmpty, "\(room): the owner knows better")
        }

        private mutating func move() {
            var shares: [Int: SlotSet] = [:]
            for group in 0..<8 {
                // At times no master serves a group of slots.
                let owner = Int.random(in: 0..<5, using: &random)
                guard owner < 4 else { continue }
                let slots = SlotSet((group * 2_048..<(group + 1) * 2_048).compactMap { HashSlot($0) })
                shares[owner, default: SlotSet()].formUnion(slots)
            }
            let isSame = Int.random(in: 0..<3, using: &random) == 0
            let masters = shares.map { owner, slots in
                ClusterTopology.Master(
                    id: "\(owner)", address: ClusterAddress(host: "h", port: owner + 1), epoch: 1, slots: slots)
            }
            let topology = isSame ? last : ClusterTopology(masters: masters, nodes: [])
            last = topology
            happen { $0.cameToKnow(topology, &$1) }
        }
        private var last = ClusterTopology(masters: [], nodes: [])

        init(seed: UInt64, node: NodeID, rooms: [RoomName], nodesSlot: HashSlot) {
            router = ClusterRouter(nodesSlot: nodesSlot)
            random = SplitMix64(seed: seed)
            self.node = node
            self.rooms = rooms
            self.nodesSlot = nodesSlot
        }

        /// In the order of a ``RedisLink``: first the change, then the requests in flight.
        private mutating func toggleCommands(_ id: UInt32) {
            guard let master = masters[id] else { return }
            if master.commands {
                masters[id]?.commands = false
                masters[id]?.queue = []
                for (request, _) in master.queue { noteHold(request, false) }
                happen { $0.commandsDown(id, "gone", &$1) }
                for (_, tag) in master.queue { happen { $0.completed(tag.serial, .failure(.outcomeUnknown), &$1) } }
            } else {
                masters[id]?.commands = true
                happen { $0.commandsUp(id, BrokerIdentity(runID: "\(id)", replicationID: ""), &$1) }
            }
        }

        private mutating func toggleSubscriptions(_ id: UInt32) {
            guard let master = masters[id] else { return }
            masters[id]?.subscriptions.toggle()
            if master.subscriptions {
                happen { $0.subscriptionsDown(id, "gone", &$1) }
            } else {
                happen { $0.subscriptionsUp(id, BrokerIdentity(runID: "\(id)", replicationID: ""), &$1) }
            }
        }

        private mutating func answer(_ id: UInt32) {
            guard masters[id]?.queue.isEmpty == false, let (request, tag) = masters[id]?.queue.removeFirst() else {
                return
            }
            let errors = ["MOVED 1 h:2", "TRYAGAIN half", "ASK 1 h:2", "CLUSTERDOWN no", "OOM no"]
            let error = Int.random(in: 0..<20, using: &random)
            let result: Result<BrokerReply, BrokerError> =
                error < errors.count ? .failure(.notStored(errors[error])) : .success(.done)
            noteHold(request, error >= errors.count)
            happen { $0.completed(tag.serial, result, &$1) }
        }

        private mutating func noteHold(_ request: BrokerRequest, _ isHeld: Bool) {
            guard case .hold(let room, _, let inOldList) = request else { return }
            if isHeld { held[room, default: []].insert(inOldList) }
        }

        /// All connections fail; no request may remain unanswered.
        mutating func end() {
            for id in masters.keys.sorted() where masters[id]?.commands == true { toggleCommands(id) }
            for (room, tags) in open { expect(tags.isEmpty, "\(room): \(tags) are never answered") }
        }
    }

    @Test(arguments: 0..<24)
    func everyRequestIsAnsweredOnceInOrderAndByWhoServesIt(seed: Int) throws {
        let rooms = try (0..<6).map { try RoomName("room\($0)") }
        var world = World(
            seed: UInt64(seed), node: try NodeID("n-1"), rooms: rooms, nodesSlot: try #require(HashSlot(5)))
        for step in 0..<600 {
            world.step()
            try #require(world.problems.isEmpty, "seed \(seed), step \(step): \(world.problems)")
        }
        world.end()
        #expect(world.problems.isEmpty, "seed \(seed): \(world.problems)")
    }
}
