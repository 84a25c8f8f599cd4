import ChatCore
import ChatRelay

/// A relay's metrics as text for Prometheus (text format 0.0.4). Pure.
enum RelayMetrics {
    static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    /// `queues`: what waits in Redis for all relays; nil if that could not be read.
    static func text(_ report: RelayReport, _ queues: TopEvents?) -> String {
        var text = ""
        func family(_ name: String, _ type: String, _ help: String, _ samples: [(labels: String, value: String)]) {
            text += "# HELP \(name) \(help)\n# TYPE \(name) \(type)\n"
            for sample in samples { text += "\(name)\(sample.labels) \(sample.value)\n" }
        }
        family(
            "martlet_relay_partitions", "gauge", "Partitions that this relay holds.", [("", "\(report.partitions)")])
        family(
            "martlet_relay_redis_up", "gauge", "Whether Redis has answered this relay's last question.",
            [("", report.reachesRedis ? "1" : "0")])
        family(
            "martlet_relay_endpoints_followed", "gauge",
            "Whether this relay could read the webhook endpoints the last time.",
            [("", report.followsEndpoints ? "1" : "0")])
        family(
            "martlet_relay_events_total", "counter", "Events that this relay has given to a sink.",
            report.sinks.map { (label($0.name), "\($0.counts.events)") })
        family(
            "martlet_relay_failures_total", "counter", "How often a sink did not accept what this relay gave it.",
            report.sinks.map { (label($0.name), "\($0.counts.failures)") })
        family(
            "martlet_relay_sink_up", "gauge", "Whether a sink has accepted what this relay gave it last.",
            report.sinks.map { (label($0.name), $0.counts.isFailing ? "0" : "1") })
        text += delays(report)
        guard let queues else { return text }
        family(
            "martlet_relay_rooms_noted", "gauge", "Rooms that nodes have noted and no relay has taken yet.",
            [("", "\(queues.noted)")])
        family(
            "martlet_relay_partitions_unread", "gauge", "Partitions that no relay holds.",
            [("", "\(queues.holders.count { $0 == nil })")])
        family(
            "martlet_relay_rooms_behind", "gauge", "Rooms of which a sink has not been given everything.",
            queues.sinks.map { (label($0.name), "\($0.rooms)") })
        family(
            "martlet_relay_dead_letters", "gauge", "Events that a sink did not accept at the last attempt.",
            queues.sinks.map { (label($0.name), "\($0.dead)") })
        family(
            "martlet_relay_lag_seconds", "gauge", "For how long the first room of a partition has waited for a sink.",
            queues.sinks.flatMap { sink in
                sink.lags.enumerated().map {
                    ("{partition=\"\($0.offset)\",sink=\"\(sink.name)\"}", seconds($0.element))
                }
            })
        return text
    }

    private static func delays(_ report: RelayReport) -> String {
        let name = "martlet_relay_delay_seconds"
        var text = "# HELP \(name) From a message to its being accepted by a sink.\n# TYPE \(name) histogram\n"
        for (sink, counts) in report.sinks {
            let delays = counts.delays
            for (bound, count) in zip(DelayCounts.bounds, delays.upTo) {
                text += "\(name)_bucket{sink=\"\(sink)\",le=\"\(seconds(bound))\"} \(count)\n"
            }
            text += "\(name)_bucket{sink=\"\(sink)\",le=\"+Inf\"} \(delays.count)\n"
            text += "\(name)_sum\(label(sink)) \(seconds(delays.sum))\n\(name)_count\(label(sink)) \(delays.count)\n"
        }
        return text
    }

    /// The name of a sink has letters, digits and hyphens only.
    private static func label(_ sink: String) -> String { "{sink=\"\(sink)\"}" }

    private static func seconds(_ milliseconds: UInt64) -> String { "\(Double(milliseconds) / 1_000)" }
}
