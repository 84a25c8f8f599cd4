import ChatCore
import Foundation
import TestSupport
import Testing

@testable import ChatArchive

/// The databases that there are.
enum Kind: String, CaseIterable, Sendable {
    case sqlite, postgres
}

/// An archive of a test's own.
private final class OwnArchive: Sendable {
    let address: ArchiveAddress
    private let path: String?

    /// One server for all tests; each has a schema in it.
    private static let server = Task { try await PrivatePostgres.start() }

    init(_ kind: Kind) async throws {
        switch kind {
        case .sqlite:
            let path = FileManager.default.temporaryDirectory.appending(
                path: "archive-\(UInt64.random(in: 0 ... .max)).db"
            ).path
            self.path = path
            address = .sqlite(path: path)
        case .postgres:
            path = nil
            let url = try await Self.server.value.url
            let schema = "t\(UInt64.random(in: 0 ... .max))"
            try PostgresConnection(url, place: "postgres").rows("CREATE SCHEMA \(schema)")
            address = try #require(ArchiveAddress("\(url)?options=-csearch_path%3D\(schema)"))
        }
    }

    deinit {
        if let path { try? FileManager.default.removeItem(atPath: path) }
    }

    func store(_ messages: [Message], in room: RoomName) throws -> any ArchiveStore {
        let store = try address.open()
        try store.take(messages.flatMap { ArchiveStep.of($0, in: room) })
        return store
    }
}

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
        case .around, .time:
            let place = query.anchor.position ?? Position(epoch: 0, seq: 0)
            let older = log.filter { $0.position < place }
            let newer = log.filter { $0.position >= place }
            let kept = min(older.count, max(limit / 2, limit - newer.count))
            return made(Array(older.suffix(min(kept, limit)) + newer.prefix(limit - min(kept, limit))))
        }
    }

    @Test(arguments: Kind.allCases, [1, 2, 15, 29, 30, 31])
    func everyPageIsThatOfOneLongLog(kind: Kind, begin: UInt64) async throws {
        let all = (1...30).map { message(UInt64($0)) }
        let log = all.filter { $0.position.seq >= begin }
        let own = try await OwnArchive(kind)
        // The archive has what the log lost, and some of what it still has.
        _ = try own.store(all.filter { $0.position.seq < begin + 5 }, in: room)
        let reader = ArchiveReader(own.address)
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

    @Test(arguments: Kind.allCases)
    func walkingBackReachesTheFirstMessage(kind: Kind) async throws {
        let all = (1...50).map { message(UInt64($0)) }
        let log = Array(all.suffix(8))
        let own = try await OwnArchive(kind)
        _ = try own.store(all, in: room)
        let reader = ArchiveReader(own.address)
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

    @Test(arguments: Kind.allCases)
    func anArchiveThatLacksMessagesEndsTheHistoryAndMakesNoHole(kind: Kind) async throws {
        let all = (1...20).map { message(UInt64($0)) }
        let own = try await OwnArchive(kind)
        _ = try own.store([], in: room)
        let reader = ArchiveReader(own.address)
        let query = HistoryQuery(anchor: .before(position(15)), limit: 10)
        let page = try await complete(reader, query, page(Array(all.suffix(10)), query))
        #expect(page.messages.map(\.position.seq) == [11, 12, 13, 14])
        #expect(!page.hasOlder)
    }

    @Test(arguments: Kind.allCases)
    func aPageIsFoldedWithWhatWasArchivedLater(kind: Kind) async throws {
        let bob = try UserID("bob")
        func entry(_ seq: UInt64, _ text: String?, data: String? = nil, _ extra: MessageExtra) -> Message {
            Message(
                position: position(seq),
                content: MessageContent(user: bob, at: 2_000, text: text, data: data, extra: extra))
        }
        let own = try await OwnArchive(kind)
        _ = try own.store(
            [
                message(1), message(2), message(3), message(4), message(5),
                entry(6, "better", MessageExtra(amendment: Amendment(.edit, of: position(1), number: 1))),
                entry(
                    7, "👍", data: #"["bob"]"#, MessageExtra(amendment: Amendment(.react, of: position(2), number: 1))),
                entry(8, nil, MessageExtra(amendment: Amendment(.delete, of: position(3), number: 1))),
                entry(9, "reply", MessageExtra(thread: position(4))),
            ], in: room)
        var query = HistoryQuery(anchor: .before(position(6)), limit: 10)
        query.isFolded = true
        let empty = HistoryPage(messages: [], newest: nil, hasOlder: false, hasNewer: false)
        let page = try await complete(ArchiveReader(own.address), query, empty)
        #expect(page.messages.map(\.content.text) == ["better", "text 2", nil, "text 4", "text 5"])
        #expect(page.messages[0].content.extra?.state?.version == 1)
        #expect(page.messages[1].content.extra?.state?.reactions["👍"]?.count == 1)
        #expect(page.messages[2].content.deleted?.by == "bob")
        #expect(page.messages[3].content.extra?.state?.replies == 1)
    }

    private func amendment(
        _ seq: UInt64, _ operation: Amendment.Operation, of: UInt64, text: String? = nil, data: String? = nil,
        number: UInt64 = 1
    ) -> Message {
        let extra = MessageExtra(amendment: Amendment(operation, of: position(of), number: number))
        return Message(
            position: position(seq), content: MessageContent(user: ana, at: seq, text: text, data: data, extra: extra))
    }

    private func folded(_ kind: Kind, _ all: [Message], limit: Int, bytes: Int) async throws -> HistoryPage {
        let own = try await OwnArchive(kind)
        _ = try own.store(all, in: room)
        var query = HistoryQuery(anchor: .after(Position(epoch: 0, seq: 0)), limit: limit, bytes: bytes)
        query.isFolded = true
        let empty = HistoryPage(messages: [], newest: nil, hasOlder: false, hasNewer: false)
        return try await complete(ArchiveReader(own.address), query, empty)
    }

    @Test(arguments: Kind.allCases)
    func theNewestOfManyAmendmentsCounts(kind: Kind) async throws {
        func reply(_ seq: UInt64, to root: UInt64) -> Message {
            let extra = MessageExtra(thread: position(root))
            return Message(position: position(seq), content: MessageContent(user: ana, at: 1, text: "r", extra: extra))
        }
        let all = [
            message(1), message(2), reply(3, to: 1), amendment(4, .edit, of: 1, text: "one"), message(5),
            amendment(6, .pin, of: 2), amendment(7, .edit, of: 1, text: "two", number: 2), reply(8, to: 1),
            amendment(9, .react, of: 2, text: "👍", data: #"["ana"]"#), amendment(10, .unpin, of: 2),
            amendment(11, .react, of: 2, text: "1", data: #"["ana"]"#),
            amendment(12, .unreact, of: 2, text: "👍", data: "[]", number: 0),
            amendment(13, .react, of: 2, text: "edit", data: #"["ana"]"#), amendment(14, .pin, of: 5),
            amendment(15, .edit, of: 1, text: "three", number: 3), reply(16, to: 1),
        ]
        for limit in 1...16 {
            let page = try await folded(kind, all, limit: limit, bytes: .max)
            let expected = Array(MessageFold.folded(all).prefix(limit))
            #expect(page.messages == expected, "limit \(limit)")
        }
    }

    /// A page of short messages with fifty edits of 60 kB each would have been read as 300 MB.
    @Test(arguments: Kind.allCases)
    func whatEditsSayCountsAmongTheBytesOfAPage(kind: Kind) async throws {
        let long = String(repeating: "x", count: 10_000)
        var all = (1...40).map { message(UInt64($0)) }
        for place in UInt64(1)...40 {
            for number in UInt64(1)...3 {
                all.append(amendment(40 * number + place, .edit, of: place, text: long, number: number))
            }
        }
        all.sort { $0.position < $1.position }
        let page = try await folded(kind, all, limit: 100, bytes: 105_000)
        #expect(page.messages.map(\.position.seq) == Array(1...10) && page.hasNewer)
        #expect(page.messages.allSatisfy { $0.content.text == long && $0.content.extra?.state?.version == 3 })
        #expect(try await folded(kind, all, limit: 100, bytes: 1).messages.count == 1)
    }

    @Test(arguments: Kind.allCases)
    func aRangeThatIsErasedIsErasedInTheArchive(kind: Kind) async throws {
        let own = try await OwnArchive(kind)
        let range = MessageContent(
            user: ana, at: 3_000, data: #"["100-2","100-3"]"#,
            extra: MessageExtra(amendment: Amendment(.delete, of: position(2), number: 1)))
        let store = try own.store([message(1), message(2), message(3)], in: room)
        try store.take(ArchiveStep.of(Message(position: position(4), content: range), in: room))
        let rows = try store.newer(room.text, after: nil, count: 10, bytes: .max).rows
        #expect(rows.map(\.text) == ["text 1", nil, nil, nil])
        #expect(rows[1].erasedBy == "ana" && rows[1].erasedAt == 3_000)
        #expect(try store.erase("ana", at: 4_000) == 2, "the first message, and the entry that erased the others")
        #expect(try store.newer(room.text, after: nil, count: 10, bytes: .max).rows.allSatisfy { $0.text == nil })
    }

    @Test(arguments: Kind.allCases)
    func whatIsAddedTwiceIsThereOnce(kind: Kind) async throws {
        let own = try await OwnArchive(kind)
        let store = try own.store([message(1), message(2)], in: room)
        try store.take([message(2), message(3)].flatMap { ArchiveStep.of($0, in: room) })
        #expect(try store.newer(room.text, after: nil, count: 10, bytes: .max).rows.map(\.position.seq) == [1, 2, 3])
    }

    @Test(arguments: Kind.allCases)
    func pagesAreBoundedInRowsAndBytes(kind: Kind) async throws {
        let own = try await OwnArchive(kind)
        let store = try own.store((1...10).map { message(UInt64($0)) }, in: room)
        let page = try store.older(room.text, before: nil, count: 3, bytes: .max)
        #expect(page.rows.map(\.position.seq) == [10, 9, 8] && page.hasMore)
        let small = try store.newer(room.text, after: nil, count: 10, bytes: 1)
        #expect(small.rows.count == 1 && small.hasMore)
        #expect(try !store.newer(room.text, after: position(9), count: 3, bytes: .max).hasMore)
    }

    @Test(arguments: Kind.allCases)
    func everyTextIsKeptAsItIs(kind: Kind) async throws {
        let own = try await OwnArchive(kind)
        let texts = ["", " ", "\"", "\\", "{a,b}", "NULL", "a\nb\tc", "끝 🎉", "'; DROP TABLE messages; --", "$1"]
        let messages = texts.enumerated().map { index, text in
            Message(
                position: Position(epoch: 1, seq: UInt64(index + 1)),
                content: MessageContent(user: ana, at: 1, text: text, data: #"{"a":"\\\""}"#))
        }
        let rows = try own.store(messages, in: room).newer(room.text, after: nil, count: 100, bytes: .max).rows
        #expect(rows.map(\.text) == texts)
        #expect(rows.allSatisfy { $0.data == #"{"a":"\\\""}"# })
    }

    @Test func aDatabaseThatIsNotThereIsAFailureWithoutItsPassword() throws {
        let address = try #require(ArchiveAddress("postgresql://ana:secret@127.0.0.1:1/chat"))
        #expect(!address.description.contains("secret"))
        let failure = #expect(throws: ArchiveFailure.self) { try address.open() }
        #expect(failure?.description.hasPrefix("postgresql://ana@127.0.0.1:1/chat: ") == true, "\(failure as Any)")
        #expect(failure?.description.contains("secret") == false)
    }

    @Test func aFileThatIsNoDatabaseIsAFailureThatNamesIt() async throws {
        let path = FileManager.default.temporaryDirectory.appending(path: "no-archive.db").path
        defer { try? FileManager.default.removeItem(atPath: path) }
        try Data(repeating: 0x41, count: 4_096).write(to: URL(fileURLWithPath: path))
        let query = HistoryQuery(anchor: .newest, limit: 10)
        let empty = HistoryPage(messages: [], newest: nil, hasOlder: false, hasNewer: false)
        await #expect(throws: ArchiveFailure("sqlite \(path): file is not a database")) {
            try await complete(ArchiveReader(.sqlite(path: path)), query, empty)
        }
    }
}
