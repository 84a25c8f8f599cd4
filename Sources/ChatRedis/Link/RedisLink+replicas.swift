import ChatCore
import Logging
import NIOCore

/// A WAIT that is not answered yet.
struct Confirmation {
    var deadline: Moment
    var then: (Int?) -> Void
}

/// Confirms how many replicas have received what was written.
///
/// WAIT blocks its connection until enough replicas have answered or its timeout has passed (redis.io, "WAIT"). On the
/// command connection one slow replica would delay every room of the loop, heartbeats included, so WAIT has a
/// connection of its own. It considers only what *its own* connection wrote last, so a mark is written before it (a
/// PUBLISH without subscribers; in a Cluster a key that expires). The mark follows everything that was answered so far
/// in the replication stream, and costs Redis a microsecond.
extension RedisLink {
    public func confirm(
        replicas count: Int, of server: BrokerIdentity, within time: Duration, _ then: @escaping (Int?) -> Void
    ) {
        guard let replicas, servers[.commands] == server.runID else {
            return eventLoop.assumeIsolatedUnsafeUnchecked().execute { then(nil) }
        }
        guard replicas.isUp, servers[.replicas] == server.runID else {
            return confirmLater(count, server, time, then)
        }
        let milliseconds = max(1, time.wholeMilliseconds)
        var writer = RESPWriter(capacity: 128)
        writer.command(words: codec.replicationMark(tag: replicationTag))
        writer.command(words: ["WAIT", "\(count)", "\(milliseconds)"])
        confirmations.append(Confirmation(deadline: now + time + settings.commandTimeout, then: then))
        replicas.write(writer.take())
    }

    /// The connection is being set up: right after the start, or after all connections were lost.
    private func confirmLater(
        _ count: Int, _ server: BrokerIdentity, _ time: Duration, _ then: @escaping (Int?) -> Void
    ) {
        let pause = min(time, .milliseconds(20))
        eventLoop.assumeIsolatedUnsafeUnchecked().scheduleTask(in: TimeAmount(pause)) { [weak self] in
            guard let self, time > pause else { return then(nil) }
            self.confirm(replicas: count, of: server, within: time - pause, then)
        }
    }

    /// Returns false if the connection was dropped.
    func confirmationReplied(_ arena: RESPArena) -> Bool {
        let replies = RESPReplies(arena: arena)
        guard replies.count >= 2 else { return true }
        defer { arena.removeAll() }
        guard let confirmation = confirmations.popFirst() else {
            replicas?.drop(RedisSetupError(.notRedis, "\(commands.place) answered what was not asked"))
            return false
        }
        let error = replies[0].error ?? replies[1].error
        let count = error == nil ? replies[1].integer.map { Int(clamping: $0) } : nil
        if let error {
            logger.warning(
                "redis does not wait for replicas", metadata: ["error": "\(error)", "shard": "\(settings.loopIndex)"])
        }
        confirmation.then(count)
        return replicas?.isUp ?? false
    }

    func checkConfirmations(now: Moment) {
        guard let oldest = confirmations.first, oldest.deadline <= now else { return }
        // Unread bytes may hold the answer.
        let isRead = !(replicas?.isAnswering(within: .zero, now: now) ?? false)
        guard isRead || now - oldest.deadline >= settings.commandTimeout else { return }
        replicas?.drop(RedisSetupError(.timedOut, "\(commands.place) did not answer WAIT in time"))
    }

    /// The connection is gone, so the outcome of its confirmations is unknown.
    func failConfirmations() {
        while let confirmation = confirmations.popFirst() { confirmation.then(nil) }
    }
}
