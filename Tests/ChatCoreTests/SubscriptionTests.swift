import Testing

@testable import ChatCore

@Suite struct SubscriptionTests {
    private let now = Moment(nanoseconds: 1)

    private func room(_ name: String) throws -> Entity { .room(try RoomName(name)) }

    /// `count`: the number of subscriptions in Redis' reply; nil for that of one channel.
    private func receive(
        _ machine: inout SubscriptionStateMachine, _ kind: SubscriptionStateMachine.Kind, _ channel: String,
        count: Int64? = nil
    ) -> SubscriptionStateMachine.ReplyAction {
        let count = count ?? (kind == .subscribe ? 1 : 0)
        return Array(channel.utf8).withUnsafeBufferPointer { machine.received(kind, channel: $0, count: count) }
    }

    private func failed(_ action: SubscriptionStateMachine.ReplyAction) -> Bool {
        if case .fail = action { true } else { false }
    }

    @Test func messagesAreHeardBetweenTheTwoAcknowledgements() throws {
        var machine = SubscriptionStateMachine(frame: ChannelFrame(before: 2, behind: 0))
        let lobby = try room("lobby")
        machine.subscribe(lobby, channel: "c:\(lobby)", now: now)
        #expect(receive(&machine, .message, "c:lobby") == .ignore, "not acknowledged")
        #expect(receive(&machine, .subscribe, "c:lobby") == .subscribed(lobby))
        #expect(receive(&machine, .message, "c:lobby") == .heard(lobby))
        #expect(receive(&machine, .message, "c:other") == .ignore)
        machine.unsubscribe(lobby, channel: "c:\(lobby)", now: now)
        #expect(receive(&machine, .message, "c:lobby") == .ignore, "no longer wanted")
        #expect(receive(&machine, .unsubscribe, "c:lobby") == .unsubscribed(lobby))
        #expect(machine.subscribedCount == 0 && machine.outstanding == 0)
    }

    @Test func channelsOfUsersAreToldFromThoseOfRooms() throws {
        var machine = SubscriptionStateMachine(frame: ChannelFrame(before: 3, behind: 1, beforeUser: 8))
        let ana = Entity.user(try UserID("ana"))
        let encoded = Entity.user(try UserID("a{b"))
        let room = try room("ana")
        machine.subscribe(ana, channel: "c:user:{ana}", now: now)
        #expect(receive(&machine, .subscribe, "c:user:{ana}") == .subscribed(ana))
        machine.subscribe(encoded, channel: "c:user:{a%7Bb}", now: now)
        #expect(receive(&machine, .subscribe, "c:user:{a%7Bb}", count: 2) == .subscribed(encoded))
        machine.subscribe(room, channel: "c:{ana}", now: now)
        #expect(receive(&machine, .subscribe, "c:{ana}", count: 3) == .subscribed(room))
        #expect(receive(&machine, .message, "c:user:{ana}") == .heard(ana))
        #expect(receive(&machine, .message, "c:user:{a%7Bb}") == .heard(encoded))
        #expect(receive(&machine, .message, "c:{ana}") == .heard(room))
        #expect(receive(&machine, .message, "c:{room-ana}") == .ignore, "a room whose name ends as the user's")
        #expect(receive(&machine, .message, "c:user:{a{b}") == .ignore, "no channel has that name")
        machine.unsubscribe(ana, channel: "c:user:{ana}", now: now)
        #expect(receive(&machine, .message, "c:user:{ana}") == .ignore, "no longer wanted")
        #expect(receive(&machine, .unsubscribe, "c:user:{ana}", count: 2) == .unsubscribed(ana))
        #expect(receive(&machine, .message, "c:{ana}") == .heard(room))
        #expect(machine.subscribedCount == 2)
    }

    @Test func joinLeaveJoinBeforeTheFirstAcknowledgementEndsSubscribed() throws {
        var machine = SubscriptionStateMachine(frame: ChannelFrame(before: 2, behind: 0))
        let lobby = try room("lobby")
        machine.subscribe(lobby, channel: "c:\(lobby)", now: now)
        machine.unsubscribe(lobby, channel: "c:\(lobby)", now: now)
        machine.subscribe(lobby, channel: "c:\(lobby)", now: now)
        #expect(receive(&machine, .subscribe, "c:lobby") == .subscribed(lobby))
        #expect(receive(&machine, .message, "c:lobby") == .ignore, "of the subscription that was given up")
        #expect(receive(&machine, .unsubscribe, "c:lobby") == .unsubscribed(lobby))
        #expect(receive(&machine, .subscribe, "c:lobby") == .subscribed(lobby))
        #expect(receive(&machine, .message, "c:lobby") == .heard(lobby))
        #expect(machine.subscribedCount == 1)
    }

