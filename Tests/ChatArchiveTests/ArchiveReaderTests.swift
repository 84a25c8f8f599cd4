import ChatCore
import Foundation
import Testing

@testable import ChatArchive

/// Pages of history across the seam between a log and the archive, in every way that a client can ask: compared with
/// what one long log would have answered.
@Suite("History across the seam")
struct ArchiveReaderTests {
    private let room: RoomName
    private let ana: UserID

    init() throws {
        room = try RoomName("lobby")
        ana = try UserID("ana")
    }

    private func position(_ seq: UInt64) -> Position { Position(epoch: 100 + seq / 7, seq: seq) }

    private func message(_ seq: UInt64) -> Message {
        Message(position: position(seq), content: MessageContent(user: ana, at: 1_000 + seq, text: "text \(seq)"))
    }

    private func path() -> String {
        FileManager.default.temporaryDirectory.appending(path: "archive-\(UInt64.random(in: 0 ... .max)).db").path
    }

    private func store(_ path: String, _ messages: [Message]) throws -> any ArchiveStore {
        let store = try #require(ArchiveAddress("sqlite:\(path)")).open()
        try store.take(messages.flatMap { ArchiveStep.of($0, in: room) })
        return store
    }

    private func complete(
        _ reader: ArchiveReader, _ query: HistoryQuery, _ page: HistoryPage
    ) async throws -> HistoryPage {
        try await withCheckedThrowingContinuation { continuation in
            reader.complete(page, of: query, in: room) { continuation.resume(with: $0) }
        }
    }

    /// What a log with these messages answers, as `martlet_history` does.
    private func page(_ log: [Message], _ query: HistoryQuery) -> HistoryPage {
        let limit = query.limit
        func made(_ messages: [Message]) -> HistoryPage {
            HistoryPage(
                messages: messages, newest: log.last?.position,
                hasOlder: messages.first.map { first in log.contains { $0.position < first.position } } ?? false,
                hasNewer: messages.last.map { last in log.contains { $0.position > last.position } } ?? false)
        }
        switch query.anchor {
        case .newest: return made(log.suffix(limit))
        case .before(let place): return made(log.filter { $0.position < place }.suffix(limit))
        case .after(let place): return made(Array(log.filter { $0.position > place }.prefix(limit)))
        case .around(let place):
            let older = log.filter { $0.position < place }
            let newer = log.filter { $0.position >= place }
            let kept = min(older.count, max(limit / 2, limit - newer.count))
            return made(Array(older.suffix(min(kept, limit)) + newer.prefix(limit - min(kept, limit))))
        }
    }

    @Test(arguments: [1, 2, 15, 29, 30, 31])
    func everyPageIsThatOfOneLongLog(begin: UInt64) async throws {
        let all = (1...30).map { message(UInt64($0)) }
        let log = all.filter { $0.position.seq >= begin }
        let path = path()
        defer { try? FileManager.default.removeItem(atPath: path) }
        // The archive has what the log lost, and some of what it still has.
        _ = try store(path, all.filter { $0.position.seq < begin + 5 })
        let reader = ArchiveReader(.sqlite(path: path))
        var anchors: [HistoryQuery.Anchor] = [.newest]
        for seq in UInt64(0)...31 {
            anchors += [.before(position(seq)), .after(position(seq)), .around(position(seq))]
        }
        for anchor in anchors {
            for limit in [1, 2, 5, 30, 50] {
                let query = HistoryQuery(anchor: anchor, limit: limit)
                let joined = try await complete(reader, query, page(log, query))
                let whole = page(all, query)
                #expect(joined.messages == whole.messages, "\(anchor) limit \(limit), log from \(begin)")
                guard !whole.messages.isEmpty else { continue }
                #expect(joined.hasOlder == whole.hasOlder, "older: \(anchor) limit \(limit), log from \(begin)")
                #expect(joined.hasNewer == whole.hasNewer, "newer: \(anchor) limit \(limit), log from \(begin)")
            }
        }
    }

    @Test func walkingBackReachesTheFirstMessage() async throws {
        let all = (1...50).map { message(UInt64($0)) }
        let log = Array(all.suffix(8))
        let path = path()
        defer { try? FileManager.default.removeItem(atPath: path) }
        _ = try store(path, all)
        let reader = ArchiveReader(.sqlite(path: path))
        var seen: [Message] = []
        var query = HistoryQuery(anchor: .newest, limit: 7)
        while true {
            let page = try await complete(reader, query, page(log, query))
            seen = page.messages + seen
            guard page.hasOlder, let first = page.messages.first else { break }
            query.anchor = .before(first.position)
        }
        #expect(seen == all)
    }

