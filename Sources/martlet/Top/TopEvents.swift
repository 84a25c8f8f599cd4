import ChatCore
import ChatRedis
import RedisSchema

/// How far relays and their sinks are: what waits for whom. Used by `top` and `doctor`.
struct TopEvents: Equatable, Sendable {
    struct Sink: Equatable, Sendable {
        var name: String
        /// Rooms of which it has not been given everything.
        var rooms = 0
        /// Milliseconds for which the first of them has waited.
        var lag: UInt64 = 0
        /// The same by partition.
        var lags: [UInt64] = []
        /// Events that it did not accept at the last attempt.
        var dead = 0
    }

    /// Ordered by name.
    var sinks: [Sink] = []
    /// Relays that were heard of lately.
    var relays: [String] = []
    /// Which relay has which partition; nil if none has.
    var holders: [String?] = []
    /// Rooms that nodes have noted, and no relay has taken yet.
    var noted = 0

    /// A sink that is behind for so long is a problem: 60 s, in milliseconds.
    static let lateAfter: UInt64 = 60_000

    /// What is wrong, in whole sentences, and what to do about it.
    var problems: [(problem: String, remedy: String)] {
        var found: [(String, String)] = []
        let orphans = holders.indices.filter { holders[$0] == nil }
        if relays.isEmpty {
            found.append(
                (
                    "no relay runs: events wait (\(noted) rooms)",
                    "start `martlet relay`, or remove the sinks that nobody needs: HDEL of their hash"
                ))
        } else if !orphans.isEmpty {
            found.append(
                (
                    "no relay reads \(orphans.count) of \(holders.count) partitions of the events",
                    "look again in a moment; if it stays so, see the relays' logs"
                ))
        }
        for sink in sinks where sink.lag > Self.lateAfter {
            found.append(
                (
                    "the sink \(sink.name) is \(TopText.span(sink.lag)) behind, with \(sink.rooms) rooms; what is "
                        + "trimmed from the logs before it is read becomes a gap",
                    "see the relays' logs for what it does not accept; raise MARTLET_HISTORY_LENGTH to bridge it"
                ))
        }
        for sink in sinks where sink.dead > 0 {
            found.append(
                (
                    "the sink \(sink.name) has \(sink.dead) dead letters",
                    "martlet relay dead list \(sink.name), and replay"
                ))
        }
        return found
    }
}

/// The commands for it, and how to read their replies. Pure.
struct TopEventQueries {
    let keys: RedisKeys

    private func key(_ key: EventKey, _ partition: EventPartition) -> String {
        keys.key(key, ofPartition: partition.keyTag)
    }

    /// The first batch: who the sinks and the relays are.
    var beginning: [[String]] {
        [["HKEYS", key(.sinks, .first)], ["ZRANGE", key(.relays, .first), "0", "-1", "WITHSCORES"]]
    }

    /// The sinks in the replies, and the relays; nil if there never was a relay. `time`: Redis' clock.
    func begin(_ replies: [RedisValue], at time: UInt64) -> TopEvents? {
        guard replies.count == 2, let names = replies[0].array, !names.isEmpty else { return nil }
        var events = TopEvents()
        events.sinks = names.compactMap(\.string).sorted().map { TopEvents.Sink(name: $0) }
        let flat = replies[1].array ?? []
        for place in stride(from: 0, to: flat.count - 1, by: 2) {
            // Their clocks may differ from Redis' by a little.
            guard let name = flat[place].string, let at = flat[place + 1].string.flatMap({ Double($0) }),
                at + 60_000 > Double(time)
            else { continue }
            events.relays.append(name)
        }
        return events
    }

    private static let perPartition = 2
    private static let perSink = 3

    /// The second batch.
    func partitions(_ events: TopEvents) -> [[String]] {
        EventPartition.all.flatMap { partition in
            [["HMGET", key(.lease, partition), "holder", "until"], ["ZCARD", key(.rooms, partition)]]
                + events.sinks.flatMap { sink in
                    let due = keys.due(sink.name, ofPartition: partition.keyTag)
                    return [
                        ["ZCARD", due], ["ZRANGE", due, "0", "0", "WITHSCORES"],
                        ["XLEN", keys.dead(sink.name, ofPartition: partition.keyTag)],
                    ]
                }
        }
    }

    func read(_ replies: [RedisValue], at time: UInt64, into events: inout TopEvents) {
        let size = Self.perPartition + Self.perSink * events.sinks.count
        guard replies.count == size * EventPartition.count else { return }
        for partition in EventPartition.all.indices {
            let part = Array(replies[(partition * size)..<((partition + 1) * size)])
            let lease = part[0].array ?? []
            let isHeld = lease.count == 2 && (lease[1].integer ?? 0) > Int(clamping: time)
            events.holders.append(isHeld ? lease[0].string : nil)
            events.noted += part[1].integer ?? 0
            for index in events.sinks.indices {
                let first = Self.perPartition + Self.perSink * index
                events.sinks[index].rooms += part[first].integer ?? 0
                let since = part[first + 1].array.flatMap { $0.count == 2 ? $0[1].string : nil }.flatMap { Double($0) }
                // What is due later waits for its next attempt.
                let lag = since.map { max(0, Double(time) - $0) } ?? 0
                events.sinks[index].lags.append(UInt64(lag))
                events.sinks[index].lag = max(events.sinks[index].lag, UInt64(lag))
                events.sinks[index].dead += part[first + 2].integer ?? 0
            }
        }
    }
}
