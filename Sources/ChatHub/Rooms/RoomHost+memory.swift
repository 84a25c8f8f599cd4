import ChatCore

/// The memory that the loop's rooms use for messages, and its release.
extension RoomHost {
    /// The number of bytes of messages that the room has in memory has changed.
    func remember(_ room: HomeRoom, _ cost: Int) {
        memory.used += cost - room.cost
        room.cost = cost
        room.usedAt = context.now
        if let payer = room.payer {
            room.payer = nil
            payer.charge(room.look { $0.costOfMemory } ?? 0, now: context.now)
        }
        guard memory.isOver, !memory.isReleasing else { return }
        memory.isReleasing = true
        context.schedule(after: Self.beforeRelease) { [self] in releaseMemory() }
    }

    /// Releases memory of the rooms that have been quiet for longest, a little at a time, because the loop has other
    /// work as well.
    private func releaseMemory() {
        let idlest = table.slots.compactMap { $0 }.filter { $0.cost > 0 }.sorted { $0.usedAt < $1.usedAt }
        let end = context.now + Self.releaseTime
        for room in idlest where memory.isAboveGoal {
            let (before, used) = (room.cost, room.usedAt)
            happen(.releaseMemory(toBytes: 0), in: room, awake: .zero)
            room.usedAt = used
            memory.released(max(0, before - room.cost))
            guard context.now < end else {
                context.schedule(after: Self.betweenReleases) { [self] in releaseMemory() }
                return
            }
        }
        memory.isReleasing = false
    }

    private static let releaseTime: Duration = .milliseconds(2)
    private static let beforeRelease: Duration = .microseconds(100)
    private static let betweenReleases: Duration = .milliseconds(5)
}
