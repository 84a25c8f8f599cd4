import ChatCore
import ChatJSON

extension MartletV1Codec {
    /// Appends the event's JSON text. `viewer` is the only user who will receive it: messages inside lists then hold
    /// the keys of that user's own sends, by which a client that never received `sent` recognises them.
    public func encode(_ event: ServerEvent, viewer: UserID? = nil, into bytes: inout ByteWriter) {
        switch event {
        case .welcome(let welcome): encode(welcome, into: &bytes)
        case .joined(let joined): encode(joined, viewer, into: &bytes)
        case .left(let ref, let room): bytes.begin("left", ref: ref, room: room)
        case .sent(let ref, let room, let position, let at, let repeated):
            bytes.begin("sent", ref: ref, room: room)
            bytes.field(",\"position\":", position)
            bytes.field(",\"at\":", at: at)
            if repeated { bytes.appendText(",\"repeated\":true") }
        case .message(let room, let message, let showKey):
            let isMessage = message.content.isPlain || message.content.amendment == nil
            bytes.begin(isMessage ? "message" : "changed", ref: nil, room: room)
            bytes.append(UInt8(ascii: ","))
            fields(of: message, showKey: showKey, &bytes)
        case .presence(let room, let joined, let left, let count):
            bytes.begin("presence", ref: nil, room: room)
            bytes.field(",\"joined\":", list: joined) { $1.appendJSON($0.text) }
            bytes.field(",\"left\":", list: left) { $1.appendJSON($0.text) }
            bytes.field(",\"count\":", count)
        case .signal(let room, let user, let name, let data):
            bytes.begin("signal", ref: nil, room: room)
            bytes.field(",\"user\":", user.text)
            bytes.field(",\"name\":", name)
            if let data { bytes.field(",\"data\":", raw: data) }
        case .gap(let room, let gap):
            bytes.begin("gap", ref: nil, room: room)
            fields(of: gap, &bytes)
        case .reset(let room, let reset):
            bytes.begin("reset", ref: nil, room: room)
            fields(of: reset, &bytes)
        case .draining(let reconnectAfter):
            bytes.begin("draining", ref: nil, room: nil)
            bytes.appendText(",\"reconnectAfter\":")
            bytes.appendJSON(reconnectAfter)
        case .history(let ref, let room, let page):
            bytes.begin("history", ref: ref, room: room)
            bytes.append(UInt8(ascii: ","))
            fields(of: page, viewer: viewer, into: &bytes)
        case .roster(let ref, let room, let page):
            bytes.begin("roster", ref: ref, room: room)
            bytes.append(UInt8(ascii: ","))
            fields(of: page, into: &bytes)
        case .pong(let ref): bytes.begin("pong", ref: ref, room: nil)
        case .renewed(let ref, let expiresIn):
            bytes.begin("token", ref: ref, room: nil)
            if let expiresIn { bytes.field(",\"expires\":", Int(clamping: expiresIn)) }
        case .expiring(let closesIn):
            bytes.begin("expiring", ref: nil, room: nil)
            bytes.field(",\"closesIn\":", Int(clamping: closesIn))
        case .removed(let room, let removal):
            bytes.begin("left", ref: nil, room: room)
            bytes.field(",\"reason\":", removal.reason.rawValue)
            if let until = removal.until { bytes.field(",\"until\":", at: until) }
            if !removal.text.isEmpty { bytes.field(",\"message\":", removal.text) }
        case .moderated(let ref, let room, let reply):
            bytes.begin("moderated", ref: ref, room: room)
            bytes.append(UInt8(ascii: ","))
            fields(of: reply, into: &bytes)
        case .conversation(let ref, let answer): encode(answer, ref: ref, into: &bytes)
        case .amended(let ref, let room, let reply):
            bytes.begin("amended", ref: ref, room: room)
            bytes.append(UInt8(ascii: ","))
            fields(of: reply, into: &bytes)
        case .rules(let room, let version, let policy):
            bytes.begin("rules", ref: nil, room: room)
            bytes.field(",\"version\":", "\(version)")
            bytes.appendText(",\"rules\":{")
            Self.fields(of: policy, into: &bytes)
            bytes.append(UInt8(ascii: "}"))
        case .sanction(let room, let change):
            bytes.begin("sanction", ref: nil, room: room)
            bytes.field(",\"kind\":", change.operation.rawValue)
            bytes.field(",\"user\":", change.user.text)
            if let sanction = change.sanction { fields(of: sanction, &bytes) }
        case .participants(let room, let changes):
            bytes.begin("participantsChanged", ref: nil, room: room)
            bytes.append(UInt8(ascii: ","))
            Self.fields(of: changes, into: &bytes)
        case .inbox(let event): encode(event, into: &bytes)
        case .error(let ref, let error):
            bytes.begin("error", ref: ref, room: nil)
            bytes.append(UInt8(ascii: ","))
            Self.fields(of: error, into: &bytes)
        }
        bytes.append(UInt8(ascii: "}"))
    }

