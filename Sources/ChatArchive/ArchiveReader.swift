public import ChatCore
import Dispatch
import Synchronization

/// Reads an archive for nodes: completes pages of history with what the logs no longer hold.
///
/// The database blocks, so it is read on a queue of its own. The number of waiting readings is bounded; a reading that
/// finds the queue full fails at once.
public final class ArchiveReader: Sendable {
    /// The most readings that wait.
    public static let mostWaiting = 256
    /// The most amendments and replies that are folded into a part of a page.
    private static let mostAmendments = 5_000

    private let address: ArchiveAddress
    private let queue = DispatchQueue(label: "martlet.archive.reader")
    private let waiting = Atomic<Int>(0)
    /// Used on the queue alone. Nil: to be opened.
    private nonisolated(unsafe) var store: (any ArchiveStore)?

    public init(_ address: ArchiveAddress) {
        self.address = address
    }

    /// The page with what the archive has of it. `then` is called once, on an unknown thread, or at once if nothing is
    /// missing.
    public func complete(
        _ page: HistoryPage, of query: HistoryQuery, in room: RoomName,
        _ then: @escaping @Sendable (Result<HistoryPage, ArchiveFailure>) -> Void
    ) {
        let seam = ArchiveSeam(query, page)
        let questions = seam.questions
        guard !questions.isEmpty else { return then(.success(seam.page)) }
        guard waiting.add(1, ordering: .relaxed).newValue <= Self.mostWaiting else {
            waiting.subtract(1, ordering: .relaxed)
            return then(.failure(ArchiveFailure("too many readings wait for the archive")))
        }
        queue.async { [self] in
            defer { waiting.subtract(1, ordering: .relaxed) }
            do throws(ArchiveFailure) {
                var seam = seam
                let store = try opened()
                for question in questions {
                    let page = try Self.read(question, query, room, store)
                    seam.take(question, page.messages, isWhole: page.isWhole)
                }
                then(.success(seam.page))
            } catch {
                // The file may have been replaced: it is opened again the next time.
                store = nil
                then(.failure(error))
            }
        }
    }

    private func opened() throws(ArchiveFailure) -> any ArchiveStore {
        if let store { return store }
        let made = try address.open()
        store = made
        return made
    }

    private static func read(
        _ question: ArchiveSeam.Question, _ query: HistoryQuery, _ room: RoomName, _ store: any ArchiveStore
    ) throws(ArchiveFailure) -> (messages: [Message], isWhole: Bool) {
        let bytes = query.page.bytes
        let page: ArchivePage
        let isNewestFirst: Bool
        switch question {
        case .older(let before, let count):
            page = try store.older(room.text, before: before, count: count, bytes: bytes)
            isNewestFirst = true
        case .newer(let after, _, let count):
            page = try store.newer(room.text, after: after, count: count, bytes: bytes)
            isNewestFirst = false
        }
        let entries = page.rows.compactMap(\.message)
        let read =
            query.isFolded
            ? try folded(entries, isNewestFirst: isNewestFirst, room, store, bytes: bytes) : entries
        return (isNewestFirst ? read.reversed() : read, !page.hasMore && read.count == entries.count)
    }

    /// As many of the entries, in the order of reading, as have with what amendments made of them about `bytes`, but at
    /// least one if there is one. An edit may be as long as the largest message, however short its message is, so a few
    /// are folded at a time, no more than should fit by the size of the earlier ones.
    private static func folded(
        _ entries: [Message], isNewestFirst: Bool, _ room: RoomName, _ store: any ArchiveStore, bytes: Int
    ) throws(ArchiveFailure) -> [Message] {
        var kept: [Message] = []
        var total = 0
        var chunk = 4
        while kept.count < entries.count {
            let part = entries.dropFirst(kept.count).prefix(chunk)
            let own = Set(part.map(\.position))
            let messages = part.filter { $0.content.amendment == nil }.map(\.position)
            // Of the amendments elsewhere the newest ones count, wherever they are.
            let others = try store.amendments(room.text, of: messages, count: mostAmendments).rows
                .compactMap(\.message).filter { !own.contains($0.position) }
            let ascending = isNewestFirst ? part.reversed() : Array(part)
            let folded = MessageFold.folded(ascending + others).prefix(part.count)
            for message in isNewestFirst ? folded.reversed() : Array(folded) {
                total += message.content.cost
                if total > bytes, !kept.isEmpty { return kept }
                kept.append(message)
            }
            let each = max(1, total / max(1, kept.count))
            chunk = max(1, min(chunk * 4, 64, (bytes - min(bytes, total)) / each + 1))
        }
        return kept
    }
}
