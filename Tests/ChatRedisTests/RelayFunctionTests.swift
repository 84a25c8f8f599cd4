import ChatCore
import RedisSchema
import Testing

@testable import ChatRedis

/// The functions by which relays share partitions, queues and cursors.
@Suite struct RelayFunctionTests {
    /// A partition of a test's own: its keys have the room's hash tag, so that they can be told from other tests'.
    private struct Partition {
        let store: ContractStore
        var base: String { "\(store.keys.prefix)events:{\(store.room)}" }
        var lease: String { base + ":lease" }
        var rooms: String { base + ":rooms" }
        var due: String { base + ":due:a" }
        var log: String { base + ":log" }

        func take(_ relay: String, _ life: String = "10000") throws -> Tree {
            try store.raw("FCALL", "martlet_lease", "2", lease, log, relay, life)
        }

        /// Takes the lease, and returns its token.
        func token(_ relay: String) throws -> String {
            guard case .array(let parts) = try take(relay), case .integer(let token)? = parts.first, token > 0 else {
                throw StoreFailure("no lease")
            }
            return String(token)
        }

        /// The score of a room in the queue.
        func score(_ room: String) throws -> String {
            guard let score = try store.raw("ZSCORE", due, room).text else { throw StoreFailure("\(room) is not due") }
            return score
        }

        /// A node notes the room, and the holder of the token hands it to the queue.
        func queue(_ room: String, _ token: String) throws {
            try store.raw("ZADD", rooms, "1", room)
            try store.raw("FCALL", "martlet_take", "3", lease, rooms, due, token, "10")
        }

        func names(_ key: String) throws -> Tree { try store.raw("ZRANGE", key, "0", "-1") }
    }

    private func partition() async throws -> Partition { Partition(store: try await ContractStore(.redis)) }

    @Test func aLeaseHasOneHolderUntilItEndsOrIsGivenBack() async throws {
        let partition = try await partition()
        let first = try partition.token("r1")
        #expect(try partition.token("r1") == first, "a renewal keeps the token")
        guard case .array(let other) = try partition.take("r2") else { throw StoreFailure("no answer") }
        #expect(other.first == .integer(0) && other[1] == .text("r1"))
        _ = try partition.take("r1", "0")
        let second = try partition.token("r2")
        #expect(try #require(UInt64(second)) > #require(UInt64(first)), "another holder has a higher token")
        _ = try partition.take("r1", "0")
        #expect(try partition.token("r2") == second, "who does not hold it gives nothing back")
    }

    @Test func aLeaseThatEndsTooLateToBeOursHasEnded() async throws {
        let partition = try await partition()
        try partition.store.raw(
            "HSET", partition.lease, "holder", "r1", "until", "9007199254000000", "token", "5")
        #expect(try #require(UInt64(try partition.token("r2"))) > 5)
    }

