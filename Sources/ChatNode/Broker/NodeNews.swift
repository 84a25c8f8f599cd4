import ChatCore
import Logging
import NIOConcurrencyHelpers

/// The messages of a node to its operator about events that happen in many places at once or repeatedly: one line at
/// once, and then one for each growing interval, with the number of events and the duration.
final class NodeNews: Sendable {
    /// An event that may happen hundreds of times.
    enum Event: CaseIterable {
        case historyLost
        case alarm
    }

    private struct State {
        /// Why the node is not ready.
        var unready = Condition()
        var wasReady = false
        /// The connections to Redis that are down, and since when any of them is.
        var down: Set<String> = []
        var downSince: Moment?
        var events: [Event: (recurrence: Recurrence, room: RoomName?)] = [:]
    }

    private let state = NIOLockedValueBox(State())
    private let logger: Logger

    init(logger: Logger) {
        self.logger = logger
    }

    // MARK: events

    /// The event happened in that room.
    func happened(_ event: Event, in room: RoomName, now: Moment) {
        state.withLockedValue { state in
            var entry = state.events[event] ?? (Recurrence(), nil)
            if entry.recurrence.happened(now: now) { entry.room = room }
            state.events[event] = entry
        }
    }

    /// Logs the lines that are due. To be called once a second.
    func tick(now: Moment) {
        for event in Event.allCases {
            let due = state.withLockedValue { state -> (count: Int, over: Duration, room: RoomName?)? in
                guard var entry = state.events[event] else { return nil }
                let due = entry.recurrence.due(now: now)
                state.events[event] = entry
                return due.map { ($0.count, $0.over, entry.room) }
            }
            guard let due else { continue }
            var metadata: Logger.Metadata = [
                LogKey.count: "\(due.count)", LogKey.milliseconds: "\(due.over.wholeMilliseconds)",
                LogKey.remedy: "\(Self.remedy(event))",
            ]
            if let room = due.room { metadata[LogKey.room] = "\(room)" }
            logger.warning(Self.text(event), metadata: metadata)
        }
    }

    private static func text(_ event: Event) -> Logger.Message {
        switch event {
        case .historyLost: "redis has lost the history of rooms, clients are told reset"
        case .alarm: "redis contradicts what the node knew of rooms, entering them again"
        }
    }

    private static func remedy(_ event: Event) -> String {
        switch event {
        case .historyLost: "see who flushed Redis (FLUSHALL, FLUSHDB, DEL) or why it restarted without its data"
        case .alarm: "nothing after a failover; else see Redis' log and martlet doctor"
        }
    }

    // MARK: connections

    /// A connection of the node is up (`reason` is nil), or was lost or could not be made for that reason. `level`:
    /// that of its own line, if it is one of many.
    func connection(_ name: String, shard: Int, down reason: String?, now: Moment) {
        let key = "\(shard) \(name)"
        var metadata: Logger.Metadata = [LogKey.shard: "\(shard)", LogKey.channel: "\(name)"]
        guard let reason else {
            let lasted = state.withLockedValue { state -> Duration? in
                guard state.down.remove(key) != nil, state.down.isEmpty, let since = state.downSince else { return nil }
                state.downSince = nil
                return now - since
            }
            guard let lasted else {
                return logger.debug("a connection to redis is up", metadata: metadata)
            }
            metadata[LogKey.milliseconds] = "\(lasted.wholeMilliseconds)"
            return logger.notice("all connections to redis are up again", metadata: metadata)
        }
        let isFirst = state.withLockedValue { state in
            let isFirst = state.down.isEmpty
            if isFirst { state.downSince = now }
            state.down.insert(key)
            return isFirst
        }
        metadata[LogKey.error] = "\(reason)"
        logger.log(
            level: isFirst ? .warning : .debug, "a connection to redis is down, trying again", metadata: metadata)
    }

    // MARK: readiness

    /// Reports the reasons why the node is not ready at this moment; if there are none, it is ready. `waiting`: the
    /// number of sends that wait for Redis meanwhile.
    func readiness(_ reasons: [String], waiting: Int, now: Moment) {
        let reason = reasons.isEmpty ? nil : reasons.joined(separator: "; ")
        let (action, isFirst) = state.withLockedValue { state in
            defer { state.wasReady = state.wasReady || reason == nil }
            return (state.unready.isSo(reason, now: now), !state.wasReady && reason == nil)
        }
        switch action {
        case .doNothing:
            if isFirst { logger.notice("node is ready") }
        case .began(let reason):
            logger.warning("node is not ready", metadata: metadata(reason, waiting))
        case .lasts(let reason, let time):
            var metadata = metadata(reason, waiting)
            metadata[LogKey.milliseconds] = "\(time.wholeMilliseconds)"
            logger.warning("node is still not ready", metadata: metadata)
        case .ended(let time):
            logger.notice(
                "node is ready",
                metadata: [LogKey.milliseconds: "\(time.wholeMilliseconds)", LogKey.waiting: "\(waiting)"])
        }
    }

    private func metadata(_ reason: String, _ waiting: Int) -> Logger.Metadata {
        [LogKey.reason: "\(reason)", LogKey.waiting: "\(waiting)"]
    }
}

extension NodeNews.Event {
    init?(_ counter: RoomCounter) {
        switch counter {
        case .reset: self = .historyLost
        case .alarm: self = .alarm
        case .appended, .published, .refused, .repeated, .notStored, .view, .entered, .holeRepaired, .gap,
            .sendTimedOut, .ignored:
            return nil
        }
    }
}
