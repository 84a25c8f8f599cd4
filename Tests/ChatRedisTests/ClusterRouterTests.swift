import ChatCore
import Testing

@testable import ChatRedis

/// Which master gets which request, and what the owner of a link is told, as sequences.
@Suite struct ClusterRouterTests {
    private typealias Action = ClusterRouter.Action

    private let node: NodeID
    /// Rooms of the first and of the second half of the slots. The keys of the nodes are in the first.
    private let low: RoomName
    private let high: RoomName
    private let nodesSlot: HashSlot
    private let one = ClusterAddress(host: "h", port: 1)
    private let two = ClusterAddress(host: "h", port: 2)
    private let three = ClusterAddress(host: "h", port: 3)
    private let first = BrokerIdentity(runID: "1", replicationID: "a")
    private let second = BrokerIdentity(runID: "2", replicationID: "b")

    init() throws {
        node = try NodeID("n-1")
        let rooms = try (0..<100).map { try RoomName("room\($0)") }
        low = try #require(rooms.first { HashSlot(of: $0).number < 8_192 })
        high = try #require(rooms.first { HashSlot(of: $0).number >= 8_192 })
        nodesSlot = try #require(HashSlot(5))
    }

    private func slots(_ range: Range<Int>) -> SlotSet { SlotSet(range.compactMap { HashSlot($0) }) }

    private func topology(_ masters: (ClusterAddress, SlotSet)...) -> ClusterTopology {
        ClusterTopology(
            masters: masters.map { .init(id: "\($0.0)", address: $0.0, epoch: 1, slots: $0.1) }, nodes: [])
    }

    private var halves: ClusterTopology { topology((one, slots(0..<8_192)), (two, slots(8_192..<16_384))) }

    private func tag(_ serial: UInt64) -> RequestTag { RequestTag(owner: 7, generation: 8, serial: serial) }

    private func on(_ router: inout ClusterRouter, _ event: (inout ClusterRouter, inout [Action]) -> Void) -> [Action] {
        var actions: [Action] = []
        event(&router, &actions)
        return actions
    }

    /// Both masters are up; the parts are 1 and 2.
    private func ready() -> ClusterRouter {
        var router = ClusterRouter(nodesSlot: nodesSlot)
        var actions: [Action] = []
        router.cameToKnow(halves, &actions)
        for (id, identity) in [(1, first), (2, second)] as [(UInt32, BrokerIdentity)] {
            router.subscriptionsUp(id, identity, &actions)
            router.commandsUp(id, identity, &actions)
        }
        return router
    }

    private func enter(_ room: RoomName) -> BrokerRequest {
        .enter(EnterRequest(room: room, node: node, page: PageBounds(count: 1)))
    }

    private static func sent(_ actions: [Action]) -> [UInt32] {
        actions.compactMap { if case .submit(let id, _, _) = $0 { id } else { nil } }
    }

