import ChatCore

/// The values of a label: an enum, so that there are few of them and all are known when the node starts.
public protocol MetricLabel: CaseIterable, Hashable, Sendable {
    /// The value as Prometheus is told.
    var label: String { get }
}

extension MetricLabel {
    public var label: String { "\(self)" }
}

extension ViewReason: MetricLabel {}

/// What became of an append.
public enum AppendResult: MetricLabel {
    /// It has its position.
    case stored
    /// It was stored before, under the same key.
    case repeated
    /// Another node had raised the room's epoch: it is tried again.
    case refused
    /// Redis answered with an error.
    case notStored
}

/// What a client sent.
public enum FrameLabel: MetricLabel {
    case join, leave, send, signal, history, roster, ping
    /// It could not be read.
    case unreadable

    public init(_ body: ClientRequest.Body) {
        self =
            switch body {
            case .join: .join
            case .leave: .leave
            case .send: .send
            case .signal: .signal
            case .history: .history
            case .roster: .roster
            case .ping: .ping
            }
    }
}

/// Why a session ended.
public enum SessionEnd: MetricLabel {
    /// The client closed, or its connection broke.
    case client
    case draining, slow, unauthenticated, nodeFull, tooManySessions, abuse, heartbeatMissed, ended, internalError

    /// Nil: the node did not close it.
    public init(_ reason: CloseReason?) {
        self =
            switch reason {
            case nil: .client
            case .draining: .draining
            case .slow: .slow
            case .unauthenticated: .unauthenticated
            case .nodeFull: .nodeFull
            case .tooManySessions: .tooManySessions
            case .abuse: .abuse
            case .heartbeatMissed: .heartbeatMissed
            case .ended: .ended
            case .internalError: .internalError
            }
    }
}

/// Why something was not delivered to a session that it was for.
public enum DropReason: MetricLabel {
    /// The session did not read; it is closed and can resume.
    case slow
    /// Signals and presence are left out before messages are.
    case signal, presence
}

/// How a `join` with a position went; see ``Resumption``.
public enum RecoveryResult: MetricLabel {
    case complete, gap, reset

    /// Nil for a fresh join, which recovers nothing.
    public init?(_ resumption: Resumption) {
        switch resumption {
        case .fresh: return nil
        case .complete: self = .complete
        case .gap: self = .gap
        case .reset: self = .reset
        }
    }
}

/// Which bound of ``Limits`` was reached.
public enum LimitLabel: MetricLabel {
    case frameBytes, roomsPerSession, sessionsPerNode, sessionsPerUser, requestsPerSecond, outboundBytes
    case waitingSendsPerSession, waitingSendsPerRoom, sendWait, historyPage, rosterPage, badFramesPerMinute
}

/// What the node asked Redis.
public enum CommandLabel: MetricLabel {
    case append, publish, enter, view, leave, once, say, presence, roster, history, heartbeat, nodes, hold, release,
        rooms
    case holders, forget, ping

    public init(_ request: BrokerRequest) {
        self =
            switch request {
            case .append: .append
            case .publish: .publish
            case .enter: .enter
            case .view: .view
            case .leave: .leave
            case .once: .once
            case .say: .say
            case .presence: .presence
            case .roster: .roster
            case .history: .history
            case .heartbeat: .heartbeat
            case .nodes: .nodes
            case .hold: .hold
            case .release: .release
            case .rooms: .rooms
            case .holders: .holders
            case .forget: .forget
            case .ping: .ping
            }
    }
}

/// One counter for each value of a label, all there from the start, so that a rate can be computed from the first
/// increment on.
public struct CounterSet<Label: MetricLabel>: Sendable {
    private let counters: [Label: PrometheusCounter]
    /// Never used, as every case of `Label` has its counter.
    private let spare = PrometheusCounter()

    init(_ registry: PrometheusRegistry, _ name: String, label: String, help: String) {
        counters = Dictionary(
            uniqueKeysWithValues: Label.allCases.map {
                ($0, registry.counter(name, help: help, labels: [(label, $0.label)]))
            })
    }

    public subscript(label: Label) -> PrometheusCounter { counters[label] ?? spare }
}

/// One histogram for each value of a label.
public struct HistogramSet<Label: MetricLabel>: Sendable {
    private let histograms: [Label: PrometheusHistogram]
    /// Never used, as every case of `Label` has its histogram.
    private let spare = PrometheusHistogram(bounds: [])

    init(_ registry: PrometheusRegistry, _ name: String, label: String, help: String, bounds: [Double]) {
        histograms = Dictionary(
            uniqueKeysWithValues: Label.allCases.map {
                ($0, registry.histogram(name, help: help, labels: [(label, $0.label)], bounds: bounds))
            })
    }

    public subscript(label: Label) -> PrometheusHistogram { histograms[label] ?? spare }
}
