import Testing

@testable import ChatCore

struct RequestCostTests {
    private let start = Moment(nanoseconds: 1_000_000_000_000)

    /// How many requests of that cost a user can make in `seconds` by trying at every `step`.
    private func done(_ rate: CostRate, _ cost: UInt64, seconds: Double, step: Duration, patience: UInt64 = 1) -> Int {
        var state: UInt64 = 0
        var count = 0
        var now = start
        while now < start + .seconds(seconds) {
            if let next = rate.take(state, cost, patience: patience, now: now) {
                state = next
                count += 1
            }
            now = now + step
        }
        return count
    }

    @Test(arguments: [10_000, 1_000_000, 65_000_000, 400_000_000] as [UInt64])
    func whoTriesAllTheTimeCostsWhatTheLimitSaysInTheLongRun(cost: UInt64) {
        // A tenth of a core, and a burst of three tenths of a second.
        let rate = CostRate(perSecond: 100_000_000, burst: 300_000_000)
        let count = done(rate, cost, seconds: 60, step: .microseconds(50))
        let work = Double(count) * Double(cost)
        #expect(work <= 60 * 100_000_000 + 300_000_000 + Double(cost) * 2, "\(count)")
        #expect(work >= 60 * 100_000_000 * 0.95)
    }

    @Test func whatIsDoneAnywayIsPaidBeforeTheNextThing() {
        let rate = CostRate(perSecond: 100_000_000, burst: 0)
        let state = rate.charge(0, 10_000_000, now: start)
        #expect(rate.isInDebt(state, now: start))
        #expect(rate.debt(state, now: start) == .milliseconds(100))
        #expect(rate.take(state, 1, now: start + .milliseconds(99)) == nil)
        #expect(rate.take(state, 1, now: start + .milliseconds(100)) != nil)
        #expect(rate.take(state, 1, patience: .max, now: start) != nil)
    }

    @Test func noDebtIsForLife() {
        let rate = CostRate(perSecond: 1, burst: 1)
        var state: UInt64 = 0
        for _ in 0..<10 { state = rate.charge(state, .max, now: start) }
        #expect(rate.debt(state, now: start) <= .seconds(76))
        #expect(!rate.isInDebt(state, now: start + .seconds(76)))
        let late = Moment(nanoseconds: .max)
        #expect(rate.charge(state, 5, now: late) == .max)
    }

    @Test func costsGrowWithBytesAndReceiversAndNeverOverflow() {
        #expect(RequestCost.fanOut(bytes: 100, to: 0) == 0)
        #expect(RequestCost.fanOut(bytes: 60_000, to: 500) > 10 * RequestCost.fanOut(bytes: 100, to: 500))
        #expect(RequestCost.fanOut(bytes: .max, to: .max) > 0)
        #expect(RequestCost.fanOut(bytes: -1, to: -1) == 0)
        #expect(RequestCost.roster(.max, read: true) > 0 && RequestCost.read(.max) > 0)
    }

    /// Each one is told on a channel of its own.
    @Test func whoIsMentionedIsPaidFor() throws {
        let room = try RoomName("lobby")
        let users = try (0..<50).map { try UserID("user\($0)") }
        let plain = SendRequest(room: room, text: "x")
        var send = plain
        send.extra = MessageExtra(mentions: users)
        let more = UInt64(send.byteCount - plain.byteCount) * RequestCost.byteIn
        #expect(
            RequestCost.before(.send(send)) == RequestCost.before(.send(plain)) + more + 50 * RequestCost.mention)
    }

    /// Ordinary use is far below the limit.
    @Test func theDefaultsSuitAChat() throws {
        let limits = Limits()
        let rate = limits.costRate
        let room = try RoomName("lobby")
        let send = SendRequest(room: room, text: String(repeating: "x", count: 100))
        let talk = RequestCost.before(.send(send)) + RequestCost.fanOut(bytes: 100, to: 1_000)
        #expect(done(rate, talk, seconds: 30, step: .milliseconds(200)) == 150, "five messages a second to a thousand")
        let join = RequestCost.before(.join(room: room, after: nil, history: nil))
        let comes = join + 2 * RequestCost.fanOut(bytes: 100, to: 500)
        let patience = ClientRequest.Body.join(room: room, after: nil, history: nil).patience
        #expect(
            done(rate, comes, seconds: 0.001, step: .microseconds(10), patience: patience) == 100, "all rooms at once")
        let signal = RequestCost.fanOut(bytes: 60_000, to: 500)
        #expect(done(rate, signal, seconds: 60, step: .milliseconds(1)) < 120, "an abuse")
    }
}

@Suite struct RoomCostTests {
    @Test func whatAHalfForgottenMemoryLacksIsLookedUpInRedis() throws {
        var settings = RoomSettings()
        settings.historyLength = 100
        let ana = try UserID("ana")
        var room = try RoomHarness(settings: settings)
        let session = SessionID(raw: 1)
        let entries = (1...UInt64(100)).map { seq in
            let content = MessageContent(user: ana, at: seq, text: String(repeating: "x", count: 1_000), key: "k\(seq)")
            return Message(position: Position(epoch: 1, seq: seq), content: content)
        }
        try room.goInside(epoch: 2, last: 100, entries: entries, links: [(1, 0), (2, 100)], history: 1)
        var machine = room.machine
        let known = SendRequest(room: machine.room, text: "x", key: "k100")
        let fresh = SendRequest(room: machine.room, text: "x", key: "new")
        #expect(!machine.isLookedUp(fresh, from: session), "the memory has all keys")
        let full = machine.memoryCost
        machine.releaseMemory(toBytes: full / 4)
        #expect(machine.memoryCost <= full / 4 && machine.rememberedMessages > 20)
        #expect(!machine.isLookedUp(known, from: session))
        #expect(!machine.isLookedUp(SendRequest(room: machine.room, text: "x"), from: session))
        #expect(machine.isLookedUp(fresh, from: session))
        #expect(machine.cost(of: fresh, from: session) > machine.cost(of: known, from: session) + 100_000)
        machine.releaseMemory(toBytes: 0)
        #expect(machine.rememberedMessages == 1, "the newest one stays")
        #expect(machine.costOfMissed(after: Position(epoch: 1, seq: 1)) > 0)
        #expect(machine.costOfMissed(after: Position(epoch: 1, seq: 99)) == 0)
    }
}
