import ChatCore
import Logging

/// What the link says of what nobody of ours wrote.
extension RedisLink {
    /// What the reader of an answer left out of it, or why there was nothing in it to be read.
    func noteIgnored(_ kinds: IgnoredKinds, _ decoded: RedisDecoded, _ room: RoomName?) {
        for kind in kinds.kinds { ignored(kind, kind.text, in: room) }
        switch decoded {
        case .completed(.failure(.malformed(let text))): ignored(.reply, text, in: room)
        case .completed(.failure(.notStored(let text))) where text.hasPrefix(Self.outOfBounds):
            ignored(.bounds, text, in: room)
        case .completed, .libraryMissing: break
        }
    }

    /// How the functions in Redis begin what they say of a log whose last ID no node made.
    private static let outOfBounds = "ERR martlet: the last ID "

    /// Counts it, and says so, once a minute for each kind.
    func ignored(_ kind: IgnoredData, _ problem: String, in room: RoomName?) {
        observer?.redisIgnored(kind)
        guard let count = ignoredLines.happened(kind, now: now) else { return }
        var metadata: Logger.Metadata = [
            "reason": "\(kind)", "error": "\(problem)", "count": "\(count)", "shard": "\(settings.loopIndex)",
        ]
        if let room { metadata["room.id"] = "\(room)" }
        logger.warning(
            "redis holds or says what no node of ours wrote; ignored (see martlet doctor)", metadata: metadata)
    }
}
