import ChatCore
import Testing

@testable import ChatGateway

/// When a loop waits for more to come.
@Suite struct TickPacerTests {
    private let start = Moment(nanoseconds: 1_000_000_000)

    /// So many sessions speak, again and again for some windows; what the pacer says of the last tick.
    private func pace(
        speakers: Int, windows: Int = 3, gather: Duration = .milliseconds(2), busy: Duration = .zero
    ) -> (pacer: TickPacer, wait: Duration?) {
        var pacer = TickPacer(gatherTime: gather, now: start)
        var marks = Array(repeating: TickPacer.Mark(0), count: speakers)
        var wait: Duration?
        for tick in 1...(windows * 10) {
            for index in marks.indices { pacer.spoke(&marks[index]) }
            wait = pacer.tickEnded(now: start + TickPacer.window * tick / 10) { busy }
        }
        return (pacer, wait)
    }

    @Test func loopThatManyTalkOnWaits() {
        #expect(pace(speakers: TickPacer.manySpeakers).wait == .milliseconds(2))
    }

    @Test func loopThatAFewTalkOnNeverWaitsHoweverMuchTheySay() {
        #expect(pace(speakers: TickPacer.manySpeakers - 1, windows: 10).wait == nil)
    }

    @Test func waitingGoesOnWhileHalfAsManyTalk() {
        for (still, isWaiting) in [(TickPacer.manySpeakers / 2, true), (TickPacer.manySpeakers / 2 - 1, false)] {
            var (pacer, wait) = pace(speakers: TickPacer.manySpeakers)
            var marks = Array(repeating: TickPacer.Mark(0), count: still)
            for tick in 31...60 {
                for index in marks.indices { pacer.spoke(&marks[index]) }
                wait = pacer.tickEnded(now: start + TickPacer.window * tick / 10) { .zero }
            }
            #expect((wait != nil) == isWaiting)
        }
    }

    @Test func timeThatTheLoopWorkedIsNotWaitedAgain() {
        #expect(pace(speakers: 100, gather: .milliseconds(4), busy: .milliseconds(3)).wait == .milliseconds(1))
        #expect(pace(speakers: 100, gather: .milliseconds(4), busy: .milliseconds(4)).wait == nil)
        #expect(pace(speakers: 100, gather: .milliseconds(4), busy: .milliseconds(9)).wait == nil)
    }

    @Test func longMessageIsReadWithoutWaits() {
        var (pacer, _) = pace(speakers: 100)
        let now = start + TickPacer.window * 3
        pacer.readWasFull()
        #expect(pacer.tickEnded(now: now) { .zero } == nil)
        #expect(pacer.tickEnded(now: now) { .zero } != nil, "the read after it was short")
    }

    @Test func zeroGatherTimeNeverWaits() {
        #expect(pace(speakers: 100, gather: .zero).wait == nil)
    }

    @Test func waitingEndsWithTheTalk() {
        var (pacer, wait) = pace(speakers: 100)
        #expect(wait != nil)
        var alone: TickPacer.Mark = 0
        // In the window that was under way many had spoken.
        for tick in 31...60 {
            pacer.spoke(&alone)
            wait = pacer.tickEnded(now: start + TickPacer.window * tick / 10) { .zero }
        }
        #expect(wait == nil)
    }

    @Test func firstMessageAfterALongSilenceIsNotWaitedFor() {
        var (pacer, _) = pace(speakers: 100)
        var mark: TickPacer.Mark = 0
        pacer.spoke(&mark)
        #expect(pacer.tickEnded(now: start + .seconds(60)) { .zero } == nil)
    }
}
