import ChatCore
import ChatHub
import Logging

/// The checks that a loop makes against Redis although nothing seems wrong: the tails of shared rooms, and the list of
/// rooms that the node is in. Confined to its loop.
final class LoopAudits {
    private unowned let rooms: RoomHost
    private unowned let context: LoopContext
    private var holdings: HoldingsAudit
    private var tails = TailAudit()

    init(rooms: RoomHost, context: LoopContext) {
        self.rooms = rooms
        self.context = context
        holdings = HoldingsAudit(node: context.settings.hub.node)
    }

    func connectionLost() { holdings.reset() }

    /// Compares some shared rooms that are quiet with the newest entry of their log. To be called once a second.
    func compareTails() {
        let slots = tails.round(slots: rooms.slotCount) { rooms.sharedSeq(slot: $0) }
        for room in slots.compactMap({ rooms.sharedRoom(slot: $0) }) {
            context.ask(.history(room: room.name, query: HistoryQuery(anchor: .newest, limit: 0))) { [rooms] result in
                guard case .success(.history(let page)) = result, let newest = page.newest else { return }
                rooms.logReaches(newest, in: room)
            }
        }
    }

    /// Takes the node out of rooms of this loop that Redis lists for the node, but that the node does not hold.
    func compareHoldings() {
        var actions: [HoldingsAudit.Action] = []
        holdings.roundBegan(&actions)
        carryOut(actions)
    }

    private func carryOut(_ actions: [HoldingsAudit.Action]) {
        for action in actions {
            switch action {
            case .submit(let request, let serial):
                context.ask(request) { [self] result in
                    var next: [HoldingsAudit.Action] = []
                    // Rooms of other loops are checked by those loops.
                    let isHeld = { [rooms, context] in !context.isHome(of: $0) || rooms.isInUse($0) }
                    holdings.completed(serial: serial, result, isHeld: isHeld, &next)
                    carryOut(next)
                }
            case .left:
                context.logger.notice(
                    "redis listed this node in a room that the node does not hold",
                    metadata: [LogKey.shard: "\(context.index)"])
            }
        }
    }
}
