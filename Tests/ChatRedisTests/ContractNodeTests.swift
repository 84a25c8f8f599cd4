import ChatCore
import Foundation
import RedisSchema
import TestSupport
import Testing

@testable import ChatRedis

/// Heartbeats, and the lists of rooms that nodes hold.
@Suite struct ContractNodeTests {
    private let node: NodeID

    init() throws {
        node = try NodeID("n1-00000001")
    }

    private func report(_ node: NodeID, clock: UInt64 = 1_700_000_000_000) -> NodeReport {
        var report = NodeReport(
            node: node, address: "10.0.0.1:8080", version: "1.0 \"x\"", sessions: 3, rooms: 2, messages: 1 << 40,
            deliveries: 1 << 41, clock: clock, started: clock - 5, draining: true)
        report.protocols = ["martlet.v1": 2, "stomp": 1]
        return report
    }

    @Test(arguments: StoreKind.allCases)
    func aHeartbeatSaysWhetherTheNodeWasKnown(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let beat = BrokerRequest.heartbeat(report(node), lease: .seconds(10))
        #expect(try store.reply(beat) == .heartbeat(known: false))
        #expect(try store.reply(beat) == .heartbeat(known: true))
        switch kind {
        case .memory: store.now += 10_000
        case .redis: try store.raw("DEL", store.keys.node(node.text))
        }
        #expect(try store.reply(.nodes) == .nodes([NodeRecord(node: node, report: nil)]))
        #expect(try store.reply(beat) == .heartbeat(known: false))
        #expect(try store.reply(.nodes) == .nodes([NodeRecord(node: node, report: report(node))]))
    }

    @Test(arguments: StoreKind.allCases)
    func theBrokerSaysHowMuchMemoryItUses(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        guard case .memory(let used, let most) = try store.reply(.memory) else { throw StoreFailure("memory") }
        switch kind {
        case .memory: #expect(used == 0 && most == 0, "there is no bound")
        case .redis: #expect(used > 100_000 && (most == 0 || most > used))
        }
    }

    @Test func theLeaseIsTheKeysTTL() async throws {
        let store = try await ContractStore(.redis)
        _ = try store.reply(.heartbeat(report(node), lease: .milliseconds(12_345)))
        guard case .integer(let ttl) = try store.raw("PTTL", store.keys.node(node.text)) else {
            throw StoreFailure("PTTL")
        }
        #expect(ttl > 2_345 && ttl <= 12_345)
        // A lease of zero becomes one of a millisecond, because Redis refuses 0.
        #expect(try store.reply(.heartbeat(report(node), lease: .zero)) == .heartbeat(known: true))
    }

    @Test(arguments: StoreKind.allCases)
    func forgettingANodeLeavesNothingOfIt(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let other = try NodeID("n2-00000002")
        _ = try store.reply(.heartbeat(report(node, clock: 20), lease: .seconds(10)))
        _ = try store.reply(.heartbeat(report(other, clock: 10), lease: .seconds(10)))
        _ = try store.reply(.hold(room: store.room, node: node))
        guard case .nodes(let nodes) = try store.reply(.nodes) else { throw StoreFailure("nodes") }
        #expect(nodes.map(\.node) == [other, node])
        #expect(try store.reply(.forget(node)) == .done)
        #expect(try store.reply(.nodes) == .nodes([NodeRecord(node: other, report: report(other, clock: 10))]))
        #expect(try store.reply(.rooms(of: node)) == .rooms([]))
        #expect(try store.reply(.heartbeat(report(node), lease: .seconds(1))) == .heartbeat(known: false))
    }

    @Test(arguments: StoreKind.allCases)
    func aNodeWritesDownTheRoomsThatItHolds(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let second = try RoomName("방 two")
        for room in [store.room, second, store.room] {
            #expect(try store.reply(.hold(room: room, node: node)) == .done)
        }
        guard case .rooms(let rooms) = try store.reply(.rooms(of: node)) else { throw StoreFailure("rooms") }
        #expect(Set(rooms) == [store.room, second] && rooms.count == 2)
        #expect(try store.reply(.release(room: store.room, node: node)) == .done)
        #expect(try store.reply(.rooms(of: node)) == .rooms([second]))
        #expect(try store.reply(.release(room: second, node: node)) == .done)
        #expect(try store.reply(.rooms(of: node)) == .rooms([]))
        #expect(try store.reply(.ping) == .done)
    }

    @Test func theListOfRoomsOutlivesTheLeaseButNotForEver() async throws {
        let store = try await ContractStore(.redis)
        _ = try store.reply(.hold(room: store.room, node: node))
        guard case .integer(let ttl) = try store.raw("TTL", store.keys.rooms(ofNode: node.text)) else {
            throw StoreFailure("TTL")
        }
        #expect(ttl > 6 * 86_400 && ttl <= 7 * 86_400)
    }

