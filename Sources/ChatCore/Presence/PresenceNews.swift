/// What the sessions of a room have been told of who is there, and what they still have to be told. Part of ``RoomPresence``.
///
/// Who joins is told the roster at that moment: everybody whom Redis lists, and who has joined here without being listed yet. Joins are
/// told to the others together with what Redis answers (a few at a time, or coming and going would cost more than talk). Sessions that
/// joined meanwhile know a part of that already: they get news of their own, so that nobody is told of his own arrival, or of anybody twice,
/// and the count is always that of the roster which follows from what a session was told.
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

    /// Users who are here and whom the roster does not list yet (or not any more). The value: everybody has been told.
    private var unlisted = SmallDictionary<UserID, Bool>()
    /// Of those who came here since the last news, in order.
    private var arrivals: [Arrival] = []
    /// Who was told of, left, and never was listed.
    private var departures: [UserID] = []
    private var fresh: [Fresh] = []
    /// Sessions that have joined since the last news.
    private var joins = 0

    /// Nothing is to be told.
    var isSettled: Bool { !hasNews && fresh.isEmpty }
    var hasNews: Bool { !arrivals.isEmpty || !departures.isEmpty }
    /// Users whom the roster does not list.
    var others: [UserID] { unlisted.keys }
    var count: Int { unlisted.count }

    /// Of a settled presence: everybody has been told of these, whom the roster does not list.
    init(unlisted users: [UserID] = []) {
        for user in users { unlisted[user] = true }
    }

    /// A session of the user is told the roster now, the user among it.
    mutating func joined(_ user: UserID, _ session: SessionID, isListed: Bool) {
        if !isListed, unlisted[user] == nil {
            // Also if everybody was told of the user, who left and is back: whoever joined in between was not (simulator, seed 13060).
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

    /// The roster lists the user from now on. Whether that is news.
    mutating func isListed(_ user: UserID) -> Bool {
        unlisted.removeValue(forKey: user) == nil
    }

    /// The roster lists the user no more. Whether that is news: not if the user is here.
    mutating func isUnlisted(_ user: UserID, isHere: Bool) -> Bool {
        if isHere { unlisted[user] = true }
        return !isHere
    }

    /// News for all sessions, and for some of them other news. Empty lists: none.
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

    /// What has to be told now, with what has just changed in the roster.
    mutating func take(joined listed: [UserID], left unlistedNow: [UserID]) -> Told {
        let came = arrivals.filter { $0.goneAt == nil }.map(\.user)
        for user in came where unlisted[user] != nil { unlisted[user] = true }
        let joined = listed + came
        let (all, gone) = Self.net(joined, unlistedNow + departures)
        var told = Told(joined: all, left: gone, apart: [])
        for session in fresh {
            let known = arrivals.prefix(session.arrivals)
            let isKnown = Set(known.lazy.filter { $0.goneAt == nil }.map(\.user))
            // Those whom it was told of, and who left afterwards.
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

    /// Without those who left and are there again.
    private static func net(_ joined: [UserID], _ left: [UserID]) -> (joined: [UserID], left: [UserID]) {
        guard !joined.isEmpty, !left.isEmpty else { return (joined, left) }
        let (came, went) = (Set(joined), Set(left))
        return (joined.filter { !went.contains($0) }, left.filter { !came.contains($0) })
    }
}
