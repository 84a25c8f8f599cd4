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

    /// The type of the event, and of the JSON object.
    static func type(of answer: ConversationAnswer) -> StaticString {
        switch answer {
        case .done: "conversation"
        case .participants: "participants"
        case .blocked: "blocked"
        }
    }

    func encode(_ answer: ConversationAnswer, ref: Ref?, into bytes: inout ByteWriter) {
        bytes.begin(Self.type(of: answer), ref: ref, room: answer.room)
        bytes.append(UInt8(ascii: ","))
        fields(of: answer, into: &bytes)
    }

    /// Appends the fields of an answer behind `room`, if it has one, without braces: `"kind":…,"changed":…`,
    /// `"kind":…,"participants":[…]` or `"users":[…]`.
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
        }
    }
}

extension ConversationAnswer {
    /// The room that the answer is about.
    public var room: RoomName? {
        switch self {
        case .done(let room, _, _), .participants(let room, _, _): room
        case .blocked: nil
        }
    }
}
