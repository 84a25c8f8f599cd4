/// The rules and sanctions of a room.
extension MemoryRoom {
    /// The answer of `martlet_moderate`, and the event.
    mutating func moderate(
        _ moderation: Moderation, by: String, runID: String, now: UInt64, expires: UInt64
    ) -> (Result<BrokerReply, BrokerError>, [ChannelEvent]) {
        let old = self.moderation.version
        // The version is at least the epoch, which is known only after it has begun.
        switch self.moderation.applying(moderation, by: by, now: now, version: old) {
        case .refused(let problem): return (.failure(.notStored("ERR martlet: \(problem)")), [])
        case .nothing: return (.success(.moderated(ModerationReply(version: old, isChanged: false))), [])
        case .changed(let next):
            let epoch = beginEpoch(runID: runID, now: now)
            let version = max(epoch ?? now, old + 1)
            self.moderation = RoomModeration(
                version: version, policy: next.policy, bans: next.bans, mutes: next.mutes,
                conversation: next.conversation)
            let order = ModerationOrder(moderation)
            note(
                order.operation, user: order.user ?? "", value: order.value ?? order.time.map { String($0) } ?? "",
                reason: order.reason ?? "", by: by, now: now)
            if log == nil || logExpires != nil { expire(at: self.expires(expires, now: now)) }
            let reply = ModerationReply(version: version, isChanged: true)
            guard let log, let outsider = try? NodeID("moderate") else { return (.success(.moderated(reply)), []) }
            return (.success(.moderated(reply)), [news(of: log, by: outsider)])
        }
    }

    /// Adds an entry to the audit, which keeps about a thousand.
    mutating func note(_ operation: String, user: String, value: String, reason: String, by: String, now: UInt64) {
        let last = audit.last?.position ?? Self.nowhere
        let position =
            now > last.epoch ? Position(epoch: now, seq: 0) : Position(epoch: last.epoch, seq: last.seq + 1)
        audit.append(
            AuditEntry(
                position: position, operation: operation, user: user, value: value, reason: reason, by: by,
                version: self.moderation.version))
        if audit.count > 1_000 { audit.removeFirst(audit.count - 1_000) }
    }

    /// Why an outsider may not send a message in the name of that user; nil if nothing forbids it.
    func refusal(ofSayingBy user: UserID, in room: RoomName, obeysRules: Bool, now: UInt64) -> BrokerError? {
        let found = moderation.refusal(ofSendBy: user, in: room, with: obeysRules ? .send : .moderate, now: now)
        guard let found, found.code != .slowMode, found.code != .duplicate else { return nil }
        let sanction = moderation.ban(of: user, now: now) ?? moderation.mute(of: user, now: now)
        return WireError.forbidden(found.code, until: sanction?.until, reason: sanction?.reason ?? "")
            .map { .forbidden($0) }
    }
}
