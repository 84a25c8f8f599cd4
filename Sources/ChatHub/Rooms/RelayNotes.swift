import ChatCore

/// The rooms of one loop in which something has happened since they were last noted for relays, by book. Pure.
///
/// The message path adds a name to a list, and nothing else. The loop notes the list once in an interval. What cannot
/// be noted because Redis does not answer stays in the list, up to ``most`` rooms: a relay finds the others when it
/// next scans all logs.
struct RelayNotes {
    /// The most rooms that wait for Redis.
    static let most = 100_000

    private var said: Set<RoomName> = []
    private var audited: Set<RoomName> = []
    private var visited: Set<RoomName> = []
    private var receipted: Set<RoomName> = []
    /// Whether somebody will call ``take()``.
    private var isArmed = false

    private subscript(book: RoomBook) -> Set<RoomName> {
        get {
            switch book {
            case .log: said
            case .audit: audited
            case .presence: visited
            case .receipts: receipted
            }
        }
        _modify {
            switch book {
            case .log: yield &said
            case .audit: yield &audited
            case .presence: yield &visited
            case .receipts: yield &receipted
            }
        }
    }

    var isEmpty: Bool { RoomBook.allCases.allSatisfy { self[$0].isEmpty } }

    /// Adds a room. Returns whether the caller has to arrange for ``take()`` to be called after the interval.
    mutating func add(_ room: RoomName, _ book: RoomBook) -> Bool {
        guard self[book].count < Self.most else { return false }
        self[book].insert(room)
        guard !isArmed else { return false }
        isArmed = true
        return true
    }

    /// What is to be noted now, by book and partition, in parts of at most ``RelayRequest/most`` rooms.
    mutating func take() -> [(partition: EventPartition, book: RoomBook, rooms: [RoomName])] {
        isArmed = false
        return RoomBook.allCases.flatMap { book in take(book).map { (partition: $0, book: book, rooms: $1) } }
    }

    private mutating func take(_ book: RoomBook) -> [(EventPartition, [RoomName])] {
        guard !self[book].isEmpty else { return [] }
        var rooms: Set<RoomName> = []
        swap(&rooms, &self[book])
        var lists = [[RoomName]](repeating: [], count: EventPartition.count)
        for room in rooms { lists[EventPartition(of: room).number].append(room) }
        if rooms.count <= 1_024 {
            // The next ones will be as many.
            rooms.removeAll(keepingCapacity: true)
            self[book] = rooms
        }
        var parts: [(EventPartition, [RoomName])] = []
        for (partition, names) in zip(EventPartition.all, lists) where !names.isEmpty {
            for start in stride(from: 0, to: names.count, by: RelayRequest.most) {
                parts.append((partition, Array(names[start..<min(start + RelayRequest.most, names.count)])))
            }
        }
        return parts
    }
}

extension RoomHost {
    /// Something has happened in the room that is in one of its books: relays have to read it. Does nothing while no
    /// relay reads that book.
    public func note(_ room: RoomName, _ book: RoomBook = .log) {
        guard settings.relay.reads(book), notes.add(room, book) else { return }
        let pause = RelayBeat.untilNoted(wall: context.wallClock, by: settings.node, loop: index)
        context.schedule(after: pause) { [weak self] in self?.noteNow() }
    }

    private func noteNow() {
        for (partition, book, rooms) in notes.take() {
            context.ask(.relay(.note(partition, book, rooms: rooms, at: context.wallClock))) { [weak self] result in
                if case .success = result { return }
                for room in rooms { self?.note(room, book) }
            }
        }
    }
}
