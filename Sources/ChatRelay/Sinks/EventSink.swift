import ChatCore

/// Where events go: event streams, an archive, a webhook.
///
/// Each sink has its own queue of rooms, its own cursors and its own pace. It is given the events of a room in order,
/// at least once each: what it has accepted is given again if the relay dies before the cursor has moved.
protocol EventSink: Sendable {
    /// The name in keys, metrics and log lines: letters, digits, `-`, at most 64 bytes.
    var name: String { get }
    var filter: EventFilter { get }
    /// Returns once the events are where they have to be, except those that the receipt names. Throws a
    /// ``RelayTrouble`` if that is not certain; then all events are given again, after a pause.
    func accept(_ batches: [EventBatch]) async throws -> SinkReceipt
    /// Called at least once a second, also while there are no events, with the leases that the relay holds: for what
    /// the sink has kept for later.
    func attend(_ leases: [LeaseBook.Lease]) async throws
    /// What deletes rooms that are being closed, once this sink has them; nil if it does not matter to the sink.
    var closer: RoomCloser? { get }
}

extension EventSink {
    var closer: RoomCloser? { nil }

    func attend(_ leases: [LeaseBook.Lease]) async throws {}
}

/// What a sink has not accepted of what it was given.
struct SinkReceipt: Hashable, Sendable {
    /// A room of which the sink has accepted a part.
    struct Partial: Hashable, Sendable {
        /// Up to where it was accepted; nil: nothing.
        var upTo: Position?
        /// When the rest is to be given.
        var delay: Duration
    }

    /// The leases of partitions that another relay has. Nothing of these was accepted.
    var lost: Set<LeaseBook.Lease> = []
    var partial: [RoomName: Partial] = [:]
}

/// The events of some rooms of one partition.
struct EventBatch: Sendable {
    struct Room: Sendable {
        let room: RoomName
        let events: [RoomEvent]

        /// Up to where the room was read if the event at that index, and those behind it, were not accepted: several
        /// events may have one position. Nil: nothing was.
        func position(before index: Int) -> Position? {
            let first = events[index].position
            return events[..<index].last { $0.position < first }?.position
        }
    }

    let lease: LeaseBook.Lease
    var rooms: [Room] = []
    /// ms since 1970.
    let now: UInt64
}
