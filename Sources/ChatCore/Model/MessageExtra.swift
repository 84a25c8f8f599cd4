/// What only few messages have besides user, time, text, data and key. An immutable object, so that it costs the others
/// no more than a missing reference.
public final class MessageExtra: Sendable {
    /// The most users that a message can mention.
    public static let mostMentions = 50

    /// The entry is no message, but an amendment of an earlier one.
    public let amendment: Amendment?
    /// The message to which this one is a reply in a thread.
    public let thread: Position?
    /// The users whom the message mentions.
    public let mentions: [UserID]
    /// The content was erased: this is its tombstone, which has no text and no data.
    public let deleted: Deed?
    /// What amendments made of the message, in pages. It is no part of what is stored.
    public let state: MessageState?

    public init(
        amendment: Amendment? = nil, thread: Position? = nil, mentions: [UserID] = [], deleted: Deed? = nil,
        state: MessageState? = nil
    ) {
        self.amendment = amendment
        self.thread = thread
        self.mentions = mentions
        self.deleted = deleted
        self.state = state
    }

    /// Nothing is in it: the message is a plain one.
    public var isEmpty: Bool {
        amendment == nil && thread == nil && mentions.isEmpty && deleted == nil && state == nil
    }

    /// The number of bytes of its fields and values in a log.
    var storedBytes: Int {
        var bytes = thread.map { 6 + Self.bytes(of: $0) } ?? 0
        if let amendment {
            bytes += 4 + amendment.operation.rawValue.utf8.count + Self.bytes(of: amendment.of)
            if amendment.number > 0 { bytes += 1 + Self.digits(amendment.number) }
        }
        if !mentions.isEmpty { bytes += 8 + StringList.write(mentions.map(\.text)).utf8.count }
        if let deleted { bytes += 9 + Self.digits(deleted.at) + deleted.by.utf8.count }
        return bytes
    }

    /// The approximate size in memory, in bytes.
    var cost: Int { 160 + mentions.reduce(0) { $0 + 16 + $1.text.utf8.count } + (state?.cost ?? 0) }

    private static func bytes(of position: Position) -> Int { digits(position.epoch) + 1 + digits(position.seq) }

    private static func digits(_ number: UInt64) -> Int {
        var (count, rest) = (1, number / 10)
        while rest > 0 { (count, rest) = (count + 1, rest / 10) }
        return count
    }
}

extension MessageExtra: Hashable {
    public static func == (left: MessageExtra, right: MessageExtra) -> Bool {
        left === right
            || left.amendment == right.amendment && left.thread == right.thread && left.mentions == right.mentions
                && left.deleted == right.deleted && left.state == right.state
    }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(amendment)
        hasher.combine(thread)
        hasher.combine(mentions)
        hasher.combine(deleted)
        hasher.combine(state)
    }
}

extension MessageExtra: CustomStringConvertible {
    public var description: String {
        let parts: [String?] = [
            amendment.map { "\($0)" }, thread.map { "thread: \($0)" },
            mentions.isEmpty ? nil : "mentions: \(mentions)", deleted.map { "deleted: \($0)" },
            state.map { "state: \($0)" },
        ]
        return parts.compactMap(\.self).joined(separator: ", ")
    }
}

/// Who did something, and when (milliseconds since 1970).
public struct Deed: Hashable, Sendable {
    /// The user's name; of a server whatever it gave.
    public var by: String
    public var at: UInt64

    public init(by: String, at: UInt64) {
        self.by = by
        self.at = at
    }
}

/// An entry of the log about an earlier message. It has its place in the room's order like a message.
///
/// The entry's `text` and `data` are the new ones of an `edit`. Of a reaction `text` is the emoji, and `data` a JSON
/// array of the first users who have reacted so. Of a `delete` of several messages `data` is a JSON array of their
/// positions.
public struct Amendment: Hashable, Sendable {
    public enum Operation: String, Hashable, Sendable, CaseIterable {
        case edit, delete, react, unreact, pin, unpin
    }

    public var operation: Operation
    /// The message that is amended; the first one of several.
    public var of: Position
    /// Of an edit the number of edits, of a reaction the number of users who have reacted so; else 0.
    public var number: UInt64

    public init(_ operation: Operation, of position: Position, number: UInt64 = 0) {
        self.operation = operation
        self.of = position
        self.number = number
    }
}

/// What the amendments of a message amount to, apart from its text and data, which are the newest ones.
public struct MessageState: Hashable, Sendable {
    public struct Reaction: Hashable, Sendable {
        public var count: UInt64
        /// Some of the users, at most ``Reaction/mostNames``.
        public var users: [UserID]

        public static let mostNames = 20

        public init(count: UInt64, users: [UserID]) {
            self.count = count
            self.users = users
        }
    }

    /// The number of edits, and who made the last one, when.
    public var version: UInt64 = 0
    public var edited: Deed?
    public var pinned: Deed?
    /// By emoji.
    public var reactions: [String: Reaction] = [:]
    /// The number of replies in the thread of which the message is the root, and the newest one.
    public var replies: UInt64 = 0
    public var lastReply: Position?

    public init() {}

    /// The approximate size in memory and on the wire, in bytes. There are up to 20 kinds of reactions with 20 names
    /// each.
    var cost: Int {
        reactions.reduce(96) { sum, reaction in
            reaction.value.users.reduce(sum + 48 + reaction.key.utf8.count) { $0 + 16 + $1.text.utf8.count }
        }
    }
}

extension MessageContent {
    /// The amendment that the entry is; nil for a message.
    public var amendment: Amendment? { extra?.amendment }
    /// Who erased the content, if this is a tombstone.
    public var deleted: Deed? { extra?.deleted }

    /// The tombstone of this content. Its key remains, so that a late repetition is recognised.
    public func tombstone(_ deed: Deed) -> MessageContent {
        let kept = MessageExtra(
            amendment: extra?.amendment.map { Amendment($0.operation, of: $0.of) }, thread: extra?.thread,
            deleted: deed)
        return MessageContent(user: user, at: at, key: key, extra: kept)
    }

    /// The messages that a `delete` erases; none for anything else.
    public var erased: [Position] {
        guard let amendment, amendment.operation == .delete, deleted == nil else { return [] }
        guard let data else { return [amendment.of] }
        return StringList.read(data).compactMap { Position($0) }
    }

    /// Of a reaction: how many users have reacted so after it, and the first of them.
    public var reaction: MessageState.Reaction? {
        guard let amendment, amendment.operation == .react || amendment.operation == .unreact else { return nil }
        let names = StringList.read(data ?? "[]").prefix(MessageState.Reaction.mostNames)
        return MessageState.Reaction(count: amendment.number, users: names.compactMap { try? UserID($0) })
    }
}
