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
    /// The most amendments and replies that are folded into one page.
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
        let entries: [Message]
        switch question {
        case .older(let before, let count):
            page = try store.older(room.text, before: before, count: count, bytes: bytes)
            entries = page.rows.reversed().compactMap(\.message)
        case .newer(let after, _, let count):
            page = try store.newer(room.text, after: after, count: count, bytes: bytes)
            entries = page.rows.compactMap(\.message)
        }
        guard query.isFolded, !entries.isEmpty else { return (entries, !page.hasMore) }
        let positions = entries.filter { $0.content.amendment == nil }.map(\.position)
        let last = entries.last?.position
        let later = try store.amendments(room.text, of: positions, count: mostAmendments).rows
            .compactMap(\.message).filter { message in last.map { message.position > $0 } ?? false }
        return (Array(MessageFold.folded(entries + later).prefix(entries.count)), !page.hasMore)
    }
}
