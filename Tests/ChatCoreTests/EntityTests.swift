import Testing

@testable import ChatCore

@Suite struct EntityTests {
    private let nodes = HashSlot(ofKey: "martlet:nodes")

    @Test func eachKindHasATagAndTheSlotOfTheTag() throws {
        let slot = try #require(HashSlot(9_000))
        let node = try NodeID("n-1")
        for entity in [
            Entity.room(try RoomName("lobby")), .user(try UserID("ana")), .user(try UserID("{ana} 100%")),
            .node(node, slot),
        ] {
            let tag = try #require(entity.keyTag)
            #expect(entity.slot(nodes: nodes) == HashSlot(ofKey: "martlet:x:{\(tag)}:y"), "\(entity)")
        }
        #expect(Entity.room(try RoomName("lobby")).keyTag == "lobby")
        #expect(Entity.node(node, slot).slot(nodes: nodes) == slot)
        #expect(Entity.nodes.keyTag == nil && Entity.nodes.slot(nodes: nodes) == nodes)
    }

    @Test(arguments: [
        ("ana", "ana"), ("{ana}", "%7Bana%7D"), ("%7Bana%7D", "%257Bana%257D"), ("100%", "100%25"), ("é{", "é%7B"),
    ])
    func tagsOfUsersHoldNoBracesAndAreDifferent(user: String, tag: String) throws {
        #expect(Entity.user(try UserID(user)).keyTag == tag)
    }

    @Test func aRoomAndAUserOfTheSameNameAreTwo() throws {
        let name = try RoomName("ana")
        let (room, user) = (Entity.room(name), Entity.user(try UserID("ana")))
        #expect(room != user && room.room == name && user.room == nil)
        #expect(room.slot(nodes: nodes) == user.slot(nodes: nodes), "which Redis keeps in the same slot")
    }

    @Test func everySlotHasATagOfItsOwn() throws {
        for number in 0..<HashSlot.count {
            let slot = try #require(HashSlot(number))
            #expect(HashSlot(ofTag: slot.tag) == slot)
        }
    }

    @Test func everyRequestIsAboutSomebody() throws {
        let (node, room) = (try NodeID("n-1"), try RoomName("lobby"))
        let part = Entity.node(node, Holdings.slot(of: room))
        #expect(BrokerRequest.roster(room: room).entity == .room(room))
        let user = Entity.user(try UserID("ana"))
        let event = ChannelEvent.gone(node, value: 1, nodes: [:], last: Position(epoch: 1, seq: 1))
        #expect(BrokerRequest.publish(on: user, event: event).entity == user)
        #expect(BrokerRequest.hold(room: room, node: node).entity == part)
        #expect(BrokerRequest.release(room: room, node: node).entity == part)
        #expect(BrokerRequest.hold(room: room, node: node, inOldList: true).entity == .nodes)
        #expect(BrokerRequest.release(room: room, node: node, inOldList: true).entity == .nodes)
        #expect(BrokerRequest.rooms(of: node).entity == .node(node, Holdings.slot(ofPart: 0)))
        let last = Holdings.Cursor(part: Holdings.oldList).raw
        #expect(BrokerRequest.rooms(of: node, cursor: last).entity == .nodes)
        #expect(BrokerRequest.forget(node, cursor: last).entity == .nodes)
        #expect(BrokerRequest.nodes.entity == .nodes && BrokerRequest.ping.entity == .nodes)
    }

    @Test func aScopeHoldsWhoeverIsInItsSlots() throws {
        let (room, user) = (try RoomName("lobby"), Entity.user(try UserID("lobby")))
        let own = BrokerScope(SlotSet([HashSlot(of: room)]), holdsNodes: false)
        #expect(own.contains(.room(room)) && own.contains(room) && own.contains(user))
        let node = try NodeID("n-1")
        #expect(own.contains(.node(node, HashSlot(of: room))) && !own.contains(.nodes))
        #expect(!own.contains(.node(node, try #require(HashSlot(1)))))
        #expect(BrokerScope(own.slots, holdsNodes: true).contains(.nodes))
        #expect(BrokerScope.everything.contains(.nodes) && BrokerScope.everything.contains(user))
    }
}

@Suite struct HoldingsTests {
    /// A part is kept in the middle of the slots of its rooms, so that the master of the one is that of the other.
    @Test func partsAreSpreadLikeRooms() throws {
        var parts: Set<Int> = []
        for number in 0..<2_000 {
            let room = try RoomName("room \(number)")
            let distance = HashSlot(of: room).number - Holdings.slot(of: room).number
            #expect(abs(distance) <= HashSlot.count / Holdings.parts / 2)
            parts.insert(Holdings.slot(of: room).number)
        }
        #expect(parts.count == Holdings.parts)
        #expect(parts == Set((0..<Holdings.parts).map { Holdings.slot(ofPart: $0).number }))
    }

    @Test func cursorsNameThePartAndThePlaceInIt() {
        for (part, scan) in [(0, 0), (3, 7), (63, 1 << 55), (64, 1)] as [(Int, UInt64)] {
            let cursor = Holdings.Cursor(part: part, scan: scan)
            #expect(Holdings.Cursor(cursor.raw) == cursor && cursor.part == part && cursor.scan == scan)
        }
        #expect(Holdings.Cursor(0) == Holdings.Cursor(part: 0), "where all reading begins")
        #expect(Holdings.Cursor(part: 63).nextPart == Holdings.Cursor(part: Holdings.oldList))
        #expect(Holdings.Cursor(part: Holdings.oldList).nextPart == nil)
        // Numbers that no broker sends.
        #expect(Holdings.Cursor(.max).part == Holdings.oldList && Holdings.Cursor(part: -1).part == 0)
        #expect(Holdings.slot(ofPart: 99) == Holdings.slot(ofPart: 63) && Holdings.slot(ofPart: -1).number == 128)
    }
}