    @Test func leaveJoinLeaveEndsWithNothingLeftBehind() throws {
        var machine = SubscriptionStateMachine(frame: ChannelFrame(before: 2, behind: 0))
        let lobby = try room("lobby")
        machine.subscribe(lobby, channel: "c:\(lobby)", now: now)
        _ = receive(&machine, .subscribe, "c:lobby")
        machine.unsubscribe(lobby, channel: "c:\(lobby)", now: now)
        machine.subscribe(lobby, channel: "c:\(lobby)", now: now)
        machine.unsubscribe(lobby, channel: "c:\(lobby)", now: now)
        for kind in [SubscriptionStateMachine.Kind.unsubscribe, .subscribe, .unsubscribe] {
            _ = receive(&machine, kind, "c:lobby")
        }
        #expect(machine.subscribedCount == 0 && machine.outstanding == 0)
        #expect(receive(&machine, .message, "c:lobby") == .ignore)
    }

    @Test func twoSubscriptionsAreAcknowledgedTwiceAndOneEndIsEnough() throws {
        var machine = SubscriptionStateMachine(frame: ChannelFrame(before: 2, behind: 0))
        let lobby = try room("lobby")
        machine.subscribe(lobby, channel: "c:\(lobby)", now: now)
        machine.subscribe(lobby, channel: "c:\(lobby)", now: now)
        #expect(receive(&machine, .subscribe, "c:lobby") == .subscribed(lobby))
        #expect(receive(&machine, .subscribe, "c:lobby") == .subscribed(lobby))
        #expect(machine.subscribedCount == 1)
        machine.unsubscribe(lobby, channel: "c:\(lobby)", now: now)
        #expect(receive(&machine, .unsubscribe, "c:lobby") == .unsubscribed(lobby))
        #expect(machine.subscribedCount == 0)
    }

    @Test func answersOutOfOrderGiveTheConnectionUp() throws {
        let lobby = try room("lobby")
        let yard = try room("yard")
        var machine = SubscriptionStateMachine(frame: ChannelFrame(before: 2, behind: 0))
        #expect(failed(receive(&machine, .subscribe, "c:lobby")), "nothing was asked")
        machine.subscribe(lobby, channel: "c:\(lobby)", now: now)
        #expect(failed(receive(&machine, .unsubscribe, "c:lobby")), "the other kind")
        machine = SubscriptionStateMachine(frame: ChannelFrame(before: 2, behind: 0))
        machine.subscribe(lobby, channel: "c:\(lobby)", now: now)
        machine.subscribe(yard, channel: "c:\(yard)", now: now)
        #expect(failed(receive(&machine, .subscribe, "c:yard")), "the other channel")
        machine = SubscriptionStateMachine(frame: ChannelFrame(before: 2, behind: 0))
        machine.subscribe(lobby, channel: "c:\(lobby)", now: now)
        #expect(failed(receive(&machine, .pong, "")), "a pong for a subscribe")
        machine = SubscriptionStateMachine(frame: ChannelFrame(before: 2, behind: 0))
        machine.subscribe(lobby, channel: "c:\(lobby)", now: now)
        _ = receive(&machine, .subscribe, "c:lobby")
        #expect(failed(receive(&machine, .unsubscribe, "c:lobby")), "taken away by Redis")
        #expect(failed(receive(&machine, .other, "")))
    }

    @Test func aCountThatIsNotOursGivesTheConnectionUp() throws {
        let lobby = try room("lobby")
        let yard = try room("yard")
        var machine = SubscriptionStateMachine(frame: ChannelFrame(before: 2, behind: 0))
        machine.subscribe(lobby, channel: "c:\(lobby)", now: now)
        #expect(receive(&machine, .subscribe, "c:lobby", count: 1) == .subscribed(lobby))
        machine.subscribe(yard, channel: "c:\(yard)", now: now)
        machine.unsubscribe(yard, channel: "c:\(yard)", now: now)
        var lost = machine
        #expect(failed(receive(&lost, .subscribe, "c:yard", count: 1)), "one of the two is lost")
        #expect(receive(&machine, .subscribe, "c:yard", count: 2) == .subscribed(yard))
        lost = machine
        #expect(failed(receive(&lost, .unsubscribe, "c:yard", count: 0)), "the other one is lost too")
        lost = machine
        #expect(failed(receive(&lost, .unsubscribe, "c:yard", count: 2)), "it was not taken away")
        #expect(receive(&machine, .unsubscribe, "c:yard", count: 1) == .unsubscribed(yard))
    }

