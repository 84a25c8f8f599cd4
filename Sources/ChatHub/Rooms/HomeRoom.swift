import ChatCore

/// A room on its home loop: its state machine, or the compact form of it at rest, and the loops of its members.
/// Confined to the home loop.
final class HomeRoom {
    /// A loop with sessions that are in the room or wait for the answer to their join.
    private struct Local {
        let loop: Int32
        var sessions: Int32 = 0
        let members: LocalRoom
    }

    private enum State {
        /// The machine is in memory, in a place of the store.
        case awake(UnsafeMutablePointer<RoomStateMachine>)
        case resting(RestingRoom)
    }

    let slot: UInt32
    let generation: UInt32
    let name: RoomName
    private let store: MachineStore
    private var state: State
    /// The loops that have, or had, sessions of the room. As most rooms have few members, the first loop is stored
    /// inline.
    private var first: Local?
    private var others: [Local] = []
    /// The protocols of the sessions that are in the room or wait for the answer to their join.
    private(set) var protocols = ProtocolCounts()
    /// When the loop's timer will look at the room again.
    var wake: Moment?
    /// Bytes of messages that the room has in memory, as the loop counts them, and when that changed last.
    var cost = 0
    var usedAt = Moment(nanoseconds: 0)
    /// The user who brought the room here, until the cost of that is known.
    var payer: UserRate?
    /// Who waits for messages of the room without being in it; nil if nobody does.
    var polls: RoomPolls?
    /// What its participants have read, and who watches it; nil if it has neither.
    var reading: RoomReading?
    /// When the room may go to rest, if nothing happens before.
    var restAt = Moment(nanoseconds: 0)

    init(slot: UInt32, generation: UInt32, machine: consuming RoomStateMachine, in store: MachineStore) {
        self.slot = slot
        self.generation = generation
        self.name = machine.room
        self.store = store
        self.state = .awake(store.put(machine))
    }

    deinit {
        if case .awake(let machine) = state { store.end(machine) }
    }

    /// Somebody wants to know what is said in the room without being in it.
    var isWatched: Bool { polls != nil || !(reading?.watch.isEmpty ?? true) }

    // MARK: awake and at rest

    var isAwake: Bool {
        switch state {
        case .awake: true
        case .resting: false
        }
    }

    /// Wakes the room, if it rests.
    @inline(__always)
    func awaken(_ common: RoomStateMachine.Common) {
        guard case .resting(let rest) = state else { return }
        state = .awake(store.put(RoomStateMachine(waking: rest, room: name, common: common)))
    }

    /// Reads or changes the machine in place. (A method that is called through a property works on a copy of the whole
    /// machine, with a retain for everything in it; measured, that takes a tenth of a node's CPU under load.) Returns
    /// nil if the room rests; then it is live, nobody waits, and nothing is missing.
    @inline(__always)
    func look<Result>(_ body: (inout RoomStateMachine) -> Result) -> Result? {
        guard case .awake(let machine) = state else { return nil }
        return body(&machine.pointee)
    }

    /// Passes the machine to the body. That of a room at rest is unpacked only for this call.
    func inspect<Result>(
        _ common: RoomStateMachine.Common, _ body: (inout RoomStateMachine) -> Result
    ) -> Result {
        switch state {
        case .awake(let machine): return body(&machine.pointee)
        case .resting(let rest):
            var machine = RoomStateMachine(waking: rest, room: name, common: common)
            return body(&machine)
        }
    }

    /// Puts the room to rest, if nothing is pending. Returns false if it stays awake.
    func rest(now: Moment) -> Bool {
        guard case .awake(let machine) = state else { return true }
        guard let rest = machine.pointee.rest(now: now) else { return false }
        state = .resting(rest)
        store.end(machine)
        return true
    }

    /// The seq of the newest message; nil if the room is not live, or has no other nodes in it.
    var sharedSeq: UInt64? {
        switch state {
        case .awake: look { $0.isShared ? $0.position?.seq : nil } ?? nil
        case .resting(let rest): rest.isShared ? rest.position.seq : nil
        }
    }

    /// Whether the room rests and knows all messages of its log up to that position, so that reporting the position to
    /// it would change nothing.
    func reaches(_ newest: Position) -> Bool {
        switch state {
        case .awake: false
        case .resting(let rest): newest.seq <= rest.position.seq
        }
    }

    // MARK: members

    /// Each loop that has sessions of the room, with its members. Loops without members get no deliveries.
    @inline(__always)
    func forEachLoop(_ body: (Int, LocalRoom) -> Void) {
        if let first, first.sessions > 0 { body(Int(first.loop), first.members) }
        for local in others where local.sessions > 0 { body(Int(local.loop), local.members) }
    }

    /// The room's members on that loop; always the same object for a loop.
    func members(on loop: Int) -> LocalRoom { with(loop) { $0.members } }

    func sessionCame(_ session: SessionID) {
        with(session.loop) { $0.sessions += 1 }
        protocols.add(session.protocolID)
    }

    func sessionWent(_ session: SessionID) {
        with(session.loop) { $0.sessions -= 1 }
        protocols.remove(session.protocolID)
    }

    private func with<Result>(_ loop: Int, _ body: (inout Local) -> Result) -> Result {
        var local = first ?? Local(loop: Int32(loop), members: LocalRoom(room: name))
        if local.loop == loop {
            defer { first = local }
            return body(&local)
        }
        if let index = others.firstIndex(where: { $0.loop == loop }) { return body(&others[index]) }
        others.append(Local(loop: Int32(loop), members: LocalRoom(room: name)))
        return body(&others[others.count - 1])
    }
}
