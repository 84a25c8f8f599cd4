public import ChatCore

/// One book of all rooms, for one sink. Each feed has a name, queues, cursors and a worker of its own, so that the
/// comings and goings of a crowd do not hold up its messages.
public struct SinkFeed: Hashable, Sendable {
    public let sink: String
    public let book: RoomBook

    /// That of the sink for messages, otherwise `<sink>-<book>`.
    public var name: String { book == .log ? sink : "\(sink)-\(book.rawValue)" }

    init(_ sink: String, _ book: RoomBook) {
        self.sink = sink
        self.book = book
    }

    /// The feed with that name.
    public init(named name: String) {
        let book = RoomBook(ofFeed: name)
        self.init(book == .log ? name : String(name.dropLast(book.rawValue.count + 1)), book)
    }
}
