import ChatCore
import ChatJSON

extension MartletV1Codec {
    /// Appends the event's JSON text. `viewer` is the only user who will receive it: messages inside lists then hold
    /// the keys of that user's own sends, by which a client that never received `sent` recognises them.
    public func encode(_ event: ServerEvent, viewer: UserID? = nil, into bytes: inout ByteWriter) {
        switch event {
        case .welcome(let welcome): encode(welcome, into: &bytes)
        case .joined(let joined): encode(joined, viewer, into: &bytes)
        case .left(let ref, let room): begin("left", ref, room, &bytes)
        case .sent(let ref, let room, let position, let at, let repeated):
            begin("sent", ref, room, &bytes)
            bytes.field(",\"position\":", position)
            bytes.field(",\"at\":", at: at)
            if repeated { bytes.appendText(",\"repeated\":true") }
        case .message(let room, let message, let showKey):
            begin("message", nil, room, &bytes)
            bytes.append(UInt8(ascii: ","))
            fields(of: message, showKey: showKey, &bytes)
        case .presence(let room, let joined, let left, let count):
            begin("presence", nil, room, &bytes)
            bytes.field(",\"joined\":", list: joined) { $1.appendJSON($0.text) }
            bytes.field(",\"left\":", list: left) { $1.appendJSON($0.text) }
            bytes.field(",\"count\":", count)
        case .signal(let room, let user, let name, let data):
            begin("signal", nil, room, &bytes)
            bytes.field(",\"user\":", user.text)
            bytes.field(",\"name\":", name)
            if let data { bytes.field(",\"data\":", raw: data) }
        case .gap(let room, let gap):
            begin("gap", nil, room, &bytes)
            fields(of: gap, &bytes)
        case .reset(let room, let reset):
            begin("reset", nil, room, &bytes)
            fields(of: reset, &bytes)
        case .draining(let reconnectAfter):
            begin("draining", nil, nil, &bytes)
            bytes.appendText(",\"reconnectAfter\":")
            bytes.appendJSON(reconnectAfter)
        case .history(let ref, let room, let page):
            begin("history", ref, room, &bytes)
            bytes.append(UInt8(ascii: ","))
            fields(of: page, viewer: viewer, into: &bytes)
        case .roster(let ref, let room, let page):
            begin("roster", ref, room, &bytes)
            bytes.append(UInt8(ascii: ","))
            fields(of: page, into: &bytes)
        case .pong(let ref): begin("pong", ref, nil, &bytes)
        case .error(let ref, let error):
            begin("error", ref, nil, &bytes)
            bytes.append(UInt8(ascii: ","))
            Self.fields(of: error, into: &bytes)
        }
        bytes.append(UInt8(ascii: "}"))
    }

    /// Appends `"code":…,"name":…,"message":…,"retry":…` without braces: the form of an error both on the
    /// WebSocket and over HTTP.
    public static func fields(of error: WireError, into bytes: inout ByteWriter) {
        bytes.field("\"code\":", error.code.rawValue)
        bytes.field(",\"name\":", error.code.name)
        bytes.field(",\"message\":", error.message)
        bytes.appendText(error.code.retry ? ",\"retry\":true" : ",\"retry\":false")
    }

    /// Appends a message as an object without `type` and `room`: its form inside lists.
    private func encode(_ message: Message, _ viewer: UserID?, into bytes: inout ByteWriter) {
        bytes.append(UInt8(ascii: "{"))
        fields(of: message, showKey: message.content.user == viewer, &bytes)
        bytes.append(UInt8(ascii: "}"))
    }

    /// Appends `"roster":[…],"count":…,"cursor":…` without braces.
    public func fields(of page: RosterPage, into bytes: inout ByteWriter) {
        bytes.field("\"roster\":", list: page.members) { member, bytes in Self.encode(member, &bytes) }
        bytes.field(",\"count\":", page.count)
        if let cursor = page.cursor { bytes.field(",\"cursor\":", cursor) }
    }

    /// Appends `"messages":[…],…` without braces. `viewer`: as for an event.
    public func fields(of page: HistoryPage, viewer: UserID? = nil, into bytes: inout ByteWriter) {
        bytes.field("\"messages\":", list: page.messages) { message, bytes in encode(message, viewer, into: &bytes) }
        if let newest = page.newest { bytes.field(",\"newest\":", newest) }
        bytes.appendText(page.hasOlder ? ",\"older\":true" : ",\"older\":false")
        bytes.appendText(page.hasNewer ? ",\"newer\":true" : ",\"newer\":false")
    }

    private func begin(_ type: StaticString, _ ref: Ref?, _ room: RoomName?, _ bytes: inout ByteWriter) {
        bytes.appendText("{\"type\":\"")
        bytes.appendText(type)
        bytes.append(UInt8(ascii: "\""))
        switch ref {
        case .string(let text): bytes.field(",\"ref\":", text)
        case .number(let text): bytes.field(",\"ref\":", raw: text)
        case .own, .page, nil: break
        }
        if let room { bytes.field(",\"room\":", room.text) }
    }

