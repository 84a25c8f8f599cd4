import ChatCore
import Testing

@testable import ChatRedis

/// Which master of a Cluster gets which command of a tool, and which commands are repeated.
@Suite struct ClusterBatchTests {
    @Test(arguments: [
        ("GET a", "a"), ("hgetall a", "a"), ("TYPE a", "a"), ("SSCAN a 0", "a"), ("XINFO STREAM a", "a"),
        ("MEMORY USAGE a", "a"), ("MEMORY STATS", nil), ("PUBSUB SHARDNUMSUB a", "a"), ("PUBSUB NUMSUB a", nil),
        ("PUBSUB SHARDCHANNELS", nil), ("FCALL f 2 a b c", "a"), ("FCALL f 0 a", nil), ("FCALL f", nil),
        ("SPUBLISH a x", "a"), ("PUBLISH a x", nil), ("XREAD COUNT 2 STREAMS a 0", "a"), ("XREAD COUNT 2", nil),
        ("TIME", nil), ("INFO server", nil), ("SCAN 0", nil), ("CONFIG GET a", nil), ("FUNCTION LIST", nil),
        ("CLUSTER NODES", nil), ("DBSIZE", nil), ("GET", nil), ("", nil),
    ])
    func aCommandHasItsKeyWhereRedisLooksForIt(text: String, key: String?) {
        #expect(CommandKey.of(text.split(separator: " ").map(String.init)) == key)
    }

    private let low = ClusterAddress(host: "low", port: 1)
    private let high = ClusterAddress(host: "high", port: 1)
    /// Slot 12182.
    private let foo = ["GET", "foo"]
    /// Slot 3443.
    private let user = ["GET", "{user1000}.a"]

    private func topology(_ lowSlots: ClosedRange<Int> = 0...8_191, _ highSlots: ClosedRange<Int> = 8_192...16_383)
        -> ClusterTopology
    {
        func set(_ numbers: ClosedRange<Int>) -> SlotSet { SlotSet(numbers.compactMap { HashSlot($0) }) }
        return ClusterTopology(
            masters: [
                .init(id: "l", address: low, epoch: 1, slots: set(lowSlots)),
                .init(id: "h", address: high, epoch: 2, slots: set(highSlots)),
            ], nodes: [low, high])
    }

    private func batch(_ commands: [String]...) -> ClusterBatch {
        ClusterBatch(commands, nodesSlot: HashSlot(ofKey: "foo"))
    }

    @Test func eachMasterGetsItsShareAndRepliesKeepTheirOrder() {
        var batch = batch(foo, user, ["TIME"], ["FCALL", "f", "1", "{user1000}.b"])
        let parts = batch.parts(topology())
        #expect(parts.map(\.address) == [high, low])
        #expect(parts[0].commands == [foo, ["TIME"]], "what has no key goes where the nodes' keys are")
        #expect(parts[1].commands == [user, ["FCALL", "f", "1", "{user1000}.b"]])
        batch.answered(parts[1], [.integer(2), .error("ERR x")])
        batch.answered(parts[0], [.integer(1), .integer(3)])
        #expect(batch.replies == [.integer(1), .integer(2), .integer(3), .error("ERR x")])
        #expect(!batch.isOpen && batch.hint == nil, "an error of the command itself is its reply")
        #expect(batch.parts(topology()).isEmpty)
    }

    @Test func whatMovedIsAskedWhereItIsNow() {
        var batch = batch(foo, user)
        let parts = batch.parts(topology())
        batch.answered(parts[0], [.error("MOVED 12182 low:1")])
        batch.answered(parts[1], [.integer(2)])
        #expect(batch.isOpen && batch.hint == low)
        let again = batch.parts(topology(0...12_182, 12_183...16_383))
        #expect(again.map(\.address) == [low] && again.map(\.commands) == [[foo]])
        batch.answered(again[0], [.integer(1)])
        #expect(batch.replies == [.integer(1), .integer(2)] && !batch.isOpen)
    }

    @Test func whatIsOnItsWayIsAskedWhereItGoes() {
        var batch = batch(foo, user)
        let parts = batch.parts(topology())
        batch.answered(parts[0], [.error("ASK 12182 low:1")])
        batch.answered(parts[1], [.error("TRYAGAIN x")])
        #expect(batch.hint == nil, "the slot is where it was")
        let again = batch.parts(topology())
        #expect(again.map(\.address) == [low])
        #expect(again[0].commands == [["ASKING"], foo, user])
        batch.answered(again[0], [.string("OK"), .integer(1), .integer(2)])
        #expect(batch.replies == [.integer(1), .integer(2)] && !batch.isOpen)
    }

    @Test func whatNobodyServesAndWhoIsAwayCostOnlyTheirOwnReplies() {
        var batch = batch(foo, user)
        let parts = batch.parts(topology(0...99))
        #expect(parts.map(\.address) == [high])
        #expect(batch.replies[1] == .error("CLUSTERDOWN nobody serves slot 3443"))
        batch.lost(parts[0], RedisSetupError(.unreachable, "redis at high:1 is away"))
        #expect(batch.replies[0] == .error("CLUSTERDOWN redis at high:1 is away"))
        #expect(batch.replies.allSatisfy { $0.isUnserved })
        let again = batch.parts(topology())
        #expect(Set(again.map(\.address)) == [low, high], "both are asked once more")
        for part in again { batch.answered(part, [.error("ERR no such key")]) }
        #expect(batch.replies.allSatisfy { !$0.isUnserved })
    }
}
