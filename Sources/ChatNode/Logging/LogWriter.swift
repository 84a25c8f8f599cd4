import Glibc
import NIOConcurrencyHelpers
import NIOPosix

/// Writes log lines on a thread of its own. If nothing reads the log (a full pipe, a paused terminal, a hanging log
/// driver), lines are lost, but no event loop ever waits.
///
/// Lines wait in a queue of at most `limit` bytes. Lines that arrive while it is full are dropped and counted; as soon
/// as there is space again, a line says how many were dropped.
final class LogWriter: Sendable {
    private struct State {
        /// Whole lines, in order.
        var waiting: [UInt8] = []
        /// Whether a task on the thread is taking lines from the queue.
        var isWriting = false
        /// The number of dropped lines: since the last line that reported them, and in total.
        var dropped = 0
        var droppedEver = 0
        var limit: Int
        /// Makes the line that reports how many lines were dropped.
        var droppedLine: @Sendable (Int) -> String = {
            "martlet: \($0) log lines were dropped because nobody read them\n"
        }
    }

    /// Standard error.
    static let standard = LogWriter(descriptor: STDERR_FILENO)

    private let descriptor: CInt
    private let state: NIOLockedValueBox<State>
    private let thread = NIOThreadPool(numberOfThreads: 1)

    init(descriptor: CInt, limit: Int = 1 << 20) {
        self.descriptor = descriptor
        state = NIOLockedValueBox(State(limit: limit))
        thread.start()
    }

    /// Sets the size of the queue and the text that reports dropped lines.
    func configure(limit: Int, droppedLine: @escaping @Sendable (Int) -> String) {
        state.withLockedValue {
            $0.limit = limit
            $0.droppedLine = droppedLine
        }
    }

    /// Whether nothing waits and nothing is being written.
    var isIdle: Bool { state.withLockedValue { !$0.isWriting && $0.waiting.isEmpty } }

    /// The number of lines dropped so far.
    var dropped: Int { state.withLockedValue { $0.droppedEver } }

    /// Appends a whole line, including its line break, to the queue, or drops it. Never waits.
    func write(_ line: String) {
        let begins = state.withLockedValue { state in
            // A line that is longer than the queue is accepted if nothing else waits.
            guard state.waiting.isEmpty || state.waiting.count + line.utf8.count <= state.limit else {
                state.dropped += 1
                state.droppedEver += 1
                return false
            }
            if state.dropped > 0 {
                state.waiting += state.droppedLine(state.dropped).utf8
                state.dropped = 0
            }
            state.waiting += line.utf8
            defer { state.isWriting = true }
            return !state.isWriting
        }
        if begins { thread.submit { [self] _ in writeAll() } }
    }

    /// Waits until everything is written, but no longer than `time`. Only for a process that is about to end.
    func flush(within time: Duration) {
        let end = ContinuousClock.now + time
        while state.withLockedValue({ $0.isWriting }), ContinuousClock.now < end { usleep(2_000) }
    }

    /// Ends the thread after it has written the queue. For tests.
    func stop() async throws { try await thread.shutdownGracefully() }

    /// Runs on the thread.
    private func writeAll() {
        while let bytes = take() {
            bytes.withUnsafeBytes { Self.write($0, to: descriptor) }
        }
    }

    private func take() -> [UInt8]? {
        state.withLockedValue { state in
            if state.waiting.isEmpty, state.dropped > 0 {
                state.waiting += state.droppedLine(state.dropped).utf8
                state.dropped = 0
            }
            guard !state.waiting.isEmpty else {
                state.isWriting = false
                return nil
            }
            var bytes: [UInt8] = []
            swap(&bytes, &state.waiting)
            return bytes
        }
    }

    /// Writes all bytes, waiting as long as it takes. Bytes that cannot be written, because the reader has gone, are
    /// lost: there is no place to report it.
    static func write(_ bytes: UnsafeRawBufferPointer, to descriptor: CInt) {
        var rest = bytes
        while let start = rest.baseAddress, !rest.isEmpty {
            let written = Glibc.write(descriptor, start, rest.count)
            if written > 0 {
                rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(written))
            } else if written < 0, errno == EAGAIN {
                var ready = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                guard poll(&ready, 1, -1) >= 0 || errno == EINTR else { return }
            } else if written == 0 || errno != EINTR {
                return
            }
        }
    }
}
