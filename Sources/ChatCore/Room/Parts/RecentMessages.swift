/// The newest messages of a room in the node's memory, without holes, and the keys in them. With them, joins, resumed
/// sessions and repeated sends need no read of Redis.
struct RecentMessages: Sendable {
    private struct Kept {
        var message: Message
        /// The hash of its user and key; nil if it has no key.
        var hash: Int?
    }

    /// Oldest first; those before `head` are dropped already and hold no text.
    private var storage: [Kept] = []
    private var head = 0
    /// By the hash of user and key, the seq of the message that used it last: 16 bytes, where the keys themselves took
    /// 56. Whether it is the message that is looked for is checked against the message.
    private var keys = SeqIndex()
    private(set) var cost = 0
    let capacity: Int
    let costLimit: Int
    /// No message with a seq above this one was dropped or missed: the memory is complete from there to its end.
    private(set) var completeAfter: UInt64 = 0
    /// It holds as much as its bounds allow: messages were dropped for later ones.
    private(set) var isFull = false
    /// What is deleted is forgotten. Only tests switch it off.
    private let erases: Bool
    /// What lies before a gap is forgotten. Only tests switch it off.
    private let forgets: Bool
    /// How many entries in memory are no plain messages.
    private var extended: UInt32 = 0

    init(capacity: Int, costLimit: Int, erases: Bool = true, forgets: Bool = true) {
        self.erases = erases
        self.forgets = forgets
        self.capacity = max(1, capacity)
        self.costLimit = costLimit
    }

    /// What is left of a message that was dropped.
    private static let forgotten: MessageContent = {
        guard let nobody = try? UserID("-") else { preconditionFailure("a dash is a user's name") }
        return MessageContent(user: nobody, at: 0)
    }()

    var count: Int { storage.count - head }
    var isEmpty: Bool { count == 0 }
    /// The i-th oldest message.
    subscript(index: Int) -> Message { storage[head + index].message }
    var first: Message? { isEmpty ? nil : self[0] }
    var last: Message? { storage.last?.message }
    private var newestSeq: UInt64? { storage.last?.message.position.seq }

    /// Starts empty: complete for all seqs above `seq`.
    mutating func reset(completeAfter seq: UInt64) {
        storage.removeAll()
        keys = SeqIndex()
        head = 0
        cost = 0
        isFull = false
        extended = 0
        completeAfter = seq
    }

    /// Appends the next message; drops the oldest ones beyond the bounds. What lies between, if anything, is not in the
    /// log: see ``noteGap(through:)``.
    mutating func append(_ message: Message) {
        if let newest = newestSeq, message.position.seq > newest &+ 1 {
            noteGap(through: message.position.seq - 1)
        }
        let hash = message.content.key.map { Self.hash($0, message.content.user) }
        storage.append(Kept(message: message, hash: hash))
        cost += message.content.cost
        if let hash { keys.set(hash, to: message.position.seq) }
        if !message.content.isPlain { noteExtended(message) }
        while count > 1, count > capacity || cost > costLimit {
            dropOldest()
            isFull = true
        }
    }

    /// Takes note of an entry that is no plain message. What it erases is erased here, so that nothing that is put back
    /// after a failover, or shown to whoever joins, holds it.
    private mutating func noteExtended(_ message: Message) {
        extended += 1
        let erased = message.content.erased
        guard !erased.isEmpty, erases else { return }
        let deed = Deed(by: message.content.user.text, at: message.content.at)
        let targets = Set(erased)
        guard let oldest = erased.map(\.seq).min() else { return }
        for index in index(after: oldest &- 1)..<count {
            let entry = self[index]
            let content = entry.content
            guard content.deleted == nil else { continue }
            if let amendment = content.amendment {
                guard amendment.operation == .edit, targets.contains(amendment.of) else { continue }
            } else if !targets.contains(entry.position) {
                continue
            }
            let tombstone = content.tombstone(deed)
            cost += tombstone.cost - content.cost
            if content.isPlain { extended += 1 }
            storage[head + index].message.content = tombstone
        }
    }

    /// Messages up to `seq`, after the newest one here, are not in the log any more. Nobody knows which of the earlier
    /// ones they have erased, so none of these is kept (race 20): it could be shown, or put back after a failover.
    mutating func noteGap(through seq: UInt64) {
        completeAfter = max(completeAfter, seq)
        guard forgets else { return }
        while let first, first.position.seq <= seq { dropOldest() }
        if isEmpty { (storage, head) = ([], 0) }
    }

    /// Drops the oldest messages until the others cost that much at most; never the newest one. Releases their memory.
    mutating func shrink(toCost most: Int) {
        guard count > 1, cost > most else { return }
        while count > 1, cost > most { dropOldest() }
        storage = Array(storage[head...])
        head = 0
    }

    private mutating func dropOldest() {
        let seq = storage[head].message.position.seq
        cost -= storage[head].message.content.cost
        if !storage[head].message.content.isPlain { extended -= 1 }
        if let hash = storage[head].hash { keys.remove(hash, at: seq) }
        completeAfter = max(completeAfter, seq)
        storage[head].message.content = Self.forgotten
        head += 1
        if head >= 64, head * 2 >= storage.count {
            storage.removeFirst(head)
            head = 0
        }
    }

