/// The delay before the next attempt to connect. It doubles with each failure up to a limit, and is random in the upper
/// half, so that nodes that lost the same Redis do not reconnect all at once.
struct ReconnectBackoff: Sendable, Equatable {
    let first: Duration
    let longest: Duration
    /// Failures since the last ``succeeded()``.
    private(set) var failures = 0

    init(first: Duration = .milliseconds(50), longest: Duration = .seconds(5)) {
        self.first = first
        self.longest = max(first, longest)
    }

    /// The delay after one more failure: between half and the whole of `first * 2^(failures - 1)`, at most `longest`.
    mutating func failed(using generator: inout some RandomNumberGenerator) -> Duration {
        var whole = first
        for _ in 0..<min(failures, 30) where whole < longest { whole *= 2 }
        whole = min(whole, longest)
        failures += 1
        return whole * Double.random(in: 0.5...1, using: &generator)
    }

    /// The connection was stable: the next failure waits as long as the first one did.
    mutating func succeeded() { failures = 0 }
}
