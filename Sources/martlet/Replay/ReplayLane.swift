import ChatCore
import MartletClient
import NIOCore

/// The users on one event loop, and what they were shown.
final class ReplayLane: @unchecked Sendable {
    // Proof for @unchecked: apart from `let`, everything is used on `loop` only, and after the run by the code that
    // verifies.
    let loop: any EventLoop
    /// An intended reference cycle: events that are still queued on a loop when a run is given up must find it. A
    /// process replays one run.
    let run: ReplayRun
    private var users: [Int: ReplayUser] = [:]
    private let roomIndex: [RoomName: Int]

    /// A user in a room.
    struct Place: Hashable {
        var user: Int
        var room: Int
    }

    private(set) var ranges: [Place: SeenRange] = [:]
    private(set) var finished: [SeenRange] = []
    private(set) var rooms: [RoomLedger]
    private(set) var counts = ReplayCounts()
    private(set) var failures: [String] = []
    private var doneEvents = 0

    init(loop: any EventLoop, run: ReplayRun) {
        self.loop = loop
        self.run = run
        rooms = Array(repeating: RoomLedger(), count: run.trace.rooms.count)
        var index: [RoomName: Int] = [:]
        for (number, room) in run.trace.rooms.enumerated() { index[room] = number }
        roomIndex = index
    }

    // MARK: From the run

    func enqueue(_ event: Int) {
        let index = run.trace.events[event].user
        let user = users[index] ?? ReplayUser(index: index, lane: self)
        users[index] = user
        user.enqueue(event)
    }

    func closeAll() {
        for user in users.values { user.close() }
        users = [:]
    }

    /// One of the users that still wait, and what for.
    var trouble: String? {
        for user in users.values { if let trouble = user.trouble { return trouble } }
        return nil
    }

    /// How many rooms' sessions have not been shown everything up to `final`.
    func behind(_ final: [UInt64]) -> Int {
        ranges.values.count { $0.last < final[$0.room] }
    }

    func endAll(_ final: [UInt64]) {
        for var range in ranges.values {
            range.ended(at: final[range.room])
            finished.append(range)
        }
        ranges = [:]
    }

    // MARK: From the users

    func makeSession(_ index: Int) -> any ReplaySession {
        counts.sessions += 1
        let user = run.trace.users[index]
        let address = run.addresses[index % run.addresses.count]
        let keys = "replay-\(String(UInt64.random(in: .min ... .max), radix: 36))"
        let hear: @Sendable (ReplayNews) -> Void = { [weak self] news in self?.observe(news, index) }
        func speaking(_ wire: any ReplayWire) -> ReplayWireSession {
            ReplayWireSession(
                speaking: wire, to: address, user: user, options: run.clientOptions, loop: loop, hear: hear)
        }
        switch run.options.dialect {
        case .martlet:
            return MartletReplaySession(
                addresses: run.addresses, identity: ClientIdentity(user: user.text, device: "replay"),
                options: run.clientOptions, loop: loop, hear: hear)
        case .socketIO: return speaking(ReplaySocketIO(user: user, keys: keys))
        case .stomp: return speaking(ReplayStomp(user: user, keys: keys))
        case .events: return ReplayStreamSession(to: address, user: user, keys: keys, loop: loop, hear: hear)
        }
    }

    /// Reports completed events to the run in batches, one for each tick of the loop.
    func eventDone() {
        doneEvents += 1
        guard doneEvents == 1 else { return }
        loop.execute { [self] in
            let done = doneEvents
            doneEvents = 0
            run.eventsDone(done, messages: counts.acked, deliveries: counts.deliveries)
            counts.acked = 0
            counts.deliveries = 0
        }
    }

    func acked(room: Int, _ position: Position, _ print: UInt64) {
        counts.acked += 1
        rooms[room].ack(position.seq, print)
    }

    func left(user: Int, room: Int) {
        guard var range = ranges.removeValue(forKey: Place(user: user, room: room)) else { return }
        range.isOpen = false
        finished.append(range)
    }

    func failed(_ what: String, _ error: ClientError) {
        counts.failed += 1
        if failures.count < 5 { failures.append("\(what): \(error)") }
    }

    private func observe(_ news: ReplayNews, _ user: Int) {
        switch news {
        case .message(let name, let message):
            guard let room = roomIndex[name] else { return }
            show(message, user, room)
        case .joined(let name, let position):
            guard let room = roomIndex[name] else { return }
            let place = Place(user: user, room: room)
            guard ranges[place] == nil else { return }
            ranges[place] = SeenRange(user: user, room: room, start: position.seq)
            rooms[room].lowestStart = min(rooms[room].lowestStart, position.seq)
        case .gap(let name, let gap):
            guard let room = roomIndex[name] else { return }
            ranges[Place(user: user, room: room)]?.announced +=
                gap.before.seq > gap.after.seq ? gap.before.seq - gap.after.seq - 1 : 0
        case .reset: counts.resets += 1
        case .disconnected(let reason, let isFinal):
            if !isFinal {
                counts.reconnects += 1
                if counts.reasons.count < 20 { counts.reasons["\(reason)", default: 0] += 1 }
            }
            if reason != .closed, isFinal {
                failed("session of \(run.trace.users[user])", .rejected("\(reason)"))
            }
            if case .unreachable(let text) = reason { run.unreachable(text) }
        case .connected: run.reached()
        }
    }

    private func show(_ message: Message, _ user: Int, _ room: Int) {
        counts.deliveries += 1
        let seq = message.position.seq
        let print = fingerprint(user: message.content.user.text, text: message.content.text)
        let same = rooms[room].show(seq, print)
        guard let index = ranges.index(forKey: Place(user: user, room: room)) else {
            counts.strays += 1
            return
        }
        // Older messages in a join do not count: the proof begins where the session joined.
        guard seq > ranges.values[index].start else { return }
        ranges.values[index].show(seq)
        if !same { ranges.values[index].differs += 1 }
    }

    func flushCounts() -> (messages: Int, deliveries: Int) {
        defer {
            counts.acked = 0
            counts.deliveries = 0
        }
        return (counts.acked, counts.deliveries)
    }
}

/// The counts of a lane. `acked` and `deliveries` are those since the last report to the run.
struct ReplayCounts {
    var sessions = 0
    var acked = 0
    var deliveries = 0
    var failed = 0
    var reconnects = 0
    var reasons: [String: Int] = [:]
    var resets = 0
    /// Messages of a room that the session has not joined.
    var strays = 0
}
