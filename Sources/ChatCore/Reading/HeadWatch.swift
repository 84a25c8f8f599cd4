/// The sessions that watch a room without being in it, and when they are told what is new: at once after a quiet
/// second, and otherwise at the end of that second, so at most once a second. Pure.
public struct HeadWatch: Sendable {
    /// The time in which the watchers are told at most once.
    public static let pause: Duration = .seconds(1)

    /// The sessions that watch, and their users.
    public private(set) var watchers: [SessionID: UserID] = [:]
    /// Those who were told nothing yet.
    private var new: Set<SessionID> = []
    /// The end of the second in which they were told.
    private var pauseEnds: Moment?
    private var hasNews = false

    public init() {}

    /// Whether nobody watches.
    public var isEmpty: Bool { watchers.isEmpty }

    /// The session watches from now on. It is told first what there is (``takeNew()``).
    public mutating func add(_ session: SessionID, _ user: UserID) {
        guard watchers.updateValue(user, forKey: session) == nil else { return }
        new.insert(session)
    }

    /// Returns false if the session did not watch.
    public mutating func remove(_ session: SessionID) -> Bool {
        new.remove(session)
        return watchers.removeValue(forKey: session) != nil
    }

    /// The room is live: those who came since the last call are to be told what there is.
    public mutating func takeNew() -> [SessionID] {
        guard !new.isEmpty else { return [] }
        defer { new = [] }
        return new.sorted()
    }

    /// Something is new. True: all are to be told now, and ``timePassed(now:)`` is to be called after ``pause``.
    public mutating func changed(now: Moment) -> Bool {
        guard !watchers.isEmpty else { return false }
        guard pauseEnds == nil else {
            hasNews = true
            return false
        }
        pauseEnds = now + Self.pause
        return true
    }

    /// The pause may have ended. True: as after ``changed(now:)``.
    public mutating func timePassed(now: Moment) -> Bool {
        guard let pauseEnds, pauseEnds <= now else { return false }
        guard hasNews, !watchers.isEmpty else {
            self.pauseEnds = nil
            hasNews = false
            return false
        }
        hasNews = false
        self.pauseEnds = now + Self.pause
        return true
    }
}
