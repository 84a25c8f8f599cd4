import ChatCore
import ChatRedis

/// The smallest codec for tests of the transport: counters, strings, a function, and numbers as channel payloads.
struct TransportCodec: RedisCodecProtocol {
    var prefix: String
    /// Whether the library cannot be loaded.
    var hasBrokenLibrary = false

    private enum Operation {
        static let ping: UInt8 = 1
        static let count: UInt8 = 2
        static let publish: UInt8 = 3
        static let pair: UInt8 = 4
        static let function: UInt8 = 5
        static let countInOneStep: UInt8 = 6
    }

    private var library: String { "t" + prefix.filter { $0.isLetter || $0.isNumber } }
    private var function: String { library + "_answer" }

    func encode(
        _ request: BrokerRequest, isBusy: Bool, into writer: inout RESPWriter
    ) throws(BrokerError) -> RedisEncoded {
        switch request {
        case .append(let room, let epoch, _, let others, _):
            // INCR of the room's counter: the reply shows the order in which Redis carried the requests out. The answer
            // shows whether the link was busy.
            writer.command(2)
            writer.argument("INCR" as StaticString)
            writer.beginArgument()
            writer.append(prefix)
            writer.append("{" as StaticString)
            writer.append(room.text)
            writer.append("}" as StaticString)
            writer.endArgument()
            let isOneStep = others != nil && !isBusy
            return RedisEncoded(operation: isOneStep ? Operation.countInOneStep : Operation.count, number: epoch)
        case .publish(let entity, let event):
            return encodePublish([event], on: entity, into: &writer)
        case .say(let room, let content, _):
            // Two commands, one request.
            writer.command(3)
            writer.argument("SET" as StaticString)
            writer.argument(prefix + room.text)
            writer.argument(content.text ?? "")
            writer.command(2)
            writer.argument("STRLEN" as StaticString)
            writer.argument(prefix + room.text)
            return RedisEncoded(commands: 2, operation: Operation.pair)
        case .nodes:
            writer.command(3)
            writer.argument("FCALL" as StaticString)
            writer.argument(function)
            writer.argument(0)
            return RedisEncoded(operation: Operation.function, keepsRequest: true)
        case .forget:
            throw .notStored("the codec does not want to")
        case .ping, .memory, .enter, .view, .leave, .once, .presence, .roster, .history, .heartbeat, .hold, .release,
            .rooms, .tryStoring, .holders, .trim, .moderate, .amend, .audit, .rules, .command, .commands, .storeTicket,
            .takeTicket, .conversation, .user, .reading, .relay:
            writer.command(1)
            writer.argument("PING" as StaticString)
            return RedisEncoded(operation: Operation.ping)
        }
    }

    /// Numbers with spaces between them.
    func encodePublish(_ events: [ChannelEvent], on entity: Entity, into writer: inout RESPWriter) -> RedisEncoded {
        let numbers = events.compactMap { if case .presence(let notice) = $0 { notice.position.seq } else { nil } }
        writer.command(3)
        writer.argument("PUBLISH" as StaticString)
        writer.argument(channelName(of: entity))
        writer.argument(numbers.map { String($0) }.joined(separator: " "))
        return RedisEncoded(operation: Operation.publish)
    }

    func forEachEvent(inPayload payload: UnsafeBufferPointer<UInt8>, _ body: (UnsafeBufferPointer<UInt8>) -> Void) {
        for part in payload.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false) {
            body(UnsafeBufferPointer(rebasing: part))
        }
    }

    func place(ofPayload payload: UnsafeBufferPointer<UInt8>) -> (Position, base: UInt64)? { nil }

    func decode(_ pending: RedisPending, _ replies: RESPReplies) -> RedisDecoded {
        if let error = replies[0].error, error.hasPrefix("ERR Function not found") { return .libraryMissing }
        for place in 0..<replies.count {
            if let error = RedisErrors.brokerError(of: replies[place], context: "a test command") {
                return .completed(.failure(error))
            }
        }
        switch pending.operation {
        case Operation.count, Operation.countInOneStep:
            let position = Position(epoch: pending.number, seq: replies[0].unsigned ?? 0)
            let isPublished = pending.operation == Operation.countInOneStep
            return .completed(.success(.appended(position, isPublished: isPublished)))
        case Operation.pair:
            let length = replies[1].unsigned ?? 0
            return .completed(.success(.said(Position(epoch: 0, seq: length), repeated: !replies[0].equals("OK"))))
        case Operation.function:
            return .completed(.success(.heartbeat(known: replies[0].integer == 42)))
        default:
            return .completed(.success(.done))
        }
    }

    func channelName(of entity: Entity) -> String { prefix + "channel:\(entity)" }

    var channelFrame: ChannelFrame { ChannelFrame(before: prefix.utf8.count + 8, behind: 0) }

    func replicationMark(tag: String?) -> [String] { ["PUBLISH", prefix + "replicas", ""] }

    func event(ofPayload payload: UnsafeBufferPointer<UInt8>) throws(ChannelPayloadError) -> ChannelEvent {
        guard let number = UInt64(String(decoding: payload, as: UTF8.self)) else {
            throw ChannelPayloadError("expected a number")
        }
        return Self.event(number)
    }

    /// The event whose payload is `number`.
    static func event(_ number: UInt64) -> ChannelEvent {
        .presence(
            PresenceNotice(
                after: Position(epoch: 0, seq: 0), position: Position(epoch: 0, seq: number), changes: [],
                count: Int(clamping: number)))
    }

    func encodeLibraryCheck(into writer: inout RESPWriter) {
        writer.command(words: ["FUNCTION", "LIST", "LIBRARYNAME", library])
    }

    func libraryVerdict(ofCheck reply: RESPReply) -> RedisLibraryVerdict { reply.count == 0 ? .load : .ready }

    func encodeLibraryLoad(replacing: Bool, into writer: inout RESPWriter) {
        let body = hasBrokenLibrary ? "nonsense(" : "redis.register_function('\(function)', function() return 42 end)"
        writer.command(words: ["FUNCTION", "LOAD", "REPLACE", "#!lua name=\(library)\n\(body)"])
    }

    func libraryVerdict(ofLoad reply: RESPReply) -> RedisLibraryVerdict {
        reply.error.map { .incompatible($0) } ?? .ready
    }
}
