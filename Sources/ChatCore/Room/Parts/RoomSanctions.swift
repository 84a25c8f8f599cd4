/// The room's rules and sanctions, as far as this node has read them, and what users have sent of late, for the rules
/// that look back. Part of ``RoomStateMachine``.
///
/// Rules belong to an epoch: changing them begins one, so Redis refuses what was decided by earlier rules. Whoever
/// tells of an epoch also tells the version of its rules. Until this node has read that version, it appends nothing.
struct RoomSanctions: Sendable {
    private struct Earlier: Sendable {
        /// When the user's last message was sent: of those that were shown here, and of our own that went out.
        var at: UInt64
        /// The number of the send, if it is our own and was not shown yet.
        var number: UInt64?
        /// The same of the message before.
        var before: UInt64?
        /// The contents of the last few messages, oldest first.
        var contents: [Content] = []
    }

    private struct Content: Sendable {
        var hash: UInt64
        var at: UInt64
        var number: UInt64?
    }

    private struct Known: Sendable {
        /// The rules that were read last; nil if the room was never moderated.
        var moderation: RoomModeration?
        /// The version of the rules of the newest epoch that is known.
        var required: UInt64 = 0
        /// The rules of which members were told last; nil if the room had none.
        var told: RoomModeration?
        /// By user; only while a rule looks back.
        var earlier: [UserID: Earlier] = [:]
    }

    /// One element; none in a room that was never moderated, as most, where it takes eight bytes.
    private var known: [Known] = []

    /// The most users of whom it is known when they sent something. Beyond it, those who sent nothing for the longest
    /// time are forgotten.
    private static let mostUsers = 8_192
    /// The most messages of one user that are compared with the next one.
    private static let mostContents = 4

    init() {}

    /// The rules that were read last; nil if the room was never moderated.
    var moderation: RoomModeration? { known.first?.moderation }

    /// The version of the rules that were read last.
    var version: UInt64 { moderation?.version ?? 0 }

    /// Whether the room has participants, or had some.
    var isConversation: Bool { moderation?.conversation != nil }

    /// Whether indexes of participants may lack the room.
    var hasPendingIndexes: Bool { !(moderation?.conversation?.pending.isEmpty ?? true) }

    /// Whether the rules of the newest known epoch were read.
    var isCurrent: Bool { known.isEmpty || version == known[0].required }

    /// Whether a rule looks back at what users have sent.
    var looksBack: Bool { moderation.map { $0.policy.slowMode > 0 || $0.policy.uniqueFor > 0 } ?? false }

    // MARK: which rules

    /// The newest epoch has rules of that version.
    mutating func requires(_ version: UInt64) {
        guard !known.isEmpty || version > 0 else { return }
        know { $0.required = version }
    }

    /// A view brought these rules; nil: those that are known already. `isNewest`: the view is of the newest known
    /// epoch, or of a later one. Returns whether they are others than before.
    mutating func read(_ rules: RoomModeration?, isNewest: Bool) -> Bool {
        let before = version
        guard rules != nil || !known.isEmpty else { return false }
        know {
            if let rules { $0.moderation = rules.version == 0 ? nil : rules }
            if isNewest { $0.required = $0.moderation?.version ?? 0 }
        }
        return version != before
    }

    /// The room was entered: these are its rules; nil: it was never moderated.
    mutating func entered(_ rules: RoomModeration?) { _ = read(rules ?? RoomModeration.none, isNewest: true) }

    private mutating func know(_ change: (inout Known) -> Void) {
        if known.isEmpty { known = [Known()] }
        change(&known[0])
        if !looksBack { known[0].earlier = [:] }
        if known[0].moderation == nil, known[0].told == nil, known[0].required == 0 { known = [] }
    }

    /// The rules of which members have to be told, and those of which they were told before; nil if those are the same.
    /// From now on they count as told.
    mutating func takeNews() -> (before: RoomModeration?, now: RoomModeration)? {
        guard let first = known.first, (first.told?.version ?? 0) != version else { return nil }
        let news = (before: first.told, now: first.moderation ?? .none)
        know { $0.told = $0.moderation }
        return news
    }

    // MARK: decisions

    /// Why the user may not be in the room. `now`: in milliseconds since 1970, as all times here.
    func refusal(ofJoinBy user: UserID, in room: RoomName, now: UInt64) -> WireError? {
        (moderation ?? .none).refusal(ofJoinBy: user, in: room, now: now)
    }

