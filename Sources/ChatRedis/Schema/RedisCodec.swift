import ChatCore
import RedisSchema

/// Bounds of what the codec writes.
public struct RedisCodecSettings: Sendable, Hashable {
    /// Messages in a room's log (`MAXLEN ~`, so at times a few more).
    public var historyLength = 1_000
    /// Bytes of memory of a room's log.
    public var historyBytes = 4 * 1_048_576
    /// The same of a log that a participant has not read.
    public var heldLength = 10_000
    public var heldBytes = 16 * 1_048_576
    /// The sinks of relays for which every log is held like that.
    public var heldFor: [String] = []
    /// Users in one part of a roster.
    public var rosterPart = 500
    /// Rooms in one part of a node's list.
    public var roomsPart = 100
    /// Of how many participants at most a room is told what they have read.
    public var receipts = 100
    /// Entries in a room's presence stream.
    public var presenceLength = 1_000
    /// How long a room that no node holds is kept.
    public var roomTTL: Duration = .seconds(7 * 86_400)
    /// The same of a room with participants.
    public var conversationTTL: Duration = .seconds(90 * 86_400)
    /// Participants of one room.
    public var participants = 100
    /// Users whom one user may block.
    public var blockedUsers = 1_000
    /// Stars of one user.
    public var stars = 1_000
    /// How long the list of a node's rooms outlives the node. Far above any lease, as sweepers depend on it.
    public var nodeRoomsTTL: Duration = .seconds(7 * 86_400)

    public init() {}
}

/// Martlet's schema as Redis commands; see `redis/README.md`. A request is one command or one function call where
/// atomicity matters, and several plain commands where it does not.
///
/// Stateless, so all loops share one.
public struct RedisCodec: RedisCodecProtocol {
    /// How replies are read, and the name under which the node's metrics count them (`martlet_redis_command_seconds`).
    /// The order of the cases matters only within a process.
    public enum Operation: UInt8, CaseIterable, Sendable {
        /// The two forms of an append: a plain `XADD`, and the function that also publishes.
        case append, announce
        /// `view` also reads the replies of `enter`.
        case publish, view, leave, once, say, presence, roster, history, heartbeat, nodes, rooms, holders
        /// The reply says only that the request was carried out: `hold`, `release`, `forget`, `ping`.
        case done
        case memory, command, commands, moderate, rules, ticket, conversation, participants, user, amend, audit
        case read, receipts, head, brief, people, listeners, relayed
    }

    public let keys: RedisKeys
    public let settings: RedisCodecSettings

    public init(keys: RedisKeys = RedisKeys(), settings: RedisCodecSettings = RedisCodecSettings()) {
        self.keys = keys
        self.settings = settings
    }

    public func channelName(of entity: Entity) -> String { keys.channel(of: entity) }

    public var channelFrame: ChannelFrame {
        ChannelFrame(
            before: keys.prefix.utf8.count + 1, behind: 1, beforeUser: keys.user(tag: "").utf8.count - 1)
    }

    public func replicationMark(tag: String?) -> [String] {
        guard let tag else { return ["PUBLISH", keys.prefix + "replicas", ""] }
        // A Cluster sends publications over its own bus, not to replicas.
        return ["SET", keys.replicationMark(tag: tag), "", "PX", "1000"]
    }

    public func forEachEvent(
        inPayload payload: UnsafeBufferPointer<UInt8>, _ body: (UnsafeBufferPointer<UInt8>) -> Void
    ) {
        ChannelEventReader.forEachEvent(in: payload, body)
    }

    public func event(ofPayload payload: UnsafeBufferPointer<UInt8>) throws(ChannelPayloadError) -> ChannelEvent {
        try ChannelEventReader.event(of: UnsafeRawBufferPointer(payload))
    }

    public func place(ofPayload payload: UnsafeBufferPointer<UInt8>) -> (Position, base: UInt64)? {
        ChannelEventReader.place(of: payload)
    }

