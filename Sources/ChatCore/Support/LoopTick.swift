/// What an event loop does at the end of a tick, in the order of its ``Phase``s: one task of the loop for all of it, as each task costs
/// about as much as a frame. Whoever has something to do there asks for it, and is called as often as it asked.
public final class LoopTick: @unchecked Sendable {
    // Proof for @unchecked: touched on its loop only.

    /// An earlier one is done before a later one, also if a later one asks for it.
    public enum Phase: Int, CaseIterable, Sendable {
        /// What rooms say is handed to sessions.
        case deliveries
        /// What the broker is asked leaves.
        case broker
        /// What sessions are told leaves.
        case sessions
        /// Nothing else is left to do, and what the loop was given meanwhile, by whomever, is done too: it thinks of what comes next.
        case rest
    }

    private let execute: @Sendable (@escaping @Sendable () -> Void) -> Void
    private var asked: [[any TickWork]] = Array(repeating: [], count: Phase.allCases.count)
    private var spare: [any TickWork] = []
    private var isScheduled = false

    /// `execute`: has the loop call something after all that it is doing now.
    public init(execute: @escaping @Sendable (@escaping @Sendable () -> Void) -> Void) {
        self.execute = execute
    }

    /// Has the work done in that phase of this tick.
    public func ask(_ phase: Phase, _ work: any TickWork) {
        asked[phase.rawValue].append(work)
        schedule()
    }

    private func schedule() {
        guard !isScheduled else { return }
        isScheduled = true
        execute { [self] in end() }
    }

    private func end() {
        var isAtRest = true
        while let phase = Phase.allCases.first(where: { !asked[$0.rawValue].isEmpty }), phase != .rest {
            isAtRest = false
            run(phase)
        }
        if isAtRest { run(.rest) }
        isScheduled = false
        if asked.contains(where: { !$0.isEmpty }) { schedule() }
    }

    private func run(_ phase: Phase) {
        guard !asked[phase.rawValue].isEmpty else { return }
        var works = spare
        spare = []
        swap(&works, &asked[phase.rawValue])
        for work in works { work.tickEnded(phase) }
        works.removeAll(keepingCapacity: works.capacity <= 64)
        spare = works
    }
}

/// Somebody who has something to do at the end of a loop's tick.
public protocol TickWork: AnyObject {
    /// What was asked for by ``LoopTick/ask(_:_:)``; on the loop.
    func tickEnded(_ phase: LoopTick.Phase)
}
