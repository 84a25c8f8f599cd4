import ChatCore
import ChatRedis
import RedisSchema

/// Deletes rooms that are being closed, once the archive has everything of them.
struct RoomCloser: Sendable {
    let redis: RelayRedis
    let keys: RedisKeys
    /// The sink that must have the whole log first.
    let sink: String

    /// Tries to delete the room. Returns whether it is gone, or is not being closed any more; otherwise a node is still
    /// in it, or the sink lacks something.
    func close(_ room: RoomName) async throws -> Bool {
        let participants = try await redis.ask([["HKEYS", keys.key(.participants, of: room.text)]]).first?.array ?? []
        // The indexes of its participants first, as only the room says who they are.
        let users = participants.compactMap { $0.string.flatMap { try? UserID(stored: $0) } }
        _ = try await redis.ask(
            users.map { ["HDEL", keys.rooms(ofUser: Entity.user($0).keyTag ?? ""), room.text] })
        let reply = try await redis.ask([["FCALL", "martlet_close", "1", keys.key(.log, of: room.text), sink]])
        if let text = reply.first?.error { throw RelayTrouble("redis refuses: \(text)") }
        return ["closed", "open"].contains(reply.first?.string)
    }
}
