import ChatCore
import ChatJSON

/// The arguments of an event that the node emits, or of an acknowledgement: JSON in which a string that begins with `$`
/// stands for a value of the node's event. A member whose value is missing is left out; an element becomes `null`.
struct ProfileTemplate: Sendable, Hashable {
    /// What a string may stand for.
    enum Variable: String, Sendable, CaseIterable {
        case room, user, text, data, position, at, key, count, joined, left, name, members, messages, resumed, gap,
            reset, after, before, reason, until, cursor, newest, older, newer, reconnectAfter, code, error, message,
            retry, repeated, offset, version, rules, kind, closesIn, expires, thread, mentions, edited, deleted,
            reactions,
            pinned, replies
        /// The whole event as `martlet.v1` has it.
        case event
    }

    indirect enum Node: Sendable, Hashable {
        /// JSON text.
        case constant([UInt8])
        case variable(Variable)
        case array([Node])
        /// Names as JSON text, with the colon.
        case object([(name: [UInt8], value: Node)])

        static func == (left: Node, right: Node) -> Bool {
            switch (left, right) {
            case (.constant(let one), .constant(let other)): one == other
            case (.variable(let one), .variable(let other)): one == other
            case (.array(let one), .array(let other)): one == other
            case (.object(let one), .object(let other)):
                one.count == other.count && zip(one, other).allSatisfy { $0.name == $1.name && $0.value == $1.value }
            default: false
            }
        }

        func hash(into hasher: inout Hasher) {
            switch self {
            case .constant(let text): hasher.combine(text)
            case .variable(let variable): hasher.combine(variable)
            case .array(let nodes): hasher.combine(nodes)
            case .object(let members): hasher.combine(members.count)
            }
        }
    }

    private let arguments: [Node]

    /// Arguments in an array; `startsWithName`: the first one is the name of an event.
    init(arguments node: ProfileNode, _ what: String, startsWithName: Bool = false) throws(ProfileProblem) {
        guard case .array(let elements) = node.content else { throw node.problem("\(what) must be an array") }
        if startsWithName {
            guard let first = elements.first, case .string(let name) = first.content, !name.hasPrefix("$") else {
                throw node.problem("\(what) must begin with the name of an event")
            }
            guard !SocketPacket.reserved.contains(name) else {
                throw first.problem("clients of Socket.IO have \"\(name)\" themselves, so no server may emit it")
            }
        }
        var arguments: [Node] = []
        for element in elements { arguments.append(try Self.node(element)) }
        self.arguments = arguments
    }

    private static func node(_ node: ProfileNode) throws(ProfileProblem) -> Node {
        switch node.content {
        case .null: return .constant(Array("null".utf8))
        case .bool(let flag): return .constant(Array("\(flag)".utf8))
        case .number(let text): return .constant(Array(text.utf8))
        case .string(let text):
            guard text.hasPrefix("$") else { return .constant(json(text)) }
            guard let variable = Variable(rawValue: String(text.dropFirst())) else {
                let known = Variable.allCases.map { "$\($0.rawValue)" }.joined(separator: ", ")
                throw node.problem("\"\(text)\" is not known; known are \(known)")
            }
            return .variable(variable)
        case .array(let elements):
            var nodes: [Node] = []
            for element in elements { nodes.append(try Self.node(element)) }
            return .array(nodes)
        case .object(let members):
            var nodes: [(name: [UInt8], value: Node)] = []
            for (name, value) in members { nodes.append((json(name) + [UInt8(ascii: ":")], try Self.node(value))) }
            return .object(nodes)
        }
    }

    private static func json(_ text: String) -> [UInt8] {
        var bytes = ByteWriter()
        bytes.appendJSON(text)
        return bytes.array
    }

    /// Appends the arguments as a JSON array.
    func write(_ values: ProfileValues, to bytes: inout ByteWriter) {
        bytes.append(UInt8(ascii: "["))
        for (index, argument) in arguments.enumerated() {
            if index > 0 { bytes.append(UInt8(ascii: ",")) }
            Self.write(argument, values, &bytes)
        }
        bytes.append(UInt8(ascii: "]"))
    }

    private static func write(_ node: Node, _ values: ProfileValues, _ bytes: inout ByteWriter) {
        switch node {
        case .constant(let text): text.withUnsafeBytes { bytes.append(contentsOf: $0) }
        case .variable(let variable):
            if !values[variable].write(to: &bytes) { bytes.appendText("null") }
        case .array(let nodes):
            bytes.append(UInt8(ascii: "["))
            for (index, node) in nodes.enumerated() {
                if index > 0 { bytes.append(UInt8(ascii: ",")) }
                write(node, values, &bytes)
            }
            bytes.append(UInt8(ascii: "]"))
        case .object(let members):
            bytes.append(UInt8(ascii: "{"))
            var isFirst = true
            for (name, value) in members {
                var found = ProfileValue.absent
                if case .variable(let variable) = value {
                    found = values[variable]
                    if case .absent = found { continue }
                }
                if !isFirst { bytes.append(UInt8(ascii: ",")) }
                isFirst = false
                name.withUnsafeBytes { bytes.append(contentsOf: $0) }
                if case .variable = value { _ = found.write(to: &bytes) } else { write(value, values, &bytes) }
            }
            bytes.append(UInt8(ascii: "}"))
        }
    }
}

