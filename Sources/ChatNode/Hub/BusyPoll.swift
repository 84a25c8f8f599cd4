import CBusyPoll
import NIOCore

/// Event loops that had much to do of late and look for more before they sleep: what `busy-polling` of HAProxy does, and Linux's haltpoll
/// where a virtual machine has it, for those alone that gain by it.
enum BusyPoll {
    /// How often a loop that looks found something, and how often it slept after all, since it began.
    struct Ends: Sendable, Hashable {
        var found: UInt64 = 0
        var slept: UInt64 = 0

        /// Those of the calling thread's loop.
        static var here: Ends {
            let ends = busy_poll_ends()
            return Ends(found: ends.found, slept: ends.slept)
        }
    }

    /// From its next turn on the loop looks for up to that long; zero: not at all.
    static func start(on loop: any EventLoop, for time: Duration) {
        loop.execute { busy_poll_set(UInt64(clamping: time.nanosecondsRoundedUp)) }
    }
}
