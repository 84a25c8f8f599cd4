import ChatCore

/// Holds back acknowledgements until enough replicas have the stored message (`MARTLET_ACK_REPLICAS`).
///
/// One question is under way at a time, and covers everything that was held when it was sent; later acknowledgements
/// wait for the next one. So a slow replica delays acknowledgements, never messages, and costs Redis at most one WAIT a
/// round trip.
///
/// An acknowledgement that could not be confirmed is refused, not dropped: the message is stored and shown, but not
/// safe. Pure.
struct ReplicationGate<Held> {
    enum State: Equatable {
        /// → `gathering`
        case idle
        /// Something is held; the question is sent at the end of the tick. → `asking`, `idle` (connection lost)
        case gathering
        /// → `idle`, `asking` (more was held meanwhile)
        case asking(round: UInt64)
    }

    /// Acknowledgements beyond this number are refused at once: clients that repeat are rate-limited, memory is not.
    static var limit: Int { 65_536 }

    let replicas: Int
    private(set) var state = State.idle
    private var waiting: [Held] = []
    private var asked: [Held] = []
    private var round: UInt64 = 0

    /// `replicas`: the number of replicas that must confirm; with 0 nothing is ever held.
    init(replicas: Int) {
        self.replicas = replicas
    }

    var count: Int { waiting.count + asked.count }

    enum HoldAction: Equatable {
        /// It is held.
        case wait
        /// It is held, and `tickEnded` must be called.
        case gather
        /// It was not accepted.
        case refuse
    }

    mutating func hold(_ held: Held) -> HoldAction {
        guard count < Self.limit else { return .refuse }
        waiting.append(held)
        guard state == .idle else { return .wait }
        state = .gathering
        return .gather
    }

    /// Returns the round for which to send the question now and then to call `answered`; nil if none is to be sent now.
    mutating func tickEnded() -> UInt64? {
        guard state == .gathering else { return nil }
        return ask()
    }

    struct Answer {
        var confirmed: [Held] = []
        var refused: [Held] = []
        /// The round for which to send the next question; nil if there is none.
        var asks: UInt64?
    }

    /// The question was answered with the number of replicas; nil if the number is not known.
    mutating func answered(round: UInt64, replicas count: Int?) -> Answer {
        guard state == .asking(round: round) else { return Answer() }
        var answer = Answer()
        if (count ?? 0) >= replicas { answer.confirmed = asked } else { answer.refused = asked }
        asked = []
        state = .idle
        if !waiting.isEmpty { answer.asks = ask() }
        return answer
    }

    /// The command connection is lost, and with it the Redis to which the acknowledgements refer: a promise about
    /// another one would be worth nothing. Returns everything that was held, which is to be refused.
    mutating func connectionLost() -> [Held] {
        defer {
            waiting = []
            asked = []
            state = .idle
        }
        return asked + waiting
    }

    private mutating func ask() -> UInt64 {
        round += 1
        swap(&asked, &waiting)
        state = .asking(round: round)
        return round
    }
}
