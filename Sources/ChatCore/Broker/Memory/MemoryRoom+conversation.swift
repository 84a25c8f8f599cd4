/// What belongs to the participants of a room. Who they are is part of its rules (``MemoryRoom/moderation``).
struct MemoryConversation: Sendable {
    /// Of the last change; 0 if there was none.
    var version: UInt64 = 0
    var reads: [UserID: ReadMark] = [:]
    /// For how long the room outlives its last node, in milliseconds.
    var keep: UInt64?
}

extension MemoryRoom {
    /// When the room is forgotten, if the rooms of others are forgotten at `expires`.
    func expires(_ expires: UInt64, now: UInt64) -> UInt64 {
        conversation.keep.map { max(expires, now + $0) } ?? expires
    }

    mutating func expire(at expires: UInt64) {
        if log != nil { logExpires = expires }
        if chain != nil { restExpires = expires }
        rulesExpire = expires
    }

    /// The answer of `martlet_participants`, or of `martlet_conversation`, and the event.
    mutating func converse(
        _ request: ConversationRequest, settings: MemoryBrokerSettings, runID: String, now: UInt64
    ) -> (Result<BrokerReply, BrokerError>, [ChannelEvent]) {
        let before = moderation.conversation
        if case .list = request.operation {
            return (.success(.participants(before.map { list($0) })), [])
        }
        if case .indexed(let versions) = request.operation {
            var pending = before?.pending ?? [:]
            for (user, version) in versions where pending[user] == version { pending[user] = nil }
            set(before.map { Conversation($0.kind, participants: $0.participants, pending: pending) })
            return (.success(.conversation(reply(isChanged: false))), [])
        }
        var desk = ConversationDesk(
            request, before: before, limit: settings.participants, now: now, isInUse: isInUse(besides: request.by))
        do throws(ConversationRefusal) {
            try desk.apply()
        } catch {
            return (.failure(.forbidden(error.error)), [])
        }
        guard !desk.changes.isEmpty, let kind = desk.kind else {
            return (.success(.conversation(reply(isChanged: false))), [])
        }
        if let problem = problem(now: now) { return (.failure(problem), []) }
        return change(desk, kind, settings: settings, runID: runID, now: now)
    }

    private mutating func change(
        _ desk: ConversationDesk, _ kind: ConversationKind, settings: MemoryBrokerSettings, runID: String, now: UInt64
    ) -> (Result<BrokerReply, BrokerError>, [ChannelEvent]) {
        let mark = endMark
        var policy = moderation.policy
        if case .create = desk.request.operation { policy.members = .participants }
        conversation.keep = settings.conversationTTL.timeToLiveMilliseconds
        var version = moderation.version
        if !desk.isQuiet {
            version = max(beginEpoch(runID: runID, now: now) ?? now, version + 1)
            conversation.version = max(version, conversation.version + 1)
        }
        var pending = moderation.conversation?.pending ?? [:]
        for (user, change) in desk.changes {
            switch change {
            case .added: conversation.reads[user] = mark
            case .removed: conversation.reads[user] = nil
            case .changed: continue
            }
            pending[user] = conversation.version
        }
        moderation = RoomModeration(
            version: version, policy: policy, bans: moderation.bans, mutes: moderation.mutes,
            conversation: Conversation(kind, participants: desk.participants, pending: pending))
        if log == nil || logExpires != nil {
            expire(at: now + settings.conversationTTL.timeToLiveMilliseconds)
        }
        var reply = reply(isChanged: true)
        reply.changes = desk.changes
        guard !desk.isQuiet, let log, let outsider = try? NodeID("participants") else {
            return (.success(.conversation(reply)), [])
        }
        return (.success(.conversation(reply)), [news(of: log, by: outsider)])
    }

    private mutating func set(_ conversation: Conversation?) {
        guard moderation.conversation != conversation else { return }
        moderation = RoomModeration(
            version: moderation.version, policy: moderation.policy, bans: moderation.bans, mutes: moderation.mutes,
            conversation: conversation)
    }

    private func reply(isChanged: Bool) -> ConversationReply {
        ConversationReply(
            version: conversation.version, isChanged: isChanged, kind: moderation.conversation?.kind,
            pending: moderation.conversation.map { pending($0) } ?? [])
    }

    private func list(_ known: Conversation) -> ParticipantList {
        ParticipantList(
            version: conversation.version, kind: known.kind, participants: known.participants,
            reads: conversation.reads, pending: pending(known))
    }

    private func pending(_ known: Conversation) -> [PendingIndex] {
        known.pending.sorted { $0.key.text < $1.key.text }.map { user, version in
            PendingIndex(user, version: version, since: known.participants[user]?.since)
        }
    }

    /// Making the room a group would shut somebody out.
    private func isInUse(besides user: UserID?) -> Bool {
        moderation.version > 0 || (log?.last.seq ?? 0) > 0 || roster.keys.contains { $0 != user }
    }

    /// The read position of who becomes a participant now: the end of the log.
    private var endMark: ReadMark {
        guard let last = log?.last, last.seq > 0 else { return ReadMark(Self.nowhere) }
        let newest = log?.entries.last?.position
        return ReadMark(newest?.seq == last.seq ? newest ?? last : last)
    }
}

