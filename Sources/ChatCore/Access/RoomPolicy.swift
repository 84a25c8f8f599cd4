/// The rules of a room that hold for all of its users. (``Sanction`` is about one user.)
public struct RoomPolicy: Hashable, Sendable {
    /// Who may send messages.
    public enum Posting: String, Hashable, Sendable, CaseIterable {
        /// Everybody who has the right to send.
        case open
        /// Only those who may moderate the room.
        case moderators
    }

    /// Who may be in the room, read and send. (Of a direct conversation always the participants.)
    public enum Members: String, Hashable, Sendable, CaseIterable {
        case everybody, participants
        /// Nobody, whoever it is: the room is being closed.
        case nobody
    }

    /// The longest ``slowMode`` and ``uniqueFor``: a day, in milliseconds.
    public static let longest: UInt64 = 86_400_000

    /// The time that must pass between two messages of a user, in milliseconds; 0 for none.
    public var slowMode: UInt64
    public var posting: Posting
    /// Nobody may send, except those who may moderate the room.
    public var isFrozen: Bool
    /// How long a user may not repeat a message, in milliseconds; 0 if repetitions are allowed.
    public var uniqueFor: UInt64
    public var members: Members

    /// Times above ``longest`` count as that.
    public init(
        slowMode: UInt64 = 0, posting: Posting = .open, isFrozen: Bool = false, uniqueFor: UInt64 = 0,
        members: Members = .everybody
    ) {
        self.slowMode = min(slowMode, Self.longest)
        self.posting = posting
        self.isFrozen = isFrozen
        self.uniqueFor = min(uniqueFor, Self.longest)
        self.members = members
    }
}
