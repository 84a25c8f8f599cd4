import ChatCore
import Testing

@testable import ChatNode

/// The probe that proves that messages go round, and the turns of shared rooms.
@Suite struct ProbeTests {
    private let node: NodeID
    private let fresh: Probe

    init() throws {
        node = try NodeID("n-1")
        fresh = try #require(Probe(node: node, shard: 3))
    }

    private func at(_ milliseconds: Int64) -> Moment { Moment(nanoseconds: 0) + .milliseconds(milliseconds) }

    @Test func aRoundThatIsHeardIsAProofForAWhile() throws {
        var probe = fresh
        #expect(!probe.isFresh(now: at(0)))
        #expect(probe.begin(now: at(0)) == true)
        #expect(probe.begin(now: at(10)) == false, "one at a time")
        let sent = probe.subscribed()
        let event = try #require(sent)
        #expect(!probe.isFresh(now: at(10)))
        let heard = probe.heard(event, now: at(20))
        #expect(heard)
        #expect(probe.isFresh(now: at(20)) && probe.isFresh(now: at(5_019)) && !probe.isFresh(now: at(5_020)))
        #expect(probe.begin(now: at(1_019)) == false, "not yet")
        #expect(probe.begin(now: at(1_020)) == true)
    }

    @Test func aRoundThatTakesLongMakesTheLastProofVoid() throws {
        var probe = fresh
        _ = probe.begin(now: at(0))
        let sent = probe.subscribed()
        _ = probe.heard(try #require(sent), now: at(1))
        _ = probe.begin(now: at(1_100))
        #expect(probe.isFresh(now: at(2_100)))
        #expect(!probe.isFresh(now: at(2_101)), "red long before the connection is given up")
        #expect(!probe.isOverdue(now: at(3_100), deadline: .seconds(2)))
        #expect(probe.isOverdue(now: at(3_101), deadline: .seconds(2)))
        probe.reset()
        #expect(!probe.isOverdue(now: at(9_000), deadline: .seconds(2)) && !probe.isFresh(now: at(9_000)))
    }

    @Test func aPublishThatRedisRefusesIsNoFaultOfTheSubscription() throws {
        var probe = fresh
        _ = probe.begin(now: at(0))
        _ = probe.subscribed()
        probe.failed()
        #expect(!probe.isOverdue(now: at(60_000), deadline: .seconds(2)) && !probe.isFresh(now: at(0)))
        #expect(probe.begin(now: at(1)) == true, "and is tried again")
    }

    @Test func onlyItsOwnRoundCounts() throws {
        var probe = fresh
        _ = probe.begin(now: at(0))
        let sent = probe.subscribed()
        let old = try #require(sent)
        probe.reset()
        _ = probe.begin(now: at(10))
        let early = probe.heard(old, now: at(11))
        #expect(!early, "not even subscribed")
        _ = probe.subscribed()
        let late = probe.heard(old, now: at(12))
        #expect(!late && !probe.isFresh(now: at(12)))
    }

    @Test func eachShardProvesItsOwnConnections() throws {
        var probe = fresh
        var other = try #require(Probe(node: node, shard: 4))
        _ = probe.begin(now: at(0))
        _ = other.begin(now: at(0))
        let sent = probe.subscribed()
        _ = other.subscribed()
        let event = try #require(sent)
        let isOthers = other.heard(event, now: at(1))
        let isOwn = probe.heard(event, now: at(1))
        #expect(!isOthers && isOwn, "though they use the same channel")
    }

    @Test func aPartOfTheBrokerIsProvenOnAChannelInItsSlots() throws {
        let slots = SlotSet([try #require(HashSlot(9_000)), try #require(HashSlot(9_001))])
        let scope = BrokerScope(slots, holdsNodes: false)
        let probe = try #require(Probe(node: node, shard: 0, in: scope))
        #expect(scope.contains(probe.entity))
        #expect(Probe(node: node, shard: 0, in: BrokerScope(SlotSet(), holdsNodes: false)) == nil)
    }
}

@Suite struct TailAuditTests {
    @Test func allSharedRoomsComeRoundAndNoRoundIsLong() {
        var audit = TailAudit()
        var seen: [Int: Int] = [:]
        for _ in 0..<9 {
            let slots = audit.round(slots: 900) { $0 % 2 == 0 ? 0 : nil }
            #expect(slots.count == TailAudit.roomsPerRound)
            for slot in slots { seen[slot, default: 0] += 1 }
        }
        #expect(seen.count == 450 && seen.values.allSatisfy { $0 == 4 })
    }

    @Test func fewRoomsAreLookedAtEachTimeAndNoneTwice() {
        var audit = TailAudit()
        for _ in 0..<3 {
            let slots = audit.round(slots: 5) { $0 != 2 ? 0 : nil }
            #expect(slots.sorted() == [0, 1, 3, 4])
        }
        let none = audit.round(slots: 0) { _ in 0 }
        let closed = audit.round(slots: 2) { _ in 0 }
        #expect(none == [] && closed.sorted() == [0, 1], "rooms were closed")
    }

    @Test func aRoomIsCheckedAtItsFirstTurnWithoutAMessage() {
        var audit = TailAudit()
        var seqs: [UInt64] = [7, 8, 1 << 32]
        func round() -> [Int] { audit.round(slots: 3) { seqs[$0] }.sorted() }
        #expect(round() == [2], "the first turn of the others tells what their newest message is")
        #expect(round() == [0, 1, 2])
        seqs[1] += 1
        #expect(round() == [0, 2])
        #expect(round() == [0, 1, 2], "quiet since then")
        seqs[0] -= 1
        #expect(round() == [1, 2], "another room, or a log that begins anew")
        #expect(round() == [0, 1, 2])
    }
}

@Suite struct NodePulseTests {
    private let pulse: NodePulse

    init() throws {
        pulse = NodePulse(NodeReport(node: try NodeID("n-1"), address: "", version: "1"), lease: .seconds(10))
    }

    private func beat(_ result: Result<BrokerReply, BrokerError>) throws -> NodePulse.Verdict {
        pulse.answered(try #require(pulse.beat(clock: 1)), result)
    }

    @Test func theFirstHeartbeatIsNewsAndALaterOneThatIsNewsMeansForgotten() throws {
        #expect(try beat(.failure(.notConnected)) == .failed)
        #expect(try beat(.success(.heartbeat(known: false))) == .taken)
        #expect(try beat(.success(.heartbeat(known: true))) == .taken)
        #expect(try beat(.success(.heartbeat(known: false))) == .forgotten)
        #expect(try beat(.failure(.notStored("WRONGTYPE"))) == .failed)
    }

    @Test func firstHeartbeatsOnTwoConnectionsMayBeAnsweredInEitherOrder() throws {
        let one = try #require(pulse.beat(clock: 1))
        let two = try #require(pulse.beat(clock: 1))
        #expect(pulse.answered(two, .success(.heartbeat(known: true))) == .taken)
        #expect(
            pulse.answered(one, .success(.heartbeat(known: false))) == .taken, "it was the first, though heard last")
    }

    @Test func afterTheNodeTookLeaveNothingRegistersItAgain() {
        guard case .heartbeat(let report, let lease) = pulse.beat(clock: 7)?.request else {
            Issue.record("no heartbeat")
            return
        }
        #expect(report.clock == 7 && lease == .seconds(10))
        pulse.end()
        #expect(pulse.beat(clock: 8) == nil)
    }
}

/// The probe that proves that a message could be stored.
@Suite struct WriteProbeTests {
    private let fresh: Probe
    private let oom = Result<BrokerReply, BrokerError>.failure(.notStored("OOM command not allowed"))

    init() throws { fresh = try #require(Probe(node: try NodeID("n-1"), shard: 0)) }

    private func at(_ milliseconds: Int64) -> Moment { Moment(nanoseconds: 0) + .milliseconds(milliseconds) }

    @Test func aWriteThatIsTakenIsAProofForAWhile() {
        var probe = fresh
        #expect(!probe.canStore(now: at(0)))
        let (begins, second) = (probe.beginWrite(now: at(0)), probe.beginWrite(now: at(300)))
        #expect(begins && !second, "one at a time")
        let asked = probe.answered(.init(.failure(.missing)))
        #expect(asked == at(0))
        #expect(probe.canStore(now: at(4_999)) && !probe.canStore(now: at(5_000)) && probe.refusal == nil)
    }

    @Test func aRefusalTurnsRedAtOnceAndAWriteThatIsTakenTurnsGreenAgain() {
        var probe = fresh
        _ = probe.beginWrite(now: at(0))
        _ = probe.answered(.taken)
        let (early, due) = (probe.beginWrite(now: at(249)), probe.beginWrite(now: at(250)))
        #expect(!early && due, "not too often, whoever asks")
        _ = probe.answered(.init(oom))
        #expect(!probe.canStore(now: at(251)) && probe.refusal == "OOM command not allowed")
        _ = probe.beginWrite(now: at(600))
        #expect(!probe.canStore(now: at(600)), "asked again, not answered yet")
        _ = probe.answered(.taken)
        #expect(probe.canStore(now: at(601)) && probe.refusal == nil)
    }

    @Test func aWriteWithoutAnAnswerProvesNothing() {
        var probe = fresh
        _ = probe.beginWrite(now: at(0))
        _ = probe.answered(.taken)
        _ = probe.beginWrite(now: at(1_000))
        #expect(probe.canStore(now: at(2_000)) && !probe.canStore(now: at(2_001)), "red long before the deadline")
        probe.reset()
        let late = probe.answered(.taken)
        #expect(late == nil, "of a connection that was lost")
        #expect(!probe.canStore(now: at(2_002)))
    }

    @Test func aPublishThatIsRefusedIsNamedUntilOneIsHeard() throws {
        var probe = fresh
        _ = probe.begin(now: at(0))
        _ = probe.subscribed()
        probe.failed("NOPERM no publish")
        _ = probe.beginWrite(now: at(0))
        _ = probe.answered(.taken)
        #expect(probe.refusal == "NOPERM no publish" && !probe.isFresh(now: at(1)))
        _ = probe.begin(now: at(1_000))
        let sent = probe.subscribed()
        let heard = probe.heard(try #require(sent), now: at(1_001))
        #expect(heard && probe.refusal == nil && probe.isFresh(now: at(1_001)))
    }
}
