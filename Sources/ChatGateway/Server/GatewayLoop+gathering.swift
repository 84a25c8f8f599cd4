import CThread
import ChatCore
import Glibc
import NIOCore

/// A loop's waiting for more to come from its sessions, as ``TickPacer`` decides.
struct Gathering {
    fileprivate var pacer: TickPacer
    fileprivate let errand = LoopTick.Errand(.rest)
    /// Until when the loop gathers; nil: it does not.
    fileprivate var ends: Moment?
    /// CPU time of the loop's thread when it last began to look at its sessions, in nanoseconds.
    fileprivate var cpuBefore: UInt64 = 0

    init(pacer: TickPacer) {
        self.pacer = pacer
    }
}

extension GatewayLoop {
    /// A session said something.
    func spoke(_ mark: inout TickPacer.Mark) {
        gathering.pacer.spoke(&mark)
        scheduleGathering()
    }

    /// A session's read took as much as it may.
    func readWasFull() { gathering.pacer.readWasFull() }

    /// Behind everything else that the tick still has to do.
    func scheduleGathering() {
        guard gathering.pacer.gatherTime > .zero else { return }
        loopTick.ask(gathering.errand, self)
    }

    /// Waits, if the pacer says so, and attends to what is urgent alone. It blocks the thread on purpose: the loop is to see nothing of
    /// what its sessions say until it sees all of it.
    func gather() {
        let now = Moment.now
        guard let ends = gathering.ends ?? gatheringEnds(now: now) else { return }
        if ends > now, isUrgent(within: ends - now), service.readUrgent(on: eventLoop) {
            gathering.ends = ends
            // All that follows from it comes first: a loop looks at its sockets when it has no task left.
            scheduleGathering()
        } else {
            gathering.ends = nil
            gathering.cpuBefore = thread_cpu_time()
        }
    }

    private func gatheringEnds(now: Moment) -> Moment? {
        let before = gathering.cpuBefore
        var asked: UInt64?
        let wait = gathering.pacer.tickEnded(now: now) {
            let cpu = thread_cpu_time()
            asked = cpu
            return .nanoseconds(Int64(clamping: cpu &- before))
        }
        if let asked { gathering.cpuBefore = asked }
        return wait.map { now + $0 }
    }

    /// False: nothing came in that time, which is rounded to milliseconds, or a descriptor is broken, which the loop finds for itself.
    private func isUrgent(within time: Duration) -> Bool {
        let descriptors = service.urgentDescriptors(on: eventLoop)
        return withUnsafeTemporaryAllocation(of: pollfd.self, capacity: descriptors.count) { waits in
            for (index, descriptor) in descriptors.enumerated() {
                waits.initializeElement(at: index, to: pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0))
            }
            let milliseconds = CInt((time + .microseconds(500)) / .milliseconds(1))
            guard poll(waits.baseAddress, nfds_t(waits.count), milliseconds) > 0 else { return false }
            return waits.allSatisfy { $0.revents & ~Int16(POLLIN) == 0 }
        }
    }
}
