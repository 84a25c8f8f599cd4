import ChatCore
import ChatJSON

/// The requests and events about a user's conversations.
extension MartletV1Codec {
    func inbox(_ type: String, _ fields: RequestFields) throws(WireError) -> InboxRequest {
        switch type {
        case "read":
            guard let position = try fields.position(.position) else { throw fields.missing(.position) }
            return .read(room: try fields.room(), position: position)
        case "inbox":
            let most = InboxRequest.mostConversations
            let cursor = try fields.string(.cursor, maxBytes: InboxRequest.maxCursorBytes)
            return .list(
                limit: try fields.integer(.limit, in: 1...most) ?? most,
                cursor: try cursor.map { (text) throws(WireError) in try Self.inboxCursor(text) })
        case "online": return .online(try users(fields))
        case "lastSeen": return .showLastSeen(try fields.bool(.shown))
        case "unwatch": return .unwatch(try rooms(fields))
        default: return .watch(try rooms(fields))
        }
    }

    /// The cursor of an inbox.
    public static func inboxCursor(_ text: String) throws(WireError) -> InboxCursor {
        guard let cursor = InboxCursor(text) else {
            throw WireError(.badField, "cursor is none that an inbox gave")
        }
        return cursor
    }

    private func rooms(_ fields: RequestFields) throws(WireError) -> [RoomName] {
        var rooms: [RoomName] = []
        for text in try names(.rooms, fields) {
            do throws(NameError) {
                rooms.append(try RoomName(text))
            } catch {
                throw WireError(.badName, error.description)
            }
        }
        return rooms
    }

    private func users(_ fields: RequestFields) throws(WireError) -> [UserID] {
        var users: [UserID] = []
        for text in try names(.users, fields) {
            do throws(NameError) {
                users.append(try UserID(text))
            } catch {
                throw WireError(.badName, error.description)
            }
        }
        return users
    }

    private func names(_ name: RequestFields.Name, _ fields: RequestFields) throws(WireError) -> [String] {
        guard let texts = try fields.strings(name, most: InboxRequest.mostNames) else { throw fields.missing(name) }
        guard !texts.isEmpty else { throw WireError(.badField, "\(name.text) is empty") }
        return texts
    }

    // MARK: events

    func encode(_ event: InboxEvent, into bytes: inout ByteWriter) {
        switch event {
        case .read(let ref, let room, let position):
            bytes.begin("read", ref: ref, room: room)
            bytes.field(",\"position\":", position)
        case .page(let ref, let page):
            bytes.begin("inbox", ref: ref, room: nil)
            bytes.append(UInt8(ascii: ","))
            fields(of: page, into: &bytes)
        case .watching(let ref, let rooms):
            bytes.begin("watching", ref: ref, room: nil)
            bytes.field(",\"rooms\":", list: rooms) { $1.appendJSON($0.text) }
        case .head(let head):
            bytes.begin("head", ref: nil, room: head.room)
            if let last = head.last {
                bytes.append(UInt8(ascii: ","))
                Self.fields(of: last, into: &bytes)
            }
            if let unread = head.unread { bytes.field(",\"unread\":", unread) }
        case .receipts(let room, let reads):
            bytes.begin("receipts", ref: nil, room: room)
            Self.field(",\"reads\":{", reads, into: &bytes)
        case .online(let ref, let users):
            bytes.begin("online", ref: ref, room: nil)
            bytes.append(UInt8(ascii: ","))
            Self.fields(of: users, into: &bytes)
        case .lastSeen(let ref, let isShown):
            bytes.begin("lastSeen", ref: ref, room: nil)
            bytes.field(",\"shown\":", isShown)
        case .notice(let notice): encode(notice, into: &bytes)
        }
    }

    private func encode(_ notice: UserNotice, into bytes: inout ByteWriter) {
        bytes.begin("notice", ref: nil, room: notice.room)
        bytes.field(",\"kind\":", notice.kind.rawValue)
        if let conversation = notice.conversation { bytes.field(",\"conversation\":", conversation.rawValue) }
        if let position = notice.position { bytes.field(",\"position\":", position) }
        if let unread = notice.unread { bytes.field(",\"unread\":", unread) }
        if let by = notice.by { bytes.field(",\"by\":", by) }
    }

    /// Appends `"online":[…]` without braces, and `"seen":{…}` if that of anybody may be seen.
    public static func fields(of users: OnlineUsers, into bytes: inout ByteWriter) {
        bytes.field("\"online\":", list: users.online) { $1.appendJSON($0.text) }
        guard !users.seen.isEmpty else { return }
        bytes.appendText(",\"seen\":{")
        for (index, (user, at)) in users.seen.sorted(by: { $0.key.text < $1.key.text }).enumerated() {
            if index > 0 { bytes.append(UInt8(ascii: ",")) }
            bytes.appendJSON(user.text)
            bytes.field(":", at: at)
        }
        bytes.append(UInt8(ascii: "}"))
    }

    /// Appends `"conversations":[…],"cursor":…,"more":…` without braces.
    public func fields(of page: InboxPage, into bytes: inout ByteWriter) {
        bytes.field("\"conversations\":", list: page.conversations) { Self.encode($0, into: &$1) }
        bytes.field(",\"cursor\":", page.cursor.text)
        bytes.appendText(page.hasMore ? ",\"more\":true" : ",\"more\":false")
    }

    private static func encode(_ conversation: InboxConversation, into bytes: inout ByteWriter) {
        let head = conversation.head
        bytes.field("{\"room\":", conversation.room.text)
        bytes.field(",\"kind\":", head.kind.rawValue)
        if let other = head.other { bytes.field(",\"users\":", list: [other]) { $1.appendJSON($0.text) } }
        bytes.field(",\"role\":", head.participant.role.rawValue)
        bytes.field(",\"notify\":", head.participant.notify.rawValue)
        if let last = head.last {
            bytes.appendText(",\"last\":{")
            fields(of: last, into: &bytes)
            bytes.append(UInt8(ascii: "}"))
        }
        bytes.field(",\"unread\":", head.unread)
        if let mark = head.mark, mark.position.seq > 0 { bytes.field(",\"read\":", mark.position) }
        bytes.append(UInt8(ascii: "}"))
    }

    private static func fields(of last: MessagePreview, into bytes: inout ByteWriter) {
        bytes.field("\"position\":", last.position)
        bytes.field(",\"user\":", last.user.text)
        bytes.field(",\"at\":", at: last.at)
        if let text = last.text { bytes.field(",\"text\":", text) }
    }

    static func fields(of receipts: JoinedReceipts, into bytes: inout ByteWriter) {
        if let reads = receipts.reads { field(",\"reads\":{", reads, into: &bytes) }
        guard let own = receipts.own else { return }
        if let read = own.read { bytes.field(",\"read\":", read) }
        bytes.field(",\"unread\":", own.unread)
    }

    /// Users in the order of their names.
    private static func field(_ name: StaticString, _ reads: [UserID: Position], into bytes: inout ByteWriter) {
        bytes.appendText(name)
        for (index, (user, position)) in reads.sorted(by: { $0.key.text < $1.key.text }).enumerated() {
            if index > 0 { bytes.append(UInt8(ascii: ",")) }
            bytes.appendJSON(user.text)
            bytes.field(":", position)
        }
        bytes.append(UInt8(ascii: "}"))
    }
}
