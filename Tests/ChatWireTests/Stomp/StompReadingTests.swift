import ChatCore
import Testing

@testable import ChatWire

/// What a STOMP client acknowledges is what its user has read.
struct StompReadingTests {
    /// In a room as a participant, with messages up to 7-9 shown.
    private func reading(_ ack: String = "client", isParticipant: Bool = true) throws -> StompHarness {
        let harness = try StompHarness()
        harness.read("SUBSCRIBE\nid:s1\ndestination:/topic/crew\nack:\(ack)\n\n\0")
        let request = try #require(harness.takeRequests().last)
        var joined = Joined(
            ref: request.ref, room: try RoomName("crew"), position: Position(epoch: 7, seq: 6), messages: [],
            members: nil,
            count: 1, resumption: .fresh)
        let own = JoinedReceipts.Own(read: nil, unread: 6)
        joined.receipts = isParticipant ? JoinedReceipts(reads: [:], own: own) : nil
        harness.give(.joined(joined))
        for seq: UInt64 in 7...9 {
            harness.broadcast(.message(room: try RoomName("crew"), try harness.message(seq, "m\(seq)"), showKey: false))
        }
        _ = harness.takeBytes()
        return harness
    }

    private func reads(_ harness: StompHarness) -> [(ref: Ref?, seq: UInt64)] {
        harness.takeRequests().compactMap { request in
            guard case .inbox(.read(_, let position)) = request.body else { return nil }
            return (request.ref, position.seq)
        }
    }

    private func ack(_ harness: StompHarness, _ seq: UInt64) { harness.read("ACK\nid:1~7-\(seq)\n\n\0") }

    @Test func anAckTellsUpToWhereTheUserHasReadOneRequestAtATime() throws {
        let harness = try reading()
        ack(harness, 7)
        let first = reads(harness)
        #expect(first.map(\.seq) == [7])
        ack(harness, 8)
        ack(harness, 9)
        #expect(reads(harness).isEmpty)
        harness.give(.inbox(.read(ref: first[0].ref, room: try RoomName("crew"), position: Position(epoch: 7, seq: 7))))
        let second = reads(harness)
        #expect(second.map(\.seq) == [9])
        harness.give(
            .inbox(.read(ref: second[0].ref, room: try RoomName("crew"), position: Position(epoch: 7, seq: 9))))
        #expect(reads(harness).isEmpty && harness.isQuiet && harness.ended == nil)
    }

    @Test func anAckOfATransactionCountsFromItsCommitOn() throws {
        let harness = try reading()
        harness.read("BEGIN\ntransaction:t\n\n\0ACK\nid:1~7-8\ntransaction:t\nreceipt:a\n\n\0")
        #expect(try harness.next("RECEIPT")["receipt-id"] == "a")
        #expect(reads(harness).isEmpty)
        harness.read("ABORT\ntransaction:t\n\n\0BEGIN\ntransaction:t\n\n\0ACK\nid:1~7-7\ntransaction:t\n\n\0")
        #expect(reads(harness).isEmpty)
        harness.read("COMMIT\ntransaction:t\nreceipt:c\n\n\0")
        #expect(reads(harness).map(\.seq) == [7])
        #expect(try harness.next("RECEIPT")["receipt-id"] == "c")
        // What ended before COMMIT needs nothing.
        harness.read("BEGIN\ntransaction:u\n\n\0ACK\nid:1~7-9\ntransaction:u\n\n\0UNSUBSCRIBE\nid:s1\n\n\0")
        harness.read("COMMIT\ntransaction:u\nreceipt:d\n\n\0")
        #expect(try harness.next("RECEIPT")["receipt-id"] == "d")
        #expect(reads(harness).isEmpty && harness.ended == nil)
        harness.read("ACK\nid:1~7-9\ntransaction:u\n\n\0")
        #expect(try harness.next("ERROR")["message"] == "Bad transaction")
    }

    @Test func positionsGoForwardsOnly() throws {
        let harness = try reading("client-individual")
        ack(harness, 9)
        let first = reads(harness)
        harness.give(.inbox(.read(ref: first[0].ref, room: try RoomName("crew"), position: Position(epoch: 7, seq: 9))))
        ack(harness, 7)
        #expect(reads(harness).isEmpty)
    }

    @Test func aNackAndARoomWithoutParticipantsTellNothing() throws {
        let harness = try reading()
        harness.read("NACK\nid:1~7-8\n\n\0")
        #expect(reads(harness).isEmpty)
        let other = try reading(isParticipant: false)
        ack(other, 9)
        #expect(reads(other).isEmpty)
    }

    @Test func aRefusalEndsNothing() throws {
        let harness = try reading()
        ack(harness, 7)
        let first = reads(harness)
        harness.give(.error(ref: first[0].ref, WireError(.unavailable, "later")))
        #expect(harness.ended == nil && harness.isQuiet)
        ack(harness, 8)
        #expect(reads(harness).map(\.seq) == [8])
    }
}
