import Testing

@testable import ChatNode

/// Acknowledgements that wait for replicas.
@Suite struct ReplicationGateTests {
    @Test func whatATickHoldsIsAskedForTogether() {
        var gate = ReplicationGate<Int>(replicas: 2)
        #expect(gate.hold(1) == .gather)
        #expect(gate.hold(2) == .wait)
        let round = gate.tickEnded()
        #expect(round != nil)
        #expect(gate.tickEnded() == nil, "one question at a time")
        let answer = gate.answered(round: round ?? 0, replicas: 2)
        #expect(answer.confirmed == [1, 2] && answer.refused == [] && answer.asks == nil)
        #expect(gate.count == 0)
    }

    @Test func whatComesWhileAQuestionIsOutWaitsForTheNext() throws {
        var gate = ReplicationGate<Int>(replicas: 1)
        _ = gate.hold(1)
        let firstAsked = gate.tickEnded()
        let first = try #require(firstAsked)
        #expect(gate.hold(2) == .wait, "it may have been stored after the question went")
        let answer = gate.answered(round: first, replicas: 3)
        #expect(answer.confirmed == [1])
        let second = try #require(answer.asks)
        #expect(second != first)
        #expect(gate.answered(round: second, replicas: 1).confirmed == [2])
        #expect(gate.hold(3) == .gather, "idle again")
    }

    @Test(arguments: [0, 1, nil] as [Int?])
    func tooFewReplicasRefuse(count: Int?) throws {
        var gate = ReplicationGate<Int>(replicas: 2)
        _ = gate.hold(1)
        let roundAsked = gate.tickEnded()
        let round = try #require(roundAsked)
        _ = gate.hold(2)
        let answer = gate.answered(round: round, replicas: count)
        #expect(answer.confirmed == [] && answer.refused == [1], "the other has its own question")
        #expect(answer.asks != nil)
    }

    @Test func aLostConnectionRefusesAllAndItsLateAnswerConfirmsNothing() throws {
        var gate = ReplicationGate<Int>(replicas: 1)
        _ = gate.hold(1)
        let roundAsked = gate.tickEnded()
        let round = try #require(roundAsked)
        _ = gate.hold(2)
        #expect(gate.connectionLost() == [1, 2])
        #expect(gate.hold(3) == .gather)
        let nextAsked = gate.tickEnded()
        let next = try #require(nextAsked)
        #expect(gate.answered(round: round, replicas: 1).confirmed == [], "of the other Redis")
        #expect(gate.answered(round: next, replicas: 1).confirmed == [3])
    }

    @Test func aLostConnectionWhileATickGathersAsksNothing() {
        var gate = ReplicationGate<Int>(replicas: 1)
        _ = gate.hold(1)
        #expect(gate.connectionLost() == [1])
        #expect(gate.tickEnded() == nil)
    }

    @Test func itIsBounded() {
        var gate = ReplicationGate<Int>(replicas: 1)
        for number in 0..<ReplicationGate<Int>.limit { _ = gate.hold(number) }
        #expect(gate.hold(0) == .refuse)
        #expect(gate.count == ReplicationGate<Int>.limit)
    }
}
