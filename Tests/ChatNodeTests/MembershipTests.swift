import ChatCore
import ChatGateway
import Testing

@testable import ChatHub
@testable import ChatNode

/// Who answers that a session is not in a room, and that each request has one answer.
@Suite struct MembershipTests {
    /// A client: its requests go through the session's machine to the host, and the answers back.
    final class Client: SessionOutlet {
        let protocolID = ProtocolID(rawValue: 0)
        let user: UserID
        private let loop: Loop
        private var machine: SessionStateMachine
        private(set) var id = SessionID(raw: 0)
        private(set) var events: [ServerEvent] = []

        init(_ loop: Loop) throws {
            user = try UserID("eve")
            self.loop = loop
            machine = SessionStateMachine(limits: Limits(), heartbeat: .seconds(25), now: loop.now)
            let identity = SessionIdentity(user: user, device: try DeviceName("d"))
            id = loop.sessions.open(identity, rate: UserRate(UserRate.Rules(Limits())), outlet: self)
        }

        func ask(_ ref: String, _ body: ClientRequest.Body) {
            switch machine.received(ClientRequest(ref: .string(ref), body: body), now: loop.now) {
            case .perform(let body, let ref): loop.sessions.perform(body, ref: ref, from: id)
            case .reply(let event), .replyAndClose(let event, _): events.append(event)
            case .doNothing: break
            }
        }

        func join(_ room: RoomName, _ ref: String) { ask(ref, .join(room: room, after: nil, history: nil)) }

        func send(_ event: ServerEvent) {
            if let event = machine.outgoing(event) { events.append(event) }
        }
        func send(_ frame: Frame) {}
        func takesPage() -> Bool { true }
        func close(_ reason: CloseReason) {}

        /// The answers to the request, in a word each.
        func answers(to ref: String) -> [String] {
            events.compactMap { event in
                switch event {
                case .joined(let joined) where joined.ref == .string(ref): "joined"
                case .left(.string(ref)?, _): "left"
                case .sent(.string(ref)?, _, _, _, _): "sent"
                case .error(.string(ref)?, let error): error.code.name
                default: nil
                }
            }
        }
    }

    private static func enteredRoom(_ loop: Loop, _ link: LoopBrokerTests.FakeLink) throws -> RoomName {
        // The session in it has the number of the loop's first one.
        _ = try Client(loop)
        let identity = BrokerIdentity(runID: "r", replicationID: "s")
        loop.broker.brokerSubscriptionsUp(identity, .everything)
        loop.broker.brokerCommandsUp(identity, .everything)
        let name = try LoopBrokerTests.waitingRoom(loop)
        try LoopBrokerTests.enter(name, loop, link)
        return name
    }

    private static func deliver(_ loop: Loop) { loop.rooms.outboxes.tickEnded(.deliveries) }

    @Test func whoLeavesBeforeTheJoinIsAnsweredHasOneAnswerToEach() async throws {
        try await LoopBrokerTests().onLoop { parts in
            let client = try Client(parts.loops[0])
            let room = try RoomName("lobby")
            client.ask("l0", .leave(room: room))
            client.join(room, "j1")
            client.join(room, "j2")
            client.ask("l1", .leave(room: room))
            client.ask("l2", .leave(room: room))
            client.ask("s", .send(SendRequest(room: room, text: "hi")))
            for loop in parts.loops { Self.deliver(loop) }
            #expect(client.answers(to: "l0") == ["notJoined"])
            #expect(client.answers(to: "j1") == ["tooManyWaiting"])
            #expect(client.answers(to: "j2") == ["notJoined"])
            #expect(client.answers(to: "l1") == ["left"])
            #expect(client.answers(to: "l2") == ["notJoined"])
            #expect(client.answers(to: "s") == ["notJoined"])
        }
    }

    @Test func aSendBehindAJoinThatTheRoomRefusesIsRefusedByTheRoom() async throws {
        try await LoopBrokerTests().onLoop { parts in
            let loop = parts.loops[0]
            let room = try Self.enteredRoom(loop, parts.links[0])
            let client = try Client(loop)
            client.join(room, "j")
            // The room loses the session while the send is on its way.
            loop.rooms.leave(client.id, room, UserRate(UserRate.Rules(Limits())))
            client.ask("s", .send(SendRequest(room: room, text: "hi")))
            Self.deliver(loop)
            #expect(client.answers(to: "s") == ["notJoined"])
        }
    }

    @Test func aLeaveOfARoomThatTheHostDoesNotKnowIsDone() async throws {
        try await LoopBrokerTests().onLoop { parts in
            let (client, room) = (try Client(parts.loops[0]), try RoomName("lobby"))
            parts.loops[0].sessions.perform(.leave(room: room), ref: .string("l"), from: client.id)
            #expect(client.answers(to: "l") == ["left"])
            #expect(parts.loops.allSatisfy { $0.rooms.room(named: room) == nil })
        }
    }

    @Test func whoJoinsAgainWhileRedisIsFullStaysInTheRoomOrIsOutOfItOnBothSides() async throws {
        try await LoopBrokerTests().onLoop { parts in
            let (loop, link) = (parts.loops[0], parts.links[0])
            let room = try Self.enteredRoom(loop, link)
            let client = try Client(loop)
            client.join(room, "j1")
            Self.deliver(loop)
            #expect(client.answers(to: "j1") == ["joined"])
            loop.settings.hub.redisSpace.isShort = true
            client.join(room, "j2")
            #expect(!link.submitted.contains { Self.isHolders($0.request) }, "no room is begun for a member")

            // Redis has lost the room, and the third join comes before the second is answered.
            client.join(room, "j3")
            #expect(link.answer(.success(.holders([:])), where: Self.isHolders))
            let empty = HistoryPage(messages: [], newest: nil, hasOlder: false, hasNewer: false)
            #expect(link.answer(.success(.history(empty)), where: Self.isHistory))
            #expect(client.answers(to: "j2") == ["tooManyWaiting"] && client.answers(to: "j3") == ["noSpace"])
            #expect(loop.rooms.room(named: room)?.look { $0.has(client.id) } == false)
            client.ask("s", .send(SendRequest(room: room, text: "hi")))
            client.ask("l", .leave(room: room))
            Self.deliver(loop)
            #expect(client.answers(to: "s") == ["notJoined"])
            #expect(client.answers(to: "l") == ["left"])
            client.ask("l2", .leave(room: room))
            #expect(client.answers(to: "l2") == ["notJoined"])
        }
    }

    private static func isHolders(_ request: BrokerRequest) -> Bool {
        if case .holders = request { true } else { false }
    }

    private static func isHistory(_ request: BrokerRequest) -> Bool {
        if case .history = request { true } else { false }
    }
}
