import Metrics

/// Metrics that libraries report through swift-metrics. Their labels contain dots and they have no help text; illegal
/// characters become underscores.
extension PrometheusRegistry: MetricsFactory {
    private static let help = "Reported by a library."

    public func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        counter(label, help: Self.help, labels: dimensions)
    }

    public func makeFloatingPointCounter(
        label: String, dimensions: [(String, String)]
    ) -> any FloatingPointCounterHandler {
        gauge(label, kind: .counter, help: Self.help, labels: dimensions)
    }

    public func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
        gauge(label, help: Self.help, labels: dimensions)
    }

    public func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler {
        guard aggregate else { return gauge(label, help: Self.help, labels: dimensions) }
        return histogram(label, help: Self.help, labels: dimensions, bounds: PrometheusHistogram.sizeBounds)
    }

    /// Timers are shown and named in seconds, as the conventions of Prometheus demand.
    public func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        let name = label.hasSuffix("seconds") ? label : label + "_seconds"
        return histogram(name, help: Self.help, labels: dimensions)
    }

    public func destroyCounter(_ handler: any CounterHandler) { remove(handler) }
    public func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) { remove(handler) }
    public func destroyMeter(_ handler: any MeterHandler) { remove(handler) }
    public func destroyRecorder(_ handler: any RecorderHandler) { remove(handler) }
    public func destroyTimer(_ handler: any TimerHandler) { remove(handler) }
}
