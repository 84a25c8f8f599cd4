import ChatCore
import ChatJSON

/// Conversations in martlet.v1 and over HTTP.
extension MartletV1Codec {
    func conversation(_ fields: RequestFields) throws(WireError) -> ConversationOrder {
        var words = ConversationWords(try fields.needString(.operation))
        words.room = try fields.string(.room)
        words.user = try fields.string(.user)
        words.users = try fields.strings(.users, most: ConversationRequest.mostUsers)
        words.kind = try fields.string(.kind)
        words.role = try fields.string(.role)
        words.level = try fields.string(.level)
        return try words.order()
    }

    func stars(_ fields: RequestFields) throws(WireError) -> ConversationOrder {
        let limit = try fields.integer(.limit, in: 1...Self.mostStars) ?? Self.mostStars
        return .stars(limit: limit, before: try Self.before(try fields.string(.cursor, maxBytes: Self.maxCursorBytes)))
    }

    /// Stars in one answer.
    public static let mostStars = 100

    /// The time that a cursor says. Throws `badField` for a cursor that no page had.
    public static func before(_ cursor: String?) throws(WireError) -> UInt64? {
        guard let cursor else { return nil }
        guard let time = UInt64(cursor), PositionBounds.holds(time) else {
            throw WireError(.badField, "cursor is none that a page had")
        }
        return time
    }

    /// The type of the event, and of the JSON object.
    static func type(of answer: ConversationAnswer) -> StaticString {
        switch answer {
        case .done: "conversation"
        case .participants: "participants"
        case .blocked: "blocked"
        case .starred: "starred"
        case .stars: "stars"
        }
    }

    func encode(_ answer: ConversationAnswer, ref: Ref?, into bytes: inout ByteWriter) {
        bytes.begin(Self.type(of: answer), ref: ref, room: answer.room)
        bytes.append(UInt8(ascii: ","))
        fields(of: answer, into: &bytes)
    }

    /// Appends `"changes":[…]` without braces, and `"hasMore":true` if these are not all.
    static func fields(of changes: ParticipantChanges, into bytes: inout ByteWriter) {
        bytes.field("\"changes\":", list: changes.changes) { change, bytes in
            bytes.field("{\"user\":", change.user.text)
            if let role = change.role {
                bytes.field(",\"role\":", role.rawValue)
            } else {
                bytes.appendText(",\"left\":true")
            }
            if change.isNew { bytes.appendText(",\"joined\":true") }
            bytes.append(UInt8(ascii: "}"))
        }
        if changes.hasMore { bytes.appendText(",\"hasMore\":true") }
    }

    /// Appends the fields of an answer behind `room`, if it has one, without braces: `"kind":…,"changed":…`,
    /// `"kind":…,"participants":[…]`, `"users":[…]`, `"position":…,"starred":…` or
    /// `"stars":[…],"cursor":…`.
    public func fields(of answer: ConversationAnswer, into bytes: inout ByteWriter) {
        switch answer {
        case .done(_, let kind, let isChanged):
            if let kind {
                bytes.field("\"kind\":", kind.rawValue)
                bytes.append(UInt8(ascii: ","))
            }
            bytes.appendText(isChanged ? "\"changed\":true" : "\"changed\":false")
        case .participants(_, let list, let viewer):
            if let list {
                bytes.field("\"kind\":", list.kind.rawValue)
                bytes.append(UInt8(ascii: ","))
            }
            let all = (list?.participants ?? [:]).sorted { $0.key.text < $1.key.text }
            bytes.field("\"participants\":", list: all) { entry, bytes in
                let (user, participant) = entry
                bytes.field("{\"user\":", user.text)
                bytes.field(",\"role\":", participant.role.rawValue)
                bytes.field(",\"since\":", at: participant.since)
                if user == viewer { bytes.field(",\"notify\":", participant.notify.rawValue) }
                if let mark = list?.reads[user] { bytes.field(",\"read\":", mark.position) }
                bytes.append(UInt8(ascii: "}"))
            }
        case .blocked(let users):
            bytes.field("\"users\":", list: users) { $1.appendJSON($0.text) }
        case .starred(_, let position, let isStarred):
            bytes.field("\"position\":", position)
            bytes.appendText(isStarred ? ",\"starred\":true" : ",\"starred\":false")
        case .stars(let stars, let before):
            bytes.field("\"stars\":", list: stars) { star, bytes in
                bytes.field("{\"room\":", star.room.text)
                bytes.field(",\"position\":", star.position)
                bytes.field(",\"user\":", star.user.text)
                bytes.field(",\"at\":", at: star.at)
                if let text = star.text { bytes.field(",\"text\":", text) }
                if let data = star.data { bytes.field(",\"data\":", raw: data) }
                bytes.field(",\"starred\":", at: star.starred)
                bytes.append(UInt8(ascii: "}"))
            }
            if let before { bytes.field(",\"cursor\":", String(before)) }
        }
    }
}

extension ConversationAnswer {
    /// The room that the answer is about.
    public var room: RoomName? {
        switch self {
        case .done(let room, _, _), .participants(let room, _, _), .starred(let room, _, _): room
        case .blocked, .stars: nil
        }
    }
}