    @Test func anArchiveThatLacksMessagesEndsTheHistoryAndMakesNoHole() async throws {
        let all = (1...20).map { message(UInt64($0)) }
        let path = path()
        defer { try? FileManager.default.removeItem(atPath: path) }
        _ = try store(path, [])
        let reader = ArchiveReader(.sqlite(path: path))
        let query = HistoryQuery(anchor: .before(position(15)), limit: 10)
        let page = try await complete(reader, query, page(Array(all.suffix(10)), query))
        #expect(page.messages.map(\.position.seq) == [11, 12, 13, 14])
        #expect(!page.hasOlder)
    }

    @Test func aPageIsFoldedWithWhatWasArchivedLater() async throws {
        let bob = try UserID("bob")
        func entry(_ seq: UInt64, _ text: String?, data: String? = nil, _ extra: MessageExtra) -> Message {
            Message(
                position: position(seq),
                content: MessageContent(user: bob, at: 2_000, text: text, data: data, extra: extra))
        }
        let path = path()
        defer { try? FileManager.default.removeItem(atPath: path) }
        _ = try store(
            path,
            [
                message(1), message(2), message(3), message(4), message(5),
                entry(6, "better", MessageExtra(amendment: Amendment(.edit, of: position(1), number: 1))),
                entry(
                    7, "👍", data: #"["bob"]"#, MessageExtra(amendment: Amendment(.react, of: position(2), number: 1))),
                entry(8, nil, MessageExtra(amendment: Amendment(.delete, of: position(3), number: 1))),
                entry(9, "reply", MessageExtra(thread: position(4))),
            ])
        var query = HistoryQuery(anchor: .before(position(6)), limit: 10)
        query.isFolded = true
        let empty = HistoryPage(messages: [], newest: nil, hasOlder: false, hasNewer: false)
        let page = try await complete(ArchiveReader(.sqlite(path: path)), query, empty)
        #expect(page.messages.map(\.content.text) == ["better", "text 2", nil, "text 4", "text 5"])
        #expect(page.messages[0].content.extra?.state?.version == 1)
        #expect(page.messages[1].content.extra?.state?.reactions["👍"]?.count == 1)
        #expect(page.messages[2].content.deleted?.by == "bob")
        #expect(page.messages[3].content.extra?.state?.replies == 1)
    }

    @Test func aRangeThatIsErasedIsErasedInTheArchive() throws {
        let path = path()
        defer { try? FileManager.default.removeItem(atPath: path) }
        let range = MessageContent(
            user: ana, at: 3_000, data: #"["100-2","100-3"]"#,
            extra: MessageExtra(amendment: Amendment(.delete, of: position(2), number: 1)))
        let store = try store(path, [message(1), message(2), message(3)])
        try store.take(ArchiveStep.of(Message(position: position(4), content: range), in: room))
        let rows = try store.newer(room.text, after: nil, count: 10, bytes: .max).rows
        #expect(rows.map(\.text) == ["text 1", nil, nil, nil])
        #expect(rows[1].erasedBy == "ana" && rows[1].erasedAt == 3_000)
        #expect(try store.erase("ana", at: 4_000) == 2, "the first message, and the entry that erased the others")
        #expect(try store.newer(room.text, after: nil, count: 10, bytes: .max).rows.allSatisfy { $0.text == nil })
    }

    @Test func whatIsAddedTwiceIsThereOnce() throws {
        let path = path()
        defer { try? FileManager.default.removeItem(atPath: path) }
        let store = try store(path, [message(1), message(2)])
        try store.take([message(2), message(3)].flatMap { ArchiveStep.of($0, in: room) })
        #expect(try store.newer(room.text, after: nil, count: 10, bytes: .max).rows.map(\.position.seq) == [1, 2, 3])
    }

    @Test func pagesAreBoundedInRowsAndBytes() throws {
        let path = path()
        defer { try? FileManager.default.removeItem(atPath: path) }
        let store = try store(path, (1...10).map { message(UInt64($0)) })
        let page = try store.older(room.text, before: nil, count: 3, bytes: .max)
        #expect(page.rows.map(\.position.seq) == [10, 9, 8] && page.hasMore)
        let small = try store.newer(room.text, after: nil, count: 10, bytes: 1)
        #expect(small.rows.count == 1 && small.hasMore)
        #expect(try !store.newer(room.text, after: position(9), count: 3, bytes: .max).hasMore)
    }

    @Test func aFileThatIsNoDatabaseIsAFailureThatNamesIt() async throws {
        let path = path()
        defer { try? FileManager.default.removeItem(atPath: path) }
        try Data(repeating: 0x41, count: 4_096).write(to: URL(fileURLWithPath: path))
        let query = HistoryQuery(anchor: .newest, limit: 10)
        let empty = HistoryPage(messages: [], newest: nil, hasOlder: false, hasNewer: false)
        await #expect(throws: ArchiveFailure("sqlite \(path): file is not a database")) {
            try await complete(ArchiveReader(.sqlite(path: path)), query, empty)
        }
    }
}