    /// Appends `"code":…,"name":…,"message":…,"retry":…` without braces, and `"until":…` if a time is known: the form
    /// of an error both on the WebSocket and over HTTP.
    public static func fields(of error: WireError, into bytes: inout ByteWriter) {
        bytes.field("\"code\":", error.code.rawValue)
        bytes.field(",\"name\":", error.code.name)
        bytes.field(",\"message\":", error.message)
        bytes.appendText(error.code.retry ? ",\"retry\":true" : ",\"retry\":false")
        if let until = error.until { bytes.field(",\"until\":", at: until) }
    }

    /// Appends a message as an object without `type` and `room`: its form inside lists.
    func encode(_ message: Message, _ viewer: UserID?, into bytes: inout ByteWriter) {
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
        list(page.messages, viewer, &bytes)
        ends(of: page.messages, &bytes)
        if let newest = page.newest { bytes.field(",\"newest\":", newest) }
        bytes.appendText(page.hasOlder ? ",\"older\":true" : ",\"older\":false")
        bytes.appendText(page.hasNewer ? ",\"newer\":true" : ",\"newer\":false")
    }

    /// The same, with `"gap":{…}` or `"reset":{…}` in front of them.
    public func fields(of arrivals: Arrivals, into bytes: inout ByteWriter) {
        if let gap = arrivals.gap {
            bytes.field("\"gap\":{\"after\":", gap.after)
            bytes.field(",\"before\":", gap.before)
            bytes.appendText("},")
        }
        if let reset = arrivals.reset {
            bytes.field("\"reset\":{\"position\":", reset.position)
            bytes.field(",\"reason\":", reset.reason.rawValue)
            bytes.appendText("},")
        }
        var page = arrivals.page
        changes(in: page.messages, &bytes)
        // Whoever is sent no message goes on from `newest`.
        if let last = page.messages.last, page.messages.allSatisfy({ $0.content.amendment != nil }) {
            page.newest = last.position
        }
        fields(of: page, into: &bytes)
    }

    /// Appends `"version":…,"rules":{…},"sanctions":[…]` without braces, the sanctions by kind and name.
    public func fields(of moderation: RoomModeration, into bytes: inout ByteWriter) {
        bytes.field("\"version\":", "\(moderation.version)")
        bytes.appendText(",\"rules\":{")
        Self.fields(of: moderation.policy, into: &bytes)
        bytes.appendText("},")
        let all = [(Sanction.Kind.ban, moderation.bans), (.mute, moderation.mutes)].flatMap { kind, sanctions in
            sanctions.sorted { $0.key.text < $1.key.text }.map { (kind, $0.key, $0.value) }
        }
        fields(of: all, into: &bytes)
    }

