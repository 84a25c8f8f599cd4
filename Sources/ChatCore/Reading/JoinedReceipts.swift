/// What a session that joins a room is told of what its participants have read.
public struct JoinedReceipts: Hashable, Sendable {
    /// Up to where participants have read. Who is missing has read nothing; nil if the room has too many participants.
    public var reads: [UserID: Position]?
    /// What the session's user has read and has to read; nil if the user is no participant.
    public var own: Own?

    public struct Own: Hashable, Sendable {
        /// Nil: nothing.
        public var read: Position?
        public var unread: UInt64

        public init(read: Position?, unread: UInt64) {
            self.read = read
            self.unread = unread
        }
    }

    public init(reads: [UserID: Position]?, own: Own?) {
        self.reads = reads
        self.own = own
    }
}
