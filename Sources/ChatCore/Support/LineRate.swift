/// Which events are worth a line in the log: the first of each kind, then one line in ``pause`` at most, with how many there were. The
/// kinds are few and ours, such as the cases of an enumeration: they are never forgotten.
public struct LineRate<Kind: Hashable & Sendable>: Sendable {
    private let pause: Duration
    private var entries: [Kind: (saidAt: Moment, unsaid: Int)] = [:]

    public init(pause: Duration) {
        self.pause = pause
    }

    /// How many the line is about, this one too; nil: no line now.
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
