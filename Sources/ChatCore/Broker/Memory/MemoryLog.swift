/// A room's log in memory: the counterpart of a Redis stream in ``MemoryBroker``, with exact trimming.
struct MemoryLog: Sendable {
    /// The last ID. It is not always the last entry's, because a new epoch moves it, and entries may have been removed.
    private(set) var last: Position
    // Trimmed entries stay at the front until they are half of the array, so that trimming does not move the whole log.
    private var storage: [Message] = []
    private var head = 0
    /// The number of entries that are not tombstones. Redis keeps those in another key, so they do not count in the
    /// length of a log.
    private var live = 0

    /// An empty log whose last ID is `last`.
    init(last: Position) {
        self.last = last
    }

    var entries: ArraySlice<Message> { storage[head...] }

    /// The seq of the first entry that is not a tombstone.
    var first: UInt64? { firstLive?.position.seq }
    var firstLive: Message? { entries.first { $0.content.deleted == nil } }
    var lastLive: Message? { entries.last { $0.content.deleted == nil } }

    /// The entry at that position, or its tombstone.
    func entry(at position: Position) -> Message? {
        let index = index { $0 >= position }
        return index < storage.count && storage[index].position == position ? storage[index] : nil
    }

    /// For tests: the content of an entry that is there.
    mutating func replace(_ message: Message) {
        let index = index { $0 >= message.position }
        guard index < storage.count, storage[index].position == message.position else { return }
        if (storage[index].content.deleted == nil) != (message.content.deleted == nil) {
            live += message.content.deleted == nil ? 1 : -1
        }
        storage[index] = message
    }

    /// XDEL; the tombstone takes the entry's place.
    mutating func erase(at position: Position, _ deed: Deed) {
        let index = index { $0 >= position }
        guard index < storage.count, storage[index].position == position, storage[index].content.deleted == nil else {
            return
        }
        storage[index].content = storage[index].content.tombstone(deed)
        live -= 1
    }

    /// The entries after `position`.
    func entries(after position: Position) -> ArraySlice<Message> {
        entries[index { $0 > position }...]
    }

    /// The entries before `position`.
    func entries(before position: Position) -> ArraySlice<Message> {
        entries[..<index { $0 >= position }]
    }

    /// Removes one entry; the last ID stays.
    mutating func erase(_ position: Position) {
        guard let place = entries.firstIndex(where: { $0.position == position }) else { return }
        storage.remove(at: place)
    }

    /// The first index whose position satisfies `holds`; positions are in ascending order.
    private func index(_ holds: (Position) -> Bool) -> Int {
        var low = head
        var high = storage.count
        while low < high {
            let middle = low + (high - low) / 2
            if holds(storage[middle].position) { high = middle } else { low = middle + 1 }
        }
        return low
    }

    /// `XADD <epoch>-*`. Returns nil if the last ID has a newer epoch. If it has an older one, the log continues at seq
    /// 0, as a Redis stream does (race 7). `limit`: entries to keep.
    mutating func append(_ content: MessageContent, epoch: UInt64, limit: Int) -> Position? {
        guard epoch >= last.epoch else { return nil }
        let position = Position(epoch: epoch, seq: epoch == last.epoch ? last.seq + 1 : 0)
        restore(Message(position: position, content: content))
        trim(to: limit)
        return position
    }

    /// `XADD` with the message's own position, which is above the last ID.
    mutating func restore(_ message: Message) {
        storage.append(message)
        if message.content.deleted == nil { live += 1 }
        last = message.position
    }

    /// `XSETID`: the same seq in a newer epoch.
    mutating func begin(epoch: UInt64) {
        last.epoch = epoch
    }

    /// `XSETID` by another client, for tests.
    mutating func set(last position: Position) {
        last = position
    }

    /// Drops the oldest messages until the others fit into that many bytes, or are `least`; the newest message stays.
    mutating func trim(toBytes bytes: Int, atLeast least: Int = 1) {
        let kept = entries.reversed().fitting(PageBounds(count: .max, bytes: bytes))
        drop(to: storage.count - max(1, kept, min(least, entries.count)))
    }

    /// Drops the oldest messages until so many are left.
    mutating func trim(to limit: Int) {
        var first = head
        var excess = live - max(0, limit)
        while excess > 0, first < storage.count {
            if storage[first].content.deleted == nil { excess -= 1 }
            first += 1
        }
        drop(to: first)
    }

    private mutating func drop(to first: Int) {
        guard first > head else { return }
        for index in head..<min(first, storage.count) where storage[index].content.deleted == nil { live -= 1 }
        head = first
        guard head > 64, head > storage.count / 2 else { return }
        storage.removeFirst(head)
        head = 0
    }
}
