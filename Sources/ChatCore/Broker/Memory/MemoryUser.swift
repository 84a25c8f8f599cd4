/// What belongs to one user, as ``MemoryBroker`` keeps it.
struct MemoryUser: Sendable {
    private var rooms: [RoomName: IndexedRoom] = [:]
    private var blocked: Set<UserID> = []
    /// The newest last.
    private var stars: [Star] = []
    private var starrers: Set<Starrer> = []
    /// When the user was last here, 0 if that is not known; nil if nobody may see it.
    private var lastSeen: UInt64?

    var isEmpty: Bool {
        rooms.isEmpty && blocked.isEmpty && stars.isEmpty && starrers.isEmpty && lastSeen == nil
    }

    /// The answer of `martlet_user`, or of the commands that read.
    mutating func apply(
        _ operation: UserRequest.Operation, blockedUsers: Int, mostStars: Int, now: UInt64
    ) -> Result<UserReply, BrokerError> {
        switch operation {
        case .index(let room, let kind, let version, let since, let partner):
            let isChanged = write(room, kind, version: version, since: since)
            return .success(
                .indexed(isChanged: isChanged, blocksPartner: partner.map { blocked.contains($0) } ?? false))
        case .drop(let room, let version):
            if let known = rooms[room], known.version <= version { rooms[room] = nil }
            return .success(.done)
        case .block(let user):
            guard blocked.contains(user) || blocked.count < blockedUsers else {
                return .failure(.forbidden(.tooManyEntries))
            }
            return .success(.changed(blocked.insert(user).inserted))
        case .unblock(let user): return .success(.changed(blocked.remove(user) != nil))
        case .standing(let other):
            return .success(.standing(rooms: rooms.count, isBlocked: blocked.contains(other)))
        case .rooms(let cursor, let count):
            let (part, next) = MemoryParts.part(of: Array(rooms.values), from: cursor, limit: count) { $0.room.text }
            return .success(.rooms(part, cursor: next))
        case .star(var star):
            guard !stars.contains(where: { $0.room == star.room && $0.position == star.position }) else {
                return .success(.changed(false))
            }
            guard stars.count < mostStars else { return .failure(.forbidden(.tooManyEntries)) }
            star.starred = max(now, (stars.last?.starred ?? 0) + 1)
            stars.append(star)
            return .success(.changed(true))
        case .unstar(let room, let position):
            let author = stars.first { $0.room == room && $0.position == position }?.user
            stars.removeAll { $0.room == room && $0.position == position }
            return .success(.unstarred(isChanged: author != nil, author: author))
        case .note(let starrer):
            starrers.insert(starrer)
            return .success(.done)
        case .strike(let some):
            starrers.subtract(some)
            return .success(.done)
        case .starrers(let room, let position, let after, let count):
            let wanted = starrers.filter { starrer in
                room.map { $0 == starrer.room } ?? true && position.map { $0 == starrer.position } ?? true
                    && after.map { $0.text < starrer.text } ?? true
            }
            let sorted = wanted.sorted { $0.text < $1.text }
            return .success(.starrers(Array(sorted.prefix(count)), hasMore: sorted.count > count))
        case .stars(let before, let page):
            return .success(self.page(before: before, page))
        case .showLastSeen(let isShown):
            if let isShown { lastSeen = isShown ? lastSeen ?? 0 : nil }
            return .success(.shown(lastSeen != nil))
        case .left(let at):
            if lastSeen != nil { lastSeen = at }
            return .success(.done)
        case .lastSeen(let other):
            let isBlocked = other.map { blocked.contains($0) } ?? false
            return .success(.lastSeen(isBlocked || lastSeen == 0 ? nil : lastSeen))
        case .forget:
            self = MemoryUser()
            return .success(.done)
        case .blocked: return .success(.blocked(blocked.sorted { $0.text < $1.text }))
        }
    }

    private func page(before: UInt64?, _ page: PageBounds) -> UserReply {
        let earlier = stars.filter { star in before.map { star.starred < $0 } ?? true }.reversed()
        var (taken, bytes) = ([Star](), 0)
        for star in earlier {
            guard taken.count < page.count, taken.isEmpty || bytes + star.cost <= page.bytes else { break }
            taken.append(star)
            bytes += star.cost
        }
        return .stars(taken, hasMore: taken.count < earlier.count)
    }

    private mutating func write(
        _ room: RoomName, _ kind: ConversationKind, version: UInt64, since: UInt64?
    ) -> Bool {
        guard rooms[room]?.version ?? 0 < version else { return false }
        guard let since else { return rooms.removeValue(forKey: room) != nil }
        rooms[room] = IndexedRoom(room, kind: kind, since: since, version: version)
        return true
    }
}

extension WireError {
    /// The error at a limit of what belongs to a user.
    package static let tooManyEntries = WireError(
        .tooManyEntries, "the user has as many conversations, blocked users or stars as there may be")
}
