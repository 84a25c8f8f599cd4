/// What a node asks of the broker on behalf of relays, which read the logs of rooms and hand events to sinks.
public enum RelayRequest: Hashable, Sendable {
    /// The most rooms in one ``note(_:_:rooms:at:)``.
    public static let most = 500

    /// Which books relays read. If no relay is registered, none, and nodes note nothing. → `.relayed`
    case books
    /// That book of these rooms of the partition has grown. `at`: the node's clock, ms since 1970. → `.done`
    case note(EventPartition, RoomBook, rooms: [RoomName], at: UInt64)

    /// Whose keys the request is about.
    public var entity: Entity {
        switch self {
        case .books: .events(.first)
        case .note(let partition, _, _, _): .events(partition)
        }
    }
}
