import ChatCore

/// Decides when a key set (JWKS) is fetched: at the start; every hour; when a token names an unknown key, but then at
/// most once in 10 s, so that tokens with made-up key IDs cannot make the node flood the issuer; and after a failure
/// again, at growing intervals. A failure never removes keys: those of the last set that was fetched stay valid.
///
/// Pure: whoever runs it performs ``Action/fetch``, reports the outcome, and calls ``check(now:)`` at ``deadline``.
public struct KeySetRefresh: Sendable {
    public struct Settings: Hashable, Sendable {
        /// The time between fetches of a key set that nobody misses a key in.
        public var interval: Duration = .seconds(3_600)
        /// The shortest time between the beginnings of two fetches.
        public var shortest: Duration = .seconds(10)
        /// The longest time between fetches while they fail.
        public var longestRetry: Duration = .seconds(300)

        public init() {}
    }

    public enum Action: Hashable, Sendable {
        case fetch
        case nothing
    }

    /// What `/readyz` and logs say about the key set.
    public enum State: Hashable, Sendable {
        /// No key set was fetched since this moment, the start; with the last reason, if a fetch has failed.
        case missing(since: Moment, problem: String?)
        case fetched(at: Moment)
        /// The last key set, fetched at this moment, is still used, although fetching it again has failed.
        case stale(since: Moment, problem: String)

        /// A sentence for operators; nil if nothing is wrong, or nothing was tried yet.
        public var warning: String? {
            switch self {
            case .missing(_, let problem?): "no token keys yet: the key set cannot be fetched: \(problem)"
            case .stale(_, let problem): "the key set cannot be fetched, its last keys are used: \(problem)"
            case .missing(_, nil), .fetched: nil
            }
        }
    }

    private let settings: Settings
    public private(set) var state: State
    /// Whether a fetch was asked for whose outcome was not reported yet.
    public private(set) var isFetching = false
    private var startedAt: Moment?
    private var failures = 0
    private var dueAt: Moment

    /// The first fetch is due at once.
    public init(_ settings: Settings = Settings(), now: Moment) {
        self.settings = settings
        state = .missing(since: now, problem: nil)
        dueAt = now
    }

    /// Whether a fetch has ever succeeded.
    var hasKeys: Bool {
        switch state {
        case .missing: false
        case .fetched, .stale: true
        }
    }

    /// When ``check(now:)`` is to be called; nil while a fetch runs.
    public var deadline: Moment? { isFetching ? nil : dueAt }

    /// Time has passed.
    public mutating func check(now: Moment) -> Action {
        guard !isFetching, now >= dueAt else { return .nothing }
        return fetch(now)
    }

    /// A token named a key that is not in the set. While a fetch runs its outcome is awaited (``isFetching``).
    public mutating func unknownKey(now: Moment) -> Action {
        guard !isFetching else { return .nothing }
        if let startedAt, now < startedAt + settings.shortest { return .nothing }
        return fetch(now)
    }

    /// The fetch has ended with a set that holds at least one key.
    public mutating func succeeded(now: Moment) {
        guard isFetching else { return }
        isFetching = false
        failures = 0
        state = .fetched(at: now)
        dueAt = now + settings.interval
    }

    /// The fetch has ended without keys.
    public mutating func failed(_ problem: String, now: Moment) {
        guard isFetching else { return }
        isFetching = false
        switch state {
        case .missing(let since, _): state = .missing(since: since, problem: problem)
        case .fetched(let moment), .stale(let moment, _): state = .stale(since: moment, problem: problem)
        }
        // Doubles with each failure, up to the longest.
        dueAt = now + min(settings.shortest * (1 << min(failures, 16)), settings.longestRetry)
        failures += 1
    }

    private mutating func fetch(_ now: Moment) -> Action {
        isFetching = true
        startedAt = now
        return .fetch
    }
}
