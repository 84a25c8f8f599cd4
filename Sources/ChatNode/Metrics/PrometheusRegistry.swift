import Metrics
import NIOConcurrencyHelpers

/// All metrics of a process, in the form that Prometheus reads.
///
/// A metric is declared once, with its help text, and returns a handle that is then used directly. Declaring the same
/// name and labels again returns the same handle. The registry is also a backend for swift-metrics, so that libraries
/// can report to it. It is thread-safe and never fails: a metric that cannot be shown, because another kind of metric
/// has its name, returns a handle that works but is not shown, and is counted in `martlet_metrics_refused_total`.
public final class PrometheusRegistry: Sendable {
    public enum Kind: String, Sendable {
        case counter, gauge, histogram
    }

    /// The source of one line, or of the lines of a histogram.
    enum Series: Sendable {
        case counter(PrometheusCounter)
        case gauge(PrometheusGauge)
        case histogram(PrometheusHistogram)
        /// Computed at each scrape; nil if there is nothing to show now.
        case collected(@Sendable () -> Double?)
    }

    struct Family: Sendable {
        var kind: Kind
        var help: String
        /// The series by the text of their labels.
        var series: [String: Series] = [:]
    }

    /// The content type of `/metrics`.
    public static let contentType = PrometheusText.contentType
    /// The largest number of series (label sets) of one metric. Further ones share a series whose label values are all
    /// `other`.
    let seriesLimit: Int
    private let families = NIOLockedValueBox<[String: Family]>([:])
    private let refused: PrometheusCounter

    public init(seriesLimit: Int = 256) {
        self.seriesLimit = max(1, seriesLimit)
        let refused = PrometheusCounter()
        self.refused = refused
        families.withLockedValue {
            $0["martlet_metrics_refused_total"] = Family(
                kind: .counter, help: "Metrics not shown because their name is taken by another kind of metric.",
                series: ["": .counter(refused)])
        }
    }

    /// A counter. By convention its name ends in `_total`.
    public func counter(_ name: String, help: String, labels: [(String, String)] = []) -> PrometheusCounter {
        let counter = PrometheusCounter()
        guard case .counter(let found) = series(name, .counter, help, labels, or: .counter(counter)) else {
            return counter
        }
        return found
    }

    public func gauge(_ name: String, help: String, labels: [(String, String)] = []) -> PrometheusGauge {
        gauge(name, kind: .gauge, help: help, labels: labels)
    }

    /// A histogram. Its bounds are those of the first call with this name and labels.
    public func histogram(
        _ name: String, help: String, labels: [(String, String)] = [],
        bounds: [Double] = PrometheusHistogram.secondBounds
    ) -> PrometheusHistogram {
        let histogram = PrometheusHistogram(bounds: bounds)
        guard case .histogram(let found) = series(name, .histogram, help, labels, or: .histogram(histogram)) else {
            return histogram
        }
        return found
    }

    /// A number that is computed at each scrape, on the scraping thread. It is omitted when it is nil. If the name and
    /// labels exist already, the first closure stays.
    public func collect(
        _ name: String, kind: Kind = .gauge, help: String, labels: [(String, String)] = [],
        value: @escaping @Sendable () -> Double?
    ) {
        guard kind != .histogram else { return refused.increment() }
        _ = series(name, kind, help, labels, or: .collected(value))
    }

    func gauge(_ name: String, kind: Kind, help: String, labels: [(String, String)]) -> PrometheusGauge {
        let gauge = PrometheusGauge()
        guard case .gauge(let found) = series(name, kind, help, labels, or: .gauge(gauge)) else { return gauge }
        return found
    }

    /// The series with that name and labels, which is made by `new` if it does not exist. Nil if the name belongs to
    /// another kind of metric.
    private func series(_ name: String, _ kind: Kind, _ help: String, _ labels: [(String, String)], or new: Series)
        -> Series?
    {
        let name = PrometheusText.metricName(name)
        let key = PrometheusText.labels(labels)
        let found = families.withLockedValue { families -> Series? in
            var family = families[name] ?? Family(kind: kind, help: help)
            guard family.kind == kind, !clashes(name, kind, families) else { return nil }
            if family.help.isEmpty { family.help = help }
            var place = key
            if family.series[key] == nil, family.series.count >= seriesLimit {
                place = PrometheusText.labels(labels.map { ($0.0, "other") })
            }
            let series = family.series[place] ?? new
            family.series[place] = series
            families[name] = family
            return series
        }
        if found == nil { refused.increment() }
        return found
    }

    /// A histogram called `x` has samples called `x_bucket`, `x_sum` and `x_count`, which must not be metrics of their
    /// own.
    private func clashes(_ name: String, _ kind: Kind, _ families: [String: Family]) -> Bool {
        let suffixes = ["_bucket", "_sum", "_count"]
        if kind == .histogram, suffixes.contains(where: { families[name + $0] != nil }) { return true }
        return suffixes.contains { suffix in
            name.hasSuffix(suffix) && families[String(name.dropLast(suffix.count))]?.kind == .histogram
        }
    }

    /// Removes the series that `handle` writes to.
    func remove(_ handle: AnyObject) {
        families.withLockedValue { families in
            for (name, family) in families {
                for (key, series) in family.series where series.handle === handle {
                    families[name]?.series[key] = nil
                }
            }
        }
    }

    /// The text of all metrics in the order of their names. A metric is omitted only if it has no series.
    public func render() -> String {
        let snapshot = families.withLockedValue { $0 }.sorted { $0.key < $1.key }
        var text = ""
        for (name, family) in snapshot where !family.series.isEmpty {
            text += "# HELP \(name) \(PrometheusText.help(family.help))\n# TYPE \(name) \(family.kind.rawValue)\n"
            for (labels, series) in family.series.sorted(by: { $0.key < $1.key }) {
                series.write(name, labels, to: &text)
            }
        }
        return text
    }
}

extension PrometheusRegistry.Series {
    fileprivate var handle: AnyObject? {
        switch self {
        case .counter(let counter): counter
        case .gauge(let gauge): gauge
        case .histogram(let histogram): histogram
        case .collected: nil
        }
    }

    fileprivate func write(_ name: String, _ labels: String, to text: inout String) {
        let braced = labels.isEmpty ? "" : "{\(labels)}"
        switch self {
        case .counter(let counter):
            text += "\(name)\(braced) \(counter.current)\n"
        case .gauge(let gauge):
            text += "\(name)\(braced) \(PrometheusText.number(gauge.current))\n"
        case .collected(let value):
            if let value = value() { text += "\(name)\(braced) \(PrometheusText.number(value))\n" }
        case .histogram(let histogram):
            let (buckets, sum) = histogram.current
            let prefix = labels.isEmpty ? "" : labels + ","
            for (bound, count) in buckets {
                text += "\(name)_bucket{\(prefix)le=\"\(PrometheusText.number(bound))\"} \(count)\n"
            }
            text += "\(name)_sum\(braced) \(PrometheusText.number(sum))\n"
            text += "\(name)_count\(braced) \(buckets.last?.count ?? 0)\n"
        }
    }
}
