import ChatCore
import RedisSchema
import Testing

@testable import ChatRedis

/// The bounds of one request's cost in Redis: pages, the index of keys, and the bytes of a log.
@Suite struct ContractBoundsTests {
    let node: NodeID

    init() throws {
        node = try NodeID("n1-00000001")
    }

    /// Makes a log of `count` messages of about `bytes` each, with the keys k0, k1 … of ana.
    private func fill(_ store: ContractStore, _ count: Int, bytes: Int) throws -> UInt64 {
        let epoch = try store.enter(node).epoch
        let text = String(repeating: "x", count: bytes)
        let log = store.key(.log)
        for number in 0..<count {
            try store.raw("XADD", log, "\(epoch)-*", "user", "ana", "at", "7", "text", text, "key", "k\(number)")
        }
        return epoch
    }

    @Test func aViewReadsAboutAsMuchAsItReturns() async throws {
        let store = try await ContractStore(.redis)
        let epoch = try fill(store, 300, bytes: 20_000)
        let start = Position(epoch: epoch, seq: 1)
        let request = BrokerRequest.view(room: store.room, after: start, page: PageBounds(count: 1_000, bytes: 100_000))
        guard case .view(let view) = try store.reply(request) else { throw StoreFailure("no view") }
        #expect(view.hasMore && view.entries.count == 4 && view.last == 300 && view.verdict == .ok)
        #expect(view.entries.map(\.position.seq) == [2, 3, 4, 5])
        #expect(try Self.entriesRead(store, request) <= 8)
        #expect(try Self.entriesRead(store, .view(room: store.room, after: nil, page: PageBounds(count: 5))) <= 8)
    }

    /// The largest COUNT of XRANGE and XREVRANGE while the request is carried out.
    private static func entriesRead(_ store: ContractStore, _ request: BrokerRequest) throws -> Int {
        let before = try bytesOut(store)
        _ = try store.reply(request)
        return (try bytesOut(store) - before) / 20_000
    }

    /// The bytes that Redis has sent so far.
    private static func bytesOut(_ store: ContractStore) throws -> Int {
        guard case .string(let info) = try store.raw("INFO", "stats") else { throw StoreFailure("no INFO") }
        let text = String(decoding: info, as: UTF8.self)
        let line = text.split(separator: "\r\n").first { $0.hasPrefix("total_net_output_bytes:") }
        return try #require(line.flatMap { Int($0.dropFirst("total_net_output_bytes:".count)) })
    }