    /// Why the message may not be stored. `number`: that of its send, which is not compared with itself.
    func refusal(
        of content: MessageContent, in room: RoomName, by rights: Rights, number: UInt64?, now: UInt64
    ) -> WireError? {
        guard let moderation else { return nil }
        var (lastSend, lastSame): (UInt64?, UInt64?)
        if looksBack, let earlier = known.first?.earlier[content.user] {
            // Times between messages are those between the moments at which they were sent, however long they waited.
            func shifted(_ at: UInt64?) -> UInt64? {
                at.map { now - min(now, content.at - min($0, content.at)) }
            }
            let isSelf = number != nil && earlier.number == number
            lastSend = shifted(isSelf ? earlier.before : earlier.at)
            let hash = Self.hash(content)
            let same = earlier.contents.last { $0.hash == hash && (number == nil || $0.number != number) }
            lastSame = shifted(same?.at)
        }
        return moderation.refusal(
            ofSendBy: content.user, in: room, with: rights, now: now, lastSend: lastSend, lastSame: lastSame)
    }

    private static func hash(_ content: MessageContent) -> UInt64 {
        var hash = StableHash(content.text ?? "")
        hash.add("\n")
        hash.add(content.data ?? "")
        return hash.value
    }

    // MARK: what users have sent

    /// A send of ours goes out.
    mutating func sent(_ content: MessageContent, number: UInt64) { note(content, at: content.at, number: number) }

    /// A message was shown. `now`: no message counts as sent later, whatever the clock of its node says.
    mutating func shown(_ content: MessageContent, now: UInt64) {
        guard content.amendment == nil else { return }
        note(content, at: min(content.at, now), number: nil)
    }

    private mutating func note(_ content: MessageContent, at: UInt64, number: UInt64?) {
        guard looksBack else { return }
        if known[0].earlier.count >= Self.mostUsers, known[0].earlier[content.user] == nil { forgetLongAgo() }
        var entry = known[0].earlier.removeValue(forKey: content.user) ?? Earlier(at: 0, before: nil)
        if let number {
            if entry.number != number { entry.before = entry.at == 0 ? nil : entry.at }
            entry.number = number
        } else if entry.number != nil, entry.at != at {
            // Another node has stored a message of the user while a send of ours is out.
            entry.before = max(entry.before ?? 0, at)
        } else {
            entry.number = nil
            entry.before = nil
        }
        entry.at = max(entry.at, at)
        let hash = Self.hash(content)
        entry.contents.removeAll { $0.hash == hash }
        entry.contents.append(Content(hash: hash, at: at, number: number))
        if entry.contents.count > Self.mostContents { entry.contents.removeFirst() }
        known[0].earlier[content.user] = entry
    }

    private mutating func forgetLongAgo() {
        let times = known[0].earlier.values.map(\.at).sorted()
        let middle = times[times.count / 2]
        known[0].earlier = known[0].earlier.filter { $0.value.at > middle }
    }

    /// The send was refused or given up, and does not count.
    mutating func withdraw(_ number: UInt64, of user: UserID) {
        guard var entry = known.first?.earlier[user] else { return }
        entry.contents.removeAll { $0.number == number }
        if entry.number == number {
            entry.at = entry.before ?? 0
            entry.number = nil
            entry.before = nil
        }
        known[0].earlier[user] = entry.at == 0 ? nil : entry
    }

    // MARK: the room's life

    /// We no longer listen: what is known of the rules may be out of date.
    mutating func forget() { self = RoomSanctions() }
}

// MARK: a room at rest

extension RoomSanctions {
    /// Nothing has to be read.
    var isIdle: Bool { isCurrent && (known.first?.told?.version ?? 0) == version }

    func isSmall(users: Int) -> Bool { (known.first?.earlier.count ?? 0) <= users }

    /// But for the rules, which a resting room keeps as they are.
    func pack(into packed: inout PackedBytesWriter) {
        let earlier = known.first?.earlier ?? [:]
        packed.add(UInt64(earlier.count))
        for (user, entry) in earlier.sorted(by: { $0.key.text < $1.key.text }) {
            packed.add(name: user.text)
            packed.add(near: entry.at)
            packed.add(UInt64(entry.contents.count))
            for content in entry.contents {
                packed.add(content.hash)
                packed.add(near: content.at)
            }
        }
    }

    init(_ packed: inout PackedBytesReader, _ moderation: RoomModeration?) {
        _ = read(moderation, isNewest: true)
        _ = takeNews()
        for _ in 0..<packed.number() {
            let user = UserID(kept: packed.name())
            var entry = Earlier(at: packed.near(), before: nil)
            for _ in 0..<packed.number() {
                let hash = packed.number()
                entry.contents.append(Content(hash: hash, at: packed.near()))
            }
            if looksBack { known[0].earlier[user] = entry }
        }
    }
}

// MARK: invariants

extension RoomSanctions {
    /// Checked after each event in debug builds.
    func assertInvariants() {
        assert(known.count <= 1, "there are rules, or none")
        let earlier = known.first?.earlier ?? [:]
        assert(earlier.count <= Self.mostUsers, "what users have sent is bounded")
        assert(earlier.isEmpty || looksBack, "what users have sent is kept only for a rule that looks back")
        assert(moderation.map { $0.version > 0 } ?? true, "rules have a version")
    }
}
