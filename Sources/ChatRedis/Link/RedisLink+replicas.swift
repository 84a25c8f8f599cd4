import ChatCore
import Logging
import NIOCore

/// A WAIT that is not answered yet.
struct Confirmation {
    var deadline: Moment
    var then: (Int?) -> Void
}

/// How many replicas have what was written.
///
/// WAIT holds its connection until enough replicas answered or its time is over (redis.io, "WAIT"). On the command
/// connection one slow replica would hold up every room of the loop, heartbeats included; so it has a connection of its
/// own. WAIT looks at what *its own* connection wrote last, so a mark goes before it (a PUBLISH to nobody; in a Cluster a key
/// that expires): that has a place in the replication stream after everything that was answered so far, and costs Redis a
/// microsecond.
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

    /// The connection is on its way: right after the start, or after all were lost.
    private func confirmLater(
        _ count: Int, _ server: BrokerIdentity, _ time: Duration, _ then: @escaping (Int?) -> Void
    ) {
        let pause = min(time, .milliseconds(20))
        eventLoop.assumeIsolatedUnsafeUnchecked().scheduleTask(in: TimeAmount(pause)) { [weak self] in
            guard let self, time > pause else { return then(nil) }
            self.confirm(replicas: count, of: server, within: time - pause, then)
        }
    }

    /// False: the connection was dropped.
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
        // What waits to be read may be the answer.
        let isRead = !(replicas?.isAnswering(within: .zero, now: now) ?? false)
        guard isRead || now - oldest.deadline >= settings.commandTimeout else { return }
        replicas?.drop(RedisSetupError(.timedOut, "\(commands.place) did not answer WAIT in time"))
    }

    /// The connection is gone: nothing is known.
    func failConfirmations() {
        while let confirmation = confirmations.popFirst() { confirmation.then(nil) }
    }
}
