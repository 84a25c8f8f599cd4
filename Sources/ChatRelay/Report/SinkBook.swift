import Synchronization

/// Where the workers of all sinks write down what they have done.
final class SinkBook: Sendable {
    private let all = Mutex<[String: SinkCounts]>([:])

    var counts: [String: SinkCounts] { all.withLock { $0 } }

    /// The sink is there, even if nothing is said.
    func began(_ sink: String) { all.withLock { $0[sink, default: SinkCounts()].isFailing = false } }

    /// The sink is there no longer.
    func ended(_ sink: String) { all.withLock { $0[sink] = nil } }

    func failed(_ sink: String) {
        all.withLock {
            $0[sink, default: SinkCounts()].failures += 1
            $0[sink, default: SinkCounts()].isFailing = true
        }
    }

    func recovered(_ sink: String) { all.withLock { $0[sink, default: SinkCounts()].isFailing = false } }

    /// `now`: ms since 1970, as the times of the events.
    func accepted(_ events: some Sequence<RoomEvent>, by sink: String, now: UInt64) {
        all.withLock {
            var counts = $0[sink] ?? SinkCounts()
            for event in events {
                counts.events += 1
                // A clock may be behind that of the node.
                if let at = event.at { counts.delays.add(now - min(now, at)) }
            }
            $0[sink] = counts
        }
    }
}
