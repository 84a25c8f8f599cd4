import Glibc

/// Shows the progress of a replay on standard error: one line that is overwritten on a terminal, or a plain line every
/// few seconds in a pipe.
struct ReplayProgress {
    struct State: Sendable {
        var events = 0
        var done = 0
        var messages = 0
        var deliveries = 0
    }

    private let isTerminal = isatty(STDERR_FILENO) == 1
    private let began = ContinuousClock.now
    private var last: (at: ContinuousClock.Instant, deliveries: Int)?

    /// How often ``show(_:_:)`` should be called.
    var interval: Duration { isTerminal ? .milliseconds(200) : .seconds(5) }

    mutating func show(_ state: State, _ what: String) {
        let now = ContinuousClock.now
        var rate = 0
        if let last {
            let seconds = (now - last.at) / .seconds(1)
            rate = Int(Double(state.deliveries - last.deliveries) / max(seconds, 0.001))
        }
        last = (now, state.deliveries)
        let share = state.events == 0 ? 1 : Double(state.done) / Double(state.events)
        let text =
            "\(what) \(Int(share * 100)) %  \(state.done)/\(state.events) events  \(state.messages) messages  "
            + "\(state.deliveries) deliveries  \(rate)/s"
        if isTerminal {
            let width = 24
            let filled = Int(share * Double(width))
            let bar = String(repeating: "█", count: filled) + String(repeating: "░", count: width - filled)
            write("\r\u{1B}[K\(bar) \(text)")
        } else {
            write("\(text)\n")
        }
    }

    /// Ends the line on a terminal.
    func end() {
        if isTerminal { write("\r\u{1B}[K") }
    }

    private func write(_ text: String) {
        var text = text
        text.withUTF8 { _ = Glibc.write(STDERR_FILENO, $0.baseAddress, $0.count) }
    }
}
