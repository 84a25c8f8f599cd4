/// How far a user is erased.
public struct ErasureProgress: Hashable, Sendable {
    /// The rooms that the user has been taken out of by this request.
    public var rooms: Int
    /// The messages that this request has erased.
    public var messages: Int
    /// The rooms that are left. 0: nothing of the user is left, but for messages in rooms that have no participants.
    public var left: Int

    public init(rooms: Int = 0, messages: Int = 0, left: Int = 0) {
        self.rooms = rooms
        self.messages = messages
        self.left = left
    }

    /// Whether there is nothing left to be done.
    public var isDone: Bool { left == 0 }
}
