import ChatCore
import Logging

/// Reports of data in Redis that no node wrote.
extension RedisLink {
    /// Reports what was left out of an answer, or why none of it could be read.
    func noteIgnored(_ kinds: IgnoredKinds, _ decoded: RedisDecoded, _ entity: Entity?) {
        for kind in kinds.kinds { ignored(kind, kind.text, of: entity) }
        switch decoded {
        case .completed(.failure(.malformed(let text))): ignored(.reply, text, of: entity)
        case .completed(.failure(.notStored(let text))) where text.hasPrefix(Self.outOfBounds):
            ignored(.bounds, text, of: entity)
        case .completed, .libraryMissing: break
        }
    }

    /// The beginning of the functions' error about a log whose last ID no node wrote.
    private static let outOfBounds = "ERR martlet: the last ID "

    /// Counts an event, and logs it at most once a minute for each kind.
    func ignored(_ kind: IgnoredData, _ problem: String, of entity: Entity?) {
        observer?.redisIgnored(kind)
        guard let count = ignoredLines.happened(kind, now: now) else { return }
        var metadata: Logger.Metadata = [
            "reason": "\(kind)", "error": "\(problem)", "count": "\(count)", "shard": "\(settings.loopIndex)",
        ]
        if let room = entity?.room { metadata["room.id"] = "\(room)" }
        logger.warning(
            "redis holds or says what no node of ours wrote; ignored (see martlet doctor)", metadata: metadata)
    }
}
