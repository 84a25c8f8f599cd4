import ChatJSON
import ChatWire
import MartletClient

extension ChatLine {
    /// One JSON object on one line, with the names of the client protocol. `at` is `now` if the event has no time of
    /// its own.
    func json(now: UInt64) -> String {
        switch self {
        case .connected(let welcome):
            return Self.object(
                "connected",
                [
                    "node": .string(welcome.node), "session": .string(welcome.session),
                    "user": .string(welcome.user.text),
                    "device": .string(welcome.device.text), "at": .time(now),
                ])
        case .disconnected(let reason, let retryIn):
            return Self.object(
                "disconnected",
                [
                    "reason": .string(reason.text), "at": .time(now),
                    "retryIn": retryIn.map { .milliseconds($0) } ?? .null,
                ])
        case .draining(let wait):
            return Self.object("draining", ["reconnectAfter": .milliseconds(wait), "at": .time(now)])
        case .joined(let joined): return Self.object("joined", Self.joined(joined, now))
        case .left(let room): return Self.object("left", ["room": .string(room.text), "at": .time(now)])
        case .message(let room, let message): return Self.object("message", Self.message(room, message))
        case .earlier(let room, let page):
            return Self.object(
                "history",
                [
                    "room": .string(room.text), "older": .bool(page.hasOlder), "newer": .bool(page.hasNewer),
                    "messages": .array(page.messages.map { .object(Self.message(room, $0)) }),
                ])
        case .presence(let room, let joined, let left, let count):
            return Self.object(
                "presence",
                [
                    "room": .string(room.text), "joined": .names(joined), "left": .names(left),
                    "count": .number("\(count)"),
                    "at": .time(now),
                ])
        case .signal(let room, let user, let name, let data):
            var fields: [String: JSONValue] = [
                "room": .string(room.text), "user": .string(user.text), "name": .string(name), "at": .time(now),
            ]
            fields["data"] = data.flatMap { try? JSONValue(parsing: $0) }
            return Self.object("signal", fields)
        case .gap(let room, let gap):
            return Self.object(
                "gap", ["room": .string(room.text), "after": .place(gap.after), "before": .place(gap.before)])
        case .reset(let room, let reset):
            return Self.object(
                "reset",
                [
                    "room": .string(room.text), "position": .place(reset.position),
                    "reason": .string(reset.reason.rawValue),
                ])
        case .sent(let room, let key, let sent):
            return Self.object(
                "sent",
                [
                    "room": .string(room.text), "key": .string(key), "position": .place(sent.position),
                    "at": .time(sent.at),
                    "repeated": .bool(sent.repeated),
                ])
        case .notSent(let room, let text, let error):
            return Self.object(
                "notSent",
                ["room": .string(room.text), "text": .string(text), "error": .string(error.text), "at": .time(now)])
        case .people(let room, let page):
            return Self.object(
                "roster",
                ["room": .string(room.text), "count": .number("\(page.count)"), "roster": .people(page.members)])
        case .fault(let fault):
            return Self.object(
                "error",
                [
                    "code": .number("\(fault.code)"), "name": .string(fault.name), "message": .string(fault.message),
                    "retry": .bool(fault.retry),
                ])
        case .note(let text): return Self.object("note", ["text": .string(text)])
        case .changed(let room, let change, _): return Self.wire(.message(room: room, change, showKey: false))
        case .unread(let room, let count):
            return Self.object("unread", ["room": .string(room.text), "unread": .number("\(count)")])
        case .receipts(let room, let reads): return Self.wire(.inbox(.receipts(room: room, reads)))
        case .participants(let room, let changes): return Self.wire(.participants(room: room, changes))
        case .inbox(let page): return Self.wire(.inbox(.page(ref: nil, page)))
        case .notice(let notice): return Self.wire(.inbox(.notice(notice)))
        case .seen(_, let online): return Self.wire(.inbox(.online(ref: nil, online)))
        }
    }

    /// The event as `martlet.v1` has it.
    private static func wire(_ event: ServerEvent) -> String {
        var bytes = ByteWriter()
        MartletV1Codec(limits: Limits()).encode(event, into: &bytes)
        return harmless(bytes.withBytes { String(decoding: $0, as: UTF8.self) })
    }

    private static func joined(_ joined: JoinedRoom, _ now: UInt64) -> [String: JSONValue] {
        var fields: [String: JSONValue] = [
            "room": .string(joined.room.text), "position": .place(joined.position), "count": .number("\(joined.count)"),
            "at": .time(now),
        ]
        if let members = joined.members { fields["roster"] = .people(members) }
        switch joined.resumption {
        case .fresh: break
        case .complete: fields["resumed"] = .bool(true)
        case .gap, .reset: fields["resumed"] = .bool(false)
        }
        return fields
    }

    private static func message(_ room: RoomName, _ message: Message) -> [String: JSONValue] {
        var fields: [String: JSONValue] = [
            "room": .string(room.text), "position": .place(message.position),
            "user": .string(message.content.user.text),
            "at": .time(message.content.at),
        ]
        if let text = message.content.text { fields["text"] = .string(text) }
        if let data = message.content.data { fields["data"] = (try? JSONValue(parsing: data)) ?? .string(data) }
        if let key = message.content.clientKey { fields["key"] = .string(key) }
        if !message.content.isPlain,
            let wire = try? JSONValue(parsing: Self.wire(.message(room: room, message, showKey: false)))
        {
            for (name, value) in wire.object ?? [:] where name != "type" { fields[name] = value }
        }
        return fields
    }

    /// `type` comes first, as in the protocol. Control characters that JSON permits (U+007F…U+009F) are escaped too,
    /// because some terminals obey them.
    private static func object(_ type: String, _ fields: [String: JSONValue]) -> String {
        harmless(#"{"type":""# + type + #"","# + JSONValue.object(fields).text.dropFirst())
    }

    private static func harmless(_ text: String) -> String {
        guard text.unicodeScalars.contains(where: { (0x7F..<0xA0).contains($0.value) }) else { return text }
        return text.unicodeScalars.reduce(into: "") { result, scalar in
            if (0x7F..<0xA0).contains(scalar.value) {
                result += "\\u00" + String(scalar.value, radix: 16)
            } else {
                result.unicodeScalars.append(scalar)
            }
        }
    }
}

extension JSONValue {
    fileprivate static func time(_ milliseconds: UInt64) -> JSONValue { .string(Timestamp.text(milliseconds)) }
    fileprivate static func place(_ position: Position) -> JSONValue { .string("\(position)") }
    fileprivate static func names(_ users: [UserID]) -> JSONValue { .array(users.map { .string($0.text) }) }
    fileprivate static func milliseconds(_ duration: Duration) -> JSONValue {
        .number("\(Int(clamping: Int64(duration / .milliseconds(1))))")
    }
    fileprivate static func people(_ members: [RosterMember]) -> JSONValue {
        .array(
            members.map {
                .object(["user": .string($0.user.text), "devices": .array($0.devices.map { .string($0.text) })])
            })
    }
}
