/// What the participants of a room have read, as a node that is in the room knows it: from its `enter`, from the lines
/// that are published on the room's channel, and from the messages that it shows. Pure.
///
/// Marks only go forward. What another node knows better is heard, or comes with the next `enter`.
public struct RoomReceipts: Sendable {
    private var participants: Set<UserID>
    private var marks: [UserID: ReadMark]
    /// The entries that were shown.
    public private(set) var tally: LogTally
    /// The number of entries that the log had when the node entered, and of those that were shown since.
    private var kept: UInt64

    /// - Parameters:
    ///   - marks: Who is missing has read nothing.
    ///   - kept: The number of entries in the log.
    public init(participants: some Sequence<UserID>, marks: [UserID: ReadMark], tally: LogTally, kept: UInt64) {
        self.participants = Set(participants)
        self.marks = marks
        self.tally = tally
        self.kept = kept
    }

    /// The number of participants.
    public var count: Int { participants.count }

    /// Whether the user belongs to the room.
    public func isParticipant(_ user: UserID) -> Bool { participants.contains(user) }

    /// The mark of the user, as far as it is known here; nil: the user has read nothing.
    public func mark(of user: UserID) -> ReadMark? { marks[user] }

    /// The positions up to which participants have read; who is missing has read nothing.
    public var positions: [UserID: Position] { marks.compactMapValues { $0.position.seq > 0 ? $0.position : nil } }

    /// Up to where the user has read; nil: nothing.
    public func position(of user: UserID) -> Position? {
        marks[user].flatMap { $0.position.seq > 0 ? $0.position : nil }
    }

    /// The number of messages that the user has not read.
    public func unread(of user: UserID) -> UInt64 { tally.unread(after: marks[user], kept: kept) }

    /// The positions that are further than what Redis has, by user: it may have lost them.
    public func ahead(of stored: [UserID: ReadMark]) -> [UserRead] {
        marks.compactMap { user, mark in
            mark.position.seq > stored[user]?.position.seq ?? 0 ? UserRead(user, mark.position) : nil
        }.sorted { $0.user.text < $1.user.text }
    }

    // MARK: what happens

    /// The room's participants and what they have read, as the log was read anew. Marks that are known to be further
    /// ahead stay: they may have been heard after that, or Redis may have lost them. `isRewound`: the log has lost what
    /// was shown last, so nothing counts that is beyond its end. `isVoid`: whether a position is of a branch that was
    /// lost. Returns the marks that are new.
    public mutating func update(
        participants: some Sequence<UserID>, marks read: [UserID: ReadMark], tally: LogTally, kept: UInt64,
        isRewound: Bool = false, isVoid: (Position) -> Bool = { _ in false }
    ) -> [UserID: ReadMark] {
        self.participants = Set(participants)
        let last = isRewound ? tally.last : max(tally.last, self.tally.last)
        marks = marks.filter {
            self.participants.contains($0.key) && $0.value.position.seq <= last && !isVoid($0.value.position)
        }
        if isRewound || tally.last >= self.tally.last { (self.tally, self.kept) = (tally, kept) }
        return heard(read)
    }

    /// A message was shown. Who said it has read the room up to there, or further, if that was heard before. (Who
    /// amends an earlier message need not have read what came after that one.)
    public mutating func shown(_ message: Message, isAmendment: Bool) {
        guard message.position.seq > tally.last else { return }
        tally.saw(seq: message.position.seq, isAmendment: isAmendment)
        kept += 1
        guard !isAmendment else { return }
        _ = advance(message.content.user, to: ReadMark(message.position, amendments: tally.amendments))
    }

    /// Others have read, or Redis has stored what was read here. Returns the marks that are new.
    public mutating func heard(_ read: [UserID: ReadMark]) -> [UserID: ReadMark] {
        read.filter { advance($0.key, to: $0.value) }
    }

    private mutating func advance(_ user: UserID, to mark: ReadMark) -> Bool {
        guard participants.contains(user), mark.position.seq > marks[user]?.position.seq ?? 0 else { return false }
        marks[user] = mark
        return true
    }
}
