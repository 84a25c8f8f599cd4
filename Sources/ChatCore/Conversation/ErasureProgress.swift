/// How far a user is erased.
public struct ErasureProgress: Hashable, Sendable {
    /// The rooms that the user has been taken out of by this request.
    public var rooms: Int
    /// The rooms that are left. 0: nothing of the user is left but messages.
    public var left: Int

    public init(rooms: Int, left: Int) {
        self.rooms = rooms
        self.left = left
    }

    public var isDone: Bool { left == 0 }
}
