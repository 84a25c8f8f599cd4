import ChatCore
import Synchronization

/// Which books relays read, so that rooms are noted for them. The keeper sets it, and all loops read it.
public final class RelaySwitch: Sendable {
    /// A bit for each book.
    private let read = Atomic<UInt8>(0)

    public init() {}

    /// Whether a relay reads this book of rooms.
    public func reads(_ book: RoomBook) -> Bool { read.load(ordering: .relaxed) & Self.bit(of: book) != 0 }

    /// Whether a relay is registered.
    public var isRegistered: Bool { read.load(ordering: .relaxed) != 0 }

    public func set(_ books: Set<RoomBook>) {
        read.store(books.reduce(0) { $0 | Self.bit(of: $1) }, ordering: .relaxed)
    }

    private static func bit(of book: RoomBook) -> UInt8 {
        switch book {
        case .log: 1
        case .audit: 2
        case .presence: 4
        case .receipts: 8
        }
    }
}
