import ChatCore
import Testing

@testable import ChatRelay

@Suite("What a worker remembers of rooms")
struct ReadMemoryTests {
    private let lease = LeaseBook.Lease(partition: .first, token: 5)
    private func at(_ seconds: Double) -> Moment { Moment(nanoseconds: UInt64(seconds * 1e9) + 1) }
    private func room(_ number: Int) throws -> RoomName { try RoomName("r\(number)") }

    @Test func itHoldsUnderTheLeaseUnderWhichItWasLearned() throws {
        var memory = ReadMemory()
        let position = Position(epoch: 1, seq: 2)
        memory.keep(ReadMemory.Known(lease: lease, position: position), of: try room(1))
        #expect(memory[try room(1), lease]?.position == position)
        #expect(memory[try room(1), LeaseBook.Lease(partition: .first, token: 6)] == nil)
        memory.forget(try room(1))
        #expect(memory[try room(1), lease] == nil)
    }

    @Test func itIsBoundedAndKeepsTheNewest() throws {
        var memory = ReadMemory()
        for number in 0..<20_000 { memory.keep(ReadMemory.Known(lease: lease), of: try room(number)) }
        let known = try (0..<20_000).filter { memory[try room($0), lease] != nil }
        #expect((4_096...8_192).contains(known.count) && known.last == 19_999)
        #expect(known == Array((20_000 - known.count)..<20_000))
    }

    @Test func whatIsKeptAgainReplacesWhatWasKeptBefore() throws {
        var memory = ReadMemory()
        memory.keep(ReadMemory.Known(lease: lease), of: try room(0))
        for number in 1..<5_000 { memory.keep(ReadMemory.Known(lease: lease), of: try room(number)) }
        let later = Position(epoch: 1, seq: 9)
        memory.keep(ReadMemory.Known(lease: lease, position: later), of: try room(0))
        #expect(memory[try room(0), lease]?.position == later)
        memory.forget(try room(0))
        #expect(memory[try room(0), lease] == nil)
    }

    @Test func aCursorIsWrittenWithItsLifeOnceAnHour() {
        var known = ReadMemory.Known(lease: lease)
        #expect(!ReadMemory.isSaved(known, now: at(0)))
        known.saved = at(10)
        #expect(ReadMemory.isSaved(known, now: at(3_609)) && !ReadMemory.isSaved(known, now: at(3_610)))
    }

    @Test func pagesGrowWhileTheyAreFullOfSmallEntries() {
        #expect(PageSize.next(after: 16, entries: 16, bytes: 16 * 100) == 64)
        #expect(PageSize.next(after: 64, entries: 64, bytes: 64 * 100) == 256)
        #expect(PageSize.next(after: 256, entries: 256, bytes: 256 * 100) == 256)
        #expect(PageSize.next(after: 256, entries: 255, bytes: 255 * 100) == 16, "the room has no more")
        #expect(PageSize.next(after: 16, entries: 16, bytes: 16 * 60_000) == 2, "large entries are read in small pages")
        #expect(PageSize.next(after: 2, entries: 2, bytes: 2 * 1_000_000) == 1)
        #expect(PageSize.next(after: 16, entries: 0, bytes: 0) == 16)
    }

    @Test func aCursorIsReadAsTheFunctionsReadIt() {
        #expect(LogReader.cursor("5-7 12") == Position(epoch: 5, seq: 7))
        for text in [nil, "", "5-7", "5-7 ", "5-7 x", "5-7 1 2", " 5-7 1", "99999999999999999999-1 5", "x 5"] {
            #expect(LogReader.cursor(text) == nil, "\(text ?? "nil")")
        }
    }
}