/// The value of a template's variable.
enum ProfileValue {
    case absent
    case string(String)
    /// JSON text.
    case json(String)
    case integer(Int)
    case position(Position)
    /// In milliseconds since 1970.
    case time(UInt64)
    case flag(Bool)
    case users([UserID])
    case members([RosterMember])
    case messages([Message], viewer: UserID?)

    /// Appends it as JSON. Returns false if there is no value.
    func write(to bytes: inout ByteWriter) -> Bool {
        switch self {
        case .absent: return false
        case .string(let text): bytes.appendJSON(text)
        case .json(let text): bytes.appendRaw(text)
        case .integer(let number): bytes.appendJSON(number)
        case .position(let position): bytes.field("", position)
        case .time(let time): bytes.field("", at: time)
        case .flag(let flag): bytes.appendText(flag ? "true" : "false")
        case .users(let users): bytes.field("", list: users) { $1.appendJSON($0.text) }
        case .members(let members):
            bytes.field("", list: members) { member, bytes in
                bytes.field("{\"user\":", member.user.text)
                bytes.field(",\"devices\":", list: member.devices) { $1.appendJSON($0.text) }
                bytes.append(UInt8(ascii: "}"))
            }
        case .messages(let messages, let viewer):
            let messages = messages.filter { $0.content.isPlain || $0.content.amendment == nil }
            bytes.field("", list: messages) { Self.write($0, showKey: $0.content.user == viewer, to: &$1) }
        }
        return true
    }

    private static func write(_ message: Message, showKey: Bool, to bytes: inout ByteWriter) {
        let content = message.content
        if !content.isPlain {
            bytes.append(UInt8(ascii: "{"))
            MartletV1Codec(limits: Limits()).fields(of: message, showKey: showKey, &bytes)
            return bytes.append(UInt8(ascii: "}"))
        }
        bytes.field("{\"position\":", message.position)
        bytes.field(",\"user\":", content.user.text)
        bytes.field(",\"at\":", at: content.at)
        if let text = content.text { bytes.field(",\"text\":", text) }
        if let data = content.data { bytes.field(",\"data\":", raw: data) }
        if showKey, let key = content.clientKey { bytes.field(",\"key\":", key) }
        bytes.append(UInt8(ascii: "}"))
    }
}

/// The values of an event of the node.
struct ProfileValues {
    let event: ServerEvent
    /// The user whose keys are shown.
    var viewer: UserID?
    /// One of the users of a presence event.
    var member: UserID?

    subscript(_ variable: ProfileTemplate.Variable) -> ProfileValue {
        if variable == .event { return whole }
        return switch event {
        case .message(let room, let message, let showKey): Self.value(variable, room, message, showKey: showKey)
        case .signal(let room, let user, let name, let data):
            switch variable {
            case .room: .string(room.text)
            case .user: .string(user.text)
            case .name: .string(name)
            case .data: data.map { .json($0) } ?? .absent
            default: .absent
            }
        case .presence(let room, let joined, let left, let count):
            switch variable {
            case .room: .string(room.text)
            case .user: member.map { .string($0.text) } ?? .absent
            case .joined: .users(joined)
            case .left: .users(left)
            case .count: .integer(count)
            default: .absent
            }
        case .joined(let joined): value(variable, joined)
        case .left(_, let room): variable == .room ? .string(room.text) : .absent
        case .sent(_, let room, let position, let at, let repeated):
            switch variable {
            case .room: .string(room.text)
            case .position: .position(position)
            case .at: .time(at)
            case .repeated: repeated ? .flag(true) : .absent
            case .offset: .string("\(room.text)~\(position)")
            default: .absent
            }
        case .history(_, let room, let page):
            switch variable {
            case .room: .string(room.text)
            case .messages: .messages(page.messages, viewer: viewer)
            case .newest: page.newest.map { .position($0) } ?? .absent
            case .older: .flag(page.hasOlder)
            case .newer: .flag(page.hasNewer)
            default: .absent
            }
        case .roster(_, let room, let page):
            switch variable {
            case .room: .string(room.text)
            case .members: .members(page.members)
            case .count: .integer(page.count)
            case .cursor: page.cursor.map { .string($0) } ?? .absent
            default: .absent
            }
        case .error(_, let error):
            switch variable {
            case .code: .integer(error.code.rawValue)
            case .error: .string(error.code.name)
            case .message: .string(error.message)
            case .retry: .flag(error.code.retry)
            case .until: error.until.map { .time($0) } ?? .absent
            default: .absent
            }
        case .gap, .reset, .draining, .removed, .rules, .sanction, .participants, .renewed, .expiring, .welcome, .pong,
            .moderated,
            .conversation, .amended, .inbox:
            notice(variable)
        }
    }

