import ChatCore
import Testing

@testable import ChatHub

/// Rooms that wake and rest, where their machines are, and where their members are.
@Suite struct HomeRoomTests {
    private final class Outlet: SessionOutlet {
        let protocolID = ProtocolID(rawValue: 0)
        let user: UserID

        init(_ user: String) throws {
            self.user = try UserID(user)
        }

        func send(_ event: ServerEvent) {}
        func send(_ frame: Frame) {}
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
