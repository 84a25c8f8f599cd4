import CEpoll
import Glibc
import Synchronization

/// Wakes a thread that waits for descriptors and sees nothing else, such as a loop that gathers (see `TickPacer`): there is a task for
/// its loop. Rung again and again before it is answered, it costs nothing.
final class Doorbell: Sendable {
    /// Readable when it was rung (eventfd(2)); -1: there are no descriptors left, and nobody is woken.
    let descriptor: CInt
    private let isRung = Atomic(false)

    init() {
        descriptor = eventfd(0, CInt(EFD_NONBLOCK | EFD_CLOEXEC))
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// From any thread, after the task was given to the loop.
    func ring() {
        guard !isRung.exchange(true, ordering: .acquiringAndReleasing) else { return }
        eventfd_write(descriptor, 1)
    }

    /// Makes it quiet. Every task from before a ring that this made quiet is with the loop already. It always looks: of a ring that is
    /// under way the descriptor may tell only now, after an earlier answer.
    func answer() {
        var count: eventfd_t = 0
        eventfd_read(descriptor, &count)
        isRung.store(false, ordering: .releasing)
    }
}
