import Glibc
import NIOConcurrencyHelpers
import NIOPosix

/// Writes log lines from a thread of its own, so that a reader who does not read (a full pipe, a terminal on hold, a log driver that
/// hangs) costs lines, and nobody on an event loop ever waits for it.
///
/// Lines wait in a queue of at most `limit` bytes. What comes while it is full is dropped and counted, and as soon as there is room again a
/// line says how many were.
final class LogWriter: Sendable {
    private struct State {
        /// Whole lines, in order.
        var waiting: [UInt8] = []
        /// A task on the thread takes from it.
        var isWriting = false
        /// Lines dropped since the last line that said so, and ever.
        var dropped = 0
        var droppedEver = 0
        var limit: Int
        /// Makes the line that says how many were dropped.
        var droppedLine: @Sendable (Int) -> String = { "martlet: \($0) log lines were dropped, nobody read them\n" }
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

    /// How much may wait, and how the line reads that says what was dropped.
    func configure(limit: Int, droppedLine: @escaping @Sendable (Int) -> String) {
        state.withLockedValue {
            $0.limit = limit
            $0.droppedLine = droppedLine
        }
    }

    /// Nothing waits, and nothing is being written.
    var isIdle: Bool { state.withLockedValue { !$0.isWriting && $0.waiting.isEmpty } }

    /// Lines dropped so far.
    var dropped: Int { state.withLockedValue { $0.droppedEver } }

    /// Puts a whole line, with its line break, into the queue, or drops it. Never waits.
    func write(_ line: String) {
        let begins = state.withLockedValue { state in
            // A line longer than the queue is written all the same when nothing else waits.
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

    /// Waits until all of it is written, but no longer than `time`. Only for a process that ends.
    func flush(within time: Duration) {
        let end = ContinuousClock.now + time
        while state.withLockedValue({ $0.isWriting }), ContinuousClock.now < end { usleep(2_000) }
    }

    /// Ends the thread; what is queued is written if it is read. For tests.
    func stop() async throws { try await thread.shutdownGracefully() }

    /// On the thread.
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

    /// Writes all of it, waiting as long as it takes. What cannot be written (nobody reads any more) is lost: there is nowhere to say so.
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
