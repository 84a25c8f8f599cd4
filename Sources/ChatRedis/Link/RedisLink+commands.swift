import ChatCore
import Logging
import NIOCore

extension RedisLink {
    // MARK: Out

    /// Encodes the request into the write of this tick. A request that cannot be sent completes later, in its turn.
    func enqueue(_ request: BrokerRequest, tag: RequestTag, isStopping: Bool) {
        guard commands.isUp, !isStopping else { return settleLater(tag, .notConnected) }
        guard queue.bytes + publishing.bytes < settings.queuedBytes else {
            return settleLater(tag, .notStored("more than \(settings.queuedBytes) bytes are waiting for redis"))
        }
        if case .publish(let entity, let event) = request, !tag.wantsAnswer {
            return publishing.add(event, on: entity, tag: tag)
        }
        if case .append(_, _, _, .some, _) = request { sharedAppends += 1 }
        encode(request, as: CommandQueue.Entry(kind: .request, tag: tag, sentAt: now))
    }

    /// Whether so much is on its way that requests share a round trip and a wake-up of Redis anyway.
    private var isBusy: Bool { queue.count >= Self.manyRequests || recentSharedAppends >= Self.manyRequests }

    /// Below this number of requests, both unanswered and in one tick, functions that save a round trip pay off. From
    /// it on, Redis reads many commands at once, and a function costs it more (6 to 9 µs, measured) than the plain
    /// commands (3 and 1 µs) and a second wake-up for all of them.
    private static let manyRequests = 32

    /// Called after everything else of the tick. A lost PUBLISH is not reported; a node that misses it detects the gap.
    private func flushPublishing() {
        for batch in publishing.batches {
            write(CommandQueue.Entry(kind: .request, tag: batch.tag, sentAt: now), keeping: nil) { codec, writer in
                codec.encodePublish(batch.events, on: batch.entity, into: &writer)
            }
        }
        publishing.removeAll()
    }

    private func encode(_ request: BrokerRequest, as entry: CommandQueue.Entry) {
        let isBusy = isBusy
        write(entry, keeping: request) { codec, writer throws(BrokerError) in
            try codec.encode(request, isBusy: isBusy, into: &writer)
        }
    }

    /// `request` is kept if the codec requires it.
    private func write(
        _ template: CommandQueue.Entry, keeping request: BrokerRequest?,
        _ body: (any RedisCodecProtocol, inout RESPWriter) throws(BrokerError) -> RedisEncoded
    ) {
        var entry = template
        let mark = writer.mark
        let before = writer.buffer.writerIndex
        do throws(BrokerError) {
            let encoded = try body(codec, &writer)
            guard writer.isComplete, writer.commands - mark.commandsBefore == encoded.commands else {
                writer.rewind(to: mark)
                assertionFailure("the codec wrote commands with a wrong number of arguments, or miscounted them")
                entry.failure = .malformed("the request could not be encoded: wrong number of commands or arguments")
                return queue.submitted(entry, keeping: nil)
            }
            entry.commands = encoded.commands
            entry.operation = encoded.operation
            entry.number = encoded.number
            entry.bytes = writer.buffer.writerIndex - before
            queue.submitted(entry, keeping: encoded.keepsRequest ? request : nil)
        } catch {
            writer.rewind(to: mark)
            entry.failure = error
            queue.submitted(entry, keeping: nil)
        }
    }

    private func settleLater(_ tag: RequestTag, _ error: BrokerError) {
        queue.submitted(CommandQueue.Entry(kind: .request, tag: tag, sentAt: now, failure: error), keeping: nil)
    }

    func flushCommands() {
        if sharedAppends > 0 {
            recentSharedAppends = sharedAppends
            sharedAppends = 0
        }
        if !publishing.isEmpty { flushPublishing() }
        let bytes = writer.buffer.readableBytes
        queue.sent()
        guard bytes > 0 else { return }
        lastCommandActivity = now
        commands.write(writer.buffer)
        observer?.redisSent(commands: writer.commands - commandsBeforeTick, bytes: bytes, queuedBytes: queue.bytes)
        commandsBeforeTick = writer.commands
        writer.reset()
    }

    /// Completes the requests at the front of the queue that need no reply.
    func settle() {
        while queue.isSettled, let (entry, _) = queue.answered() { complete(entry, entry.settlement) }
    }

    // MARK: In

