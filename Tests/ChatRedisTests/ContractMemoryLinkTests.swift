import ChatCore
import Testing

/// The promises of ``BrokerLink`` as ``MemoryBrokerLink`` keeps them.
@Suite struct ContractMemoryLinkTests {
    /// Records the calls of a link, and runs deferred work only when asked to.
    private final class World: BrokerLinkDelegate {
        var heard: [String] = []
        var work: [() -> Void] = []

        func run() {
            while !work.isEmpty { work.removeFirst()() }
        }

        /// The calls since the last time.
        func take() -> [String] {
            defer { heard = [] }
            return heard
        }

        func brokerCompleted(_ tag: RequestTag, _ result: Result<BrokerReply, BrokerError>) {
            switch result {
            case .success: heard.append("\(tag.serial) done")
            case .failure(let error): heard.append("\(tag.serial) \(error)")
            }
        }
        func brokerSubscribed(_ entity: Entity) { heard.append("+\(entity)") }
        func brokerUnsubscribed(_ entity: Entity) { heard.append("-\(entity)") }
        func brokerHeard(_ entity: Entity, _ event: ChannelEvent) { heard.append("event in \(entity)") }
        func brokerCommandsUp(_ identity: BrokerIdentity, _ scope: BrokerScope) { heard.append("commands up") }
        func brokerCommandsDown(_ reason: String, _ scope: BrokerScope) { heard.append("commands down") }
        func brokerSubscriptionsUp(_ identity: BrokerIdentity, _ scope: BrokerScope) {
            heard.append("subscriptions up")
        }
        func brokerSubscriptionsDown(_ reason: String, _ scope: BrokerScope) { heard.append("subscriptions down") }
    }

    private let hub = MemoryBrokerHub()
    private let world = World()
    private let link: MemoryBrokerLink
    private let room: RoomName
    private let event: ChannelEvent

    init() throws {
        room = try RoomName("lobby")
        let world = world
        link = MemoryBrokerLink(hub: hub, clock: { 1_000 }, defer: { world.work.append($0) })
        link.delegate = world
        event = .signal(
            Signal(node: try NodeID("n"), session: SessionID(raw: 1), user: try UserID("ana"), name: "typing"))
    }

    private func tag(_ serial: UInt64) -> RequestTag { RequestTag(owner: 0, generation: 0, serial: serial) }

    private func up() {
        link.start()
        world.run()
        _ = world.take()
    }

    @Test func nothingIsToldFromWithinACall() {
        link.submit(.ping, tag: tag(1))
        link.start()
        link.subscribe(room)
        link.submit(.ping, tag: tag(2))
        link.reset(room)
        #expect(world.take().isEmpty)
        world.run()
        #expect(!world.take().isEmpty)
    }

    @Test func requestsAreCompletedInTheirOrder() {
        link.submit(.ping, tag: tag(1))
        link.start()
        for serial in 2...5 { link.submit(.ping, tag: tag(UInt64(serial))) }
        world.run()
        #expect(
            world.take() == [
                "1 notConnected", "commands up", "subscriptions up", "2 done", "3 done", "4 done", "5 done",
            ])
    }

    @Test func onlySubscribersHear() throws {
        up()
        let other = World()
        let second = MemoryBrokerLink(hub: hub, clock: { 1_000 }, defer: { other.work.append($0) })
        second.delegate = other
        second.start()
        second.subscribe(room)
        second.subscribe(room)
        link.submit(.publish(room: room, event: event), tag: tag(1))
        world.run()
        other.run()
        #expect(world.take() == ["1 done"])
        #expect(other.take() == ["commands up", "subscriptions up", "+lobby", "+lobby", "event in lobby"])
        second.unsubscribe(room)
        link.submit(.publish(room: room, event: event), tag: tag(2))
        other.run()
        #expect(other.take() == ["-lobby"])
        #expect(hub.channels.isEmpty)
    }

    @Test func aResetLosesWhatIsInFlightAndAllSubscriptions() {
        up()
        link.subscribe(room)
        world.run()
        _ = world.take()
        link.submit(.publish(room: room, event: event), tag: tag(1))
        link.reset(room)
        link.submit(.publish(room: room, event: event), tag: tag(2))
        world.run()
        #expect(
            world.take() == [
                "commands down", "1 outcomeUnknown", "subscriptions down", "commands up", "subscriptions up", "2 done",
            ])
        #expect(hub.channels.isEmpty)
    }

    @Test func afterStopOnlyWhatWasInFlightIsCompleted() {
        up()
        link.subscribe(room)
        link.submit(.publish(room: room, event: event), tag: tag(1))
        link.stop()
        link.submit(.ping, tag: tag(2))
        world.run()
        #expect(world.take() == ["1 done", "2 notConnected"])
        #expect(hub.channels.isEmpty)
    }
}
