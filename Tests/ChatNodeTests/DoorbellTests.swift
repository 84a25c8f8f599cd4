import CEpoll
import Glibc
import Testing

@testable import ChatNode

/// What wakes a loop that gathers.
@Suite struct DoorbellTests {
    private func isReadable(_ bell: Doorbell) -> Bool {
        var waits = [pollfd(fd: bell.descriptor, events: Int16(POLLIN), revents: 0)]
        return poll(&waits, 1, 0) == 1
    }

    @Test func rungAgainAndAgainItIsAnsweredOnce() {
        let bell = Doorbell()
        #expect(!isReadable(bell))
        for _ in 0..<1_000 { bell.ring() }
        #expect(isReadable(bell))
        bell.answer()
        #expect(!isReadable(bell))
        bell.answer()
        bell.ring()
        #expect(isReadable(bell))
    }

    /// Between its two steps the ring was answered already: it must not stay readable, for the loop would never wait again.
    @Test func ringThatTellsLateIsAnsweredAsWell() {
        let bell = Doorbell()
        eventfd_write(bell.descriptor, 1)
        bell.answer()
        #expect(!isReadable(bell))
    }

    @Test func noRingFromAnotherThreadIsLost() async {
        let bell = Doorbell()
        await withTaskGroup { group in
            for _ in 0..<4 {
                group.addTask {
                    for _ in 0..<10_000 {
                        bell.ring()
                        if isReadable(bell) { bell.answer() }
                    }
                }
            }
        }
        // Whatever happened between them, the next ring is heard.
        bell.answer()
        bell.ring()
        #expect(isReadable(bell))
    }
}
