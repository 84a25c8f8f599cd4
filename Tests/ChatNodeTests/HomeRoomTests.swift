import ChatCore
import ChatGateway
import NIOCore
import NIOPosix
import Testing

@testable import ChatNode

/// Rooms that wake and rest, where their machines are, and where their members are.
@Suite struct HomeRoomTests {
    private final class Outlet: SessionOutlet {
        let loop: any EventLoop
        let user: UserID

        init(_ user: String) throws {
            self.user = try UserID(user)
            loop = MultiThreadedEventLoopGroup.singleton.next()
        }

        func send(_ event: ServerEvent) {}
        func send(_ frame: SharedFrame) {}
        func takesPage() -> Bool { true }
        func close(_ reason: CloseReason) {}
    }

    private func machine() throws -> RoomStateMachine {
        RoomStateMachine(room: try RoomName("lobby"), node: try NodeID("n-1"), settings: RoomSettings(), spread: 0)
    }

    @Test func placesAreUsedAgainAndEmptyBlocksGo() throws {
        let store = MachineStore()
        #expect(store.capacity == 0)
        var places = try (0..<200).map { _ in store.put(try machine()) }
        #expect(Set(places).count == 200 && store.capacity == 256)
        for place in places[64..<128] { store.end(place) }
        #expect(store.capacity == 192, "the second block is empty")
        store.end(places[0])
        #expect(store.put(try machine()) == places[0], "filled from the front")
        places.removeSubrange(64..<128)
        for place in places { store.end(place) }
        #expect(store.capacity == 64, "the last one stays")
    }

    @Test func aRoomThatIsNoMoreGivesItsPlaceBack() throws {
        let store = MachineStore()
        for _ in 0..<100 { _ = HomeRoom(slot: 0, generation: 0, machine: try machine(), in: store) }
        #expect(store.capacity == 64)
    }

    /// A list of members beside it must say the same, whatever comes and goes.
    @Test(arguments: 0..<20)
    func membersAreThoseWhoCameAndDidNotGo(seed: UInt64) throws {
        var generator = SystemRandomNumberGenerator()
        let room = LocalRoom(room: try RoomName("lobby"))
        let outlet = try Outlet("ana")
        var members: Set<UInt64> = []
        var catchingUp: Set<UInt64> = []
        let most: UInt64 = [2, 6, 40][Int(seed % 3)]
        for step in 0..<500 {
            let session = UInt64.random(in: 1...most, using: &generator)
            switch Int.random(in: 0..<5, using: &generator) {
            case 0, 1:
                room.add(SessionID(raw: session), outlet)
                members.insert(session)
                catchingUp.remove(session)
            case 2:
                room.addCatchingUp(SessionID(raw: session), outlet)
                members.remove(session)
                catchingUp.insert(session)
            default:
                room.remove(SessionID(raw: session))
                members.remove(session)
                catchingUp.remove(session)
            }
            var found: [UInt64] = []
            room.forEachMember { found.append($0.session.raw) }
            try #require(found.sorted() == members.sorted() && room.count == members.count, "step \(step)")
            try #require(Set(room.catchingUp.keys.map(\.raw)) == catchingUp, "step \(step)")
        }
    }
}

extension ShardBrokerTests {
    /// The room that somebody waits to be let into is entered, and everybody is told.
    static func enter(_ name: RoomName, _ shard: Shard, _ link: FakeLink) throws {
        let node = try NodeID("n-1")
        let view = Self.view(ofANewRoomWith: node, epoch: 5_000)
        #expect(link.answer(.success(.view(view)), where: isEnter))
        shard.brokerHeard(name, .epoch(5_000, base: 0, nodes: view.nodes, by: node))
        let begin = Position(epoch: 1, seq: 0)
        #expect(
            link.answer(.success(.roster(RosterSnapshot(position: begin, members: [:])))) {
                if case .roster = $0 { true } else { false }
            })
        #expect(
            link.answer(.success(.presence(PresenceReply(position: begin, notice: nil)))) {
                if case .presence = $0 { true } else { false }
            })
    }

    @Test func aQuietRoomRestsAndWakesForWhateverHappens() async throws {
        let identity = identity
        try await onLoop { parts in
            let (shard, link) = (parts.shards[0], parts.links[0])
            shard.brokerSubscriptionsUp(identity, .everything)
            shard.brokerCommandsUp(identity, .everything)
            let name = try Self.waitingRoom(shard)
            try Self.enter(name, shard, link)
            let room = try #require(shard.room(named: name))
            func restSoon() {
                room.restAt = shard.now
                shard.restRooms()
            }
            shard.restRooms()
            #expect(room.isAwake, "something has just happened")
            restSoon()
            #expect(!room.isAwake && shard.awakeRooms.isEmpty && !room.isShared)
            #expect(shard.load().rooms == 1)

            let message = Message(
                position: Position(epoch: 5_000, seq: 1), content: MessageContent(user: try UserID("bo"), at: 1))
            shard.brokerHeard(name, .message(message, base: 0))
            #expect(room.isAwake && shard.awakeRooms.count == 1)
            #expect(room.look { $0.position } == message.position)
            restSoon()
            #expect(room.reaches(message.position) && !room.reaches(Position(epoch: 5_000, seq: 2)))

            let tag = RequestTag(owner: room.slot, generation: room.generation, serial: 1_000)
            shard.brokerCompleted(tag, .success(.done))
            #expect(room.isAwake)
            shard.restRooms()
            #expect(!room.isAwake, "an answer is no reason to stay awake")

            #expect(shard.has(SessionID(number: 1, loop: 0), in: room) && room.isAwake)
            restSoon()
            link.submitted = []
            shard.brokerCommandsDown("lost", .everything)
            restSoon()
            #expect(room.isAwake, "it waits for the connection")
            #expect(room.restAt > shard.now + .seconds(10), "and is not asked again every second")
            shard.brokerCommandsUp(identity, .everything)
            #expect(link.submitted.contains { Self.isEnter($0.request) })
        }
    }
}
