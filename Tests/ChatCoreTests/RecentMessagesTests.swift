import Testing

@testable import ChatCore

@Suite struct RecentMessagesTests {
    private func message(_ seq: UInt64, key: String? = nil, text: String = "x") throws -> Message {
        Message(
            position: Position(epoch: 1, seq: seq),
            content: MessageContent(user: try UserID("ana"), at: seq, text: text, key: key))
    }

    @Test func oldestAreDroppedBeyondTheCapacityWithTheirKeys() throws {
        var recent = RecentMessages(capacity: 3, costLimit: 1_000_000)
        for seq in 1...UInt64(200) { recent.append(try message(seq, key: "k\(seq)")) }
        #expect(recent.count == 3 && recent.completeAfter == 197)
        #expect(recent.first?.position.seq == 198 && recent.last?.position.seq == 200)
        let user = try UserID("ana")
        #expect(recent.position(of: "k197", by: user) == nil)
        #expect(recent.position(of: "k198", by: user)?.position.seq == 198)
        #expect(recent.messages(after: 0).map(\.position.seq) == [198, 199, 200])
        #expect(recent.message(seq: 197) == nil && recent.message(seq: 199) != nil)
    }

    @Test func memoryIsBoundedInBytesAndKeepsAtLeastOne() throws {
        var recent = RecentMessages(capacity: 1_000, costLimit: 1_000)
        let long = String(repeating: "y", count: 400)
        for seq in 1...UInt64(9) { recent.append(try message(seq, text: long)) }
        #expect(recent.count == 2 && recent.cost <= 1_000)
        recent.append(try message(10, text: String(repeating: "z", count: 5_000)))
        #expect(recent.count == 1)
    }

    @Test func whatIsForgottenToMakeRoomIsKnownToBeMissing() throws {
        var recent = RecentMessages(capacity: 1_000, costLimit: 1_000_000)
        for seq in 1...UInt64(100) { recent.append(try message(seq, key: "k\(seq)")) }
        let whole = recent.cost
        recent.shrink(toCost: whole)
        #expect(recent.count == 100 && recent.completeAfter == 0)
        recent.shrink(toCost: whole / 2)
        #expect(recent.cost <= whole / 2 && recent.completeAfter == UInt64(100 - recent.count))
        #expect(recent.messages(after: 0).first?.position.seq == recent.completeAfter + 1)
        let user = try UserID("ana")
        #expect(recent.position(of: "k1", by: user) == nil && recent.position(of: "k100", by: user) != nil)
        recent.shrink(toCost: 0)
        #expect(recent.count == 1 && recent.completeAfter == 99)
        recent.append(try message(101))
        #expect(recent.messages(after: 0).map(\.position.seq) == [100, 101])
    }

    @Test func keyUsedTwiceKeepsTheNewestPlace() throws {
        var recent = RecentMessages(capacity: 2, costLimit: 1_000_000)
        recent.append(try message(1, key: "k"))
        recent.append(try message(2, key: "k"))
        recent.append(try message(3))
        #expect(recent.position(of: "k", by: try UserID("ana"))?.position.seq == 2)
    }

    @Test func holeIsNotTakenForComplete() throws {
        var recent = RecentMessages(capacity: 10, costLimit: 1_000_000)
        recent.append(try message(1))
        recent.append(try message(3))
        #expect(recent.completeAfter == 2)
        recent.noteGap(through: 7)
        #expect(recent.completeAfter == 7)
    }

    /// A deletion may be among what is missing, and what it has erased must not be shown or put back.
    @Test func whatLiesBeforeAHoleIsForgottenWithItsKeys() throws {
        var recent = RecentMessages(capacity: 10, costLimit: 1_000_000)
        let user = try UserID("ana")
        for seq in 1...UInt64(3) { recent.append(try message(seq, key: "k\(seq)")) }
        recent.append(try message(9, key: "k9"))
        #expect(recent.messages(after: 0).map(\.position.seq) == [9])
        #expect(recent.position(of: "k3", by: user) == nil && recent.position(of: "k9", by: user) != nil)
        recent.noteGap(through: 12)
        #expect(recent.isEmpty && recent.cost == 0 && recent.last == nil && recent.message(seq: 9) == nil)
        recent.append(try message(13))
        #expect(recent.completeAfter == 12 && recent.messages(after: 0).map(\.position.seq) == [13])
    }

    @Test func newestAreTheLastOnesInTheirOrder() throws {
        var recent = RecentMessages(capacity: 10, costLimit: 1_000_000)
        for seq in 1...UInt64(5) { recent.append(try message(seq)) }
        #expect(recent.newest(2).map(\.position.seq) == [4, 5])
        #expect(recent.newest(0).isEmpty && recent.newest(-1).isEmpty && recent.newest(99).count == 5)
    }
}
