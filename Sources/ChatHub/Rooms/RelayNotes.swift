import ChatCore

/// The rooms of one loop in which something was said since they were last noted for relays. Pure.
///
/// The message path adds a name to a list, and nothing else. The loop notes the list once in an interval. What cannot
/// be noted because Redis does not answer stays in the list, up to ``most`` rooms: a relay finds the others when it
/// next scans all logs.
struct RelayNotes {
    /// The most rooms that wait for Redis.
    static let most = 100_000

    private var rooms: Set<RoomName> = []
    /// Whether somebody will call ``take()``.
    private var isArmed = false

    var isEmpty: Bool { rooms.isEmpty }

    /// Adds a room. Returns whether the caller has to arrange for ``take()`` to be called after the interval.
    mutating func add(_ room: RoomName) -> Bool {
        guard rooms.count < Self.most else { return false }
        rooms.insert(room)
        guard !isArmed else { return false }
        isArmed = true
        return true
    }

    /// What is to be noted now, by partition, in parts of at most ``RelayRequest/most`` rooms.
    mutating func take() -> [(partition: EventPartition, rooms: [RoomName])] {
        isArmed = false
        guard !rooms.isEmpty else { return [] }
        var lists: [EventPartition: [RoomName]] = [:]
        for room in rooms { lists[EventPartition(of: room), default: []].append(room) }
        rooms.removeAll(keepingCapacity: rooms.count <= 1_024)
        return lists.sorted { $0.key < $1.key }.flatMap { partition, names in
            stride(from: 0, to: names.count, by: RelayRequest.most).map {
                (partition, Array(names[$0..<min($0 + RelayRequest.most, names.count)]))
            }
        }
    }
}

extension RoomHost {
    /// Something was said in the room: relays have to read its log. Does nothing while no relay is registered.
    public func note(_ room: RoomName) {
        guard settings.relay.isRegistered, notes.add(room) else { return }
        let pause = RelayBeat.untilNoted(wall: context.wallClock, by: settings.node, loop: index)
        context.schedule(after: pause) { [weak self] in self?.noteNow() }
    }

    private func noteNow() {
        for (partition, rooms) in notes.take() {
            context.ask(.relay(.note(partition, rooms: rooms, at: context.wallClock))) { [weak self] result in
                if case .success = result { return }
                for room in rooms { self?.note(room) }
            }
        }
    }
}
