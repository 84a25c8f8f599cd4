import ChatCore
import ChatJSON
import ChatWire
import Testing

@testable import MartletClient

/// A client state machine with a clock that the test moves, and a node whose frames the test writes.
struct Harness {
    var machine: ClientStateMachine
    var now = Moment(nanoseconds: 1_000_000_000)
    let lobby = try? RoomName("lobby")

    init(addresses: Int = 1, options: ClientOptions = ClientOptions(), namesRoom: Bool = false, seed: UInt64 = 1) {
        machine = ClientStateMachine(addresses: addresses, namesRoom: namesRoom, options: options, seed: seed)
    }

    /// The actions since the last call.
    mutating func take() -> [ClientStateMachine.Action] {
        defer { machine.actions = [] }
        return machine.actions
    }

    /// The frames written since the last call, as JSON text; other actions are dropped.
    mutating func written() -> [String] {
        take().compactMap { action in
            guard case .write(let request) = action else { return nil }
            var bytes = ByteWriter()
            request.write(to: &bytes)
            return String(decoding: bytes.array, as: UTF8.self)
        }
    }

    /// Delivers a frame from the node.
    mutating func hear(_ json: String) throws {
        let frame = try Array(json.utf8).withUnsafeBytes { try FrameReader.read($0).get() }
        machine.heard(now: now)
        machine.received(frame, now: now)
    }

    mutating func wait(_ duration: Duration) {
        now = now + duration
        machine.timerFired(now: now)
    }

    mutating func welcome(heartbeat: Int = 30, rate: Int = 100_000) throws {
        try hear(
            """
            {"type":"welcome","session":"s","user":"ana","device":"d","node":"n1","heartbeat":\(heartbeat),\
            "limits":{"requestsPerSecond":\(rate),"requestBurst":\(rate)}}
            """)
    }

    /// Connected, and in the lobby at 5-10.
    static func inLobby(addresses: Int = 1, options: ClientOptions = ClientOptions()) throws -> Harness {
        var harness = Harness(addresses: addresses, options: options)
        harness.machine.start(now: harness.now)
        _ = harness.machine.join(try RoomName("lobby"), now: harness.now)
        try harness.welcome()
        let ref = try #require(try harness.joinRef())
        try harness.hear(#"{"type":"joined","ref":\#(ref),"room":"lobby","position":"5-10","messages":[],"count":1}"#)
        _ = harness.take()
        return harness
    }

    /// The `ref` of the unanswered join.
    func joinRef() throws -> UInt64? {
        guard case .joining(let ref) = machine.rooms[try RoomName("lobby")]?.phase else { return nil }
        return ref
    }

    mutating func message(_ position: String, _ text: String = "x", room: String = "lobby") throws {
        try hear(
            """
            {"type":"message","room":"\(room)","position":"\(position)","user":"bob",\
            "at":"2026-11-21T03:04:05.678Z","text":"\(text)"}
            """)
    }

    /// Short descriptions of the events since the last call.
    mutating func told() -> [String] {
        take().compactMap { action in
            guard case .emit(let event) = action else { return nil }
            switch event {
            case .connected: return "connected"
            case .disconnected(let reason, let retryIn):
                return "disconnected \(reason)\(retryIn == nil ? " for good" : "")"
            case .joined(let joined): return "joined \(joined.position)"
            case .left: return "left"
            case .message(_, let message): return "message \(message.position)"
            case .changed(_, let change): return "changed \(change.position)"
            case .receipts(_, let reads):
                return "receipts " + reads.map { "\($0.key) \($0.value)" }.sorted().joined(separator: ", ")
            case .participants(_, let changes):
                let told = changes.changes.map { change in
                    "\(change.user) \(change.isNew ? "joined as " : "")\(change.role?.rawValue ?? "left")"
                }
                return "participants " + told.joined(separator: ", ")
            case .head(let head): return "head \(head.room) \(head.unread ?? 0)"
            case .notice(let notice): return "notice \(notice.kind) \(notice.room)"
            case .gap(_, let gap): return "gap \(gap.after) \(gap.before)"
            case .reset(_, let reset): return "reset \(reset.position)"
            case .presence: return "presence"
            case .signal: return "signal"
            case .draining: return "draining"
            case .fault(let fault): return "fault \(fault.code)"
            }
        }
    }

    mutating func send(_ text: String) throws -> UInt64 {
        machine.send(SendRequest(room: try RoomName("lobby"), text: text), now: now)
    }
}
