import ChatCore
import Testing

@testable import ChatHub
@testable import ChatNode

extension LoopBrokerTests {
    /// The room that somebody waits to be let into is entered, and everybody is told.
    static func enter(_ name: RoomName, _ loop: Loop, _ link: FakeLink) throws {
        let node = try NodeID("n-1")
        let view = Self.view(ofANewRoomWith: node, epoch: 5_000)
        #expect(link.answer(.success(.view(view)), where: isEnter))
        loop.broker.brokerHeard(.room(name), .epoch(5_000, base: 0, nodes: view.nodes, by: node))
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
            let (loop, link) = (parts.loops[0], parts.links[0])
            loop.broker.brokerSubscriptionsUp(identity, .everything)
            loop.broker.brokerCommandsUp(identity, .everything)
            let name = try Self.waitingRoom(loop)
            try Self.enter(name, loop, link)
            let room = try #require(loop.rooms.room(named: name))
            func restSoon() {
                room.restAt = loop.now
                loop.rooms.restRooms()
            }
            loop.rooms.restRooms()
            #expect(room.isAwake, "something has just happened")
            restSoon()
            #expect(!room.isAwake && loop.rooms.awakeCount == 0 && room.sharedSeq == nil)
            #expect(loop.load.rooms == 1)

            let message = Message(
                position: Position(epoch: 5_000, seq: 1), content: MessageContent(user: try UserID("bo"), at: 1))
            loop.broker.brokerHeard(.room(name), .message(message, base: 0))
            #expect(room.isAwake && loop.rooms.awakeCount == 1)
            #expect(room.look { $0.position } == message.position)
            restSoon()
            #expect(room.reaches(message.position) && !room.reaches(Position(epoch: 5_000, seq: 2)))

            let tag = RequestTag(owner: room.slot, generation: room.generation, serial: 1_000)
            loop.broker.brokerCompleted(tag, .success(.done))
            #expect(room.isAwake)
            loop.rooms.restRooms()
            #expect(!room.isAwake, "an answer is no reason to stay awake")

            #expect(loop.rooms.has(SessionID(number: 1, loop: 0), in: room) && room.isAwake)
            restSoon()
            link.submitted = []
            loop.broker.brokerCommandsDown("lost", .everything)
            restSoon()
            #expect(room.isAwake, "it waits for the connection")
            #expect(room.restAt > loop.now + .seconds(10), "and is not asked again every second")
            loop.broker.brokerCommandsUp(identity, .everything)
            #expect(link.submitted.contains { Self.isEnter($0.request) })
        }
    }
}
