import ChatCore
import ChatJSON

/// Reads the less frequent frames from a JSON tree.
struct TreeReader {
    let tree: JSONValue

    init(_ tree: JSONValue) {
        self.tree = tree
    }

    func frame(type: String) throws(FrameError) -> ServerFrame {
        switch type {
        case "welcome": .event(.welcome(try welcome()))
        case "joined": try joinedFrame()
        case "changed":
            try change().map { (change) throws(FrameError) in
                .event(.message(room: try room(), change, showKey: change.content.key != nil))
            } ?? .unknown("changed")
        case "message": .event(.message(room: try room(), try message(), showKey: tree["key"] != nil))
        case "amended": .event(.amended(ref: ref, room: try room(), try amended()))
        case "conversation", "participants", "blocked", "starred", "stars":
            .event(.conversation(ref: ref, try conversation(type: type)))
        case "read", "inbox", "watching", "head", "receipts", "online", "lastSeen":
            .event(.inbox(try inbox(type: type)))
        case "participantsChanged": .event(.participants(room: try room(), try participantChanges()))
        case "notice": try notice().map { .event(.inbox(.notice($0))) } ?? .unknown("notice")
        case "left": .event(.left(ref: ref, room: try room()))
        case "sent":
            .event(
                .sent(
                    ref: ref, room: try room(), position: try position("position"), at: try time("at"),
                    repeated: tree["repeated"]?.bool ?? false))
        case "presence":
            .event(
                .presence(
                    room: try room(), joined: try users("joined"), left: try users("left"),
                    count: tree["count"]?.integer ?? 0))
        case "signal":
            .event(
                .signal(room: try room(), user: try user("user"), name: try string("name"), data: tree["data"]?.text))
        case "gap": .event(.gap(room: try room(), try gap()))
        case "reset": .event(.reset(room: try room(), try reset()))
        case "draining": .event(.draining(reconnectAfter: UInt64(max(0, tree["reconnectAfter"]?.integer ?? 0))))
        case "history": .event(.history(ref: ref, room: try room(), try history()))
        case "roster": .event(.roster(ref: ref, room: try room(), try roster()))
        case "pong": .event(.pong(ref: ref))
        case "error": .fault(ref: ref?.serial, fault())
        default: .unknown(type)
        }
    }

    var ref: Ref? {
        switch tree["ref"] {
        case .number(let text): .number(text)
        case .string(let text): .string(text)
        default: nil
        }
    }

    func missing(_ name: String) -> FrameError {
        FrameError(problem: "'\(name)' is missing or of a wrong type")
    }

    func string(_ name: String) throws(FrameError) -> String {
        guard let text = tree[name]?.string else { throw missing(name) }
        return text
    }

    func room() throws(FrameError) -> RoomName {
        do { return try RoomName(stored: try string("room")) } catch { throw FrameError(problem: "room: \(error)") }
    }

    func user(_ name: String) throws(FrameError) -> UserID { try Self.user(.string(try string(name))) }

    static func user(_ value: JSONValue) throws(FrameError) -> UserID {
        do { return try UserID(stored: value.string ?? "") } catch { throw FrameError(problem: "user: \(error)") }
    }

    func users(_ name: String) throws(FrameError) -> [UserID] {
        var users: [UserID] = []
        for value in tree[name]?.array ?? [] { users.append(try Self.user(value)) }
        return users
    }

    func position(_ name: String) throws(FrameError) -> Position {
        guard let text = tree[name]?.string, let position = Position(text) else { throw missing(name) }
        return position
    }

    func time(_ name: String) throws(FrameError) -> UInt64 {
        guard let text = tree[name]?.string, let time = Timestamp.milliseconds(text) else { throw missing(name) }
        return time
    }

    private func gap() throws(FrameError) -> Gap {
        Gap(after: try position("after"), before: try position("before"))
    }

    private func reset() throws(FrameError) -> Reset {
        Reset(
            position: try position("position"), reason: Reset.Reason(rawValue: tree["reason"]?.string ?? "") ?? .rewound
        )
    }

