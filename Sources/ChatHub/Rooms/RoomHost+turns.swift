import ChatCore

/// A room that enters or leaves: one life of a slot.
struct TurnID: Hashable, Sendable {
    var slot: UInt32
    var generation: UInt32
}

/// Rooms enter and leave a few at a time: after a lost connection, or when thousands of lingers end at once, what others ask is
/// answered in between.
extension RoomHost {
    /// Rooms that enter or leave at once at one server. Each costs Redis a page of the room's log at most (0.5 to 3 ms), so what comes
    /// behind them waits for a few hundredths of a second at most.
    public static let turnsAtOnce = 8

    func awaitTurn(_ room: HomeRoom, isUrgent: Bool) {
        let id = TurnID(slot: room.slot, generation: room.generation)
        // Without a connection nothing can be asked: the room wants another turn when it is there.
        guard let server = commands.identity(of: room.name) else { return }
        turns.ask(id, at: server, isUrgent: isUrgent)
    }

    func endTurn(_ room: HomeRoom) {
        turns.ended(TurnID(slot: room.slot, generation: room.generation))
    }

    /// Lets rooms have their turn as long as there is one. After each event, when its actions are carried out.
    func grantTurns() {
        guard !isGrantingTurns, !turns.isEmpty else { return }
        isGrantingTurns = true
        defer { isGrantingTurns = false }
        while let id = turns.next() {
            guard let room = table.room(in: id.slot, generation: id.generation) else {
                turns.ended(id)
                continue
            }
            happen(.turnCame, in: room)
        }
    }
}
