import ChatCore
import Logging
import NIOConcurrencyHelpers

/// Whether Redis accepts this node's writes: one ``RefusalStateMachine`` for all loops, which report what they observe.
final class WriteHealth: Sendable {
    private let machine = NIOLockedValueBox(RefusalStateMachine())
    private let metrics: NodeMetrics
    private let logger: Logger

    init(metrics: NodeMetrics, logger: Logger) {
        self.metrics = metrics
        self.logger = logger
    }

    /// Redis refused a request. `place`: the room, if the refusal is about one room alone.
    func refused(_ kind: RefusalKind, _ text: String, in place: RoomName? = nil, now: Moment) {
        metrics.redisRefusals[kind].increment()
        happen(in: place) { $0.refused(kind, text, now: now, &$1) }
    }

    /// A write that was requested at `asked` was accepted.
    func stored(asked: Moment, now: Moment) {
        happen { $0.stored(asked: asked, now: now, &$1) }
    }

    /// Our own heartbeat was answered, or its answer was lost.
    func heartbeat(_ verdict: NodePulse.Verdict, _ result: Result<BrokerReply, BrokerError>, now: Moment) {
        machine.withLockedValue { $0.heartbeat(taken: verdict != .failed) }
        // An error of an unknown kind; the others were counted when they came.
        if case .failure(.malformed(let text)) = result { refused(.other, text, now: now) }
    }

    /// Whether nodes without a heartbeat may be considered dead.
    var mayJudge: Bool { machine.withLockedValue { $0.mayJudge } }

    private func happen(
        in place: RoomName? = nil, _ event: (inout RefusalStateMachine, inout [RefusalStateMachine.Action]) -> Void
    ) {
        var actions: [RefusalStateMachine.Action] = []
        machine.withLockedValue { event(&$0, &actions) }
        for action in actions { carryOut(action, in: place) }
    }

    private func carryOut(_ action: RefusalStateMachine.Action, in place: RoomName?) {
        switch action {
        case .warn(let report):
            let text: Logger.Message =
                report.kind.isGeneral
                ? "redis refuses, nothing can be said" : "a key in redis is somebody else's, its room cannot be used"
            var metadata = Self.metadata(report)
            metadata[LogKey.remedy] = "\(report.kind.remedy)"
            if !report.kind.isGeneral, let place { metadata[LogKey.room] = "\(place)" }
            logger.warning(text, metadata: metadata)
        case .ended(let report):
            let text: Logger.Message =
                report.kind.isGeneral
                ? "redis takes again what it refused" : "no foreign key is in the way any more"
            logger.notice(text, metadata: Self.metadata(report))
        }
    }

    private static func metadata(_ report: RefusalStateMachine.Report) -> Logger.Metadata {
        [
            LogKey.reason: "\(report.kind)", LogKey.error: "\(report.text)", LogKey.count: "\(report.count)",
            LogKey.milliseconds: "\(report.lasted.wholeMilliseconds)",
        ]
    }
}

extension RefusalKind: MetricLabel {}
