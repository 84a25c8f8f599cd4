/// The metadata keys of all log lines of a node. They are constants, so that one search finds every line about a
/// session or a room, and at most 15 bytes long, so that a key is stored inline and needs no allocation.
///
/// Values are IDs, numbers, fixed words and error texts; never messages, tokens or passwords.
enum LogKey {
    /// This node.
    static let node = "node.id"
    /// Another node.
    static let peer = "peer.id"
    static let session = "session.id"
    static let room = "room.id"
    /// The user of a session.
    static let member = "member.id"
    /// The device of a session.
    static let device = "device.id"
    /// A Redis pub/sub channel.
    static let channel = "channel"
    /// The number of an event loop of the node.
    static let shard = "shard"
    /// Slots of a Redis Cluster.
    static let slots = "slots"
    /// A message's or room's position.
    static let position = "position"
    static let error = "error"
    /// `host:port` or a path.
    static let address = "address"
    /// An environment variable.
    static let setting = "setting"
    /// The value of an environment variable.
    static let value = "value"
    static let version = "version"
    /// The reason, as a fixed word.
    static let reason = "reason"
    static let count = "count"
    static let rooms = "rooms"
    /// The number of sessions of a node.
    static let members = "members"
    /// The number of waiting sends.
    static let waiting = "waiting"
    /// What the operator can do.
    static let remedy = "remedy"
    /// A duration in milliseconds.
    static let milliseconds = "ms"

    static let all = [
        node, peer, session, room, member, device, channel, shard, slots, position, error, address, setting, value,
        version, reason, count, rooms, members, waiting, remedy, milliseconds,
    ]
}
