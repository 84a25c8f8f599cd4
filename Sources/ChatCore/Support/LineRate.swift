/// Limits the lines in the log for each kind of event: one for the first event, then at most one in each ``pause``,
/// with the number of events. Kinds are never forgotten, so there must be few of them, such as the cases of an
/// enumeration.
public struct LineRate<Kind: Hashable & Sendable>: Sendable {
    private let pause: Duration
    private var entries: [Kind: (saidAt: Moment, unsaid: Int)] = [:]

    public init(pause: Duration) {
        self.pause = pause
    }

    /// The number of events that the line reports, including this one; nil if no line is due.
    public mutating func happened(_ kind: Kind, now: Moment) -> Int? {
        let unsaid = entries[kind]?.unsaid ?? 0
        if let saidAt = entries[kind]?.saidAt, now - saidAt < pause {
            entries[kind] = (saidAt, unsaid &+ 1)
            return nil
        }
        entries[kind] = (now, 0)
        return unsaid &+ 1
    }
}
