import ChatCore

/// Holds back what says "stored" until enough replicas have it (`MARTLET_ACK_REPLICAS`).
///
/// One question is out at a time, and covers all that was held when it went; what comes meanwhile waits for the next: a
/// slow replica delays acknowledgements, never messages, and never costs Redis more than one WAIT a round trip.
///
/// What nobody could confirm is refused, not forgotten: the message is stored and shown, only not safe. Pure.
struct ReplicationGate<Held> {
    enum State: Equatable {
        /// → `gathering`
        case idle
        /// Something is held; the question goes out at the end of the tick. → `asking`, `idle` (connection lost)
        case gathering
        /// → `idle`, `asking` (more was held meanwhile)
        case asking(round: UInt64)
    }

    /// More acknowledgements are not held, but refused at once: clients that repeat are rate-limited, memory is not.
    static var limit: Int { 65_536 }

    let replicas: Int
    private(set) var state = State.idle
    private var waiting: [Held] = []
    private var asked: [Held] = []
    private var round: UInt64 = 0

    /// `replicas`: how many must confirm; 0: nothing is ever held.
    init(replicas: Int) {
        self.replicas = replicas
    }

    var count: Int { waiting.count + asked.count }

    enum HoldAction: Equatable {
        /// It waits.
        case wait
        /// It waits, and `tickEnded` must be called.
        case gather
        /// It was not taken.
        case refuse
    }

    mutating func hold(_ held: Held) -> HoldAction {
        guard count < Self.limit else { return .refuse }
        waiting.append(held)
        guard state == .idle else { return .wait }
        state = .gathering
        return .gather
    }

    /// Ask now, and call `answered` with this round; nil: not now.
    mutating func tickEnded() -> UInt64? {
        guard state == .gathering else { return nil }
        return ask()
    }

    struct Answer {
        var confirmed: [Held] = []
        var refused: [Held] = []
        /// Ask again, with this round.
        var asks: UInt64?
    }

    /// So many replicas have it; nil: nothing is known.
    mutating func answered(round: UInt64, replicas count: Int?) -> Answer {
        guard state == .asking(round: round) else { return Answer() }
        var answer = Answer()
        if (count ?? 0) >= replicas { answer.confirmed = asked } else { answer.refused = asked }
        asked = []
        state = .idle
        if !waiting.isEmpty { answer.asks = ask() }
        return answer
    }

    /// The command connection is gone, and with it the Redis that all this was said of: a promise about another one would be
    /// worth nothing. All that was held, to be refused.
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
