import CBusyPoll
import NIOCore
import NIOPosix
import Testing

@testable import ChatNode

/// Loops that look for more before they sleep.
@Suite(.enabled(if: busy_poll_is_there() != 0)) struct BusyPollTests {
    /// What a loop counted that is again and again given many tasks, each when the one before is done, and then one that is due after
    /// `pause`; until that is enough, or clearly never will be.
    private static func ends(
        looking time: Duration, pause: TimeAmount, until isEnough: (BusyPoll.Ends) -> Bool
    ) async throws -> BusyPoll.Ends {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let loop = group.next()
        BusyPoll.start(on: loop, for: time)
        var ends = BusyPoll.Ends()
        for _ in 0..<100 where !isEnough(ends) {
            for _ in 0..<50 { try await loop.submit {}.get() }
            ends = try await loop.scheduleTask(in: pause) { BusyPoll.Ends.here }.futureResult.get()
        }
        try await group.shutdownGracefully()
        return ends
    }

    @Test func aBusyLoopFindsWhatComesWithoutSleeping() async throws {
        let ends = try await Self.ends(looking: .seconds(60), pause: .zero) { $0.found >= 100 }
        #expect(ends.found >= 100)
        #expect(ends.slept == 0)
    }

    /// The last task is due long after the loop has stopped looking: a sleeping loop is woken by its timer.
    @Test func aBusyLoopThatFindsNothingSleeps() async throws {
        #expect(try await Self.ends(looking: .milliseconds(5), pause: .milliseconds(20)) { $0.slept > 0 }.slept > 0)
    }

    @Test func aLoopThatWasNotAskedToDoesNotLook() async throws {
        #expect(try await Self.ends(looking: .zero, pause: .zero) { _ in false } == BusyPoll.Ends())
    }

    @Test func lookingPaysWhileOneOfEightWaitsAtMostIsLong() {
        var history: busy_poll_history = 0
        for _ in 0..<6 { history = busy_poll_remember(history, 1) }
        #expect(busy_poll_pays(history) == 0, "too few short ones yet")
        history = busy_poll_remember(history, 1)
        #expect(busy_poll_pays(history) != 0)
        history = busy_poll_remember(history, 0)
        #expect(busy_poll_pays(history) != 0, "one long one")
        history = busy_poll_remember(history, 0)
        #expect(busy_poll_pays(history) == 0, "two")
        for _ in 0..<7 { history = busy_poll_remember(history, 1) }
        #expect(busy_poll_pays(history) != 0, "forgotten")
    }
}
