/// Finds the first message of a room that was said at a time or later, by questions for single messages. Pure: what was
/// found in, the next question out.
///
/// Positions of a history go up with the time, and so does what nodes say of the time of a message, but for the
/// difference of their clocks; by so much the answer may be off. A time before the room's history began finds its first
/// message, also if messages were brought in with a time of their own.
///
/// The number of questions is about the binary logarithm of the length of the history, and at most ``mostQuestions``.
public struct TimeSearch: Sendable {
    public enum Step: Hashable, Sendable {
        /// Read one message, and tell it by ``take(_:)``.
        case ask(HistoryQuery.Anchor)
        /// The page around this position is what is wanted. There may be no message at it: then the next one is meant.
        case found(Position)
    }

    /// The most questions of one search, after which it is content with what it knows.
    public static let mostQuestions = 60

    private enum Stage {
        case newest
        case first(epoch: UInt64, last: UInt64)
        /// The message at `low` is too early, and the one at `high` is not.
        case between(epoch: UInt64, low: UInt64, high: UInt64)
        case found(Position)
    }

    /// Milliseconds since 1970.
    private let time: UInt64
    private var stage = Stage.newest
    private var questions = 0

    public init(time: UInt64) {
        self.time = time
    }

    /// What is to be done now.
    public var step: Step {
        switch stage {
        // A history begins at the time that is its epoch, so this one, if there is one, began before the time.
        case .newest: .ask(.before(Position(epoch: time == .max ? time : time + 1, seq: 0)))
        case .first(let epoch, _): .ask(.after(Position(epoch: epoch, seq: 0)))
        case .between(let epoch, let low, let high):
            .ask(.before(Position(epoch: epoch, seq: low + (high - low) / 2 + 1)))
        case .found(let position): .found(position)
        }
    }

    /// Takes the message that was found; nil if there was none.
    public mutating func take(_ message: Message?) {
        questions += 1
        let isEarly = message.map { $0.content.at < time } ?? true
        switch stage {
        case .newest:
            guard let place = message?.position else {
                stage = .found(Position(epoch: time, seq: 0))
                return
            }
            stage = isEarly ? .found(Self.behind(place)) : .first(epoch: place.epoch, last: place.seq)
        case .first(let epoch, let last):
            guard let place = message?.position, place.epoch == epoch, place.seq < last, isEarly else {
                // None is earlier: it is the first of its history, or the log was trimmed meanwhile.
                stage = .found(message?.position ?? Position(epoch: epoch, seq: last))
                return
            }
            settle(epoch: epoch, low: place.seq, high: last)
        case .between(let epoch, let low, let high):
            let middle = low + (high - low) / 2
            // A position of a branch that was lost, or of a message that is gone, has the one before it for an answer.
            guard let place = message?.position, place.epoch == epoch, place.seq > low, place.seq <= middle else {
                settle(epoch: epoch, low: middle, high: high)
                return
            }
            settle(epoch: epoch, low: isEarly ? middle : low, high: isEarly ? high : place.seq)
        case .found: break
        }
    }

    private mutating func settle(epoch: UInt64, low: UInt64, high: UInt64) {
        let isDone = high <= low + 1 || questions >= Self.mostQuestions
        stage = isDone ? .found(Position(epoch: epoch, seq: high)) : .between(epoch: epoch, low: low, high: high)
    }

    private static func behind(_ position: Position) -> Position {
        Position(epoch: position.epoch, seq: position.seq == .max ? position.seq : position.seq + 1)
    }
}
