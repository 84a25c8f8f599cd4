/// What an event loop does at the end of a tick, in the order of its ``Phase``s: one task of the loop for all of it, as each task costs
/// about as much as a frame. Whoever has something to do there has an ``Errand``, and asks for it.
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
    }

    /// Something that is done at the end of a tick, once, however often it was asked for.
    public final class Errand {
        let phase: Phase
        /// Whose it is, while it is asked for; nil: it is not.
        fileprivate var work: (any TickWork)?
        /// The one that was asked for after it, in the same phase.
        fileprivate var next: Errand?

        public init(_ phase: Phase) {
            self.phase = phase
        }

        /// From being asked for until it is done.
        public var isAsked: Bool { work != nil }
    }

    /// Those of one phase, in the order in which they were asked for: linked, so that asking needs no memory.
    private struct Line {
        var first: Errand?
        var last: Errand?
    }

    private let execute: @Sendable (@escaping @Sendable () -> Void) -> Void
    private var lines = Array(repeating: Line(), count: Phase.allCases.count)
    private var isScheduled = false

    /// `execute`: has the loop call something after all that it is doing now.
    public init(execute: @escaping @Sendable (@escaping @Sendable () -> Void) -> Void) {
        self.execute = execute
    }

    /// Has the errand done in its phase of this tick, if it is not already asked for. `work`: whose it is, always the same.
    public func ask(_ errand: Errand, _ work: any TickWork) {
        guard !errand.isAsked else { return }
        errand.work = work
        let phase = errand.phase.rawValue
        if let last = lines[phase].last { last.next = errand } else { lines[phase].first = errand }
        lines[phase].last = errand
        schedule()
    }

    private func schedule() {
        guard !isScheduled else { return }
        isScheduled = true
        execute { [self] in end() }
    }

    private func end() {
        while let phase = nextPhase { run(phase) }
        isScheduled = false
    }

    /// The first in which something is asked for.
    private var nextPhase: Phase? {
        for phase in Phase.allCases where lines[phase.rawValue].first != nil { return phase }
        return nil
    }

    private func run(_ phase: Phase) {
        var line = Line()
        swap(&line, &lines[phase.rawValue])
        while let errand = line.first {
            line.first = errand.next
            errand.next = nil
            let work = errand.work
            errand.work = nil
            work?.tickEnded(phase)
        }
    }
}

/// Somebody who has something to do at the end of a loop's tick.
public protocol TickWork: AnyObject {
    /// What was asked for by ``LoopTick/ask(_:_:)``, no longer asked for; on the loop.
    func tickEnded(_ phase: LoopTick.Phase)
}