    /// Where the user's key was used; nil if no message in memory has it.
    func position(of key: String, by user: UserID) -> (position: Position, at: UInt64)? {
        guard let seq = keys[Self.hash(key, user)] else { return nil }
        if let message = message(seq: seq), message.content.isOf(user, key) {
            return (message.position, message.content.at)
        }
        // A later message with the same hash has replaced it in the index.
        let found = storage[head...].last { $0.message.content.isOf(user, key) }?.message
        return found.map { ($0.position, $0.content.at) }
    }

    private static func hash(_ key: String, _ user: UserID) -> Int {
        var hasher = Hasher()
        hasher.combine(user)
        hasher.combine(key)
        return hasher.finalize()
    }

    /// The index of the first message with a seq above `seq`.
    func index(after seq: UInt64) -> Int {
        guard let newest = newestSeq, newest > seq else { return count }
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if storage[head + middle].message.position.seq > seq { high = middle } else { low = middle + 1 }
        }
        return low
    }

    /// All messages with a seq above `seq`, oldest first, as they are in the log.
    func messages(after seq: UInt64) -> [Message] {
        (index(after: seq)..<count).map { self[$0] }
    }

    /// Messages of memory up to its end, as later amendments leave them.
    func folded(_ messages: [Message]) -> [Message] {
        extended == 0 ? messages : MessageFold.folded(messages)
    }

    /// The newest `limit` messages, oldest first.
    func newest(_ limit: Int) -> [Message] {
        (max(index(after: completeAfter), count - max(0, limit))..<count).map { self[$0] }
    }

    /// The message with that seq; nil if it is not in memory.
    func message(seq: UInt64) -> Message? {
        guard let newest = newestSeq, seq <= newest else { return nil }
        // Without holes the index follows from the seq.
        let guess = count - 1 - Int(clamping: newest - seq)
        if guess >= 0, storage[head + guess].message.position.seq == seq { return self[guess] }
        // (There are holes only where a test has switched `forgets` off.)
        let index = index(after: seq &- 1)
        guard index < count, storage[head + index].message.position.seq == seq else { return nil }
        return self[index]
    }
}

extension MessageContent {
    fileprivate func isOf(_ user: UserID, _ key: String) -> Bool {
        self.key?.isSame(as: key) == true && self.user == user
    }
}

// MARK: a room at rest

extension RecentMessages {
    func pack(into packed: inout PackedBytesWriter) {
        packed.add(completeAfter)
        packed.add(isFull)
        packed.add(UInt64(count))
        packed.add(extended > 0)
        for index in 0..<count {
            let message = self[index]
            packed.add(message.position)
            packed.add(name: message.content.user.text)
            packed.add(near: message.content.at)
            packed.add(text: message.content.text)
            packed.add(text: message.content.data)
            packed.add(text: message.content.key)
            if extended > 0 { Self.pack(message.content.extra, into: &packed) }
        }
    }

    /// `empty`: with the bounds that it is to have.
    init(_ packed: inout PackedBytesReader, into empty: RecentMessages) {
        self = empty
        completeAfter = packed.number()
        let isFull = packed.flag()
        let count = packed.number()
        let isExtended = packed.flag()
        let messages = (0..<count).map { _ in Self.message(&packed, isExtended: isExtended) }
        storage.reserveCapacity(messages.count)
        for message in messages { append(message) }
        self.isFull = isFull
    }

    private static func message(_ packed: inout PackedBytesReader, isExtended: Bool) -> Message {
        let position = packed.position()
        let user = UserID(kept: packed.name())
        let at = packed.near()
        let text = packed.text()
        let data = packed.text()
        let key = packed.text()
        let extra = isExtended ? extra(&packed) : nil
        return Message(
            position: position,
            content: MessageContent(user: user, at: at, text: text, data: data, key: key, extra: extra))
    }

    /// Memory holds messages as they are in the log, without a folded state.
    private static func pack(_ extra: MessageExtra?, into packed: inout PackedBytesWriter) {
        packed.add(extra != nil)
        guard let extra else { return }
        packed.add(text: extra.amendment?.operation.rawValue)
        if let amendment = extra.amendment {
            packed.add(amendment.of)
            packed.add(amendment.number)
        }
        packed.add(extra.thread != nil)
        if let thread = extra.thread { packed.add(thread) }
        packed.add(UInt64(extra.mentions.count))
        for user in extra.mentions { packed.add(name: user.text) }
        packed.add(text: extra.deleted?.by)
        if let deleted = extra.deleted { packed.add(near: deleted.at) }
    }

    private static func extra(_ packed: inout PackedBytesReader) -> MessageExtra? {
        guard packed.flag() else { return nil }
        var amendment: Amendment?
        if let operation = packed.text().flatMap({ Amendment.Operation(rawValue: $0) }) {
            let of = packed.position()
            amendment = Amendment(operation, of: of, number: packed.number())
        }
        let thread = packed.flag() ? packed.position() : nil
        let mentions = (0..<packed.number()).map { _ in UserID(kept: packed.name()) }
        let by = packed.text()
        let deleted = by.map { Deed(by: $0, at: packed.near()) }
        return MessageExtra(amendment: amendment, thread: thread, mentions: mentions, deleted: deleted)
    }
}