    private func message() throws(FrameError) -> Message {
        Message(
            position: try position("position"),
            content: MessageContent(
                user: try user("user"), at: try time("at"), text: tree["text"]?.string,
                data: tree["data"].flatMap { $0 == .null ? nil : $0.text }, key: tree["key"]?.string,
                extra: try extra()))
    }

    private func messages() throws(FrameError) -> [Message] {
        var messages: [Message] = []
        for value in tree["messages"]?.array ?? [] { messages.append(try TreeReader(value).message()) }
        return messages
    }

    private func members() throws(FrameError) -> [RosterMember]? {
        guard let list = tree["roster"]?.array else { return nil }
        var members: [RosterMember] = []
        for value in list {
            var devices: [DeviceName] = []
            for device in value["devices"]?.array ?? [] {
                if let name = try? DeviceName(stored: device.string ?? "") { devices.append(name) }
            }
            members.append(RosterMember(user: try Self.user(value["user"] ?? .null), devices: devices))
        }
        return members
    }

    private func joined() throws(FrameError) -> Joined {
        var resumption = Resumption.fresh
        if let gap = tree["gap"], gap != .null {
            resumption = .gap(try TreeReader(gap).gap())
        } else if let reset = tree["reset"], reset != .null {
            resumption = .reset(try TreeReader(reset).reset())
        } else if tree["resumed"]?.bool == true {
            resumption = .complete
        }
        let members = try members()
        // What became of messages from before the page has its place among those of the page.
        let entries = try messages() + changes()
        var joined = Joined(
            ref: ref, room: try room(), position: try position("position"),
            messages: entries.sorted { $0.position < $1.position }, members: members,
            count: tree["count"]?.integer ?? members?.count ?? 0, resumption: resumption)
        joined.receipts = try receipts()
        return joined
    }

    private func joinedFrame() throws(FrameError) -> ServerFrame {
        let joined = try joined()
        guard let last = tree["last"]?.string.flatMap({ Position($0) }) else { return .event(.joined(joined)) }
        return .joined(joined, through: last)
    }

    private func history() throws(FrameError) -> HistoryPage {
        HistoryPage(
            messages: try messages(), newest: tree["newest"]?.string.flatMap { Position($0) },
            hasOlder: tree["older"]?.bool ?? false, hasNewer: tree["newer"]?.bool ?? false)
    }

    private func roster() throws(FrameError) -> RosterPage {
        let members = try members() ?? []
        return RosterPage(
            members: members, count: tree["count"]?.integer ?? members.count, cursor: tree["cursor"]?.string)
    }

    private func welcome() throws(FrameError) -> Welcome {
        var limits = Limits()
        func read(_ name: String, _ path: WritableKeyPath<Limits, Int>) {
            if let value = tree["limits"]?[name]?.integer, value > 0 { limits[keyPath: path] = value }
        }
        read("frameBytes", \.frameBytes)
        read("roomsPerSession", \.roomsPerSession)
        read("requestsPerSecond", \.requestsPerSecond)
        read("requestBurst", \.requestBurst)
        read("waitingSendsPerSession", \.waitingSendsPerSession)
        read("outboundBytes", \.outboundBytes)
        read("historyPage", \.historyPage)
        read("rosterPage", \.rosterPage)
        let device: DeviceName
        do { device = try DeviceName(stored: tree["device"]?.string ?? "?") } catch {
            throw FrameError(problem: "device: \(error)")
        }
        return Welcome(
            session: try string("session"), user: try user("user"), device: device, node: tree["node"]?.string ?? "",
            heartbeat: max(1, tree["heartbeat"]?.integer ?? 30), limits: limits)
    }

    private func fault() -> ServerFault {
        let code = tree["code"]?.integer ?? 0
        return ServerFault(
            code: code, name: tree["name"]?.string ?? "", message: tree["message"]?.string ?? "",
            retry: tree["retry"]?.bool ?? WireError.Code(rawValue: code)?.retry ?? false)
    }
}
