/// An event on a channel, a JSON object; `redis/README.md` has the format.
///
/// A channel may lose, repeat and reorder events, and is never the source of truth. Every event but a signal names a
/// position in a stream, so a receiver notices.
public enum ChannelEvent: Sendable, Equatable {
    /// A message that was appended. `base` is the seq at which its epoch began; nil if the publisher did not know it
    /// (`martlet_say`).
    case message(Message, base: UInt64?)
    /// A new epoch began at seq `base` because `by` entered or sent again, or because the room was moderated. `nodes`
    /// are all nodes in the room now; `rules` is the version of its rules, 0 if it was never moderated.
    indirect case epoch(UInt64, base: UInt64, nodes: [NodeID: UInt64], by: NodeID, rules: UInt64 = 0)
    /// `node`, which had entered at `value`, has left; `last` is the log's last position.
    indirect case gone(NodeID, value: UInt64, nodes: [NodeID: UInt64], last: Position)
    indirect case presence(PresenceNotice)
    indirect case signal(Signal)
    /// Participants of the room have read up to these marks.
    case reads([UserID: ReadMark])
    /// News for the sessions of a user, on the user's channel.
    indirect case notice(UserNotice)
}

/// Something ephemeral (typing), never stored.
public struct Signal: Sendable, Equatable {
    public var node: NodeID
    /// The session that sent it, which does not get it back. Unique within `node`.
    public var session: SessionID
    public var user: UserID
    public var name: String
    /// JSON text.
    public var data: String?

    public init(node: NodeID, session: SessionID, user: UserID, name: String, data: String? = nil) {
        self.node = node
        self.session = session
        self.user = user
        self.name = name
        self.data = data
    }
}