    public func encode(
        _ request: BrokerRequest, isBusy: Bool = false, into writer: inout RESPWriter
    ) throws(BrokerError) -> RedisEncoded {
        switch request {
        case .append(let room, let epoch, let content, let others, let isHeld):
            return append(room, epoch, content, others, isHeld: isHeld, isBusy: isBusy, &writer)
        case .publish(let entity, let event):
            return encodePublish([event], on: entity, into: &writer)
        case .enter(let request):
            enter(request, &writer)
            return kept(.view)
        case .view(let room, let after, let page, let knows):
            view(room, after, page, knows: knows, &writer)
            return kept(.view)
        case .leave(let room, let node, let value, let cursor, let isOwn):
            leave(room, node, value, cursor, isOwn: isOwn, &writer)
            return kept(.leave)
        case .once(let request):
            once(request, &writer)
            return kept(.once)
        case .say(let room, let content, let obeysRules):
            say(room, content, obeysRules: obeysRules, &writer)
            return kept(.say)
        case .moderate(let room, let moderation, let by):
            moderate(room, moderation, by: by, &writer)
            return kept(.moderate)
        case .amend(let order):
            amend(order, &writer)
            return kept(.amend)
        case .audit(let room, let before, let count):
            audit(room, before: before, count: count, &writer)
            return RedisEncoded(operation: Operation.audit.rawValue)
        case .rules(let room, let user):
            rules(room, of: user, &writer)
            return kept(.rules)
        case .conversation(let request):
            conversation(request, &writer)
            return kept(request.operation == .list ? .participants : .conversation)
        case .user(let request): return user(request, &writer)
        case .presence(let request):
            presence(request, &writer)
            return kept(.presence)
        case .roster(let room, let cursor):
            roster(room, cursor, &writer)
            return kept(.roster)
        case .history(let room, let query):
            history(room, query, &writer)
            return kept(.history)
        case .trim(let room):
            trim(room, &writer)
            return kept(.done)
        case .heartbeat(let report, let lease):
            heartbeat(report, lease, &writer)
            return RedisEncoded(commands: 3, operation: Operation.heartbeat.rawValue)
        case .nodes:
            writer.command(4)
            writer.argument("FCALL")
            writer.argument("martlet_nodes")
            writer.argument("1")
            writer.argument(keys.nodes)
            return kept(.nodes)
        case .hold(let room, let node, let inOldList):
            let key = keys.rooms(of: node, with: room, inOldList: inOldList)
            writer.command(words: ["SADD", key, room.text])
            writer.command(words: ["PEXPIRE", key, String(settings.nodeRoomsTTL.timeToLiveMilliseconds)])
            return RedisEncoded(commands: 2, operation: Operation.done.rawValue)
        case .release(let room, let node, let inOldList):
            writer.command(words: ["SREM", keys.rooms(of: node, with: room, inOldList: inOldList), room.text])
            return RedisEncoded(operation: Operation.done.rawValue)
        case .rooms(let node, let cursor):
            return rooms(of: node, Holdings.Cursor(cursor), &writer)
        case .holders(let room):
            writer.command(words: ["HGETALL", keys.key(.nodes, of: room.text)])
            return RedisEncoded(operation: Operation.holders.rawValue)
        case .forget(let node, let cursor):
            return forget(node, Holdings.Cursor(cursor), &writer)
        case .tryStoring(let entity):
            tryStoring(entity, &writer)
            return kept(.done, commands: 2)
        case .command(let order, let by):
            command(order, by: by, &writer)
            return kept(.command)
        case .commands(let after, let count):
            commands(after: after, count: count, &writer)
            return RedisEncoded(operation: Operation.commands.rawValue)
        case .storeTicket(let name, let allowed, let life):
            writer.command(words: [
                "SET", keys.ticket(name.text), allowed, "PX", String(life.timeToLiveMilliseconds),
            ])
            return RedisEncoded(operation: Operation.done.rawValue)
        case .takeTicket(let name):
            writer.command(words: ["GETDEL", keys.ticket(name.text)])
            return RedisEncoded(operation: Operation.ticket.rawValue)
        case .reading(let request):
            return try reading(request, &writer)
        case .relay(.books):
            let tag = EventPartition.first.keyTag
            writer.command(words: ["EXISTS", keys.key(.registered, ofPartition: tag)])
            writer.command(words: ["HKEYS", keys.key(.sinks, ofPartition: tag)])
            return RedisEncoded(commands: 2, operation: Operation.relayed.rawValue)
        case .relay(.note(let partition, let book, let rooms, let at)):
            writer.command(2 + 2 * rooms.count)
            writer.argument("ZADD")
            writer.argument(keys.key(book.notes, ofPartition: partition.keyTag))
            for room in rooms {
                writer.argument(at)
                writer.argument(room.text)
            }
            return RedisEncoded(operation: Operation.done.rawValue)
        case .memory:
            writer.command(words: ["INFO", "memory"])
            return RedisEncoded(operation: Operation.memory.rawValue)
        case .ping:
            writer.command(1)
            writer.argument("PING")
            return RedisEncoded(operation: Operation.done.rawValue)
        }
    }

    public func encodePublish(
        _ events: [ChannelEvent], on entity: Entity, into writer: inout RESPWriter
    ) -> RedisEncoded {
        publish(entity, events, &writer)
        return RedisEncoded(operation: Operation.publish.rawValue)
    }

    func kept(_ operation: Operation, commands: Int = 1) -> RedisEncoded {
        RedisEncoded(commands: commands, operation: operation.rawValue, keepsRequest: true)
    }
}

// MARK: - The library

extension RedisCodec {
    public func encodeLibraryCheck(into writer: inout RESPWriter) {
        writer.command(words: ["FCALL", "martlet_version", "0"])
    }

    /// A newer library is accepted: a change that is incompatible with older nodes uses functions of other names.
    public func libraryVerdict(ofCheck reply: RESPReply) -> RedisLibraryVerdict {
        if let text = reply.error {
            if text.hasPrefix(Self.functionNotFound) { return .load }
            return .incompatible("FCALL martlet_version: \(text)")
        }
        guard reply.kind == .integer, let version = reply.integer else {
            return .incompatible("FCALL martlet_version does not answer with a number: not our library")
        }
        return version < FunctionLibrary.version ? .load : .ready
    }

    public func encodeLibraryLoad(replacing: Bool, into writer: inout RESPWriter) {
        writer.command(replacing ? 4 : 3)
        writer.argument("FUNCTION")
        writer.argument("LOAD")
        if replacing { writer.argument("REPLACE") }
        writer.argument(bytes: FunctionLibrary.source)
    }

    public func libraryVerdict(ofLoad reply: RESPReply) -> RedisLibraryVerdict {
        guard let text = reply.error, let code = reply.errorCode, !text.hasSuffix(Self.alreadyExists) else {
            return .ready
        }
        return RedisErrors.refusals.contains(String(code)) ? .load : .incompatible("FUNCTION LOAD: \(text)")
    }

    /// The beginning of the error with which Redis (`functions.c`) and Valkey answer FCALL of a function that is not
    /// loaded.
    static let functionNotFound = "ERR Function not found"
    /// The end of the error for FUNCTION LOAD without REPLACE (`Library 'martlet' already exists`): another node was
    /// first.
    static let alreadyExists = "already exists"
}