    /// Appends `"sanctions":[…]` without braces.
    public func fields(of sanctions: [(Sanction.Kind, UserID, Sanction)], into bytes: inout ByteWriter) {
        bytes.field("\"sanctions\":", list: sanctions) { entry, bytes in
            bytes.field("{\"kind\":", entry.0.rawValue)
            bytes.field(",\"user\":", entry.1.text)
            fields(of: entry.2, &bytes)
            bytes.field(",\"by\":", entry.2.by)
            bytes.field(",\"at\":", at: entry.2.at)
            bytes.append(UInt8(ascii: "}"))
        }
    }

    private func fields(of sanction: Sanction, _ bytes: inout ByteWriter) {
        if let until = sanction.until { bytes.field(",\"until\":", at: until) }
        bytes.field(",\"reason\":", sanction.reason)
    }

    /// Appends `"slowMode":…,"uniqueFor":…,"posting":…,"frozen":…` without braces.
    static func fields(of policy: RoomPolicy, into bytes: inout ByteWriter) {
        bytes.field("\"slowMode\":", policy.slowMode)
        bytes.field(",\"uniqueFor\":", policy.uniqueFor)
        bytes.field(",\"posting\":", policy.posting.rawValue)
        bytes.appendText(policy.isFrozen ? ",\"frozen\":true" : ",\"frozen\":false")
        if policy.members != .everybody { bytes.field(",\"members\":", policy.members.rawValue) }
    }

    /// Appends `"version":…,"changed":…` without braces.
    public func fields(of reply: ModerationReply, into bytes: inout ByteWriter) {
        bytes.field("\"version\":", "\(reply.version)")
        bytes.appendText(reply.isChanged ? ",\"changed\":true" : ",\"changed\":false")
    }

    func fields(of message: Message, showKey: Bool, _ bytes: inout ByteWriter) {
        let content = message.content
        if !content.isPlain, content.amendment != nil { return fields(ofChange: message, showKey: showKey, &bytes) }
        bytes.field("\"position\":", message.position)
        bytes.field(",\"user\":", content.user.text)
        bytes.field(",\"at\":", at: content.at)
        if let text = content.text { bytes.field(",\"text\":", text) }
        if let data = content.data { bytes.field(",\"data\":", raw: data) }
        if !content.isPlain, let extra = content.extra { fields(of: extra, &bytes) }
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
        bytes.begin("welcome", ref: nil, room: nil)
        bytes.field(",\"session\":", welcome.session)
        bytes.field(",\"user\":", welcome.user.text)
        bytes.field(",\"device\":", welcome.device.text)
        bytes.field(",\"node\":", welcome.node)
        bytes.field(",\"heartbeat\":", welcome.heartbeat)
        if let expiresIn = welcome.expiresIn { bytes.field(",\"expires\":", Int(clamping: expiresIn)) }
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
        bytes.begin("joined", ref: joined.ref, room: joined.room)
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
        bytes.append(UInt8(ascii: ","))
        switch joined.resumption {
        case .fresh, .reset: break
        case .complete, .gap: changes(in: joined.messages, &bytes)
        }
        list(joined.messages, viewer, &bytes)
        ends(of: joined.messages, &bytes)
        if let members = joined.members { fields(of: members, &bytes) }
        bytes.field(",\"count\":", joined.count)
        if let rules = joined.rules {
            bytes.appendText(",\"rules\":{")
            Self.fields(of: rules, into: &bytes)
            bytes.append(UInt8(ascii: "}"))
        }
        if let mute = joined.mute {
            bytes.field(",\"sanction\":{\"kind\":", Sanction.Kind.mute.rawValue)
            fields(of: mute, &bytes)
            bytes.append(UInt8(ascii: "}"))
        }
        if let receipts = joined.receipts { Self.fields(of: receipts, into: &bytes) }
        if let rights = joined.rights { bytes.field(",\"rights\":", list: rights.names) { $1.appendJSON($0) } }
    }
}
