import ChatCore

/// Decides when a loop waits a moment for more to come from its sessions before it looks again: while many talk at once, each in a room
/// of its own, nearly every message would otherwise wake the loop, and Redis, for itself. What comes together is read, stored and
/// written together. What the broker answers meanwhile is not waited with: a message waits once, where it was sent.
///
/// Never while only a few talk, so a message that is alone is as fast as it can be; never in a loop that is busy anyway. Pure.
struct TickPacer {
    /// What a session remembers: in which window it last spoke.
    typealias Mark = UInt32

    /// So many sessions have to speak within a window before a loop waits; it goes on while half as many do.
    static let manySpeakers = 16
    static let window: Duration = .milliseconds(100)

    /// How long a loop waits at most; zero: never.
    let gatherTime: Duration
    private var current: Mark = 1
    private var speakers = 0
    private var isCrowded = false
    private var moreIsThere = false
    private var windowEnds: Moment

    init(gatherTime: Duration, now: Moment) {
        self.gatherTime = gatherTime
        windowEnds = now + Self.window
    }

    /// A session said something.
    mutating func spoke(_ mark: inout Mark) {
        guard mark != current else { return }
        mark = current
        speakers += 1
    }

    /// A read took all that it may: the session's next bytes are there already, and a long message would cross a wait for each of its reads.
    mutating func readWasFull() { moreIsThere = true }

    /// The loop has done all that a tick brought, which took it `busy` of CPU time since it last asked. How long it should wait now; nil:
    /// not at all, also if the tick took so long that enough has come meanwhile.
    mutating func tickEnded(now: Moment, busy: () -> Duration) -> Duration? {
        guard gatherTime > .zero else { return nil }
        if now >= windowEnds {
            // Silence longer than a window ends it as well.
            let enough = isCrowded ? Self.manySpeakers / 2 : Self.manySpeakers
            isCrowded = speakers >= enough && now - windowEnds < Self.window
            speakers = 0
            current &+= 1
            windowEnds = now + Self.window
        }
        let isFull = moreIsThere
        moreIsThere = false
        guard isCrowded, !isFull else { return nil }
        let busy = busy()
        return busy < gatherTime ? gatherTime - busy : nil
    }
}

extension ClientRequest.Body {
    /// What others hear. Coming and going is none, however many do it: who connects waits for nobody.
    var isTalk: Bool {
        switch self {
        case .send, .signal: true
        case .join, .leave, .roster, .history, .ping: false
        }
    }
}
