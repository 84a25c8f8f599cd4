import ChatCore

/// The rooms of one loop, by slot and by name. A slot is reused when its room is gone; the generation distinguishes one
/// use of a slot from the next.
struct RoomTable {
    private(set) var slots: [HomeRoom?] = []
    private var free: [UInt32] = []
    private var byName: [RoomName: UInt32] = [:]
    /// One-entry cache: successive look-ups are often for the same room.
    private var recent: HomeRoom?
    private var nextGeneration: UInt32 = 1

    /// The number of rooms.
    var count: Int { byName.count }

    func contains(_ name: RoomName) -> Bool { byName[name] != nil }

    mutating func room(named name: RoomName) -> HomeRoom? {
        if let recent, recent.name == name { return recent }
        guard let slot = byName[name] else { return nil }
        recent = slots[Int(slot)]
        return recent
    }

    /// The room in that slot, if the generation is still the same.
    func room(in slot: UInt32, generation: UInt32) -> HomeRoom? {
        guard Int(slot) < slots.count, let room = slots[Int(slot)], room.generation == generation else { return nil }
        return room
    }

    /// Whether the room is in use.
    func holds(_ room: HomeRoom) -> Bool {
        Int(room.slot) < slots.count && slots[Int(room.slot)] === room
    }

    /// Adds a room to a slot; `make` is given the slot and the generation.
    mutating func add(_ name: RoomName, _ make: (_ slot: UInt32, _ generation: UInt32) -> HomeRoom) -> HomeRoom {
        assert(byName[name] == nil, "a name has one room")
        let slot = free.popLast() ?? UInt32(slots.count)
        let generation = nextGeneration
        nextGeneration &+= 1
        let room = make(slot, generation)
        if Int(slot) == slots.count { slots.append(room) } else { slots[Int(slot)] = room }
        byName[name] = slot
        return room
    }

    mutating func remove(_ room: HomeRoom) {
        assert(holds(room), "a room is removed once")
        if recent === room { recent = nil }
        byName[room.name] = nil
        slots[Int(room.slot)] = nil
        free.append(room.slot)
    }
}
