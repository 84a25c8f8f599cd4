import Testing

@testable import ChatCore

@Suite struct UserChannelsTests {
    private let ana: UserID
    private let redis = BrokerIdentity(runID: "a", replicationID: "a")
    private let start = Moment(nanoseconds: 1_000_000_000)

    init() throws {
        ana = try UserID("ana")
    }

    private func at(_ milliseconds: Int) -> Moment { start + .milliseconds(milliseconds) }

    private func connected() -> UserChannels {
        var channels = UserChannels()
        var actions: [UserChannels.Action] = []
        channels.connected(redis, .everything, now: at(0), &actions)
        return channels
    }

    @Test func aChannelIsSubscribedOnceForAllSessionsOfAUser() {
        var channels = connected()
        var actions: [UserChannels.Action] = []
        channels.came(SessionID(raw: 1), of: ana, now: at(0), &actions)
        channels.came(SessionID(raw: 2), of: ana, now: at(0), &actions)
        #expect(actions == [.subscribe(ana)])
        #expect(channels.sessions(of: ana) == [SessionID(raw: 1), SessionID(raw: 2)])
        channels.went(SessionID(raw: 1), of: ana, now: at(1), &actions)
        #expect(channels.sessions(of: ana) == [SessionID(raw: 2)] && channels.deadline == nil)
    }

    @Test func aReconnectWithinTheLingerCostsNothing() {
        var channels = connected()
        var actions: [UserChannels.Action] = []
        for round in 0..<5 {
            channels.came(SessionID(raw: UInt64(round + 1)), of: ana, now: at(round * 1_000), &actions)
            channels.went(SessionID(raw: UInt64(round + 1)), of: ana, now: at(round * 1_000 + 1), &actions)
            channels.timePassed(now: at(round * 1_000 + 2), &actions)
        }
        #expect(actions == [.subscribe(ana)])
        channels.timePassed(now: at(14_000), &actions)
        #expect(actions.count == 1, "the linger of the last session counts")
        channels.timePassed(now: at(14_001), &actions)
        #expect(actions == [.subscribe(ana), .unsubscribe(ana)] && channels.count == 0 && channels.deadline == nil)
    }

    @Test func manyUsersAtOnceAreSubscribedInBatches() throws {
        var channels = connected()
        var actions: [UserChannels.Action] = []
        let users = try (0..<1_000).map { try UserID("u\($0)") }
        for (number, user) in users.enumerated() {
            channels.came(SessionID(raw: UInt64(number + 1)), of: user, now: at(10), &actions)
        }
        // The first one goes out at once, the others in batches.
        #expect(actions.count == 1)
        var time = 10
        var most = 0
        while let deadline = channels.deadline {
            let before = actions.count
            time += 5
            #expect(deadline <= at(time))
            channels.timePassed(now: at(time), &actions)
            most = max(most, actions.count - before)
        }
        #expect(most <= UserChannels.batch && time <= 40)
        #expect(Set(actions) == Set(users.map { .subscribe($0) }) && actions.count == 1_000)
        // All go at once.
        actions = []
        for (number, user) in users.enumerated() {
            channels.went(SessionID(raw: UInt64(number + 1)), of: user, now: at(time), &actions)
        }
        time += 10_000
        most = 0
        while let deadline = channels.deadline {
            let before = actions.count
            #expect(deadline <= at(time))
            channels.timePassed(now: at(time), &actions)
            most = max(most, actions.count - before)
            time += 5
        }
        #expect(most == UserChannels.batch && channels.count == 0)
        #expect(Set(actions) == Set(users.map { .unsubscribe($0) }) && actions.count == 1_000)
    }

    @Test func afterALostConnectionOnlyWhoIsThereIsSubscribedAgain() throws {
        var channels = connected()
        var actions: [UserChannels.Action] = []
        let bob = try UserID("bob")
        channels.came(SessionID(raw: 1), of: ana, now: at(0), &actions)
        channels.timePassed(now: at(5), &actions)
        channels.came(SessionID(raw: 2), of: bob, now: at(10), &actions)
        channels.went(SessionID(raw: 2), of: bob, now: at(11), &actions)
        #expect(actions == [.subscribe(ana), .subscribe(bob)])
        actions = []
        channels.disconnected(.everything)
        let carol = try UserID("carol")
        channels.came(SessionID(raw: 3), of: carol, now: at(20), &actions)
        #expect(actions.isEmpty)
        channels.connected(redis, .everything, now: at(30), &actions)
        #expect(Set(actions) == [.subscribe(ana), .subscribe(carol)] && channels.count == 2)
    }

    @Test func anEntryIsSmall() {
        #expect(UserChannels.entryBytes <= 24)
    }
}
