import ChatCore
import ChatJSON
import ChatWire
import MartletClient

/// STOMP 1.2 (<https://stomp.github.io/stomp-specification-1.2.html>), one frame in each WebSocket message. A receipt
/// says that a message is stored, and the sender's own MESSAGE says where.
struct ReplayStomp: ReplayWire {
    private let user: UserID
    /// Begins the keys of its sends. A user may have several sessions, one after the other.
    private let keys: String
    /// The subscriptions, whose IDs are numbers.
    private var rooms: [String: RoomName] = [:]
    private var subscriptions: [RoomName: String] = [:]
    /// Sends of which only the one half of the answer has come: where they are stored, or that they are.
    private var halves: [Int: Position?] = [:]
    private var sends: Set<Int> = []

    init(user: UserID, keys: String) {
        self.user = user
        self.keys = keys
    }

    func target(user: UserID) -> String { "/stomp" }
    var subprotocol: String? { "v12.stomp" }
    var joinsAfter: Bool { true }

    var opening: String? {
        Self.frame(
            "CONNECT",
            [("accept-version", "1.2"), ("host", "replay"), ("login", user.text), ("heart-beat", "0,0")])
    }

    mutating func join(_ room: RoomName, after: Position?, serial: Int) -> String {
        rooms["\(serial)"] = room
        subscriptions[room] = "\(serial)"
        let offset = after.map { "offset=\($0)" } ?? "first"
        return Self.frame(
            "SUBSCRIBE",
            [
                ("id", "\(serial)"), ("destination", Self.destination(room)), ("x-stream-offset", offset),
                ("receipt", "\(serial)"),
            ])
    }

    mutating func leave(_ room: RoomName, serial: Int) -> String {
        let id = subscriptions.removeValue(forKey: room) ?? ""
        return Self.frame("UNSUBSCRIBE", [("id", id), ("receipt", "\(serial)")])
    }

    mutating func send(_ text: String, in room: RoomName, serial: Int, isRepeated: Bool) -> String {
        sends.insert(serial)
        return Self.frame(
            "SEND",
            [
                ("destination", Self.destination(room)), ("receipt", "\(serial)"), ("martlet-key", "\(keys)-\(serial)"),
                ("martlet-again", "\(isRepeated)"), ("content-length", "\(text.utf8.count)"),
            ], text)
    }

    mutating func received(_ text: String) -> [ReplayWireEvent] {
        // In bytes, as a trace has millions of messages.
        let bytes = Array(text.utf8)
        let newline = UInt8(ascii: "\n")
        // A line end alone is a heart-beat.
        guard let end = bytes.indices.dropLast().first(where: { bytes[$0] == newline && bytes[$0 + 1] == newline })
        else { return [] }
        let lines = bytes[..<end].split(separator: newline)
        var headers: [String: String] = [:]
        for line in lines.dropFirst() {
            guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else { continue }
            let name = Self.unescaped(line[..<colon])
            // The first one counts.
            if headers[name] == nil { headers[name] = Self.unescaped(line[(colon + 1)...]) }
        }
        let stop = bytes.lastIndex(of: 0) ?? bytes.count
        let body = stop > end + 2 ? String(decoding: bytes[(end + 2)..<stop], as: UTF8.self) : ""
        switch lines.first.map({ String(decoding: $0, as: UTF8.self) }) {
        case "CONNECTED":
            return [
                .reply(Self.frame("SUBSCRIBE", [("id", "errors"), ("destination", "/user/queue/errors")])), .ready,
            ]
        case "RECEIPT":
            guard let serial = headers["receipt-id"].flatMap({ Int($0) }) else { return [] }
            guard sends.contains(serial) else { return [.answered(serial: serial, position: nil)] }
            return half(of: serial, position: nil)
        case "MESSAGE": return message(headers, body)
        case "ERROR":
            let reason = headers["reason"] ?? String(body.prefix(200))
            return [.failed("ERROR: \(headers["message"] ?? ""): \(reason)")]
        default: return [.failed("a frame that cannot be read: \(text.prefix(100))")]
        }
    }

    private mutating func message(_ headers: [String: String], _ body: String) -> [ReplayWireEvent] {
        if headers["subscription"] == "errors" {
            guard let serial = headers["receipt-id"].flatMap({ Int($0) }) else { return [.failed(body)] }
            return [
                .refused(
                    serial: serial,
                    ServerFault(
                        code: headers["code"].flatMap { Int($0) } ?? 0, name: headers["message"] ?? "?", message: body,
                        retry: headers["retry"] == "true"))
            ]
        }
        guard let room = headers["subscription"].flatMap({ rooms[$0] }) else { return [.failed("a stray message")] }
        if let event = headers["martlet-event"] { return notice(event, body, room) }
        guard let position = headers["message-id"].flatMap({ Position($0) }), let user = headers["user"],
            let content = MessageContent(user: user, at: headers["at"], text: body)
        else { return [.failed("a message that cannot be read")] }
        let shown = ReplayWireEvent.message(room, Message(position: position, content: content))
        guard let key = headers["martlet-key"], key.hasPrefix(keys + "-"),
            let serial = Int(key.dropFirst(keys.count + 1)),
            sends.contains(serial)
        else { return [shown] }
        return [shown] + half(of: serial, position: position)
    }

    /// A send is answered when both its receipt and its message have come.
    private mutating func half(of serial: Int, position: Position?) -> [ReplayWireEvent] {
        guard let other = halves.removeValue(forKey: serial) else {
            halves[serial] = .some(position)
            return []
        }
        guard let place = position ?? other else {
            halves[serial] = .some(nil)
            return []
        }
        sends.remove(serial)
        return [.answered(serial: serial, position: place)]
    }

    private func notice(_ event: String, _ body: String, _ room: RoomName) -> [ReplayWireEvent] {
        let value = try? JSONValue(parsing: body)
        func position(_ name: String) -> Position? { value?[name]?.string.flatMap { Position($0) } }
        switch event {
        case "gap":
            guard let after = position("after"), let before = position("before") else { return [.failed("a gap")] }
            return [.gap(room, Gap(after: after, before: before))]
        case "reset": return [.reset]
        case "left": return [.failed("the node made the session leave \(room)")]
        default: return []
        }
    }

    private static func destination(_ room: RoomName) -> String { "/topic/" + percentEncoded(room.text) }

    private static func frame(
        _ command: String, _ headers: [(name: String, value: String)], _ body: String = ""
    ) -> String {
        // The headers of CONNECT are not escaped, for the sake of STOMP 1.0.
        let lines = headers.map { "\($0.name):\(command == "CONNECT" ? $0.value : escaped($0.value))\n" }
        return "\(command)\n\(lines.joined())\n\(body)\0"
    }

    private static func escaped(_ text: String) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case ":": result += "\\c"
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }

    private static func unescaped(_ bytes: ArraySlice<UInt8>) -> String {
        guard bytes.contains(UInt8(ascii: "\\")) else { return String(decoding: bytes, as: UTF8.self) }
        var result: [UInt8] = []
        var isEscape = false
        for byte in bytes {
            if isEscape {
                isEscape = false
                switch byte {
                case UInt8(ascii: "n"): result.append(UInt8(ascii: "\n"))
                case UInt8(ascii: "r"): result.append(UInt8(ascii: "\r"))
                case UInt8(ascii: "c"): result.append(UInt8(ascii: ":"))
                default: result.append(byte)
                }
            } else if byte == UInt8(ascii: "\\") {
                isEscape = true
            } else {
                result.append(byte)
            }
        }
        return String(decoding: result, as: UTF8.self)
    }
}
