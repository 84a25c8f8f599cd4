/// What the sessions of a room were told about who is there, and what they still have to be told. Part of
/// ``RoomPresence``.
///
/// The answer to a join contains the roster at that moment: all users that Redis lists, and those who have joined here
/// and are not listed yet. Other sessions are told of joins together with the answer of Redis, a few joins at a time,
/// as presence would otherwise cost more than messages. Sessions that joined meanwhile know a part of that already.
/// They get news of their own, so that no session is told of its own arrival, or of another one twice, and the count is
/// always that of the roster which follows from what a session was told.
struct PresenceNews: Sendable {
    private struct Arrival: Sendable {
        var user: UserID
        /// How many sessions had joined when the user left again.
        var goneAt: Int?
    }

    /// A session that joined since the last news, and how many arrivals and departures it knows of.
    private struct Fresh: Sendable {
        var session: SessionID
        var arrivals: Int
        var departures: Int
        /// Which one it is of those that joined.
        var number: Int
    }

    /// Users who are here and whom the roster does not list yet, or no longer. The value: all sessions were told.
    private var unlisted = SmallDictionary<UserID, Bool>()
    /// Users who came here since the last news, in order.
    private var arrivals: [Arrival] = []
    /// Users of whom sessions were told, who left, and who were never listed.
    private var departures: [UserID] = []
    private var fresh: [Fresh] = []
    /// Sessions that have joined since the last news.
    private var joins = 0

    /// Whether no session has to be told anything.
    var isSettled: Bool { !hasNews && fresh.isEmpty }
    var hasNews: Bool { !arrivals.isEmpty || !departures.isEmpty }
    /// Users whom the roster does not list.
    var others: [UserID] { unlisted.keys }
    var count: Int { unlisted.count }

    /// For a settled presence: all sessions were told of these users, whom the roster does not list.
    init(unlisted users: [UserID] = []) {
        for user in users { unlisted[user] = true }
    }

    /// The answer to a join of that session contains the roster with the user.
    mutating func joined(_ user: UserID, _ session: SessionID, isListed: Bool) {
        if !isListed, unlisted[user] == nil {
            // Also if all sessions were told of the user, who left and is back: a session that joined in between was
            // not (simulator, seed 13060).
            unlisted[user] = false
            arrivals.append(Arrival(user: user))
        }
        fresh.removeAll { $0.session == session }
        guard hasNews else { return }
        joins += 1
        fresh.append(
            Fresh(session: session, arrivals: arrivals.count, departures: departures.count, number: joins))
    }

    mutating func left(_ session: SessionID) {
        guard !fresh.isEmpty else { return }
        fresh.removeAll { $0.session == session }
    }

    /// The last session of the user here has left.
    mutating func isGone(_ user: UserID) {
        guard let isTold = unlisted.removeValue(forKey: user) else { return }
        if isTold {
            departures.append(user)
        } else if let place = arrivals.lastIndex(where: { $0.user == user && $0.goneAt == nil }) {
            arrivals[place].goneAt = joins
        }
    }

    /// The roster lists the user from now on. Returns whether that is news.
    mutating func isListed(_ user: UserID) -> Bool {
        unlisted.removeValue(forKey: user) == nil
    }

    /// The roster does not list the user any more. Returns whether that is news: not if the user is here.
    mutating func isUnlisted(_ user: UserID, isHere: Bool) -> Bool {
        if isHere { unlisted[user] = true }
        return !isHere
    }

    /// News for all sessions, and for some sessions news of their own.
    struct Told: Equatable {
        var joined: [UserID]
        var left: [UserID]
        var apart: [(session: SessionID, joined: [UserID], left: [UserID])]

        var isEmpty: Bool {
            joined.isEmpty && left.isEmpty && apart.allSatisfy { $0.joined.isEmpty && $0.left.isEmpty }
        }

        static func == (left: Told, right: Told) -> Bool {
            left.joined == right.joined && left.left == right.left && left.apart.elementsEqual(right.apart) { $0 == $1 }
        }
    }

    /// What has to be told now, together with the changes of the roster.
    mutating func take(joined listed: [UserID], left unlistedNow: [UserID]) -> Told {
        let came = arrivals.filter { $0.goneAt == nil }.map(\.user)
        for user in came where unlisted[user] != nil { unlisted[user] = true }
        let joined = listed + came
        let (all, gone) = Self.net(joined, unlistedNow + departures)
        var told = Told(joined: all, left: gone, apart: [])
        for session in fresh {
            let known = arrivals.prefix(session.arrivals)
            let isKnown = Set(known.lazy.filter { $0.goneAt == nil }.map(\.user))
            // Users of whom the session was told, and who left afterwards.
            let lost = known.filter { $0.goneAt.map { $0 >= session.number } ?? false }.map(\.user)
            let (joined, left) = Self.net(
                joined.filter { !isKnown.contains($0) },
                unlistedNow + departures.dropFirst(session.departures) + lost)
            told.apart.append((session.session, joined, left))
        }
        joins = 0
        arrivals = []
        departures = []
        fresh = []
        return told
    }

    /// Both lists without users who are in both: they left and are back.
    private static func net(_ joined: [UserID], _ left: [UserID]) -> (joined: [UserID], left: [UserID]) {
        guard !joined.isEmpty, !left.isEmpty else { return (joined, left) }
        let (came, went) = (Set(joined), Set(left))
        return (joined.filter { !went.contains($0) }, left.filter { !came.contains($0) })
    }
}