    /// The event as `martlet.v1` has it. Whoever asked is known by the acknowledgement, so it has no `ref`.
    private var whole: ProfileValue {
        let event: ServerEvent =
            switch event {
            case .amended(_, let room, let reply): .amended(ref: nil, room: room, reply)
            case .conversation(_, let answer): .conversation(ref: nil, answer)
            case .inbox(let inbox): .inbox(inbox.answering(nil))
            default: event
            }
        var bytes = ByteWriter()
        MartletV1Codec(limits: Limits()).encode(event, viewer: viewer, into: &bytes)
        return .json(bytes.withBytes { String(decoding: $0, as: UTF8.self) })
    }

    /// What only few messages have.
    private static func member(_ name: String, of message: Message) -> ProfileValue {
        guard !message.content.isPlain else { return .absent }
        // What it says may be long, and is not needed here.
        let content = MessageContent(user: message.content.user, at: message.content.at, extra: message.content.extra)
        let bare = Message(position: message.position, content: content)
        var bytes = ByteWriter()
        bytes.append(UInt8(ascii: "{"))
        MartletV1Codec(limits: Limits()).fields(of: bare, showKey: false, &bytes)
        bytes.append(UInt8(ascii: "}"))
        guard case .success(let object) = bytes.withBytes({ JSONValue.parse($0) }), let value = object[name] else {
            return .absent
        }
        return .json(value.text)
    }

    private static func value(
        _ variable: ProfileTemplate.Variable, _ room: RoomName, _ message: Message, showKey: Bool
    ) -> ProfileValue {
        let content = message.content
        switch variable {
        case .thread, .mentions, .edited, .deleted, .reactions, .pinned, .replies:
            return member(variable.rawValue, of: message)
        case .room: return .string(room.text)
        case .user: return .string(content.user.text)
        case .text: return content.text.map { .string($0) } ?? .absent
        case .data: return content.data.map { .json($0) } ?? .absent
        case .position: return .position(message.position)
        case .at: return .time(content.at)
        case .key: return showKey ? content.clientKey.map { .string($0) } ?? .absent : .absent
        case .offset: return .string("\(room.text)~\(message.position)")
        default: return .absent
        }
    }

    private func value(_ variable: ProfileTemplate.Variable, _ joined: Joined) -> ProfileValue {
        switch variable {
        case .room: return .string(joined.room.text)
        case .position: return .position(joined.position)
        case .count: return .integer(joined.count)
        case .members: return joined.members.map { .members($0) } ?? .absent
        case .messages: return .messages(joined.messages, viewer: viewer)
        case .resumed:
            switch joined.resumption {
            case .fresh: return .absent
            case .complete: return .flag(true)
            case .gap, .reset: return .flag(false)
            }
        default: return .absent
        }
    }

    private func notice(_ variable: ProfileTemplate.Variable) -> ProfileValue {
        switch (event, variable) {
        case (.gap(let room, _), .room), (.reset(let room, _), .room), (.removed(let room, _), .room),
            (.rules(let room, _, _), .room), (.sanction(let room, _), .room),
            (.participants(let room, _), .room):
            return .string(room.text)
        case (.gap(_, let gap), .after): return .position(gap.after)
        case (.gap(_, let gap), .before): return .position(gap.before)
        case (.reset(_, let reset), .position): return .position(reset.position)
        case (.reset(_, let reset), .reason): return .string(reset.reason.rawValue)
        case (.draining(let after), .reconnectAfter): return .integer(Int(clamping: after))
        case (.removed(_, let removal), .reason): return .string(removal.reason.rawValue)
        case (.removed(_, let removal), .until): return removal.until.map { .time($0) } ?? .absent
        case (.removed(_, let removal), .message): return removal.text.isEmpty ? .absent : .string(removal.text)
        case (.rules(_, let version, _), .version): return .string("\(version)")
        case (.rules(_, _, let policy), .rules):
            var bytes = ByteWriter()
            bytes.append(UInt8(ascii: "{"))
            MartletV1Codec.fields(of: policy, into: &bytes)
            bytes.append(UInt8(ascii: "}"))
            return .json(bytes.withBytes { String(decoding: $0, as: UTF8.self) })
        case (.sanction(_, let change), .kind): return .string(change.operation.rawValue)
        case (.sanction(_, let change), .user): return .string(change.user.text)
        case (.sanction(_, let change), .until): return change.sanction?.until.map { .time($0) } ?? .absent
        case (.sanction(_, let change), .reason): return change.sanction.map { .string($0.reason) } ?? .absent
        case (.expiring(let closesIn), .closesIn): return .integer(Int(clamping: closesIn))
        case (.renewed(_, let expires), .expires): return expires.map { .integer(Int(clamping: $0)) } ?? .absent
        default: return .absent
        }
    }
}
