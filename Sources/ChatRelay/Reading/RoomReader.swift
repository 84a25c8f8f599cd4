import ChatCore

/// Reads a book of rooms from where a feed has them, and moves the feed's cursors.
protocol RoomReader: Actor {
    /// A page of each room from the first one on, until they are many bytes; errors are those of single rooms.
    func pages(_ due: [DueRoom]) async throws(RelayTrouble) -> [Result<RoomPage, RelayTrouble>]
    /// Moves cursors forward. The leases have to be held now.
    func move(_ moves: [(due: DueRoom, position: Position)], now: Moment) async throws(RelayTrouble) -> [CursorMove]
    /// Somebody else may have changed the room.
    func forget(_ room: RoomName)
}

/// A room that is due for a feed.
struct DueRoom {
    let lease: LeaseBook.Lease
    let room: RoomName
    /// As Redis has it: whoever queues the room again changes it.
    let score: String
}

/// What a feed has not got yet of a room.
struct RoomPage {
    enum Content {
        /// Of the log: behind the cursor, up to which the feed has the room; nil if it has nothing of it.
        case messages([Message], after: Position?)
        /// Of another book: what has happened, and up to where the feed has the room then; nil: there is nothing.
        case events([RoomEvent], upTo: Position?)
    }

    var content: Content
    var hasMore: Bool
    /// The room is to be deleted once the sink has it.
    var isClosing = false

    /// About how much memory its messages take.
    var bytes: Int {
        guard case .messages(let messages, _) = content else { return 0 }
        return messages.reduce(0) { $0 + $1.content.cost }
    }
}

/// How a cursor was moved.
enum CursorMove {
    case moved
    /// Another relay has the partition.
    case fenced
    case refused(String)
}