    private func fields(of message: Message, showKey: Bool, _ bytes: inout ByteWriter) {
        let content = message.content
        bytes.field("\"position\":", message.position)
        bytes.field(",\"user\":", content.user.text)
        bytes.field(",\"at\":", at: content.at)
        if let text = content.text { bytes.field(",\"text\":", text) }
        if let data = content.data { bytes.field(",\"data\":", raw: data) }
        if showKey, let key = content.clientKey { bytes.field(",\"key\":", key) }
    }

    private func fields(of gap: Gap, _ bytes: inout ByteWriter) {
        bytes.field(",\"after\":", gap.after)
        bytes.field(",\"before\":", gap.before)
    }

    private func fields(of reset: Reset, _ bytes: inout ByteWriter) {
        bytes.field(",\"position\":", reset.position)
        bytes.field(",\"reason\":", reset.reason.rawValue)
    }

    private func fields(of members: [RosterMember], _ bytes: inout ByteWriter) {
        bytes.field(",\"roster\":", list: members) { member, bytes in Self.encode(member, &bytes) }
    }

    private static func encode(_ member: RosterMember, _ bytes: inout ByteWriter) {
        bytes.field("{\"user\":", member.user.text)
        bytes.field(",\"devices\":", list: member.devices) { $1.appendJSON($0.text) }
        bytes.append(UInt8(ascii: "}"))
    }

    private func encode(_ welcome: Welcome, into bytes: inout ByteWriter) {
        begin("welcome", nil, nil, &bytes)
        bytes.field(",\"session\":", welcome.session)
        bytes.field(",\"user\":", welcome.user.text)
        bytes.field(",\"device\":", welcome.device.text)
        bytes.field(",\"node\":", welcome.node)
        bytes.field(",\"heartbeat\":", welcome.heartbeat)
        let limits = welcome.limits
        bytes.field(",\"limits\":{\"frameBytes\":", limits.frameBytes)
        bytes.field(",\"roomsPerSession\":", limits.roomsPerSession)
        bytes.field(",\"requestsPerSecond\":", limits.requestsPerSecond)
        bytes.field(",\"requestBurst\":", limits.requestBurst)
        bytes.field(",\"waitingSendsPerSession\":", limits.waitingSendsPerSession)
        bytes.field(",\"outboundBytes\":", limits.outboundBytes)
        bytes.field(",\"historyPage\":", limits.historyPage)
        bytes.field(",\"rosterPage\":", limits.rosterPage)
        bytes.field(",\"badFramesPerMinute\":", limits.badFramesPerMinute)
        bytes.append(UInt8(ascii: "}"))
    }

    private func encode(_ joined: Joined, _ viewer: UserID?, into bytes: inout ByteWriter) {
        begin("joined", joined.ref, joined.room, &bytes)
        bytes.field(",\"position\":", joined.position)
        switch joined.resumption {
        case .fresh: break
        case .complete: bytes.appendText(",\"resumed\":true")
        case .gap(let gap):
            bytes.appendText(",\"resumed\":false,\"gap\":{")
            bytes.field("\"after\":", gap.after)
            bytes.field(",\"before\":", gap.before)
            bytes.append(UInt8(ascii: "}"))
        case .reset(let reset):
            bytes.appendText(",\"resumed\":false,\"reset\":{")
            bytes.field("\"position\":", reset.position)
            bytes.field(",\"reason\":", reset.reason.rawValue)
            bytes.append(UInt8(ascii: "}"))
        }
        bytes.field(",\"messages\":", list: joined.messages) { message, bytes in encode(message, viewer, into: &bytes) }
        if let members = joined.members { fields(of: members, &bytes) }
        bytes.field(",\"count\":", joined.count)
    }
}

/// A field is written as its comma, name and colon, which are literal text, and its value.
extension ByteWriter {
    fileprivate mutating func field(_ name: StaticString, _ text: String) {
        appendText(name)
        appendJSON(text)
    }

    fileprivate mutating func field(_ name: StaticString, raw text: String) {
        appendText(name)
        appendRaw(text)
    }

    fileprivate mutating func field(_ name: StaticString, _ number: Int) {
        appendText(name)
        appendJSON(number)
    }

    fileprivate mutating func field(_ name: StaticString, at milliseconds: UInt64) {
        appendText(name)
        append(UInt8(ascii: "\""))
        Timestamp.append(milliseconds, to: &self)
        append(UInt8(ascii: "\""))
    }

    fileprivate mutating func field(_ name: StaticString, _ position: Position) {
        appendText(name)
        append(UInt8(ascii: "\""))
        appendJSON(position.epoch)
        append(UInt8(ascii: "-"))
        appendJSON(position.seq)
        append(UInt8(ascii: "\""))
    }

    fileprivate mutating func field<Item>(
        _ name: StaticString, list: [Item], _ body: (Item, inout ByteWriter) -> Void
    ) {
        appendText(name)
        append(UInt8(ascii: "["))
        for (index, element) in list.enumerated() {
            if index > 0 { append(UInt8(ascii: ",")) }
            body(element, &self)
        }
        append(UInt8(ascii: "]"))
    }
}
