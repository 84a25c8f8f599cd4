import ChatCore

/// The result of a replay, for people and for programs.
struct ReplayVerdict {
    /// A comparison of one room's sessions and its log.
    struct Room {
        var name: RoomName
        /// Messages in the log since the first join of this replay.
        var logged = 0
        /// Whether the log no longer contains messages that were shown. Those are compared with what the sessions saw
        /// in common.
        var trimmed = false
        var missing: UInt64 = 0
        var repeated: UInt64 = 0
        var swapped: UInt64 = 0
        /// Messages shown, sent or logged with different contents at the same position.
        var differs: UInt64 = 0
        /// Sends that were answered with a position that the log does not contain.
        var lostAcks: UInt64 = 0
        /// Messages that are in the log more than once, or were answered twice with the same position.
        var stored: UInt64 = 0
        var holesInLog: UInt64 = 0
        /// Messages that a node announced as lost.
        var announced: UInt64 = 0
        var example: String?

        var isGood: Bool {
            missing + repeated + swapped + differs + lostAcks + stored + holesInLog + announced == 0
        }

        /// One line for a room with an error.
        var line: String {
            let counts: [(String, UInt64)] = [
                ("missing", missing), ("repeated", repeated), ("swapped", swapped), ("different", differs),
                ("acked but not in the log", lostAcks), ("stored twice", stored), ("holes in the log", holesInLog),
                ("announced as gone", announced),
            ]
            let text = counts.filter { $0.1 > 0 }.map { "\($0.1) \($0.0)" }.joined(separator: ", ")
            return "\(name): \(text)" + (example.map { " (\($0))" } ?? "")
        }
    }

    var rooms: [Room]
    var sessions = 0
    var messages = 0
    var deliveries = 0
    /// Sessions' rooms that did not reach the final position in time.
    var behind = 0
    var failed = 0
    var failures: [String] = []
    var reconnects = 0
    /// The reasons for which connections were lost, and how often.
    var reasons: [String: Int] = [:]
    var resets = 0
    var strays = 0
    var seconds = 0.0

    func total(_ path: KeyPath<Room, UInt64>) -> UInt64 { rooms.reduce(0) { $0 + $1[keyPath: path] } }

    var isGood: Bool { rooms.allSatisfy(\.isGood) && failed == 0 && behind == 0 && strays == 0 && resets == 0 }

    /// `logs`: the messages of each room as the node's history returns them, oldest first.
    init(run: ReplayRun, ranges: [SeenRange], ledgers: [RoomLedger], logs: [[Message]]) {
        rooms = run.trace.rooms.map { Room(name: $0) }
        for index in rooms.indices { Self.compare(&rooms[index], ledgers[index], logs[index], run.trace.users) }
        for range in ranges {
            rooms[range.room].missing += range.missing
            rooms[range.room].repeated += range.repeated
            rooms[range.room].swapped += range.swapped
            rooms[range.room].differs += range.differs
            rooms[range.room].announced += range.announced
            if let example = range.example, rooms[range.room].example == nil {
                rooms[range.room].example = "\(run.trace.users[range.user]), in from \(range.start) on: \(example)"
            }
        }
    }

    mutating func add(_ counts: ReplayCounts) {
        sessions += counts.sessions
        failed += counts.failed
        reconnects += counts.reconnects
        reasons.merge(counts.reasons) { $0 + $1 }
        resets += counts.resets
        strays += counts.strays
    }

    /// Compares what was sent and shown with the log.
    private static func compare(_ room: inout Room, _ ledger: RoomLedger, _ log: [Message], _ users: [UserID]) {
        let start = ledger.lowestStart == .max ? 0 : ledger.lowestStart
        room.differs += ledger.differs
        room.stored += ledger.ackedTwice
        let known = Set(users)
        var logged: [UInt64: UInt64] = [:]
        var previous: UInt64?
        for message in log {
            let seq = message.position.seq
            if let previous, seq != previous + 1 {
                room.holesInLog += 1
                room.example = room.example ?? "in the log \(seq) follows \(previous)"
            }
            previous = seq
            guard seq > start else { continue }
            // A message without content was deleted: what it said is not known any more.
            let isErased = message.content.text == nil && message.content.data == nil
            let print =
                isErased
                ? ledger.acked[seq] ?? ledger.shown[seq] ?? 0
                : fingerprint(user: message.content.user.text, text: message.content.text)
            logged[seq] = print
            if let acked = ledger.acked[seq] {
                if acked != print { room.differs += 1 }
            } else if known.contains(message.content.user) {
                // Everything that the trace's users sent was answered, so this is a second copy of a message, or the
                // result of a failed send, which is counted there.
                room.stored += 1
                room.example = room.example ?? "nobody was shown \(message.position), sent by \(message.content.user)"
            }
            if let shown = ledger.shown[seq], shown != print { room.differs += 1 }
        }
        room.logged = logged.count
        let first = log.first?.position.seq ?? 0
        for (seq, print) in ledger.acked where logged[seq] == nil {
            if seq < first {
                room.trimmed = true
                if let shown = ledger.shown[seq], shown != print { room.differs += 1 }
            } else {
                room.lostAcks += 1
                room.example = room.example ?? "\(seq) was answered, and is not in the log"
            }
        }
        for seq in ledger.shown.keys where logged[seq] == nil && seq >= first {
            room.differs += 1
            room.example = room.example ?? "\(seq) was shown, and is not in the log"
        }
    }
}
