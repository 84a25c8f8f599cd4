import ChatCore
import Testing

/// Sanctions of users in all rooms.
@Suite struct UserSanctionsTests {
    private let now: UInt64 = 1_700_000_000_000
    private func user(_ name: String) throws -> UserID { try UserID(name) }

    @Test func aBanForbidsEverythingAndAMuteSending() throws {
        let (ana, bob, eve) = (try user("ana"), try user("bob"), try user("eve"))
        var all = UserSanctions()
        #expect(all.refusalOfSending(by: ana, now: now) == nil)
        _ = all.impose(.ban, on: ana, Sanction(until: now + 5_000, reason: "spam"), now: now)
        _ = all.impose(.mute, on: bob, Sanction(), now: now)
        let ban = try #require(all.refusalOfPresence(of: ana, now: now))
        #expect(ban.code == .banned && ban.until == now + 5_000 && ban.message.contains("5 s: spam"))
        #expect(all.refusalOfSending(by: ana, now: now)?.code == .banned)
        #expect(all.refusalOfPresence(of: bob, now: now) == nil)
        let mute = try #require(all.refusalOfSending(by: bob, now: now))
        #expect(mute.code == .muted && mute.until == nil)
        #expect(all.refusalOfSending(by: eve, now: now) == nil && all.refusalOfPresence(of: eve, now: now) == nil)
        #expect(all.refusalOfSending(by: ana, now: now + 5_000) == nil, "it has ended")
        all.lift(.mute, from: bob)
        #expect(all.refusalOfSending(by: bob, now: now) == nil)
    }

    @Test func aLaterSanctionReplacesAnEarlierOne() throws {
        let ana = try user("ana")
        var all = UserSanctions()
        _ = all.impose(.ban, on: ana, Sanction(), now: now)
        _ = all.impose(.ban, on: ana, Sanction(until: now + 1), now: now)
        #expect(all.count == 1 && all.sanction(.ban, of: ana, now: now)?.until == now + 1)
        _ = all.impose(.ban, on: ana, Sanction(until: now), now: now)
        #expect(all.count == 0, "one that has ended already replaces it too")
    }

    @Test func whatHasEndedIsForgottenAndMemoryIsBounded() throws {
        var (all, isWhole) = (UserSanctions(), true)
        for number in 0..<UserSanctions.most {
            let kind: Sanction.Kind = number % 2 == 0 ? .ban : .mute
            let sanction = Sanction(until: now + 100_000 + UInt64(number))
            isWhole = all.impose(kind, on: try user("u\(number)"), sanction, now: now) && isWhole
        }
        #expect(isWhole && all.count == UserSanctions.most)
        isWhole = all.impose(.ban, on: try user("ana"), Sanction(), now: now)
        #expect(!isWhole, "another one is forgotten")
        #expect(all.count == UserSanctions.most)
        #expect(all.sanction(.ban, of: try user("u0"), now: now) == nil, "the first to end")
        #expect(all.sanction(.ban, of: try user("ana"), now: now) != nil)
        all.forget(now: now + 150_000)
        #expect(all.count == UserSanctions.most - 50_000, "u1 to u50000 have ended")
    }
}
