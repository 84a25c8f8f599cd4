import ChatCore
import NIOConcurrencyHelpers

/// Events between the loop that produces them and the task that reads them. The buffer never drops an event: when it is
/// full, it tells the loop to stop reading from the socket, and when half of it has been read, to continue.
final class EventBuffer: Sendable {
    private struct State {
        var events: [ClientEvent] = []
        var next = 0
        var isFull = false
        var isFinished = false
        var reader: CheckedContinuation<ClientEvent?, Never>?

        var count: Int { events.count - next }
    }

    private let state = NIOLockedValueBox(State())
    private let limit: Int
    /// Called with false when the buffer is full, and with true when it has space again. From any thread.
    private let setReading: @Sendable (Bool) -> Void

    init(limit: Int, setReading: @escaping @Sendable (Bool) -> Void) {
        self.limit = max(1, limit)
        self.setReading = setReading
    }

    func push(_ event: ClientEvent) {
        let (reader, filled) = state.withLockedValue { state -> (CheckedContinuation<ClientEvent?, Never>?, Bool) in
            guard !state.isFinished else { return (nil, false) }
            if let reader = state.reader {
                state.reader = nil
                return (reader, false)
            }
            state.events.append(event)
            guard !state.isFull, state.count >= limit else { return (nil, false) }
            state.isFull = true
            return (nil, true)
        }
        reader?.resume(returning: event)
        if filled { setReading(false) }
    }

    /// Ends the sequence after the events in the buffer have been read.
    func finish() {
        let reader = state.withLockedValue { state in
            state.isFinished = true
            defer { state.reader = nil }
            return state.reader
        }
        reader?.resume(returning: nil)
    }

    /// The next event; nil after the last one. There is one reader at a time: a second one ends the first.
    func next() async -> ClientEvent? {
        await withTaskCancellationHandler {
            await withCheckedContinuation { reader in take(reader) }
        } onCancel: {
            let reader = state.withLockedValue { state in
                defer { state.reader = nil }
                return state.reader
            }
            reader?.resume(returning: nil)
        }
    }

    private func take(_ reader: CheckedContinuation<ClientEvent?, Never>) {
        enum Outcome {
            case resume(CheckedContinuation<ClientEvent?, Never>, with: ClientEvent?, drained: Bool)
            case wait(instead: CheckedContinuation<ClientEvent?, Never>?)
        }
        let isCancelled = Task.isCancelled
        let outcome = state.withLockedValue { state -> Outcome in
            if isCancelled { return .resume(reader, with: nil, drained: false) }
            if state.count > 0 {
                let event = state.events[state.next]
                state.next += 1
                if state.next == state.events.count || state.next > 1_024 {
                    state.events.removeFirst(state.next)
                    state.next = 0
                }
                let drained = state.isFull && state.count <= limit / 2
                if drained { state.isFull = false }
                return .resume(reader, with: event, drained: drained)
            }
            if state.isFinished { return .resume(reader, with: nil, drained: false) }
            defer { state.reader = reader }
            return .wait(instead: state.reader)
        }
        switch outcome {
        case .resume(let reader, let event, let drained):
            reader.resume(returning: event)
            if drained { setReading(true) }
        case .wait(let old): old?.resume(returning: nil)
        }
    }
}
