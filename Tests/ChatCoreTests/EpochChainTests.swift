import Testing

@testable import ChatCore

@Suite struct EpochChainTests {
    /// Epochs 10 (from seq 0), 20 (from 5), 30 (from 8); the log's last ID is 30-9.
    private let chain = EpochChain(
        links: [EpochLink(epoch: 10, base: 0), EpochLink(epoch: 20, base: 5), EpochLink(epoch: 30, base: 8)],
        history: 10)

    private func verdict(_ epoch: UInt64, _ seq: UInt64, firstAfter: UInt64? = nil) -> Verdict {
        chain.verdict(of: Position(epoch: epoch, seq: seq), epoch: 30, last: 9, firstAfter: firstAfter)
    }

    @Test func nothingHeldIsAlwaysRight() {
        #expect(chain.verdict(of: nil, epoch: 30, last: 9, firstAfter: 4) == .ok)
    }

    @Test func positionWithAllAfterItIsOk() {
        #expect(verdict(10, 3, firstAfter: 4) == .ok)
        #expect(verdict(10, 5, firstAfter: 6) == .ok)
        #expect(verdict(30, 9) == .ok)
    }

    @Test func positionWithMissingMessagesAfterItIsAGap() {
        #expect(verdict(10, 3, firstAfter: 7) == .gap(first: 4, last: 6))
        #expect(verdict(10, 3) == .gap(first: 4, last: 9))
    }

    @Test func positionBeyondTheEndIsRewound() {
        #expect(verdict(30, 10) == .rewound)
        #expect(verdict(31, 9) == .rewound)
        #expect(verdict(20, 12) == .rewound)
    }

    @Test func positionBeforeHistoryBeganIsRewound() {
        #expect(verdict(9, 3, firstAfter: 4) == .rewound)
    }

    @Test func positionThatItsEpochNeverReachedIsRewound() {
        #expect(verdict(10, 6, firstAfter: 7) == .rewound)
        #expect(verdict(20, 9) == .rewound)
    }

    @Test func epochThatTheChainDoesNotKnowIsRewound() {
        #expect(verdict(25, 8, firstAfter: 9) == .rewound)
    }

    @Test func epochInWhichNothingWasSaidIsDroppedWhenTheNextBegins() {
        var chain = chain
        chain.begin(epoch: 40, base: 9)
        chain.begin(epoch: 50, base: 9)
        #expect(chain.links.map(\.epoch) == [10, 20, 30, 50])
        chain.begin(epoch: 45, base: 9)
        #expect(chain.links.last?.epoch == 50, "epochs only grow")
        #expect(chain.base(of: 50) == 9 && chain.base(of: 40) == nil)
    }

    @Test func newsHeardWhileTheLogWasReadIsAddedToWhatTheLogSaid() {
        let heard = EpochChain(
            links: [EpochLink(epoch: 15, base: 2), EpochLink(epoch: 40, base: 9), EpochLink(epoch: 50, base: 11)],
            history: 15)
        let known = chain.continued(by: heard, after: 30, last: 9)
        #expect(known?.links.map(\.epoch) == [10, 20, 30, 40, 50] && known?.history == 10)
        #expect(chain.continued(by: heard, after: 30, last: 10) == nil, "another history")
        #expect(chain.continued(by: heard, after: 50, last: 12) == chain)
    }

    @Test func whatMemoryReachesBackToIsKeptWhenTheLogIsTrimmed() {
        let trimmed = EpochChain(links: [EpochLink(epoch: 30, base: 8), EpochLink(epoch: 40, base: 9)], history: 10)
        #expect(trimmed.reachingBack(by: chain, toEntry: 6, shown: 9).links.map(\.epoch) == [10, 20, 30, 40])
        #expect(trimmed.reachingBack(by: chain, toEntry: 7, shown: 8).links.map(\.epoch) == [20, 30, 40])
        #expect(trimmed.reachingBack(by: chain, toEntry: 10, shown: 9).links.map(\.epoch) == [30, 40])
        #expect(trimmed.reachingBack(by: chain, toEntry: 6, shown: 7) == trimmed, "only heard of")
        let other = EpochChain(links: [EpochLink(epoch: 30, base: 7)], history: 10)
        #expect(other.reachingBack(by: chain, toEntry: 1, shown: 9) == other, "another history")
    }

    @Test func beginOfHistoryIsNeverDropped() {
        var chain = EpochChain(links: [EpochLink(epoch: 10, base: 0)], history: 10)
        chain.begin(epoch: 20, base: 0)
        #expect(chain.links.map(\.epoch) == [10, 20])
    }

    @Test func epochsThatEndedBeforeTheFirstEntryAreForgotten() {
        var chain = chain
        chain.prune(firstEntry: 7)
        #expect(chain.links.map(\.epoch) == [20, 30])
        chain.prune(firstEntry: 100)
        #expect(chain.links.map(\.epoch) == [30])
    }

    @Test func everySeqHasItsEpoch() {
        #expect((1...10).map { chain.epoch(of: $0) } == [10, 10, 10, 10, 10, 20, 20, 20, 30, 30])
        #expect(EpochChain(links: [], history: 0).epoch(of: 1) == nil)
    }
}
