import ChatCore

/// A room on its home loop: the machine with the rules, and where its members are. Confined to the home loop.
final class HomeRoom {
    /// A loop on which sessions are in the room or waiting to be.
    private struct Local {
        let loop: Int32
        var sessions: Int32 = 0
        let members: LocalRoom
    }

    let slot: UInt32
    let generation: UInt32
    var machine: RoomStateMachine
    /// The loops that have, or had, sessions of the room. Most rooms have few people: the first loop is kept in place.
    private var first: Local?
    private var others: [Local] = []
    /// When the shard's timer will look at the room again.
    var wake: Moment?

    init(slot: UInt32, generation: UInt32, machine: RoomStateMachine) {
        self.slot = slot
        self.generation = generation
        self.machine = machine
    }

    /// Looks at the machine where it is. A method that is called through the property is given a copy of the whole machine, with a
    /// retain for everything in it (measured: a tenth of a node's CPU under load).
    @inline(__always)
    func look<Result>(_ body: (inout RoomStateMachine) -> Result) -> Result {
        withUnsafeMutablePointer(to: &machine) { body(&$0.pointee) }
    }

    /// Each loop that has sessions of the room, with its members: loops without any get no deliveries.
    @inline(__always)
    func forEachLoop(_ body: (Int, LocalRoom) -> Void) {
        if let first, first.sessions > 0 { body(Int(first.loop), first.members) }
        for local in others where local.sessions > 0 { body(Int(local.loop), local.members) }
    }

    /// The room's members on that loop; always the same object for a loop.
    func members(on loop: Int) -> LocalRoom { with(loop) { $0.members } }

    func sessionCame(on loop: Int) { with(loop) { $0.sessions += 1 } }

    func sessionWent(from loop: Int) { with(loop) { $0.sessions -= 1 } }

    private func with<Result>(_ loop: Int, _ body: (inout Local) -> Result) -> Result {
        var local = first ?? Local(loop: Int32(loop), members: LocalRoom(room: machine.room))
        if local.loop == loop {
            defer { first = local }
            return body(&local)
        }
        if let index = others.firstIndex(where: { $0.loop == loop }) { return body(&others[index]) }
        others.append(Local(loop: Int32(loop), members: LocalRoom(room: machine.room)))
        return body(&others[others.count - 1])
    }
}
