import ChatCore

/// A room that enters or leaves: one use of a slot.
struct TurnID: Hashable, Sendable {
    var slot: UInt32
    var generation: UInt32
}

/// Only a few rooms enter or leave at a time, so that other requests are answered in between after a lost connection,
/// or when thousands of lingers end at once.
extension RoomHost {
    /// The number of rooms that enter or leave at once at one server. Each costs Redis at most a page of the room's log
    /// (0.5 to 3 ms), so that requests behind them wait for a few hundredths of a second at most.
    public static let turnsAtOnce = 8

    func awaitTurn(_ room: HomeRoom, isUrgent: Bool) {
        let id = TurnID(slot: room.slot, generation: room.generation)
        // Without a connection nothing can be requested. The room asks for another turn when there is one.
        guard let server = commands.identity(of: room.name) else { return }
        turns.ask(id, at: server, isUrgent: isUrgent)
        mayGrantTurns = true
    }

    func endTurn(_ room: HomeRoom) {
        turns.ended(TurnID(slot: room.slot, generation: room.generation))
    }

    /// Gives rooms their turns while there are any. To be called after each event, when its actions are carried out.
    func grantTurns() {
        guard mayGrantTurns, !isGrantingTurns else { return }
        isGrantingTurns = true
        defer {
            isGrantingTurns = false
            mayGrantTurns = !turns.isEmpty
        }
        while let id = turns.next() {
            guard let room = table.room(in: id.slot, generation: id.generation) else {
                turns.ended(id)
                continue
            }
            happen(.turnCame, in: room)
        }
    }
}
