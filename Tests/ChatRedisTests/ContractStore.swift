import ChatCore
import Foundation
import Glibc
import RedisSchema
import TestSupport
import Testing

// NIOCore has a ChannelEvent of its own.
import struct NIOCore.ByteBuffer

@testable import ChatRedis

/// The two brokers, which share one contract.
enum StoreKind: String, CaseIterable, Sendable, CustomTestStringConvertible {
    case memory, redis

    var testDescription: String { rawValue }
}

struct StoreAnswer: Equatable {
    var result: Result<BrokerReply, BrokerError>
    var events: [ChannelEvent]
}

/// Either broker, asked one request at a time. Returns the answer and all events that were published meanwhile on the
/// channels of this test.
final class ContractStore {
    /// The length of logs in these tests, which is small so that they are trimmed soon.
    static let historyLength = 20
    /// The same of a log that a participant has not read.
    static let heldLength = 50

    let kind: StoreKind
    let room: RoomName
    let keys: RedisKeys
    let codec: RedisCodec
    /// The clock of the memory broker. It advances by one with each request.
    var now: UInt64 = 1_700_000_000_000
    private(set) var memory: MemoryBroker
    private let commands: ContractConnection?
    private let listener: ContractConnection?

    init(_ kind: StoreKind, historyLength: Int = ContractStore.historyLength) async throws {
        self.kind = kind
        room = try RoomName("lobby")
        let prefix = "t\(UInt64.random(in: 0 ... .max)):"
        keys = try #require(RedisKeys(prefix: prefix))
        var settings = RedisCodecSettings()
        settings.historyLength = historyLength
        settings.heldLength = Self.heldLength
        codec = RedisCodec(keys: keys, settings: settings)
        var bounds = MemoryBrokerSettings()
        bounds.historyLength = historyLength
        bounds.heldLength = Self.heldLength
        memory = MemoryBroker(settings: bounds)
        switch kind {
        case .memory:
            commands = nil
            listener = nil
        case .redis:
            let redis = try await SharedRedis.shared.server()
            commands = try ContractConnection(port: redis.port)
            let listener = try ContractConnection(port: redis.port)
            self.listener = listener
            _ = try listener.ask(["PSUBSCRIBE", prefix + "*"])
        }
    }

    /// Carries out a request. Malformed answers and payloads fail the test.
    func ask(_ request: BrokerRequest) throws -> StoreAnswer {
        guard let commands, let listener else {
            now += 1
            let answer = memory.apply(request, now: now)
            return StoreAnswer(result: answer.result, events: answer.events.map(\.event))
        }
        var writer = RESPWriter()
        let encoded = try codec.encode(request, into: &writer)
        #expect(writer.isComplete, "a command with a wrong number of arguments: \(request)")
        #expect(writer.commands == encoded.commands)
        let replies = try commands.exchange(writer.take(), replies: encoded.commands)
        let pending = RedisPending(
            operation: encoded.operation, number: encoded.number, request: encoded.keepsRequest ? request : nil)
        let decoded = codec.decode(pending, replies)
        commands.forget()
        guard case .completed(let result) = decoded else { throw StoreFailure("library missing") }
        return StoreAnswer(result: result, events: try listener.events(codec))
    }

    func reply(_ request: BrokerRequest) throws -> BrokerReply { try ask(request).result.get() }

    /// Runs a command as a person types it, and returns its reply.
    @discardableResult
    func raw(_ words: String...) throws -> Tree {
        guard let commands else { throw StoreFailure("memory knows no commands") }
        return try commands.ask(words)
    }

    /// The same with any bytes.
    @discardableResult
    func raw(bytes words: [[UInt8]]) throws -> Tree {
        guard let commands else { throw StoreFailure("memory knows no commands") }
        return try commands.ask(bytes: words)
    }

    /// Sets the memory broker back to an earlier copy.
    func goBack(to copy: MemoryBroker) { memory = copy }

    func key(_ name: RoomKey) -> String { keys.key(name, of: room.text) }

    // MARK: Short forms

    func enter(
        _ node: NodeID, after: Position? = nil, tail: [Message] = [], seen: UInt64 = 0, clock: UInt64 = 0,
        identityChanged: Bool = false, limit: Int = 100
    ) throws -> RoomView {
        let request = EnterRequest(
            room: room, node: node, after: after, tail: tail, seen: seen, clock: clock,
            identityChanged: identityChanged,
            page: PageBounds(count: limit))
        guard case .view(let view) = try reply(.enter(request)) else { throw StoreFailure("enter: no view") }
        return view
    }

    func view(after: Position? = nil, limit: Int = 100) throws -> RoomView {
        guard case .view(let view) = try reply(.view(room: room, after: after, page: PageBounds(count: limit))) else {
            throw StoreFailure("view: no view")
        }
        return view
    }

    func append(_ epoch: UInt64, _ text: String = "x", key: String? = nil) throws -> Position {
        let content = MessageContent(user: try UserID("ana"), at: 7, text: text, key: key)
        guard case .appended(let position, _) = try reply(.append(room: room, epoch: epoch, content: content)) else {
            throw StoreFailure("append: no position")
        }
        return position
    }

    func once(_ node: NodeID, _ epoch: UInt64, known: UInt64 = 0, _ sends: [OnceSend]) throws -> StoreAnswer {
        try ask(.once(OnceRequest(room: room, node: node, epoch: epoch, known: known, sends: sends)))
    }

    func leave(_ node: NodeID, _ value: UInt64, isOwn: Bool = true) throws -> StoreAnswer {
        try ask(.leave(room: room, node: node, value: value, isOwn: isOwn))
    }

