import ChatCore
import ChatJSON
import MartletClient

/// Socket.IO protocol 5 over Engine.IO 4 (<https://socket.io/docs/v4/socket-io-protocol/>), with the events of the
/// profile `martlet`: each request is an event with an acknowledgement.
struct ReplaySocketIO: ReplayWire {
    private let user: UserID
    /// Begins the keys of its sends. A user may have several sessions, one after the other.
    private let keys: String

    init(user: UserID, keys: String) {
        self.user = user
        self.keys = keys
    }

    func target(user: UserID) -> String { "/socket.io/?EIO=4&transport=websocket" }
    var subprotocol: String? { nil }
    var joinsAfter: Bool { false }
    var opening: String? { nil }

    mutating func join(_ room: RoomName, after: Position?, serial: Int) -> String {
        Self.event(serial, "join", [("room", room.text)], more: #","history":0"#)
    }

    mutating func leave(_ room: RoomName, serial: Int) -> String { Self.event(serial, "leave", [("room", room.text)]) }

    mutating func send(_ text: String, in room: RoomName, serial: Int, isRepeated: Bool) -> String {
        Self.event(
            serial, "send", [("room", room.text), ("text", text), ("key", "\(keys)-\(serial)")],
            more: #","again":\#(isRepeated)"#)
    }

    private static func event(
        _ serial: Int, _ name: String, _ fields: [(name: String, value: String)], more: String = ""
    ) -> String {
        let members = fields.map { "\(json($0.name)):\(json($0.value))" }.joined(separator: ",")
        return "42\(serial)[\(json(name)),{\(members)\(more)}]"
    }

    private static func json(_ text: String) -> String {
        var writer = ByteWriter()
        writer.appendJSON(text)
        return writer.withBytes { String(decoding: $0, as: UTF8.self) }
    }

    mutating func received(_ text: String) -> [ReplayWireEvent] {
        switch text.prefix(2) {
        case "2": return [.reply("3")]
        case "40": return [.ready]
        case "41", "44": return [.failed("the node ended the session: \(text.prefix(200))")]
        case "42":
            guard let values = try? JSONValue(parsing: String(text.dropFirst(2))).array, values.count > 1,
                let name = values[0].string
            else { return [.failed("an event that cannot be read: \(text.prefix(200))")] }
            return event(name, values[1])
        case "43":
            let digits = text.dropFirst(2).prefix { $0.isASCII && $0.isNumber }
            let rest = String(text.dropFirst(2 + digits.count))
            guard let serial = Int(digits), let answer = try? JSONValue(parsing: rest).array?.first
            else { return [.failed("an acknowledgement that cannot be read: \(text.prefix(200))")] }
            if let error = answer["error"] { return [.refused(serial: serial, ServerFault(error))] }
            return [.answered(serial: serial, position: answer["position"]?.string.flatMap { Position($0) })]
        default:
            guard text.first == "0" else { return [] }
            return [.reply("40{\"user\":\(Self.json(user.text)),\"device\":\"replay\"}")]
        }
    }

    private func event(_ name: String, _ value: JSONValue) -> [ReplayWireEvent] {
        func position(_ name: String) -> Position? { value[name]?.string.flatMap { Position($0) } }
        guard let room = value["room"]?.string.flatMap({ try? RoomName(stored: $0) }) else { return [] }
        switch name {
        case "message":
            guard let place = position("position"), let user = value["user"]?.string,
                let content = MessageContent(user: user, at: value["at"]?.string, text: value["text"]?.string)
            else { return [.failed("a message that cannot be read")] }
            return [.message(room, Message(position: place, content: content))]
        case "gap":
            guard let after = position("after"), let before = position("before") else { return [.failed("a gap")] }
            return [.gap(room, Gap(after: after, before: before))]
        case "reset": return [.reset]
        case "removed": return [.failed("the node made the session leave \(room)")]
        default: return []
        }
    }
}

extension ServerFault {
    /// An error object of a node.
    init(_ error: JSONValue) {
        self.init(
            code: error["code"]?.integer ?? 0, name: error["name"]?.string ?? "?",
            message: error["message"]?.string ?? "", retry: error["retry"]?.bool ?? false)
    }
}

extension MessageContent {
    /// Nil if the name is none.
    init?(user: String, at: String?, text: String?) {
        guard let user = try? UserID(stored: user) else { return nil }
        self.init(user: user, at: at.flatMap(Timestamp.milliseconds) ?? 0, text: text)
    }
}