    /// Returns false if the connection was dropped.
    func commandReplied(_ arena: RESPArena, readAt: Moment) -> Bool {
        guard let needed = queue.repliesNeeded else {
            commands.drop(RedisSetupError(.notRedis, "\(commands.place) answered what was not asked"))
            return false
        }
        guard arena.roots.count >= needed, let (entry, request) = queue.answered() else { return true }
        let latency = readAt.nanoseconds &- min(entry.sentAt.nanoseconds, readAt.nanoseconds)
        if !isBatchSampled {
            isBatchSampled = true
            sampled(roundTrip: .nanoseconds(Int64(clamping: latency)))
        }
        switch entry.kind {
        case .request:
            observer?.redisAnswered(operation: entry.operation, nanoseconds: latency)
            let pending = RedisPending(operation: entry.operation, number: entry.number, request: request)
            let decoded = codec.decode(pending, RESPReplies(arena: arena))
            noteIgnored(arena.ignored, decoded, request?.entity)
            arena.removeAll()
            answered(entry, request, decoded)
        case .libraryLoad:
            let verdict = codec.libraryVerdict(ofLoad: RESPReplies(arena: arena)[0])
            arena.removeAll()
            if verdict != .ready {
                logger.warning("the function library could not be loaded again", metadata: ["error": "\(verdict)"])
            }
        case .ping:
            arena.removeAll()
        }
        settle()
        if isReadOnly { turnedIntoReplica() }
        return commands.isUp
    }

    private func answered(_ entry: CommandQueue.Entry, _ request: BrokerRequest?, _ decoded: RedisDecoded) {
        switch decoded {
        case .completed(let result):
            if case .failure(.notStored(let text)) = result, text.hasPrefix("READONLY") { isReadOnly = true }
            complete(entry, result)
        case .libraryMissing:
            guard entry.slot == nil, let request else {
                return complete(
                    entry, .failure(.notStored("redis lost the function library, and it could not be loaded again")))
            }
            tryAgain(entry, request)
        }
    }

    private func tryAgain(_ entry: CommandQueue.Entry, _ request: BrokerRequest) {
        if queue.loadsPending == 0 {
            logger.warning(
                "redis has lost the function library; loading it again", metadata: ["shard": "\(settings.loopIndex)"])
            // Without REPLACE: another node may have loaded a newer library since.
            codec.encodeLibraryLoad(replacing: false, into: &writer)
            let load = CommandQueue.Entry(kind: .libraryLoad, tag: entry.tag, sentAt: now, commands: 1)
            queue.submitted(load, keeping: nil)
        }
        var again = CommandQueue.Entry(kind: .request, tag: entry.tag, sentAt: now)
        again.slot = queue.triedAgain(entry)
        encode(request, as: again)
        scheduleTick()
    }

    private func complete(_ entry: CommandQueue.Entry, _ result: Result<BrokerReply, BrokerError>) {
        if let completion = queue.completed(entry, result) { return deliver(completion) }
        while let completion = queue.released() { deliver(completion) }
    }

    func deliver(_ completion: CommandQueue.Completion) {
        delegate?.brokerCompleted(completion.tag, completion.result)
    }

    // MARK: Time

    /// Whether the oldest command, sent at `oldest`, is overdue although this loop has read everything that arrived.
    /// Other bytes that arrive meanwhile extend the deadline only ``mostPatience`` times.
    func isSilent(_ connection: RedisConnection, since oldest: Moment, now: Moment) -> Bool {
        let timeout = settings.commandTimeout
        guard now - oldest >= timeout else { return false }
        return now - oldest >= timeout * Self.mostPatience || !connection.isAnswering(within: timeout, now: now)
    }

    private static let mostPatience = 5

    func checkCommands(now: Moment, isStopping: Bool) {
        guard commands.isUp else { return }
        if let oldest = queue.oldestSentAt {
            guard isSilent(commands, since: oldest, now: now) else { return }
            commands.drop(
                RedisSetupError(
                    .timedOut, "\(commands.place) did not answer a command in \(settings.commandTimeout)"))
        } else if now - lastCommandActivity >= settings.pingInterval, !isStopping {
            writer.command(words: ["PING"])
            let nobody = RequestTag(owner: 0, generation: 0, serial: 0)
            queue.submitted(CommandQueue.Entry(kind: .ping, tag: nobody, sentAt: now, commands: 1), keeping: nil)
            flushCommands()
        }
    }
}

extension RESPWriter.Mark {
    /// The number of commands begun before the mark.
    var commandsBefore: Int { commands }
}
