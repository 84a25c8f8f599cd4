import ChatArchive
import ChatCore
import Dispatch
import RedisSchema

/// The archive as a sink. What is given again changes nothing, whichever relay gives it. All that is accepted at once
/// is one transaction, which is on the disk before the cursors move. The database blocks, so it has a queue of its own.
final class ArchiveSink: EventSink {
    let name = "archive"
    let filter = EventFilter.messages
    let closer: RoomCloser?
    private let address: ArchiveAddress
    private let queue = DispatchQueue(label: "martlet.archive.writer")
    /// Used on the queue alone. Nil: to be opened.
    private nonisolated(unsafe) var store: (any ArchiveStore)?

    init(_ address: ArchiveAddress, redis: any RelayStore, keys: RedisKeys) {
        self.address = address
        closer = RoomCloser(redis: redis, keys: keys, sink: name)
    }

    func accept(_ batches: [EventBatch]) async throws -> SinkReceipt {
        let steps = batches.flatMap { batch in
            batch.rooms.flatMap { room in
                room.events.flatMap { event in event.message.map { ArchiveStep.of($0, in: event.room) } ?? [] }
            }
        }
        guard !steps.isEmpty else { return SinkReceipt() }
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            queue.async { [self] in
                do throws(ArchiveFailure) {
                    let open: any ArchiveStore
                    if let store { open = store } else { open = try address.open() }
                    store = open
                    try open.take(steps)
                    continuation.resume()
                } catch {
                    // The file may have been replaced, or its disk may be gone: it is opened again the next time.
                    store = nil
                    continuation.resume(throwing: RelayTrouble(error.description))
                }
            }
        }
        return SinkReceipt()
    }
}