    @Test func aKeyIsLookedForInPiecesAndThenKnown() async throws {
        let store = try await ContractStore(.redis)
        let epoch = try fill(store, 700, bytes: 100)
        let again = OnceRequest(room: store.room, node: node, epoch: epoch, known: 0, sends: [try send("k3")])
        var tries = 0
        var answer = try store.ask(.once(again))
        while answer.result == .failure(.again), tries < 10 {
            tries += 1
            answer = try store.ask(.once(again))
        }
        #expect(tries == 2, "256 entries a call")
        let third = Position(epoch: epoch, seq: 4)
        #expect(answer.result == .success(.once(OnceReply(epoch: epoch, base: 0, outcomes: [.repeated(third, at: 7)]))))
        #expect(try store.ask(.once(again)) == answer, "known at once from now on")
        // A later entry is read once more, and nothing else.
        try store.raw("XADD", store.key(.log), "\(epoch)-*", "user", "ana", "at", "7", "text", "new", "key", "new")
        let new = OnceRequest(room: store.room, node: node, epoch: epoch, known: 0, sends: [try send("new")])
        #expect(
            try store.ask(.once(new)).result
                == .success(
                    .once(
                        OnceReply(epoch: epoch, base: 0, outcomes: [.repeated(Position(epoch: epoch, seq: 701), at: 7)])
                    )))
        // If the node has looked everywhere but in the first entries, only those are examined.
        let partly = OnceRequest(
            room: store.room, node: node, epoch: epoch, knownFrom: 5, known: 701, sends: [try send("k2")])
        let found = try store.ask(.once(partly)).result
        let expected = OnceReply(epoch: epoch, base: 0, outcomes: [.repeated(Position(epoch: epoch, seq: 3), at: 7)])
        #expect(found == .success(.once(expected)))
    }

    @Test func aSayWithAKeyIsLookedForInPiecesToo() async throws {
        let store = try await ContractStore(.redis)
        let epoch = try fill(store, 40, bytes: 10_000)
        let content = MessageContent(user: try UserID("ana"), at: 1, text: "x", key: "k39")
        var tries = 0
        while try store.ask(.say(room: store.room, content: content)).result == .failure(.again), tries < 20 {
            tries += 1
        }
        #expect((5...8).contains(tries), "64 KB a call")
        let said = BrokerReply.said(Position(epoch: epoch, seq: 40), repeated: true)
        #expect(try store.reply(.say(room: store.room, content: content)) == said)
    }

    @Test func theIndexForgetsWhatWasTrimmedAndAnotherHistory() async throws {
        let store = try await ContractStore(.redis)
        let epoch = try fill(store, 20, bytes: 10)
        let request = OnceRequest(
            room: store.room, node: node, epoch: epoch, known: 0, sends: [try send("k3", again: false)])
        #expect(try store.ask(.once(request)).result != .failure(.again))
        try store.raw("XTRIM", store.key(.log), "MAXLEN", "5")
        let stored = try store.ask(.once(request)).result
        #expect(
            stored
                == .success(
                    .once(
                        OnceReply(
                            epoch: epoch, base: 0, outcomes: [.stored(Position(epoch: epoch, seq: 21))]))),
            "it is a new one now")
        #expect(
            try store.ask(.once(request)).result
                == .success(
                    .once(
                        OnceReply(
                            epoch: epoch, base: 0, outcomes: [.repeated(Position(epoch: epoch, seq: 21), at: 7)]))))
        // The log is gone and begins again: no key of the old one is known.
        try store.raw("DEL", store.key(.log))
        let next = try store.enter(node).epoch
        let afresh = OnceRequest(
            room: store.room, node: node, epoch: next, known: 0, sends: [try send("k3", again: false)])
        #expect(
            try store.ask(.once(afresh)).result
                == .success(
                    .once(OnceReply(epoch: next, base: 0, outcomes: [.stored(Position(epoch: next, seq: 1))]))))
    }

    /// Only a request that looks for a key needs the index, so only that one reports a foreign type.
    @Test func aForeignIndexOfKeysIsNamed() async throws {
        let store = try await ContractStore(.redis)
        let epoch = try fill(store, 3, bytes: 10)
        try store.raw("SET", store.key(.keys), "foreign")
        let request = OnceRequest(room: store.room, node: node, epoch: epoch, known: 0, sends: [try send("k1")])
        guard case .failure(.notStored(let text)) = try store.ask(.once(request)).result else {
            throw StoreFailure("once beside a foreign key")
        }
        #expect(text.hasPrefix("WRONGTYPE \(store.key(.keys)) is a string, martlet keeps a hash there"))
        #expect(try store.append(epoch).seq == 4, "the room goes on")
    }

    @Test func aLogIsTrimmedToItsBytes() async throws {
        let store = try await ContractStore(.redis)
        _ = try fill(store, 300, bytes: 20_000)
        try store.raw("FCALL", "martlet_trim", "1", store.key(.log), "1000000")
        guard case .integer(let length) = try store.raw("XLEN", store.key(.log)) else { throw StoreFailure("XLEN") }
        #expect((35...50).contains(length))
        try store.raw("FCALL", "martlet_trim", "1", store.key(.log), "1")
        #expect(try store.raw("XLEN", store.key(.log)) == .integer(1), "the newest message stays")
    }
}
