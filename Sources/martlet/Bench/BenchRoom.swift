/// A room on the thread to which it belongs.
final class BenchRoom {
    let number: Int
    let name: String
    var members: [BenchMember] = []
    /// By node; empty if members send over their own connections.
    var posters: [Int: BenchPoster] = [:]
    var frame: BenchSend
    private(set) var said: UInt64 = 0
    /// Sends that were answered. For a server that does not answer, messages that any member got.
    var acked: UInt64 = 0
    /// Deliveries to all members together.
    var delivered: UInt64 = 0
    /// Deliveries that a closed loop does not wait for any more.
    private(set) var givenUp: UInt64 = 0
    /// The offset of the position's digits in Martlet's `message` frame.
    let positionAt: Int
    /// For each message sent, its place in the order in which any member got them first, from 1; 0 if no member has got
    /// it yet. If all members get the messages in one order, this is that order: the member that gets a message before
    /// all others has got all earlier ones.
    private var places: [UInt32] = []
    private var placed: UInt32 = 0

    init(_ dialect: BenchDialect, number: Int, name: String, size: Int) {
        self.number = number
        self.name = name
        frame = BenchSend(dialect, room: name, size: size)
        positionAt = #"{"type":"message","room":"\#(name)","position":""#.utf8.count
        if !dialect.hasPositions { places.reserveCapacity(4_096) }
    }

    /// The frame of the next message, ready to be sent.
    func say(stamp: UInt64, node: Int, countsPlaces: Bool) -> [UInt8] {
        frame.write(BenchLabel(stamp: stamp, node: node, room: number, number: Int(said)))
        said += 1
        if countsPlaces { places.append(0) }
        return frame.bytes
    }

    /// The place of a message that a member has just got; nil if that message was never sent.
    func place(of number: Int) -> UInt64? {
        guard places.indices.contains(number) else { return nil }
        if places[number] == 0 {
            placed += 1
            places[number] = placed
            acked += 1
        }
        return UInt64(places[number])
    }

    /// How many messages all members got, on average.
    var settled: UInt64 { (delivered + givenUp) / UInt64(max(1, members.count)) }

    /// Stops waiting for the messages in flight.
    func giveUp() {
        let all = said * UInt64(members.count)
        givenUp = all > delivered ? all - delivered : 0
    }
}

/// One connection, in one room.
final class BenchMember {
    enum Phase {
        case idle, connecting, shaking, joining, live, gone
    }

    let mark: Int
    unowned let room: BenchRoom
    let number: Int
    let node: Int
    var phase = Phase.idle
    var socket: BenchSocket?
    var startedAt: UInt64 = 0
    var ledger = BenchLedger()
    /// The beginning of an incomplete frame.
    var partial: [UInt8] = []

    init(mark: Int, room: BenchRoom, number: Int, node: Int) {
        self.mark = mark
        self.room = room
        self.number = number
        self.node = node
    }

    var isJoining: Bool {
        switch phase {
        case .connecting, .shaking, .joining: true
        case .idle, .live, .gone: false
        }
    }
}
