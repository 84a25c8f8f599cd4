/// What a load run does: who is where, who says what when. Pure; a load run follows it and nothing else.
struct BenchPlan: Equatable {
    var nodes = 1
    var rooms = 1
    /// Of each room.
    var members = 10
    /// Over how many of the nodes a room's members are spread; nil: over all.
    var nodesPerRoom: Int?
    /// How the nodes are spoken to.
    var dialect = BenchDialect.martlet
    /// The kernel acknowledges at once what a connection receives, instead of up to 40 ms later: a server that leaves Nagle's
    /// algorithm on otherwise holds back the second of two small messages for so long.
    var acksAtOnce = false
    /// Bytes of a message's text.
    var size = 100
    var pace = Pace.open(perSecond: 10, burst: 1)
    var warmup = 2.0
    var seconds = 10.0

    enum Pace: Equatable {
        /// Messages of each room a second, `burst` at once: at their times, whatever became of those before, so that
        /// waiting counts (no coordinated omission).
        case open(perSecond: Double, burst: Int)
        /// So many messages of each room on their way; the next when all members were shown one.
        case closed(inFlight: Int)
    }

    var connections: Int { rooms * members }
    /// Messages that a run at this pace asks for in a second; nil: as many as it can.
    var messagesPerSecond: Double? {
        switch pace {
        case .open(let perSecond, _): perSecond * Double(rooms)
        case .closed: nil
        }
    }

    /// The node of a room's member.
    func node(room: Int, member: Int) -> Int {
        (room + member % max(1, min(nodesPerRoom ?? nodes, nodes))) % nodes
    }

    /// Who says a room's message number `number`: members take turns.
    func sender(of number: UInt64) -> Int { Int(number % UInt64(members)) }

    /// The rooms that a thread sees to: each is one thread's, so that its accounts need no lock.
    func rooms(ofThread thread: Int, among threads: Int) -> [Int] {
        (0..<rooms).filter { $0 % threads == thread }
    }
}

/// When the messages of some rooms are due: each room at its own place within the interval, so that they do not all speak
/// in the same moment.
struct BenchSchedule {
    private let count: Int
    private let intervalNanoseconds: Double
    private let start: UInt64
    private var step: UInt64 = 0

    /// `perSecond` times a second for each of `rooms` rooms.
    init(rooms: Int, perSecond: Double, start: UInt64) {
        count = max(1, rooms)
        intervalNanoseconds = 1e9 / (perSecond * Double(max(1, rooms)))
        self.start = start
    }

    /// When the next is due.
    var due: UInt64 { start + UInt64(Double(step) * intervalNanoseconds) }

    /// The index of the room whose turn it is, and when that was due.
    mutating func next() -> (room: Int, due: UInt64) {
        defer { step += 1 }
        return (Int(step % UInt64(count)), due)
    }
}
