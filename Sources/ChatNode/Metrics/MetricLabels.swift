import ChatCore
import ChatGateway
import ChatHub
import ChatRedis

/// The values of a metric's label. An enum, so that there are few of them and all are known when the node starts.
public protocol MetricLabel: CaseIterable, Hashable, Sendable {
    /// The value as Prometheus shows it.
    var label: String { get }
}

extension MetricLabel {
    public var label: String { "\(self)" }
}

extension ViewReason: MetricLabel {}
extension IgnoredData: MetricLabel {}

/// The result of an append.
public enum AppendResult: MetricLabel {
    /// The message was stored and has its position.
    case stored
    /// A message with the same key had been stored before.
    case repeated
    /// Another node had raised the room's epoch; the append is tried again.
    case refused
    /// Redis answered with an error.
    case notStored
}

extension GatewayCounters.RequestType: MetricLabel {
    public var label: String { rawValue }
}

/// Why a session ended.
public enum SessionEnd: MetricLabel {
    /// The client closed the connection.
    case peer
    /// The connection was lost.
    case gone
    /// The client broke the WebSocket protocol.
    case protocolError
    /// The node closed the connection.
    case closed(CloseReason)

    public static var allCases: [SessionEnd] {
        [.peer, .gone, .protocolError] + CloseReason.allCases.map { .closed($0) }
    }

    public var label: String {
        switch self {
        case .peer: "peer"
        case .gone: "gone"
        case .protocolError: "protocolError"
        case .closed(let reason): reason.name
        }
    }
}

extension GatewayCounters.Refusal: MetricLabel {
    public var label: String { rawValue }
}

/// What a slow session was not sent. Messages are never dropped; the session is closed instead.
public enum DropReason: MetricLabel {
    case signal, presence
}

/// The result of a `join` with a position; see ``Resumption``.
public enum RecoveryResult: MetricLabel {
    case complete, gap, reset

    /// Nil for a fresh join, which resumes nothing.
    public init?(_ resumption: Resumption) {
        switch resumption {
        case .fresh: return nil
        case .complete: self = .complete
        case .gap: self = .gap
        case .reset: self = .reset
        }
    }
}

/// The bound of ``Limits`` that was reached.
public enum LimitLabel: MetricLabel {
    case frameBytes, roomsPerSession, sessionsPerNode, sessionsPerUser, requestsPerSecond, outboundBytes
    case waitingSendsPerSession, waitingSendsPerRoom, sendWait, badFramesPerMinute
    case requestsPerSecondPerUser, handshakesPerSecond, joinsPerSecond, waitingPages, connections
    case costPerSecond, costOfAddress, userBytesPerSecond, redisMemory
    case headBytes, connectionsPerAddress, bytesPerSecondPerAddress, failuresPerMinutePerAddress
    case ticketsPerMinutePerUser, pollsPerNode, pollsPerUser, participants, conversationsPerUser

    public init(_ limit: HubLimit) {
        self =
            switch limit {
            case .requestsPerSecondPerUser: .requestsPerSecondPerUser
            case .joinsPerSecond: .joinsPerSecond
            case .costPerSecond: .costPerSecond
            case .userBytesPerSecond: .userBytesPerSecond
            case .redisMemory: .redisMemory
            case .waitingPages: .waitingPages
            case .waitingSendsPerRoom: .waitingSendsPerRoom
            case .participants: .participants
            case .conversationsPerUser: .conversationsPerUser
            }
    }
}

/// The right that a refused request lacked.
public enum RightLabel: MetricLabel {
    case read, send, signal, amend, amendAny, moderate

    /// Nil for a set of several rights.
    public init?(_ right: Rights) {
        guard let label = Self.allCases.first(where: { $0.right == right }) else { return nil }
        self = label
    }

    private var right: Rights {
        switch self {
        case .read: .read
        case .send: .send
        case .signal: .signal
        case .amend: .amend
        case .amendAny: .amendAny
        case .moderate: .moderate
        }
    }
}

extension RedisCodec.Operation: MetricLabel {}

/// One counter for each value of a label. All exist from the start, so that a rate can be computed from the first
/// increment on.
public struct CounterSet<Label: MetricLabel>: Sendable {
    private let counters: [Label: PrometheusCounter]
    /// Never used, because every case of `Label` has its counter.
    private let spare = PrometheusCounter()

    init(_ registry: PrometheusRegistry, _ name: String, label: String, help: String) {
        counters = Dictionary(
            uniqueKeysWithValues: Label.allCases.map {
                ($0, registry.counter(name, help: help, labels: [(label, $0.label)]))
            })
    }

    public subscript(label: Label) -> PrometheusCounter { counters[label] ?? spare }

    /// Takes over totals that were counted elsewhere, by the labels' texts. Unknown texts are ignored.
    func raise(to totals: [String: UInt64]) {
        for (label, counter) in counters {
            if let total = totals[label.label] { counter.raise(to: total) }
        }
    }
}

/// One histogram for each value of a label.
public struct HistogramSet<Label: MetricLabel>: Sendable {
    private let histograms: [Label: PrometheusHistogram]
    /// Never used, because every case of `Label` has its histogram.
    private let spare = PrometheusHistogram(bounds: [])

    init(_ registry: PrometheusRegistry, _ name: String, label: String, help: String, bounds: [Double]) {
        histograms = Dictionary(
            uniqueKeysWithValues: Label.allCases.map {
                ($0, registry.histogram(name, help: help, labels: [(label, $0.label)], bounds: bounds))
            })
    }

    public subscript(label: Label) -> PrometheusHistogram { histograms[label] ?? spare }
}
