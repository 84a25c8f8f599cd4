import ChatCore
import Testing

@testable import ChatHub

/// What a room hears of read positions before it knows who its participants are.
@Suite struct RoomReadingTests {
    private let ana: UserID
    private let bo: UserID

    init() throws {
        ana = try UserID("ana")
        bo = try UserID("bo")
    }

    private func mark(_ seq: UInt64) -> ReadMark { ReadMark(Position(epoch: 1, seq: seq)) }

    private func receipts(of users: [UserID], _ marks: [UserID: ReadMark]) -> RoomReceipts {
        RoomReceipts(participants: users, marks: marks, tally: LogTally(last: 9), kept: 9)
    }

    @Test func marksHeardBeforeTheAnswerToEnterAreKept() {
        let reading = RoomReading()
        #expect(reading.heard([ana: mark(5), bo: mark(3)]).isEmpty && !reading.isEmpty)
        // The answer was made before them.
        reading.receipts = receipts(of: [ana], [ana: mark(2)])
        #expect(reading.settleEarly { _ in false } == [ana: mark(5)])
        #expect(reading.receipts?.position(of: ana) == mark(5).position)
        #expect(reading.settleEarly { _ in false }.isEmpty, "once")
    }

    @Test func marksOfALostBranchAreNotKept() {
        let reading = RoomReading()
        _ = reading.heard([ana: mark(5)])
        reading.receipts = receipts(of: [ana], [:])
        #expect(reading.settleEarly { $0 == mark(5).position }.isEmpty)
    }

    @Test func aRoomWithoutParticipantsKeepsNone() {
        let reading = RoomReading()
        _ = reading.heard([ana: mark(5)])
        reading.hasNoParticipants()
        #expect(reading.isEmpty)
    }

    @Test func aForeignChannelFillsNoMemory() throws {
        let users = try (0..<3_000).map { try UserID("user\($0)") }
        let reading = RoomReading()
        for user in users { _ = reading.heard([user: mark(1)]) }
        reading.receipts = receipts(of: users, [:])
        #expect(reading.settleEarly { _ in false }.count == 1_000)
    }
}
