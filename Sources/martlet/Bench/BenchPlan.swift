/// The plan of a load run: which member is on which node, and who sends when. Pure; a load run does nothing else.
struct BenchPlan: Equatable {
    var nodes = 1
    var rooms = 1
    /// The number of members of each room.
    var members = 10
    /// The number of nodes over which the members of a room are spread; nil means all.
    var nodesPerRoom: Int?
    /// The protocol of the nodes.
    var dialect = BenchDialect.martlet
    /// Whether the kernel acknowledges received data at once, instead of up to 40 ms later. Otherwise a server that
    /// leaves Nagle's algorithm on holds back the second of two small messages for that long.
    var acksAtOnce = false
    /// The number of bytes of a message's text.
    var size = 100
    var pace = Pace.open(perSecond: 10, burst: 1)
    var warmup = 2.0
    var seconds = 10.0

    enum Pace: Equatable {
        /// An open loop: messages of each room a second, `burst` at a time, sent when they are due whatever happened to
        /// earlier ones, so that waiting is measured (no coordinated omission).
        case open(perSecond: Double, burst: Int)
        /// A closed loop: so many messages of each room are in flight, and the next one is sent when all members got
        /// one.
        case closed(inFlight: Int)
    }

    var connections: Int { rooms * members }
    /// The number of messages a second at this pace; nil for as many as possible.
    var messagesPerSecond: Double? {
        switch pace {
        case .open(let perSecond, _): perSecond * Double(rooms)
        case .closed: nil
        }
    }

    /// The node to which a room's member connects.
    func node(room: Int, member: Int) -> Int {
        (room + member % max(1, min(nodesPerRoom ?? nodes, nodes))) % nodes
    }

    /// The member that sends a room's message `number`; members take turns.
    func sender(of number: UInt64) -> Int { Int(number % UInt64(members)) }

    /// The rooms of a thread. A room belongs to one thread, so that its records need no lock.
    func rooms(ofThread thread: Int, among threads: Int) -> [Int] {
        (0..<rooms).filter { $0 % threads == thread }
    }
}

/// When the messages of some rooms are due. Each room has its own place within the interval, so that they do not all
/// send at the same moment.
struct BenchSchedule {
    private let count: Int
    private let intervalNanoseconds: Double
    private let start: UInt64
    private var step: UInt64 = 0

    /// A schedule of `perSecond` messages a second for each of `rooms` rooms.
    init(rooms: Int, perSecond: Double, start: UInt64) {
        count = max(1, rooms)
        intervalNanoseconds = 1e9 / (perSecond * Double(max(1, rooms)))
        self.start = start
    }

    /// When the next message is due.
    var due: UInt64 { start + UInt64(Double(step) * intervalNanoseconds) }

    /// The index of the room whose message is next, and when it was due.
    mutating func next() -> (room: Int, due: UInt64) {
        defer { step += 1 }
        return (Int(step % UInt64(count)), due)
    }
}
