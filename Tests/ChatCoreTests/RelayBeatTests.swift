import Testing

@testable import ChatCore

@Suite struct RelayBeatTests {
    /// Whatever the moment, all nodes note a room within a short time, and the relay takes it behind the last of them.
    @Test func roomsAreTakenBehindTheLastNode() throws {
        let nodes = try (0..<50).map { try NodeID("node\($0)") }
        let beat = Int(RelayBeat.interval)
        for wall in stride(from: UInt64(1_795_230_114_073), to: 1_795_230_116_000, by: 7) {
            let taken = RelayBeat.untilTaken(wall: wall).wholeMilliseconds
            #expect((1...beat).contains(Int(taken)))
            let next = wall + UInt64(taken)
            #expect(RelayBeat.untilTaken(wall: next).wholeMilliseconds == Int64(beat))
            for (loop, node) in nodes.enumerated() {
                let noted = RelayBeat.untilNoted(wall: wall, by: node, loop: loop).wholeMilliseconds
                #expect((1...beat).contains(Int(noted)))
                // From when the node has noted it until it is taken.
                let rest = RelayBeat.untilTaken(wall: wall + UInt64(noted)).wholeMilliseconds
                #expect(rest >= Int64(RelayBeat.way) && rest <= Int64(RelayBeat.spread + RelayBeat.way))
            }
        }
    }

    @Test func nodesDoNotWriteAllAtOnce() throws {
        let moments = try Set((0..<200).map { RelayBeat.untilNoted(wall: 0, by: try NodeID("node\($0)"), loop: 0) })
        #expect(moments.count > 20)
    }
}
