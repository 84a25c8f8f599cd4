import ChatCore

/// Repairs what the node that changed the participants of a room may have left undone.
extension RoomHost {
    /// How long whoever changed the participants may take to write the indexes of users. Each node of the room looks
    /// then, one after the other.
    private static let patience: Duration = .seconds(5)

    /// Looks later whether the indexes of the room's participants are written, and writes those that are not.
    func settleIndexes(of room: RoomName) {
        let spread = StableHash(settings.node.text + room.text).value % 2_000
        context.schedule(after: Self.patience + .milliseconds(Int64(spread))) { [weak self] in
            guard let self else { return }
            steps.settle(room)
        }
    }

    var steps: ConversationSteps {
        let limits = settings.rooms.limits
        return ConversationSteps(
            context: context, roomsPerUser: limits.conversationsPerUser, pageBytes: limits.historyPageBytes)
    }
}
