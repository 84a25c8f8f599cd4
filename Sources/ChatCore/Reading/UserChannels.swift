/// The users of whom this node has sessions, and the channels to which it is subscribed for them. Pure: one for each
/// loop of a node, for the users whose home is this loop.
///
/// - A user's channel is subscribed while there is a session, and for ``linger`` after the last one, so that a
///   reconnect costs nothing.
/// - When many users come or go at once, or the connection is back, what follows goes out ``batch`` at a time,
///   ``pause`` apart: rooms use the same connection, and must not wait behind users.
/// - A user without a session of its own here costs no memory after the linger.
///
/// There is an entry for each user of the node, so it is small. With the subscription (`SubscriptionStateMachine`) a
/// user costs the node 130 to 470 bytes, 260 on average: tables double in size, and 6,000 idle sessions were measured.
public struct UserChannels: Sendable {
    /// What is to be done at the connection for the user's channel.
    public enum Action: Sendable, Hashable {
        case subscribe(UserID)
        /// The last session of the user on this node ended ``linger`` ago, or a moment earlier.
        case unsubscribe(UserID)
    }

    private enum State: UInt8, Sendable {
        /// To be subscribed, when its turn comes or the connection is back. → `subscribed`
        case wanted
        /// SUBSCRIBE was sent. → `wanted`, when the connection is lost · `lingering`
        case subscribed
        /// Nobody is left; the channel is given up when the linger has ended. → `subscribed`
        case lingering
    }

    private struct Entry: Sendable {
        /// Most users have one session on a node. ``nobody``: there is none.
        var first: SessionID
        var others: [SessionID] = []
        /// Told apart from an earlier linger, whose end does not count.
        var lingers: UInt32 = 0
        var state = State.wanted

        var isEmpty: Bool { first == Entry.nobody }

        static let nobody = SessionID(raw: 0)
    }

    /// How long a channel stays subscribed after the last session of its user.
    public static let linger: Duration = .seconds(10)
    /// The most subscriptions that go out, or end, at once.
    public static let batch = 250
    /// The time between two batches.
    public static let pause: Duration = .milliseconds(5)

    private var users: [UserID: Entry] = [:]
    private var waiting = FIFO<UserID>()
    private var lingering = FIFO<(user: UserID, lingers: UInt32, ends: Moment)>()
    private var nextBatch = Moment(nanoseconds: 0)
    /// The same of channels that are given up.
    private var nextEnds = Moment(nanoseconds: 0)
    /// Whether the connection for a user's channel is up.
    private var reach = BrokerReach()

    public init() {}

    /// The size of an entry without its key.
    static var entryBytes: Int { MemoryLayout<Entry>.stride }

    /// The number of users with a channel.
    public var count: Int { users.count }

    /// When ``timePassed(now:_:)`` is to be called.
    public var deadline: Moment? {
        let turn = waiting.isEmpty ? nil : nextBatch
        guard let ends = lingering.first?.ends else { return turn }
        let next = max(ends, nextEnds)
        return turn.map { min($0, next) } ?? next
    }

    /// The user's sessions on this node.
    public func sessions(of user: UserID) -> [SessionID] {
        guard let entry = users[user], !entry.isEmpty else { return [] }
        return [entry.first] + entry.others
    }

    // MARK: sessions

    /// A session of the user has begun.
    public mutating func came(_ session: SessionID, of user: UserID, now: Moment, _ actions: inout [Action]) {
        guard var entry = users[user] else {
            users[user] = Entry(first: session)
            waiting.append(user)
            return subscribe(now: now, &actions)
        }
        if entry.isEmpty { entry.first = session } else { entry.others.append(session) }
        if entry.state == .lingering { entry.state = .subscribed }
        users[user] = entry
    }

    /// A session of the user has ended.
    public mutating func went(_ session: SessionID, of user: UserID, now: Moment, _ actions: inout [Action]) {
        guard var entry = users[user] else { return }
        if entry.first == session {
            entry.first = entry.others.popLast() ?? Entry.nobody
        } else {
            entry.others.removeAll { $0 == session }
        }
        if entry.others.isEmpty { entry.others = [] }
        guard entry.isEmpty else {
            users[user] = entry
            return
        }
        guard entry.state == .subscribed else {
            // It was never subscribed, or not since the connection was lost.
            users[user] = nil
            return
        }
        entry.state = .lingering
        entry.lingers &+= 1
        users[user] = entry
        lingering.append((user, entry.lingers, now + Self.linger))
    }

    // MARK: the connection

    /// The subscribe connection for these entities is up; it has no subscriptions.
    public mutating func connected(
        _ identity: BrokerIdentity, _ scope: BrokerScope, now: Moment, _ actions: inout [Action]
    ) {
        reach.came(scope, identity)
        lost(in: scope)
        for (user, entry) in users where entry.state == .wanted && scope.contains(.user(user)) { waiting.append(user) }
        subscribe(now: now, &actions)
    }

    /// It is lost, all subscriptions with it.
    public mutating func disconnected(_ scope: BrokerScope) {
        reach.went(scope)
        lost(in: scope)
    }

    private mutating func lost(in scope: BrokerScope) {
        for (user, entry) in users where entry.state != .wanted && scope.contains(.user(user)) {
            if entry.isEmpty { users[user] = nil } else { users[user]?.state = .wanted }
        }
    }

    // MARK: time

    /// ``deadline`` has come.
    public mutating func timePassed(now: Moment, _ actions: inout [Action]) {
        var count = 0
        while nextEnds <= now, count < Self.batch, let next = lingering.first, next.ends <= now {
            _ = lingering.popFirst()
            guard let entry = users[next.user], entry.state == .lingering, entry.lingers == next.lingers else {
                continue
            }
            users[next.user] = nil
            actions.append(.unsubscribe(next.user))
            count += 1
        }
        if count > 0 { nextEnds = now + Self.pause }
        subscribe(now: now, &actions)
    }

    private mutating func subscribe(now: Moment, _ actions: inout [Action]) {
        guard !waiting.isEmpty, nextBatch <= now else { return }
        var count = 0
        while count < Self.batch, let user = waiting.popFirst() {
            // Whoever waits for the connection is asked about again when it is up.
            guard users[user]?.state == .wanted, reach.identity(of: .user(user)) != nil else { continue }
            users[user]?.state = .subscribed
            actions.append(.subscribe(user))
            count += 1
        }
        if count > 0 { nextBatch = now + Self.pause }
    }
}
