import ChatCore

/// Which refusals are worth a line: of each reason one in ten seconds, with how many there were. Pure.
struct RefusalLog {
    static let pause: Duration = .seconds(10)

    private var entries: [GatewayCounters.Refusal: (toldAt: Moment, count: Int)] = [:]

    /// How many the line is about; nil: no line now.
    mutating func refused(_ reason: GatewayCounters.Refusal, now: Moment) -> Int? {
        guard let entry = entries[reason] else {
            entries[reason] = (now, 0)
            return 1
        }
        guard now - entry.toldAt >= Self.pause else {
            entries[reason]?.count += 1
            return nil
        }
        entries[reason] = (now, 0)
        return entry.count + 1
    }
}
