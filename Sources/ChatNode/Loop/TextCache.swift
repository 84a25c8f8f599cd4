import NIOConcurrencyHelpers

/// A text that is made at most once in a certain time, however many callers ask for it. Later callers get the present
/// text.
final class TextCache: Sendable {
    private struct State {
        var text = ""
        var madeAt: ContinuousClock.Instant?
        var making: Task<String, Never>?
    }

    private let lasts: Duration
    private let state = NIOLockedValueBox(State())

    init(lasts: Duration) {
        self.lasts = lasts
    }

    func text(_ make: @escaping @Sendable () async -> String) async -> String {
        let now = ContinuousClock.now
        let (text, task): (String?, Task<String, Never>?) = state.withLockedValue { state in
            if let madeAt = state.madeAt, now - madeAt < lasts { return (state.text, nil) }
            if let making = state.making { return (nil, making) }
            let task = Task { [self] in
                let text = await make()
                self.state.withLockedValue { $0 = State(text: text, madeAt: .now) }
                return text
            }
            state.making = task
            return (nil, task)
        }
        if let text { return text }
        return await task?.value ?? ""
    }
}