    /// The serial under which the only request among the actions was sent.
    private static func serial(_ actions: [Action]) throws -> UInt64 {
        try #require(
            actions.compactMap { action -> UInt64? in
                if case .submit(_, _, let tag) = action { tag.serial } else { nil }
            }.first)
    }

    @Test func eachMasterComesWithItsRooms() {
        var router = ClusterRouter(nodesSlot: nodesSlot)
        #expect(router.scopes.isEmpty && router.owner(of: .room(low)) == nil)
        #expect(
            on(&router) { $0.submit(.view(room: low, after: nil, page: PageBounds(count: 1)), tag(1), &$1) } == [
                .complete(tag(1), .failure(.notConnected))
            ])
        #expect(
            on(&router) { $0.cameToKnow(halves, &$1) } == [
                .open(1, one, slots(0..<8_192)), .open(2, two, slots(8_192..<16_384)),
            ])
        #expect(router.owner(of: .room(low)) == 1 && router.owner(of: .room(high)) == 2, "reached or not")
        #expect(
            on(&router) { $0.commandsUp(2, second, &$1) } == [
                .commandsUp(second, BrokerScope(slots(8_192..<16_384), holdsNodes: false))
            ])
        #expect(
            on(&router) { $0.commandsUp(1, first, &$1) } == [
                .commandsUp(first, BrokerScope(slots(0..<8_192), holdsNodes: true))
            ])
        #expect(on(&router) { $0.cameToKnow(halves, &$1) }.isEmpty, "nothing has changed")
        #expect(
            Self.sent(on(&router) { $0.submit(.view(room: low, after: nil, page: PageBounds(count: 1)), tag(1), &$1) })
                == [1])
        #expect(
            Self.sent(on(&router) { $0.submit(.view(room: high, after: nil, page: PageBounds(count: 1)), tag(2), &$1) })
                == [2])
        #expect(Self.sent(on(&router) { $0.submit(.nodes, tag(3), &$1) }) == [1])
        #expect(on(&router) { $0.subscribe(.room(low), &$1) }.isEmpty, "its subscribe connection is down")
    }

    @Test func answersFindWhoAsked() throws {
        var router = ready()
        let asked = on(&router) { $0.submit(.view(room: high, after: nil, page: PageBounds(count: 1)), tag(42), &$1) }
        let serial = try Self.serial(asked)
        #expect(on(&router) { $0.completed(serial, .success(.done), &$1) } == [.complete(tag(42), .success(.done))])
        #expect(on(&router) { $0.completed(serial, .success(.done), &$1) }.isEmpty, "once")
        let unasked = on(&router) {
            $0.submit(
                .publish(room: high, event: .gone(node, value: 1, nodes: [:], last: Position(epoch: 1, seq: 1))),
                tag(0), &$1)
        }
        #expect(try Self.serial(unasked) == RequestTag.ignoredSerial)
    }

    /// A link that knows that no node of schema 1 lives.
    private func readyWithoutOldList() -> ClusterRouter {
        var router = ready()
        _ = router.keepOldList(false)
        return router
    }

    /// A room of the first master whose part of the node's list the second master has.
    private func roomAtTheBorder() throws -> (RoomName, ClusterTopology) {
        let room = try #require(
            try (0..<10_000).lazy.map { try RoomName("border\($0)") }.first {
                HashSlot(of: $0).number < Holdings.slot(of: $0).number
            })
        let border = Holdings.slot(of: room).number
        return (room, topology((one, slots(0..<border)), (two, slots(border..<16_384))))
    }

    @Test func holdGoesToTheMasterOfTheRoom() throws {
        var router = readyWithoutOldList()
        for (room, part) in [(low, 1), (high, 2)] as [(RoomName, UInt32)] {
            let held = on(&router) { $0.submit(.hold(room: room, node: node), tag(0), &$1) }
            #expect(Self.sent(held) == [part])
            #expect(on(&router) { $0.submit(enter(room), tag(1), &$1) }.isEmpty)
            #expect(on(&router) { $0.submit(.roster(room: room), tag(2), &$1) }.isEmpty)
            let other = room == low ? high : low
            let asked = on(&router) { $0.submit(.roster(room: other), tag(3), &$1) }
            #expect(Self.sent(asked) == [3 - part], "others do not wait")
            let serial = try Self.serial(held)
            #expect(Self.sent(on(&router) { $0.completed(serial, .success(.done), &$1) }) == [part, part])
            #expect(Self.sent(on(&router) { $0.submit(.roster(room: room), tag(4), &$1) }) == [part])
            #expect(Self.sent(on(&router) { $0.submit(.release(room: room, node: node), tag(0), &$1) }) == [part])
        }
        let old = on(&router) { $0.submit(.release(room: high, node: node, inOldList: true), tag(0), &$1) }
        #expect(Self.sent(old) == [1])
    }

    @Test func besideNodesOfSchema1EnterWaitsForBothLists() throws {
        var router = ready()
        #expect(router.keepsOldList, "until it is known who lives")
        let held = on(&router) { $0.submit(.hold(room: high, node: node), tag(9), &$1) }
        #expect(Self.sent(held) == [2, 1])
        let serials = held.compactMap { if case .submit(_, _, let tag) = $0 { tag.serial } else { nil } }
        #expect(on(&router) { $0.submit(enter(high), tag(1), &$1) }.isEmpty)
        #expect(on(&router) { $0.completed(serials[1], .success(.done), &$1) }.isEmpty, "one is not enough")
        let answered = on(&router) { $0.completed(serials[0], .success(.done), &$1) }
        #expect(answered.first == .complete(tag(9), .success(.done)) && Self.sent(answered) == [2])
        #expect(Self.sent(on(&router) { $0.submit(.release(room: high, node: node), tag(0), &$1) }) == [1, 2])
        let (again, ends) = (router.keepOldList(true), router.keepOldList(false))
        #expect(!again && !ends)
        #expect(Self.sent(on(&router) { $0.submit(.hold(room: high, node: node), tag(0), &$1) }) == [2])
        let begins = router.keepOldList(true)
        #expect(begins, "what is held has to be written there once more")
    }

    @Test func aHoldOfWhichOneListFailsKeepsTheRoomFromBeingEntered() throws {
        for failing in [0, 1] {
            var router = ready()
            let held = on(&router) { $0.submit(.hold(room: high, node: node), tag(0), &$1) }
            let serials = held.compactMap { if case .submit(_, _, let tag) = $0 { tag.serial } else { nil } }
            _ = on(&router) { $0.submit(enter(high), tag(1), &$1) }
            let full = Result<BrokerReply, BrokerError>.failure(.notStored("OOM no"))
            _ = on(&router) { $0.completed(serials[failing], full, &$1) }
            let failed = on(&router) { $0.completed(serials[1 - failing], .success(.done), &$1) }
            #expect(failed == [.complete(tag(1), .failure(.notConnected))])
        }
    }

    @Test func whoCannotBeHeldIsNotEntered() throws {
        let (room, border) = try roomAtTheBorder()
        var router = ClusterRouter(nodesSlot: nodesSlot)
        _ = router.keepOldList(false)
        var actions: [Action] = []
        router.cameToKnow(border, &actions)
        for (id, identity) in [(1, first), (2, second)] as [(UInt32, BrokerIdentity)] {
            router.subscriptionsUp(id, identity, &actions)
            router.commandsUp(id, identity, &actions)
        }
        #expect(router.owner(of: .room(room)) == 1)
        #expect(Self.sent(on(&router) { $0.submit(.hold(room: room, node: node), tag(0), &$1) }) == [2])
        _ = on(&router) { $0.submit(enter(room), tag(1), &$1) }
        _ = on(&router) { $0.submit(.roster(room: room), tag(2), &$1) }
        let lost = on(&router) { $0.commandsDown(2, "gone", &$1) }
        #expect(lost.contains(.complete(tag(1), .failure(.notConnected))))
        #expect(Self.sent(lost) == [1], "the roster is read all the same")
        // The same if it is down already.
        #expect(on(&router) { $0.submit(.hold(room: room, node: node), tag(0), &$1) }.isEmpty)
        #expect(on(&router) { $0.submit(enter(room), tag(3), &$1) } == [.complete(tag(3), .failure(.notConnected))])
        // As soon as the list's master is back, the room is entered again.
        #expect(on(&router) { $0.commandsUp(2, second, &$1) } == [.look(best: nil, last: two)])
        let back = on(&router) { $0.cameToKnow(border, &$1) }
        let scope = BrokerScope(SlotSet([HashSlot(of: room)]), holdsNodes: false)
        #expect(back.last == .commandsUp(first, scope))
        #expect(on(&router) { $0.commandsUp(2, second, &$1) }.count == 1, "once")
        _ = on(&router) { $0.submit(.hold(room: room, node: node), tag(0), &$1) }
        #expect(on(&router) { $0.submit(enter(room), tag(4), &$1) }.isEmpty, "waits for the new hold")
    }

    @Test func aMasterThatFailsTakesOnlyItsOwnRoomsDown() throws {
        var router = ready()
        let asked = on(&router) { $0.submit(.roster(room: high), tag(1), &$1) }
        let scope = BrokerScope(slots(8_192..<16_384), holdsNodes: false)
        #expect(
            on(&router) { $0.commandsDown(2, "gone", &$1) } == [
                .commandsDown("gone", scope), .complete(tag(1), .failure(.outcomeUnknown)), .look(best: nil, last: two),
            ])
        let serial = try Self.serial(asked)
        #expect(on(&router) { $0.completed(serial, .failure(.outcomeUnknown), &$1) }.isEmpty, "said already")
        #expect(
            on(&router) { $0.subscriptionsDown(2, "gone", &$1) } == [
                .subscriptionsDown("gone", scope), .look(best: nil, last: two),
            ])
        // Its replica is the master now.
        let moved = topology((one, slots(0..<8_192)), (three, slots(8_192..<16_384)))
        #expect(on(&router) { $0.cameToKnow(moved, &$1) } == [.close(2), .open(3, three, slots(8_192..<16_384))])
        let third = BrokerIdentity(runID: "3", replicationID: "c")
        #expect(on(&router) { $0.commandsUp(3, third, &$1) } == [.commandsUp(third, scope)])
        #expect(on(&router) { $0.commandsUp(2, second, &$1) }.isEmpty, "the old one says nothing any more")
    }

    @Test func aMasterThatComesBackIsNotBelievedAtOnce() throws {
        for isReplaced in [false, true] {
            var router = ready()
            _ = on(&router) { $0.commandsDown(2, "frozen", &$1) }
            _ = on(&router) { $0.subscriptionsDown(2, "frozen", &$1) }
            #expect(router.isTroubled)
            // It may have a successor, and be the last one to hear of it.
            #expect(on(&router) { $0.subscriptionsUp(2, second, &$1) } == [.look(best: nil, last: two)])
            #expect(on(&router) { $0.commandsUp(2, second, &$1) } == [.look(best: nil, last: two)])
            #expect(
                on(&router) { $0.submit(enter(high), tag(1), &$1) } == [.complete(tag(1), .failure(.notConnected))])
            let scope = BrokerScope(slots(8_192..<16_384), holdsNodes: false)
            guard isReplaced else {
                #expect(
                    on(&router) { $0.cameToKnow(halves, &$1) } == [
                        .subscriptionsUp(second, scope), .commandsUp(second, scope),
                    ])
                #expect(!router.isTroubled)
                continue
            }
            let moved = topology((one, slots(0..<8_192)), (three, slots(8_192..<16_384)))
            #expect(on(&router) { $0.cameToKnow(moved, &$1) } == [.close(2), .open(3, three, slots(8_192..<16_384))])
        }
    }

    @Test func aSlotThatMovesIsLostAndFoundAgain() throws {
        var router = ready()
        let slot = SlotSet([HashSlot(of: high)])
        let scope = BrokerScope(slot, holdsNodes: false)
        let serials = try (1...3).map { number in
            try Self.serial(on(&router) { $0.submit(.roster(room: high), tag(number), &$1) })
        }
        let moved = topology(
            (one, slots(0..<8_192).union(slot)), (two, slots(8_192..<16_384).subtracting(slot)))
        // The first answer says that the slot has moved: the other requests of the slot follow in order, and no others.
        let text = "MOVED \(HashSlot(of: high).number) h:1"
        #expect(
            on(&router) { $0.completed(serials[0], .failure(.notStored(text)), &$1) } == [
                .commandsDown(text, scope), .complete(tag(1), .failure(.notConnected)),
                .complete(tag(2), .failure(.outcomeUnknown)), .complete(tag(3), .failure(.outcomeUnknown)),
                .subscriptionsDown(text, scope), .look(best: one, last: nil),
            ])
        #expect(on(&router) { $0.completed(serials[1], .failure(.notStored(text)), &$1) }.isEmpty)
        #expect(
            on(&router) { $0.submit(.roster(room: high), tag(4), &$1) } == [
                .complete(tag(4), .failure(.notConnected))
            ])
        #expect(!router.hears(.room(high), from: 2))
        #expect(
            on(&router) { $0.cameToKnow(moved, &$1) } == [
                .serves(1, slots(0..<8_192).union(slot)), .serves(2, slots(8_192..<16_384).subtracting(slot)),
                .subscriptionsUp(first, scope), .commandsUp(first, scope),
            ])
        #expect(Self.sent(on(&router) { $0.submit(.roster(room: high), tag(5), &$1) }) == [1])
        #expect(on(&router) { $0.subscribe(.room(high), &$1) } == [.subscribe(1, .room(high))])
        #expect(router.hears(.room(high), from: 1) && !router.hears(.room(high), from: 2))
        #expect(on(&router) { $0.channelLeft(.room(high), "late", from: 2, &$1) }.isEmpty, "that is over")
    }

    @Test func aSlotOnItsWayKeepsItsChannel() throws {
        var router = ready()
        let scope = BrokerScope(SlotSet([HashSlot(of: high)]), holdsNodes: false)
        let serial = try Self.serial(on(&router) { $0.submit(.roster(room: high), tag(1), &$1) })
        #expect(
            on(&router) { $0.completed(serial, .failure(.notStored("TRYAGAIN half")), &$1) } == [
                .commandsDown("TRYAGAIN half", scope), .complete(tag(1), .failure(.notConnected)),
                .look(best: nil, last: nil),
            ])
        #expect(router.hears(.room(high), from: 2))
        // Asked again, nothing has changed: it is tried again.
        #expect(on(&router) { $0.cameToKnow(halves, &$1) } == [.commandsUp(second, scope)])
    }

    @Test func aChannelThatLeftTakesItsRoomDown() throws {
        var router = ready()
        let scope = BrokerScope(SlotSet([HashSlot(of: high)]), holdsNodes: false)
        #expect(
            on(&router) { $0.channelLeft(.room(high), "left", from: 2, &$1) } == [
                .commandsDown("left", scope), .subscriptionsDown("left", scope), .look(best: nil, last: nil),
            ])
        // A connection that comes back has every slot.
        let whole = BrokerScope(slots(8_192..<16_384), holdsNodes: false)
        #expect(on(&router) { $0.commandsUp(2, second, &$1) } == [.commandsUp(second, whole)])
        #expect(on(&router) { $0.subscriptionsUp(2, second, &$1) } == [.subscriptionsUp(second, whole)])
        #expect(on(&router) { $0.cameToKnow(halves, &$1) }.isEmpty)
    }

    @Test func slotsThatNobodyServesAreDown() throws {
        var router = ready()
        _ = on(&router) { $0.cameToKnow(topology((one, slots(0..<8_192))), &$1) }
        #expect(on(&router) { $0.submit(enter(high), tag(1), &$1) } == [.complete(tag(1), .failure(.notConnected))])
        #expect(on(&router) { $0.subscribe(.room(high), &$1) }.isEmpty)
        #expect(on(&router) { $0.cameToKnow(topology(), &$1) }.contains(.close(1)))
    }
}