/// The rules of ``ConversationRequest``: who may do what, and what becomes of the participants.
private struct ConversationDesk {
    let request: ConversationRequest
    let limit: Int
    let now: UInt64
    let isInUse: Bool
    private(set) var kind: ConversationKind?
    private(set) var participants: [UserID: Participant]
    private(set) var changes: [UserID: ConversationReply.Change] = [:]
    /// Only notification levels changed, so no rule did.
    private(set) var isQuiet = false

    init(_ request: ConversationRequest, before: Conversation?, limit: Int, now: UInt64, isInUse: Bool) {
        self.request = request
        self.limit = limit
        self.now = now
        self.isInUse = isInUse
        kind = before?.kind
        participants = before?.participants ?? [:]
    }

    private var own: Participant? { request.by.flatMap { participants[$0] } }

    mutating func apply() throws(ConversationRefusal) {
        switch request.operation {
        case .direct(let one, let other): return try direct(one, other)
        case .create(let users): return try create(users)
        case .leave:
            guard let by = request.by, participants[by] != nil else { return }
            drop(by)
            return handOver()
        case .block(let blocks):
            guard let kind else { return }
            guard kind == .direct else { throw .notDirect }
            guard let by = request.by, let own, own.blocks != blocks else { return }
            return put(by) { $0.blocks = blocks }
        case .invite, .remove, .role, .notify, .indexed, .list: break
        }
        guard kind != nil else { throw request.mayDoAll ? .noConversation : .notParticipant }
        let isNotify = if case .notify = request.operation { true } else { false }
        guard own != nil || (request.mayDoAll && !isNotify) else { throw .notParticipant }
        switch request.operation {
        case .invite(let users):
            guard kind != .direct else { throw .isDirect }
            guard may(.moderator) else { throw .notAllowed }
            try addAll(users)
        case .remove(let user):
            guard kind != .direct else { throw .isDirect }
            guard may(.moderator, with: participants[user]) else { throw .notAllowed }
            guard participants[user] != nil else { return }
            drop(user)
            handOver()
        case .role(let user, let role): try give(user, role)
        case .notify(let level):
            guard let by = request.by, let own, own.notify != level else { return }
            put(by) { $0.notify = level }
            isQuiet = true
        case .direct, .create, .leave, .block, .indexed, .list: break
        }
    }

    private mutating func direct(_ one: UserID, _ other: UserID) throws(ConversationRefusal) {
        guard RoomName(directOf: one, and: other) == request.room else { throw .notDirect }
        guard request.mayDoAll || request.by == one || request.by == other else { throw .notParticipant }
        kind = .direct
        for user in [one, other] where participants[user] == nil { add(user, .member) }
    }

    private mutating func create(_ others: [UserID]) throws(ConversationRefusal) {
        guard !request.room.isDirect else { throw .isDirect }
        let users = (request.by.map { [$0] } ?? []) + others
        guard !users.isEmpty else { throw .absent }
        if kind != nil {
            guard own?.role == .owner || request.mayDoAll, users.allSatisfy({ participants[$0] != nil }) else {
                throw .taken
            }
            return
        }
        guard request.mayDoAll || !isInUse else { throw .taken }
        kind = .group
        try addAll(users, first: .owner)
    }

    private mutating func give(_ user: UserID, _ role: ParticipantRole) throws(ConversationRefusal) {
        guard kind != .direct else { throw .isDirect }
        guard may(.owner) else { throw .notAllowed }
        guard let target = participants[user] else { throw .absent }
        guard target.role != role else { return }
        if target.role == .owner, !participants.contains(where: { $0.key != user && $0.value.role == .owner }) {
            throw .lastOwner
        }
        put(user) { $0.role = role }
    }

    /// Whether who orders it may do that to the participant.
    private func may(_ least: ParticipantRole, with target: Participant? = nil) -> Bool {
        if request.mayDoAll { return true }
        guard let own else { return false }
        return own.role == .owner || own.role >= least && target.map { own.role > $0.role } ?? true
    }

    private mutating func addAll(
        _ users: [UserID], first: ParticipantRole = .member
    ) throws(ConversationRefusal) {
        let new = Set(users).subtracting(participants.keys)
        guard new.isEmpty || participants.count + new.count <= limit else { throw .full }
        for (index, user) in users.enumerated() where participants[user] == nil {
            add(user, index == 0 ? first : .member)
        }
    }

    /// A group needs an owner as long as it has participants.
    private mutating func handOver() {
        guard kind != .direct, !participants.values.contains(where: { $0.role == .owner }) else { return }
        guard let heir = oldest(.moderator) ?? oldest(.member) else { return }
        put(heir) { $0.role = .owner }
    }

    private func oldest(_ role: ParticipantRole) -> UserID? {
        participants.filter { $0.value.role == role }.min { left, right in
            guard left.value.since == right.value.since else { return left.value.since < right.value.since }
            return left.key.text.utf8.lexicographicallyPrecedes(right.key.text.utf8)
        }?.key
    }

    private mutating func add(_ user: UserID, _ role: ParticipantRole) {
        participants[user] = Participant(role: role, since: now)
        changes[user] = .added
    }

    private mutating func drop(_ user: UserID) {
        participants[user] = nil
        changes[user] = .removed
    }

    private mutating func put(_ user: UserID, _ change: (inout Participant) -> Void) {
        guard var participant = participants[user] else { return }
        change(&participant)
        participants[user] = participant
        changes[user] = changes[user] ?? .changed
    }
}
