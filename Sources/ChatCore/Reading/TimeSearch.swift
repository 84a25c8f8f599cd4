/// Finds the first message of a room that was said at a time or later, by questions for single messages. Pure: what was
/// found in, the next question out.
///
/// Positions of a history go up with the time, and so does what nodes say of the time of a message, but for the
/// difference of their clocks; by so much the answer may be off. An epoch begins at the time that is its number, so the
/// message is looked for among the epochs before the time first. Messages that were brought in with a time of their own
/// are older than their epoch, so if the ones behind those epochs are too early as well, the search goes on to the
/// newest.
///
/// The number of questions is about the binary logarithm of the length of the history, with messages that were brought
/// in also that of the milliseconds that it lasted, and at most ``mostQuestions``.
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
        /// The last message of the epochs that began before the time.
        case lastBefore
        /// The first message of that epoch, whose message with the seq `last` is not too early.
        case first(epoch: UInt64, last: UInt64)
        /// The message behind that one, which is too early.
        case next(Position)
        /// The newest message. The one at `low` is too early, although its epoch began after the time.
        case newest(low: Position)
        /// The message at `low` is too early, and the one at `high`, of a later epoch, is not. There is none between
        /// `low` and the epoch `from`.
        case epochs(low: Position, from: UInt64, high: Position)
        /// The message at `low` is too early, and the one at `high` is not.
        case between(epoch: UInt64, low: UInt64, high: UInt64)
        case found(Position)
    }

    /// Milliseconds since 1970.
    private let time: UInt64
    private var stage = Stage.lastBefore
    private var questions = 0
    /// What its questions have cost, in nanoseconds (``RequestCost``).
    public private(set) var cost: UInt64 = 0

    public init(time: UInt64) {
        self.time = time
    }

    /// What is to be done now.
    public var step: Step {
        switch stage {
        case .lastBefore: .ask(.before(Position(epoch: time == .max ? time : time + 1, seq: 0)))
        case .first(let epoch, _): .ask(.after(Position(epoch: epoch, seq: 0)))
        case .next(let position): .ask(.after(position))
        case .newest: .ask(.newest)
        case .epochs(_, let from, let high): .ask(.before(Position(epoch: Self.middle(from, high.epoch), seq: 0)))
        case .between(let epoch, let low, let high):
            .ask(.before(Position(epoch: epoch, seq: low + (high - low) / 2 + 1)))
        case .found(let position): .found(position)
        }
    }

    /// Takes the message that was found; nil if there was none.
    public mutating func take(_ message: Message?) {
        questions += 1
        cost &+= RequestCost.timeQuestion(message)
        let isEarly = message.map { $0.content.at < time } ?? true
        switch stage {
        case .lastBefore:
            guard let place = message?.position else {
                stage = .next(Position(epoch: 0, seq: 0))
                return
            }
            stage = isEarly ? .next(place) : .first(epoch: place.epoch, last: place.seq)
        case .first(let epoch, let last):
            guard let place = message?.position, place.epoch == epoch, place.seq < last, isEarly else {
                // None is earlier: it is the first of its history, or the log was trimmed meanwhile.
                stage = .found(message?.position ?? Position(epoch: epoch, seq: last))
                return
            }
            settle(epoch: epoch, low: place.seq, high: last)
        case .next(let before):
            guard let place = message?.position else {
                stage = .found(before.seq == 0 ? Position(epoch: time, seq: 0) : Self.behind(before))
                return
            }
            stage = isEarly ? .newest(low: place) : .found(place)
        case .newest(let low):
            guard let place = message?.position, place > low, !isEarly else {
                stage = .found(Self.behind(max(low, message?.position ?? low)))
                return
            }
            narrow(low: low, from: low.epoch, high: place)
        case .epochs(let low, let from, let high):
            let middle = Self.middle(from, high.epoch)
            guard let place = message?.position, place > low, place < high else {
                narrow(low: low, from: middle, high: high)
                return
            }
            narrow(low: isEarly ? place : low, from: isEarly ? middle : from, high: isEarly ? high : place)
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

    /// Above `from`, and at most `to`.
    private static func middle(_ from: UInt64, _ to: UInt64) -> UInt64 { to - (to - from) / 2 }

    private mutating func narrow(low: Position, from: UInt64, high: Position) {
        guard from < high.epoch, high.seq != low.seq + 1, questions < Self.mostQuestions else {
            // What is between them is of the epoch of `high`. (A log that was lost begins again with low seqs.)
            return settle(epoch: high.epoch, low: high.seq > low.seq ? low.seq : 0, high: high.seq)
        }
        stage = .epochs(low: low, from: from, high: high)
    }

    private mutating func settle(epoch: UInt64, low: UInt64, high: UInt64) {
        let isDone = high <= low + 1 || questions >= Self.mostQuestions
        stage = isDone ? .found(Position(epoch: epoch, seq: high)) : .between(epoch: epoch, low: low, high: high)
    }

    private static func behind(_ position: Position) -> Position {
        Position(epoch: position.epoch, seq: position.seq == .max ? position.seq : position.seq + 1)
    }
}
