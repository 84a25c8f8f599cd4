/// The work that an event loop does at the end of a tick, in the order of its ``Phase``s. All of it shares one task of
/// the loop, because each task costs about as much as a frame. Each piece of work has an ``Errand``, which is scheduled
/// with ``ask(_:_:)``.
public final class LoopTick: @unchecked Sendable {
    // Proof for @unchecked: touched on its loop only.

    /// Errands of an earlier phase run before those of a later one, even if a later one schedules them.
    public enum Phase: Int, CaseIterable, Sendable {
        /// Deliveries of rooms are handed to sessions.
        case deliveries
        /// Requests to the broker are written.
        case broker
        /// Frames are written to sessions.
        case sessions
    }

    /// A piece of work that runs once at the end of a tick, however often it was scheduled.
    public final class Errand {
        let phase: Phase
        /// The object that does the work, while it is scheduled; otherwise nil.
        fileprivate var work: (any TickWork)?
        /// The errand that was scheduled after this one, in the same phase.
        fileprivate var next: Errand?

        public init(_ phase: Phase) {
            self.phase = phase
        }

        /// Whether it is scheduled and has not run yet.
        public var isAsked: Bool { work != nil }
    }

    /// The scheduled errands of one phase, in the order in which they were scheduled. They form a linked list, so that
    /// scheduling allocates no memory.
    private struct Line {
        var first: Errand?
        var last: Errand?
    }

    private let execute: @Sendable (@escaping @Sendable () -> Void) -> Void
    private var lines = Array(repeating: Line(), count: Phase.allCases.count)
    private var isScheduled = false

    /// `execute` makes the loop call a closure after everything that it is doing now.
    public init(execute: @escaping @Sendable (@escaping @Sendable () -> Void) -> Void) {
        self.execute = execute
    }

    /// Schedules the errand for its phase of this tick, unless it is scheduled already. `work` is the object that does
    /// it, always the same one for an errand.
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

    /// The first phase in which an errand is scheduled.
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

/// An object that has work to do at the end of a loop's tick.
public protocol TickWork: AnyObject {
    /// Does the work of an errand that was scheduled with ``LoopTick/ask(_:_:)``. Called on the loop, when the errand
    /// is no longer scheduled.
    func tickEnded(_ phase: LoopTick.Phase)
}
