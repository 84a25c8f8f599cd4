/// What belongs to one user, as ``MemoryBroker`` keeps it.
struct MemoryUser: Sendable {
    private var rooms: [RoomName: IndexedRoom] = [:]
    private var blocked: Set<UserID> = []

    var isEmpty: Bool { rooms.isEmpty && blocked.isEmpty }

    /// The answer of `martlet_user`, or of the commands that read.
    mutating func apply(
        _ operation: UserRequest.Operation, blockedUsers: Int
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
        case .blocked: return .success(.blocked(blocked.sorted { $0.text < $1.text }))
        }
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