    @Test func aReportThatCannotBeReadStillShowsThatTheNodeLives() async throws {
        let store = try await ContractStore(.redis)
        try store.raw("ZADD", store.keys.nodes, "1", node.text)
        try store.raw("SET", store.keys.node(node.text), "not JSON")
        #expect(
            try store.reply(.nodes)
                == .nodes([
                    NodeRecord(node: node, report: NodeReport(node: node, address: "", version: "", schema: 1))
                ]))
    }

    /// As the versions before the field wrote it.
    @Test func aReportThatNamesNoSchemaIsOfTheFirst() async throws {
        let store = try await ContractStore(.redis)
        let json =
            #"{"node":"n1-00000001","address":"h:1","version":"1","sessions":1,"rooms":1,"messages":1,"#
            + #""deliveries":1,"clock":5,"started":4,"draining":false}"#
        try store.raw("ZADD", store.keys.nodes, "1", node.text)
        try store.raw("SET", store.keys.node(node.text), json)
        guard case .nodes(let records) = try store.reply(.nodes) else { throw StoreFailure("nodes") }
        #expect(records.first?.report?.schema == 1 && records.first?.report?.clock == 5)
        _ = try store.reply(.heartbeat(report(node), lease: .seconds(1)))
        guard case .nodes(let ours) = try store.reply(.nodes) else { throw StoreFailure("nodes") }
        #expect(ours.first?.report?.schema == NodeReport.currentSchema)
    }

    @Test(arguments: StoreKind.allCases)
    func tryingToStoreStoresNothing(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        for slot in [0, 9_000] {
            let entity = Entity.node(node, try #require(HashSlot(slot)))
            #expect(try store.reply(.tryStoring(entity)) == .done)
            #expect(try store.reply(.tryStoring(.room(store.room))) == .done)
            #expect(try store.reply(.tryStoring(.user(try UserID("ana {1}")))) == .done)
        }
        guard kind == .redis else { return }
        #expect(try store.raw("EXISTS", store.keys.node(node.text, tag: "") + ":rehearsal") == .integer(0))
        // A foreign key in its place is refused like any other.
        try store.raw("SET", store.keys.node(node.text, tag: "") + ":rehearsal", "x")
        let slot = try #require(HashSlot(0))
        guard case .failure(.notStored(let text)) = try store.ask(.tryStoring(.node(node, slot))).result else {
            throw StoreFailure("it was taken")
        }
        #expect(text.hasPrefix("WRONGTYPE"))
    }

    @Test func theLibraryAnswersWithItsVersionAndLoadsAgain() async throws {
        let store = try await ContractStore(.redis)
        #expect(FunctionLibrary.version > 0)
        #expect(try store.raw("FCALL", "martlet_version", "0") == .integer(Int64(FunctionLibrary.version)))
    }

    @Test func aMissingFunctionIsForTheTransportToLoad() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let connection = try ContractConnection(port: redis.port)
        let codec = RedisCodec()
        var writer = RESPWriter()
        codec.encodeLibraryCheck(into: &writer)
        #expect(codec.libraryVerdict(ofCheck: try connection.exchange(writer.take(), replies: 1)[0]) == .load)
        connection.forget()
        let request = BrokerRequest.view(room: try RoomName("lobby"), after: nil, page: PageBounds(count: 1))
        let encoded = try codec.encode(request, into: &writer)
        let replies = try connection.exchange(writer.take(), replies: 1)
        let pending = RedisPending(operation: encoded.operation, number: encoded.number, request: request)
        #expect(codec.decode(pending, replies) == .libraryMissing)
        connection.forget()
        codec.encodeLibraryLoad(replacing: true, into: &writer)
        #expect(codec.libraryVerdict(ofLoad: try connection.exchange(writer.take(), replies: 1)[0]) == .ready)
        connection.forget()
        codec.encodeLibraryCheck(into: &writer)
        #expect(codec.libraryVerdict(ofCheck: try connection.exchange(writer.take(), replies: 1)[0]) == .ready)
    }

    /// Nodes of two versions share a Redis whose functions were flushed: whoever loads second must not undo the first.
    @Test func aNewerLibraryThatAnotherNodeHasLoadedMeanwhileStays() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let connection = try ContractConnection(port: redis.port)
        let newer = "#!lua name=martlet\nredis.register_function('martlet_version', function() return 1000 end)"
        #expect(try connection.ask(["FUNCTION", "LOAD", newer]) == .string(Array("martlet".utf8)))
        let codec = RedisCodec()
        var writer = RESPWriter()
        codec.encodeLibraryLoad(replacing: false, into: &writer)
        #expect(codec.libraryVerdict(ofLoad: try connection.exchange(writer.take(), replies: 1)[0]) == .ready)
        connection.forget()
        #expect(try connection.ask(["FCALL", "martlet_version", "0"]) == .integer(1_000))
    }

    // MARK: redis.conf and users.acl

    private static func lines(of file: String) throws -> [String] {
        let root = URL(filePath: #filePath).appending(path: "../../../redis").standardizedFileURL
        let text = try String(contentsOf: root.appending(path: file), encoding: .utf8)
        return text.split(separator: "\n").map(String.init).filter { !$0.hasPrefix("#") }
    }

    @Test func redisTakesEachLineOfTheConfiguration() async throws {
        let lines = try Self.lines(of: "redis.conf")
        let redis = try await PrivateRedis.start(PrivateRedis.Options(configuration: lines))
        defer { redis.stop() }
        for line in lines {
            let words = line.split(separator: " ", maxSplits: 1).map(String.init)
            let found = try redis.cli("CONFIG", "GET", words[0])
            if words[0] == "client-output-buffer-limit" {
                #expect(found.contains("pubsub 268435456 67108864 60"))
            } else {
                #expect(found == "\(words[0])\n\(words[1])")
            }
        }
        #expect(lines.count > 8)
    }

    @Test func theExampleUserMayDoAllThatANodeDoesAndNothingElse() async throws {
        let redis = try await PrivateRedis.start(PrivateRedis.Options(configuration: try Self.lines(of: "users.acl")))
        defer { redis.stop() }
        let connection = try ContractConnection(port: redis.port)
        #expect(try connection.ask(["AUTH", "martlet", "change-me"]) == .status("OK"))
        let codec = RedisCodec()
        var writer = RESPWriter()
        codec.encodeLibraryLoad(replacing: true, into: &writer)
        #expect(codec.libraryVerdict(ofLoad: try connection.exchange(writer.take(), replies: 1)[0]) == .ready)
        connection.forget()
        let room = try RoomName("lobby")
        func ask(_ request: BrokerRequest) throws -> Result<BrokerReply, BrokerError> {
            let encoded = try codec.encode(request, into: &writer)
            let replies = try connection.exchange(writer.take(), replies: encoded.commands)
            defer { connection.forget() }
            let pending = RedisPending(operation: encoded.operation, number: encoded.number, request: request)
            guard case .completed(let result) = codec.decode(pending, replies) else { throw StoreFailure("no library") }
            return result
        }
        let content = MessageContent(user: try UserID("ana"), at: 1, text: "x", key: "k")
        // `say` to a log that exists, `enter` to one that does not, a new epoch, a purge: every command that a function
        // calls.
        _ = try ask(.say(room: room, content: content)).get()
        _ = try ask(.say(room: room, content: content)).get()
        for name in ["a-1", "b-2", "c-3"] {
            _ = try ask(.enter(EnterRequest(room: room, node: try NodeID(name), page: PageBounds(count: 5)))).get()
        }
        _ = try ask(.enter(EnterRequest(room: try RoomName("new"), node: node, page: PageBounds(count: 5)))).get()
        guard
            case .view(let view) = try ask(.enter(EnterRequest(room: room, node: node, page: PageBounds(count: 5))))
                .get()
        else {
            throw StoreFailure("no view")
        }
        let change = [try device("ana", "x")]
        let requests: [BrokerRequest] = [
            .append(room: room, epoch: view.epoch, content: content),
            .view(room: room, after: nil, page: PageBounds(count: 5)),
            .once(OnceRequest(room: room, node: node, epoch: view.epoch, known: 0, sends: [try send("new")])),
            .presence(PresenceRequest(room: room, node: node, value: view.epoch, changes: change)),
            .roster(room: room), .history(room: room, query: HistoryQuery(anchor: .newest, limit: 5)),
            .heartbeat(report(node), lease: .seconds(1)), .nodes, .hold(room: room, node: node), .rooms(of: node),
            .holders(room: room), .leave(room: room, node: node, value: view.epoch), .release(room: room, node: node),
            .forget(node), .ping, .tryStoring(.node(node, try #require(HashSlot(1)))),
            .publish(
                on: .node(node, try #require(HashSlot(1))),
                event: .gone(node, value: 1, nodes: [:], last: Position(epoch: 1, seq: 1))),
            .publish(
                room: room, event: .message(Message(position: .init(epoch: 1, seq: 1), content: content), base: 0)),
        ]
        for request in requests { _ = try ask(request).get() }
        let setUp = [
            ["SELECT", "0"], ["CLIENT", "SETNAME", "n"], ["INFO", "server"], ["CONFIG", "GET", "timeout"],
            ["SUBSCRIBE", "martlet:{lobby}"], ["UNSUBSCRIBE", "martlet:{lobby}"], ["DBSIZE"], ["SCAN", "0"],
            ["SSCAN", "martlet:node:n:rooms", "0"], ["SCARD", "martlet:node:n:rooms"],
            ["HSCAN", "martlet:{lobby}:roster", "0"],
        ]
        for words in setUp {
            if case .error(let text) = try connection.ask(words) { Issue.record("\(words): \(text)") }
        }
        let forbidden = [
            ["FLUSHALL"], ["KEYS", "*"], ["SET", "other", "1"], ["GET", "other"], ["PUBLISH", "other", "1"],
            ["CONFIG", "SET", "timeout", "1"], ["ACL", "LIST"], ["SUBSCRIBE", "other"], ["DEBUG", "SLEEP", "0"],
            ["SHUTDOWN"],
        ]
        for words in forbidden {
            guard case .error(let text) = try connection.ask(words) else {
                Issue.record("\(words) was allowed")
                continue
            }
            #expect(text.hasPrefix("NOPERM"))
        }
    }
}
