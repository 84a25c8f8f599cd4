import Metrics
import Synchronization

/// A counter, which only grows. Any thread may increment it at the price of one atomic addition. A loop that counts
/// every delivery should still add up the deliveries of a tick and increment once, because cores that share a counter
/// wait for each other.
public final class PrometheusCounter: CounterHandler, Sendable {
    private let value = Atomic<Int64>(0)

    init() {}

    /// Adds `amount` if it is positive. Wraps around after 2⁶³.
    public func increment(by amount: Int64) {
        guard amount > 0 else { return }
        value.wrappingAdd(amount, ordering: .relaxed)
    }

    /// Adds `amount` if it is positive.
    public func increment(by amount: Int) {
        increment(by: Int64(amount))
    }

    /// Adds 1.
    public func increment() {
        value.wrappingAdd(1, ordering: .relaxed)
    }

    /// Sets the counter to `total` unless it is higher already: for totals that are counted elsewhere and taken over at
    /// a scrape.
    public func raise(to total: UInt64) {
        value.max(Int64(clamping: total), ordering: .relaxed)
    }

    /// Starts again at 0, which Prometheus recognises as a restart.
    public func reset() {
        value.store(0, ordering: .relaxed)
    }

    var current: Int64 { value.load(ordering: .relaxed) }
}

/// A gauge, which goes up and down. Any thread may change it without waiting.
public final class PrometheusGauge: MeterHandler, RecorderHandler, FloatingPointCounterHandler, Sendable {
    /// The bits of a `Double`, because there is no atomic addition of floating-point numbers.
    private let bits = Atomic<UInt64>(0)

    init() {}

    public func set(_ value: Double) {
        bits.store(value.bitPattern, ordering: .relaxed)
    }

    public func set(_ value: Int64) {
        set(Double(value))
    }

    /// Adds `amount`, which may be negative, if it is finite.
    public func add(_ amount: Double) {
        guard amount.isFinite else { return }
        bits.add(amount)
    }

    public func increment(by amount: Double = 1) {
        add(amount)
    }

    public func decrement(by amount: Double = 1) {
        add(-amount)
    }

    /// What swift-metrics calls a recorder that does not aggregate: the gauge keeps the last value.
    public func record(_ value: Int64) {
        set(Double(value))
    }

    public func record(_ value: Double) {
        set(value)
    }

    public func reset() {
        set(0.0)
    }

    var current: Double { Double(bitPattern: bits.load(ordering: .relaxed)) }
}

/// The distribution of values: how many were at most each of some fixed bounds, and their sum. Any thread may observe a
/// value without waiting.
public final class PrometheusHistogram: TimerHandler, RecorderHandler, Sendable {
    /// The largest number of bounds of a histogram.
    public static let maxBounds = 24
    /// 50 µs to 10 s, for times that include a network or Redis.
    public static let secondBounds = [
        0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
    ]
    /// 1 to 16 Mi, for sizes and counts.
    public static let sizeBounds = (0...12).map { Double(1 << ($0 * 2)) }

    /// Upper bounds in ascending order. Unused places are infinite, so that every value finds one.
    private let bounds: InlineArray<24, Double>
    let boundCount: Int
    /// The number of values in each bucket alone. The last bucket has the values above all bounds.
    private let counts = InlineArray<25, Atomic<UInt64>> { _ in Atomic(0) }
    private let sumBits = Atomic<UInt64>(0)

    /// At most ``maxBounds`` of `bounds` are used, in ascending order.
    init(bounds: [Double]) {
        let sorted = Array(Set(bounds.filter(\.isFinite)).sorted().prefix(Self.maxBounds))
        boundCount = sorted.count
        self.bounds = InlineArray { $0 < sorted.count ? sorted[$0] : .infinity }
    }

    /// Counts one value; NaN is ignored.
    public func observe(_ value: Double) {
        guard !value.isNaN else { return }
        var bucket = 0
        while bucket < boundCount, value > bounds[bucket] { bucket += 1 }
        counts[bucket].wrappingAdd(1, ordering: .relaxed)
        sumBits.add(value)
    }

    /// Counts a time in seconds. A negative time, which two clocks can produce, counts as 0.
    public func observe(_ duration: Duration) {
        let parts = duration.components
        observe(max(0, Double(parts.seconds) + Double(parts.attoseconds) * 1e-18))
    }

    public func recordNanoseconds(_ duration: Int64) {
        observe(max(0, Double(duration) * 1e-9))
    }

    public func record(_ value: Int64) {
        observe(Double(value))
    }

    public func record(_ value: Double) {
        observe(value)
    }

    /// The bounds with the number of values at most that high, the infinite bound last, and the sum. The last number is
    /// also the count, so that a reader never sees a count that differs from the buckets.
    var current: (buckets: [(bound: Double, count: UInt64)], sum: Double) {
        var total: UInt64 = 0
        var buckets: [(bound: Double, count: UInt64)] = []
        for index in 0...boundCount {
            total &+= counts[index].load(ordering: .relaxed)
            buckets.append((index < boundCount ? bounds[index] : .infinity, total))
        }
        return (buckets, Double(bitPattern: sumBits.load(ordering: .relaxed)))
    }
}

extension Atomic where Value == UInt64 {
    /// Adds `amount` to the `Double` whose bits are stored.
    fileprivate func add(_ amount: Double) {
        var old = load(ordering: .relaxed)
        while true {
            let new = (Double(bitPattern: old) + amount).bitPattern
            let (done, found) = weakCompareExchange(expected: old, desired: new, ordering: .relaxed)
            if done { return }
            old = found
        }
    }
}