    func presence(
        _ node: NodeID, _ value: UInt64, _ changes: [PresenceChange]
    ) throws -> StoreAnswer {
        try ask(
            .presence(PresenceRequest(room: room, node: node, value: value, changes: changes)))
    }

    /// All parts of the roster, with the position of the first one.
    func roster() throws -> RosterSnapshot {
        var whole: RosterSnapshot?
        var cursor: UInt64 = 0
        repeat {
            guard case .roster(let part) = try reply(.roster(room: room, cursor: cursor)) else {
                throw StoreFailure("no roster")
            }
            cursor = part.cursor
            if whole == nil { whole = part } else { whole?.members.merge(part.members) { $1 } }
        } while cursor != 0
        var roster = try #require(whole)
        roster.cursor = 0
        return roster
    }

    func history(_ anchor: HistoryQuery.Anchor, _ limit: Int) throws -> HistoryPage {
        let query = HistoryQuery(anchor: anchor, limit: limit)
        guard case .history(let page) = try reply(.history(room: room, query: query)) else {
            throw StoreFailure("no history")
        }
        return page
    }
}

struct StoreFailure: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}

func send(_ key: String, _ text: String = "x", since: Position? = nil, again: Bool = true) throws -> OnceSend {
    OnceSend(content: MessageContent(user: try UserID("ana"), at: 7, text: text, key: key), since: since, again: again)
}

func device(_ user: String, _ device: String, joined: Bool = true) throws -> PresenceChange {
    PresenceChange(user: try UserID(user), device: try DeviceName(device), joined: joined)
}

/// One server for all contract tests, which ends with the test process.
actor SharedRedis {
    static let shared = SharedRedis()
    private var starting: Task<PrivateRedis, any Error>?

    func server() async throws -> PrivateRedis {
        if let starting { return try await starting.value }
        let task = Task {
            // One entry per stream node, so that `MAXLEN ~` trims exactly, as the memory broker does.
            let options = PrivateRedis.Options(configuration: ["stream-node-max-entries 1"])
            let redis = try await PrivateRedis.start(options)
            SharedServer.keep(redis)
            let connection = try ContractConnection(port: redis.port)
            var writer = RESPWriter()
            RedisCodec().encodeLibraryLoad(replacing: true, into: &writer)
            let replies = try connection.exchange(writer.take(), replies: 1)
            guard case .ready = RedisCodec().libraryVerdict(ofLoad: replies[0]) else {
                throw StoreFailure("FUNCTION LOAD: \(replies[0].error ?? "?")")
            }
            return redis
        }
        starting = task
        return try await task.value
    }
}

/// Keeps the server for the whole process; `atexit` ends it.
private enum SharedServer {
    // Written once, before any other use; read at exit.
    nonisolated(unsafe) static var redis: PrivateRedis?

    static func keep(_ redis: PrivateRedis) {
        self.redis = redis
        atexit { SharedServer.redis?.stop() }
    }
}

/// A blocking connection that uses the transport's writer and reader.
final class ContractConnection {
    private let socket: LoopbackSocket
    private let reader: RESPReader

    init(port: Int) throws {
        socket = try LoopbackSocket(port: port, timeout: 20)
        reader = try RESPReader()
    }

    func ask(_ words: [String]) throws -> Tree { try ask(bytes: words.map { Array($0.utf8) }) }

    func ask(bytes words: [[UInt8]]) throws -> Tree {
        var writer = RESPWriter()
        writer.command(words.count)
        for word in words { writer.argument(bytes: word) }
        let tree = Tree(try exchange(writer.take(), replies: 1)[0])
        forget()
        return tree
    }

    /// Sends, then reads until there are `replies`. Call ``forget()`` when they have been used.
    func exchange(_ bytes: ByteBuffer, replies: Int) throws -> RESPReplies {
        guard socket.write(bytes.readableBytesView) == bytes.readableBytes else {
            throw StoreFailure("cannot write: errno \(errno)")
        }
        return try read(until: { $0.count >= replies })
    }

    func forget() { reader.arena.removeAll() }

    /// All events so far: Redis answers the PING after what it published before.
    func events(_ codec: RedisCodec) throws -> [ChannelEvent] {
        var writer = RESPWriter()
        writer.command(words: ["PING"])
        socket.write(writer.take().readableBytesView)
        let replies = try read(until: { $0.count > 0 && $0[$0.count - 1][0].equals("pong") })
        defer { forget() }
        var events: [ChannelEvent] = []
        for place in 0..<replies.count where replies[place][0].equals("pmessage") {
            let event = replies[place][3].withBytes { payload -> Result<ChannelEvent, ChannelPayloadError> in
                do throws(ChannelPayloadError) {
                    return .success(try codec.event(ofPayload: payload))
                } catch {
                    return .failure(error)
                }
            }
            events.append(try unsigned(try event.get()))
        }
        return events
    }

    /// Each Redis marks notices with its run, which the model in memory does not have.
    private func unsigned(_ event: ChannelEvent) throws -> ChannelEvent {
        guard case .presence(var notice) = event else { return event }
        guard let run = notice.run, run.count == 16, run.allSatisfy(\.isHexDigit) else {
            throw StoreFailure("a notice without its run: \(notice)")
        }
        notice.run = nil
        return .presence(notice)
    }

    private func read(until enough: (RESPReplies) -> Bool) throws -> RESPReplies {
        let replies = RESPReplies(arena: reader.arena)
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while !enough(replies) {
            let count = socket.read(into: &chunk)
            guard count > 0 else { throw StoreFailure("Redis did not answer: errno \(errno)") }
            var buffer = ByteBuffer(bytes: chunk[..<count])
            try reader.read(&buffer) { true }
        }
        return replies
    }
}
