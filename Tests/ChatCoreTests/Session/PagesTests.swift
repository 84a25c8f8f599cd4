import ChatCore
import Testing

struct PagesTests {
    private func message(_ seq: UInt64, bytes: Int = 904) throws -> Message {
        // Each message counts 96 bytes and 3 of the user's name in addition.
        let text = String(repeating: "x", count: bytes - 3)
        return Message(
            position: Position(epoch: 5, seq: seq), content: .init(user: try UserID("ana"), at: 0, text: text))
    }

    private func messages(_ seqs: ClosedRange<UInt64>, bytes: Int = 904) throws -> [Message] {
        try seqs.map { try message($0, bytes: bytes) }
    }

    private func seqs(_ messages: [Message]) -> [UInt64] { messages.map(\.position.seq) }

    private func joined(_ seqs: ClosedRange<UInt64>, _ resumption: Resumption) throws -> Joined {
        Joined(
            ref: nil, room: try RoomName("lobby"), position: Position(epoch: 5, seq: seqs.upperBound),
            messages: try messages(seqs), members: nil, count: 1, resumption: resumption)
    }

    @Test func ofRecentMessagesTheNewestStayAndNothingFollows() throws {
        var fresh = try joined(1...10, .fresh)
        let freshIsCut = fresh.bound(bytes: 3_000, count: 100)
        #expect(!freshIsCut)
        #expect(seqs(fresh.messages) == [8, 9, 10])
        var few = try joined(1...10, .fresh)
        let fewIsCut = few.bound(bytes: 100_000, count: 2)
        #expect(!fewIsCut)
        #expect(seqs(few.messages) == [9, 10])
    }

    @Test func ofMissedMessagesTheOldestStayAndTheRestFollows() throws {
        var missed = try joined(1...10, .complete)
        let missedIsCut = missed.bound(bytes: 3_000, count: 100)
        #expect(missedIsCut)
        #expect(seqs(missed.messages) == [1, 2, 3])
        var many = try joined(1...10, .complete)
        let manyIsCut = many.bound(bytes: 100_000, count: 4)
        #expect(manyIsCut)
        #expect(seqs(many.messages) == [1, 2, 3, 4])
        var all = try joined(1...10, .complete)
        let allIsCut = all.bound(bytes: 100_000, count: 100)
        #expect(!allIsCut)
        #expect(all.messages.count == 10)
    }
}

struct CellRateTests {
    private let second: UInt64 = 1_000_000_000

    @Test func aBurstThenTheRate() {
        let rate = CellRate(perSecond: 10, burst: 3)
        var state: UInt64 = 0
        var taken = 0
        for moment in stride(from: 5 * second, through: 6 * second, by: 10_000_000) {
            if let next = rate.take(state, now: Moment(nanoseconds: moment)) {
                state = next
                taken += 1
            }
        }
        #expect(taken == 3 + 10)
    }

    @Test func aQuietTimeGivesTheBurstBackAndNoMore() {
        let rate = CellRate(perSecond: 10, burst: 3)
        var state: UInt64 = 0
        for _ in 0..<2 {
            var taken = 0
            let now = Moment(nanoseconds: state + 3_600 * second)
            while let next = rate.take(state, now: now) {
                state = next
                taken += 1
            }
            #expect(taken == 3)
        }
    }

    @Test func extremeNumbersDoNotTrap() {
        let rate = CellRate(perSecond: .max, burst: .max)
        #expect(rate.take(0, now: Moment(nanoseconds: .max)) == nil, "the clock's end")
        #expect(rate.take(.max, now: Moment(nanoseconds: 0)) == nil)
        #expect(CellRate(perSecond: 0, burst: 0).take(0, now: Moment(nanoseconds: 1)) == 1 + second)
    }
}