    @Test func roomsGoToTheQueueOfEachSinkAndLeaveItWhenTheyAreDone() async throws {
        let partition = try await partition()
        let token = try partition.token("r1")
        let other = partition.base + ":due:b"
        try partition.store.raw("ZADD", partition.rooms, "1", "x", "2", "y")
        let taken = try partition.store.raw(
            "FCALL", "martlet_take", "4", partition.lease, partition.rooms, partition.due, other, token, "10")
        #expect(taken == .integer(2))
        #expect(try partition.names(partition.rooms) == .array([]))
        #expect(try partition.names(other) == .array([.text("x"), .text("y")]))
        let score = try partition.score("x")
        #expect(
            try partition.store.raw(
                "FCALL", "martlet_done", "2", partition.lease, partition.due, token, "x", score, "", "y", score,
                "60000") == .integer(1))
        #expect(try partition.names(partition.due) == .array([.text("y")]))
        #expect(try #require(UInt64(partition.score("y"))) > #require(UInt64(score)) + 50_000, "y is due in a minute")
    }

    @Test func aPauseHoldsForWhatIsSaidMeanwhile() async throws {
        let partition = try await partition()
        let token = try partition.token("r1")
        func done(_ room: String) throws {
            try partition.store.raw(
                "FCALL", "martlet_done", "2", partition.lease, partition.due, token, room, score, "60000")
        }
        try partition.queue("x", token)
        let score = try partition.score("x")
        try partition.queue("x", token)
        try done("x")
        #expect(try #require(UInt64(partition.score("x"))) > #require(UInt64(score)) + 50_000)
        try done("never queued")
        #expect(try partition.names(partition.due) == .array([.text("x")]), "what is not in the queue is not added")
    }

    @Test func manyRoomsAreHandedOverAndDoneAtOnce() async throws {
        let partition = try await partition()
        let token = try partition.token("r1")
        let rooms = (0..<1_000).map { "r\($0)" }
        try partition.store.raw(
            bytes: (["ZADD", partition.rooms] + rooms.flatMap { ["1", $0] }).map { Array($0.utf8) })
        #expect(
            try partition.store.raw(
                "FCALL", "martlet_take", "3", partition.lease, partition.rooms, partition.due, token, "5000")
                == .integer(1_000))
        let score = try partition.score("r7")
        let call = ["FCALL", "martlet_done", "2", partition.lease, partition.due, token]
        let list = rooms.flatMap { [$0, score, ""] }
        #expect(try partition.store.raw(bytes: (call + list).map { Array($0.utf8) }) == .integer(1_000))
        guard case .error = try partition.store.raw(bytes: (call + list + ["x", "1", ""]).map { Array($0.utf8) }) else {
            throw StoreFailure("more than the bound")
        }
    }

    @Test func aNewLeaseHasATokenAboveTheEventsThatAreThere() async throws {
        let partition = try await partition()
        let first = try partition.token("r1")
        try partition.store.raw("XADD", partition.log, "\(first)-*", "id", "a")
        #expect(try partition.token("r1") == first, "its own events are no reason for another token")
        let later = try #require(UInt64(first)) + 1_000_000
        try partition.store.raw("XADD", partition.log, "\(later)-7", "id", "b")
        let second = try partition.token("r1")
        #expect(try #require(UInt64(second)) > later, "Redis refuses IDs below the last one")
        guard case .error(let text) = try partition.store.raw("XADD", partition.log, "\(first)-*", "id", "c") else {
            throw StoreFailure("an older holder has added an event")
        }
        #expect(text.contains("equal or smaller"), "by this StreamSink knows that another relay has the partition")
    }

    @Test func aRoomThatIsQueuedAgainMeanwhileStays() async throws {
        let partition = try await partition()
        let token = try partition.token("r1")
        try partition.queue("x", token)
        let score = try partition.score("x")
        // In the same millisecond, too.
        try partition.queue("x", token)
        #expect(
            try partition.store.raw(
                "FCALL", "martlet_done", "2", partition.lease, partition.due, token, "x", score, "") == .integer(0))
        #expect(try partition.names(partition.due) == .array([.text("x")]))
    }

    @Test func whoHasLostTheLeaseChangesNothing() async throws {
        let partition = try await partition()
        let old = try partition.token("r1")
        _ = try partition.take("r1", "0")
        _ = try partition.token("r2")
        try partition.store.raw("ZADD", partition.rooms, "1", "x")
        let calls: [[String]] = [
            ["FCALL", "martlet_take", "3", partition.lease, partition.rooms, partition.due, old, "10"],
            ["FCALL", "martlet_done", "2", partition.lease, partition.due, old, "x", "1", ""],
        ]
        for call in calls {
            let reply = try partition.store.raw(bytes: call.map { Array($0.utf8) })
            guard case .error(let text) = reply else { throw StoreFailure("\(call[1]): \(reply)") }
            #expect(text.hasPrefix("FENCED "), "\(text)")
        }
        #expect(try partition.names(partition.rooms) == .array([.text("x")]))
    }

    // MARK: cursors

    private func page(_ store: ContractStore, _ sink: String = "a", _ bound: String = "10:1000000") throws -> (
        place: String, ids: [String], more: Bool
    ) {
        let reply = try store.raw("FCALL", "martlet_page", "2", store.key(.log), store.key(.cursors), sink, bound)
        guard case .array(let parts) = reply, parts.count == 4, let place = parts[0].text,
            case .array(let entries) = parts[1]
        else { throw StoreFailure("page: \(reply)") }
        let ids = entries.compactMap { entry -> String? in
            guard case .array(let parts) = entry else { return nil }
            return parts.first?.text
        }
        return (place, ids, parts[2] == .integer(1))
    }

    private func move(_ store: ContractStore, _ token: String, _ place: String, _ sink: String = "a") throws -> Tree {
        try store.raw(
            "FCALL", "martlet_cursor", "2", store.key(.log), store.key(.cursors), sink, token, place)
    }

    private func say(_ store: ContractStore, _ count: Int) throws -> [String] {
        try (0..<count).map { _ in
            guard case .array(let parts) = try store.raw("FCALL", "martlet_say", "1", store.key(.log), "ana", "hi"),
                let id = parts.first?.text
            else { throw StoreFailure("say") }
            return id
        }
    }

    @Test func aSinkReadsFromItsCursorOnPageByPage() async throws {
        let store = try await ContractStore(.redis)
        let ids = try say(store, 5)
        var read = try page(store, "a", "2:1000000")
        #expect(read.place == "" && read.ids == Array(ids[..<2]) && read.more)
        #expect(try move(store, "1", ids[1]) == .integer(1))
        read = try page(store, "a", "10:1000000")
        #expect(read.place == ids[1] && read.ids == Array(ids[2...]) && !read.more)
        #expect(try page(store, "b").ids == ids, "each sink has a cursor of its own")
    }

    @Test func aCursorOnlyMovesForwardAndOnlyByTheNewestHolder() async throws {
        let store = try await ContractStore(.redis)
        let ids = try say(store, 3)
        #expect(try move(store, "5", ids[1]) == .integer(1))
        #expect(try move(store, "5", ids[0]) == .integer(0))
        guard case .error(let text) = try move(store, "4", ids[2]) else { throw StoreFailure("not fenced") }
        #expect(text.hasPrefix("FENCED "))
        #expect(try page(store).place == ids[1])
        #expect(try move(store, "6", ids[2]) == .integer(1))
    }

    @Test func anErasedMessageIsInThePageAsATombstone() async throws {
        let store = try await ContractStore(.redis)
        let ids = try say(store, 3)
        try store.raw(
            "FCALL", "martlet_amend", "1", store.key(.log), "delete", "ana", ids[1], "", "", "", "", "0", "any")
        let read = try page(store)
        #expect(read.ids.prefix(3) == ids[...])
    }

    @Test func whatIsNoCursorCountsAsNone() async throws {
        let store = try await ContractStore(.redis)
        let ids = try say(store, 2)
        for broken in ["", "x", ids[0], "\(ids[0]) x", "99999999999999999999-1 5"] {
            try store.raw("HSET", store.key(.cursors), "a", broken)
            #expect(try page(store).ids == ids, "\(broken)")
        }
        guard case .error(let text) = try move(store, "1", "x") else { throw StoreFailure("accepted") }
        #expect(text.contains("not a position"))
    }

    @Test func cursorsLiveALittleLongerThanTheLog() async throws {
        let store = try await ContractStore(.redis)
        let ids = try say(store, 1)
        _ = try move(store, "1", ids[0])
        guard case .integer(let log) = try store.raw("PTTL", store.key(.log)),
            case .integer(let cursors) = try store.raw("PTTL", store.key(.cursors))
        else { throw StoreFailure("no TTL") }
        #expect(log > 0 && cursors > log && cursors <= log + 86_400_000)
    }
}

extension Tree {
    static func text(_ text: String) -> Tree { .string(Array(text.utf8)) }

    /// Nil for anything but a string.
    var text: String? {
        guard case .string(let bytes) = self else { return nil }
        return String(decoding: bytes, as: UTF8.self)
    }
}
