/// The metadata keys of all log lines of a node. Constants, so that one search finds every line about a session; at
/// most 15 bytes, so that a key is stored inline and costs no allocation.
///
/// Values are IDs, numbers, words of ours and error texts; never what people say, their tokens or passwords.
enum LogKey {
    /// This node.
    static let node = "node.id"
    /// Another node.
    static let peer = "peer.id"
    static let session = "session.id"
    static let room = "room.id"
    static let member = "member.id"
    /// A Redis pub/sub channel.
    static let channel = "channel"
    /// Which of the node's event loops.
    static let shard = "shard"
    /// Of a Redis Cluster.
    static let slots = "slots"
    static let position = "position"
    static let frameType = "frame.type"
    static let closeCode = "close.code"
    /// How often it was tried.
    static let attempt = "attempt"
    static let error = "error"
    /// `host:port` or a path.
    static let address = "address"
    /// An environment variable…
    static let setting = "setting"
    /// …and what it is set to.
    static let value = "value"
    static let version = "version"
    /// Why, in a word of ours.
    static let reason = "reason"
    static let count = "count"
    static let rooms = "rooms"
    /// Sessions, as the node that has them counts.
    static let members = "members"
    /// How many sends wait.
    static let waiting = "waiting"
    /// What the operator can do.
    static let remedy = "remedy"
    /// How long it took or takes, in milliseconds.
    static let milliseconds = "ms"

    static let all = [
        node, peer, session, room, member, channel, shard, slots, position, frameType, closeCode, attempt, error,
        address,
        setting, value,
        version, reason, count, rooms, members, waiting, remedy, milliseconds,
    ]
}
