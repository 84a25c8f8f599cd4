import ChatCore
import ChatRedis
import RedisSchema

/// Deletes rooms that are being closed, once the archive has everything of them.
struct RoomCloser: Sendable {
    let redis: any RelayStore
    let keys: RedisKeys
    /// The sink that must have the whole log first.
    let sink: String

    /// Tries to delete the room. Returns whether it is gone, or is not being closed any more; otherwise a node is still
    /// in it, or the sink lacks something.
    func close(_ room: RoomName) async throws -> Bool {
        let steps = RoomDeletion(of: room, after: sink, keys)
        let participants = try await redis.ask([steps.participants]).first ?? .null
        _ = try await redis.ask(steps.forgotten(by: participants))
        let reply = try await redis.ask([steps.deletion]).first ?? .null
        if let text = reply.error { throw RelayTrouble("redis refuses: \(text)") }
        switch reply.string.flatMap({ RoomDeletion.Outcome(rawValue: $0) }) {
        case .closed, .open: return true
        case .nodes, .behind, nil: return false
        }
    }
}
