import ChatCore
import Synchronization

/// The list of words that a node's messages are compared with. It is shared by all loops, and may be replaced.
public final class WordScreen: Sendable {
    /// What becomes of a message with a word of the list.
    public enum Mode: String, Sendable, CaseIterable {
        /// It is not stored, and its sender is told.
        case refuse
        /// It is stored with an asterisk for each character of the word.
        case mask
    }

    /// What was done.
    public enum Outcome: Sendable, CaseIterable {
        case clean, masked, refused
    }

    /// So that handing a filter over copies one reference.
    private final class Shared: Sendable {
        let filter: WordFilter
        init(_ filter: WordFilter) { self.filter = filter }
    }

    private let mode: Mode
    private let shared: Mutex<Shared>

    public init(_ filter: WordFilter, _ mode: Mode) {
        self.mode = mode
        shared = Mutex(Shared(filter))
    }

    /// The number of words.
    public var count: Int { shared.withLock { $0 }.filter.count }

    /// From now on messages are compared with the other list.
    public func replace(with other: WordScreen) {
        let new = other.shared.withLock { $0 }
        shared.withLock { $0 = new }
    }

    /// Looks for words in the text, and masks them if that is the mode.
    public func screen(_ text: inout String?) -> Outcome {
        guard let given = text else { return .clean }
        let held = shared.withLock { $0 }
        switch mode {
        case .refuse: return held.filter.matches(given) ? .refused : .clean
        case .mask:
            guard let masked = held.filter.masked(given) else { return .clean }
            text = masked
            return .masked
        }
    }
}