    @Test func theOldestQuestionIsTheOneWithTheDeadline() throws {
        var machine = SubscriptionStateMachine(frame: ChannelFrame(before: 2, behind: 0))
        #expect(machine.oldestQuestion == nil)
        machine.ping(now: Moment(nanoseconds: 5))
        machine.subscribe(try room("lobby"), channel: "c:lobby", now: Moment(nanoseconds: 9))
        #expect(machine.oldestQuestion == Moment(nanoseconds: 5))
        #expect(receive(&machine, .pong, "") == .ponged(since: Moment(nanoseconds: 5)))
        #expect(machine.oldestQuestion == Moment(nanoseconds: 9))
    }

    @Test func channelsOfNodesAndUsersAreKnownByTheirNames() throws {
        let slot = try #require(HashSlot(7))
        let node = Entity.node(try NodeID("n-1"), slot)
        let user = Entity.user(try UserID("lobby"))
        var machine = SubscriptionStateMachine(frame: ChannelFrame(before: 3, behind: 1))
        machine.subscribe(node, channel: "p:node:{12}:n-1", now: now)
        machine.subscribe(user, channel: "p:user:{lobby}", now: now)
        machine.subscribe(try room("lobby"), channel: "p:{lobby}", now: now)
        #expect(receive(&machine, .subscribe, "p:node:{12}:n-1", count: 1) == .subscribed(node))
        #expect(receive(&machine, .subscribe, "p:user:{lobby}", count: 2) == .subscribed(user))
        #expect(receive(&machine, .subscribe, "p:{lobby}", count: 3) == .subscribed(try room("lobby")))
        #expect(receive(&machine, .message, "p:node:{12}:n-1") == .heard(node))
        #expect(receive(&machine, .message, "p:user:{lobby}") == .heard(user))
        #expect(receive(&machine, .message, "p:{lobby}") == .heard(try room("lobby")))
        #expect(receive(&machine, .message, "p:node:{12}:n-2") == .ignore)
        machine.unsubscribe(user, channel: "p:user:{lobby}", now: now)
        #expect(receive(&machine, .message, "p:user:{lobby}") == .ignore)
        #expect(receive(&machine, .unsubscribe, "p:user:{lobby}", count: 2) == .unsubscribed(user))
        #expect(receive(&machine, .message, "p:{lobby}") == .heard(try room("lobby")), "of the same name")
    }

    /// A model of Redis answers in order and late, and publishes at random. The machine must agree with it at every
    /// step.
    @Test(arguments: 0..<200)
    func itAgreesWithRedisWhateverTheTiming(seed: UInt64) throws {
        var generator = SplitMix64(seed: seed &+ 77)
        var machine = SubscriptionStateMachine(frame: ChannelFrame(before: 2, behind: 0))
        let rooms = try (0..<4).map { try room("r\($0)") }
        var wire: [(SubscriptionStateMachine.Kind, String, Int64)] = []
        var redis: Set<String> = []
        var wanted: Set<String> = []
        for _ in 0..<400 {
            let room = rooms[Int.random(in: 0..<4, using: &generator)]
            let channel = "c:\(room)"
            switch Int.random(in: 0..<5, using: &generator) {
            case 0:
                machine.subscribe(room, channel: "c:\(room)", now: now)
                redis.insert(channel)
                wanted.insert(channel)
                wire.append((.subscribe, channel, Int64(redis.count)))
            case 1:
                machine.unsubscribe(room, channel: "c:\(room)", now: now)
                redis.remove(channel)
                wanted.remove(channel)
                wire.append((.unsubscribe, channel, Int64(redis.count)))
            case 2:
                if redis.contains(channel) { wire.append((.message, channel, Int64(redis.count))) }
            default:
                guard !wire.isEmpty else { continue }
                let (kind, name, count) = wire.removeFirst()
                let action = receive(&machine, kind, name, count: count)
                #expect(!failed(action), "seed \(seed &+ 77)")
                if case .heard(let heard) = action { #expect(wanted.contains("c:\(heard)"), "seed \(seed &+ 77)") }
            }
        }
        for (kind, name, count) in wire {
            #expect(!failed(receive(&machine, kind, name, count: count)), "seed \(seed &+ 77)")
        }
        #expect(machine.outstanding == 0 && machine.subscribedCount == redis.count, "seed \(seed &+ 77)")
        for room in rooms {
            let heard = receive(&machine, .message, "c:\(room)")
            #expect(heard == (redis.contains("c:\(room)") ? .heard(room) : .ignore), "seed \(seed &+ 77)")
        }
    }
}
