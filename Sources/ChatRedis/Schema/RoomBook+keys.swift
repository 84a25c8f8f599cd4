public import ChatCore
public import RedisSchema

extension RoomBook {
    /// The room's stream.
    public var key: RoomKey {
        switch self {
        case .log: .log
        case .audit: .audit
        case .presence: .presence
        case .receipts: .receipts
        }
    }

    /// The list of rooms whose book has grown, of a partition.
    public var notes: EventKey {
        switch self {
        case .log: .rooms
        case .audit: .roomsOfAudit
        case .presence: .roomsOfPresence
        case .receipts: .roomsOfReceipts
        }
    }
}
