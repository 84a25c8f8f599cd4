import ChatCore

/// Keeps deliveries away from an endpoint that fails, whatever the room, so that a dead endpoint costs a request now
/// and then. Event in, decision out; time is an argument. Pure.
///
/// Closed, it lets everything through. After ``threshold`` failures in a row it opens for a pause, which doubles up to
/// ``longest``; then one delivery is let through, which decides.
struct CircuitBreaker {
    static let threshold = 5
    static let longest: Duration = .seconds(300)

    private let shortest: Duration
    private var failures = 0
    private var pause: Duration
    private var openUntil: Moment?

    /// `shortest`: the first pause.
    init(shortest: Duration = .seconds(5)) {
        self.shortest = shortest
        pause = shortest
    }

    /// For how long nothing may be delivered; nil if something may.
    func closedFor(now: Moment) -> Duration? {
        guard let openUntil, openUntil > now else { return nil }
        return openUntil - now
    }

    /// How many deliveries may be under way at once: a single one after a pause.
    func width(_ most: Int) -> Int { openUntil == nil ? most : 1 }

    mutating func succeeded() {
        failures = 0
        pause = shortest
        openUntil = nil
    }

    /// `atLeast`: for how long the server asked to be left alone.
    mutating func failed(now: Moment, atLeast: Duration?) {
        failures += 1
        guard failures >= Self.threshold || atLeast != nil else { return }
        openUntil = now + max(pause, min(atLeast ?? .zero, RetrySchedule.longest))
        pause = min(pause * 2, Self.longest)
    }
}
