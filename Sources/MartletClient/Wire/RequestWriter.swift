import ChatCore
import ChatJSON
import ChatWire

extension ClientRequest {
    /// Appends the frame's JSON text.
    func write(to bytes: inout ByteWriter) {
        switch body {
        case .join(let room, let after, let history):
            bytes.begin("join", ref: ref, room: room)
            if let after { bytes.field(",\"after\":", after) }
            if let history { bytes.field(",\"history\":", history) }
        case .leave(let room): bytes.begin("leave", ref: ref, room: room)
        case .send(let send):
            bytes.begin("send", ref: ref, room: send.room)
            if let text = send.text { bytes.field(",\"text\":", text) }
            if let data = send.data { bytes.field(",\"data\":", raw: data) }
            if let key = send.key { bytes.field(",\"key\":", key) }
            if let again = send.again { bytes.appendText(again ? ",\"again\":true" : ",\"again\":false") }
            if let since = send.since { bytes.field(",\"since\":", since) }
        case .signal(let room, let name, let data):
            bytes.begin("signal", ref: ref, room: room)
            bytes.field(",\"name\":", name)
            if let data { bytes.field(",\"data\":", raw: data) }
        case .history(let room, let query):
            bytes.begin("history", ref: ref, room: room)
            switch query.anchor {
            case .newest: break
            case .before(let position): bytes.field(",\"before\":", position)
            case .after(let position): bytes.field(",\"after\":", position)
            case .around(let position): bytes.field(",\"around\":", position)
            }
            bytes.field(",\"limit\":", query.limit)
        case .roster(let room, let cursor):
            bytes.begin("roster", ref: ref, room: room)
            if let cursor { bytes.field(",\"cursor\":", cursor) }
        case .ping: bytes.begin("ping", ref: ref, room: nil)
        case .moderate(let room, let moderation):
            bytes.begin("moderate", ref: ref, room: room)
            let order = ModerationOrder(moderation)
            bytes.field(",\"operation\":", order.operation)
            if let user = order.user { bytes.field(",\"user\":", user) }
            if let value = order.value { bytes.field(",\"value\":", value) }
            if let time = order.time { bytes.field(",\"time\":", time) }
            if let reason = order.reason { bytes.field(",\"reason\":", reason) }
        case .conversation(.participants(let room)): bytes.begin("participants", ref: ref, room: room)
        case .conversation(let order):
            let words = ConversationWords(order)
            bytes.begin("conversation", ref: ref, room: nil)
            bytes.field(",\"operation\":", words.operation)
            if let room = words.room { bytes.field(",\"room\":", room) }
            if let user = words.user { bytes.field(",\"user\":", user) }
            if let users = words.users { bytes.field(",\"users\":", list: users) { $1.appendJSON($0) } }
            if let role = words.role { bytes.field(",\"role\":", role) }
            if let level = words.level { bytes.field(",\"level\":", level) }
        case .token(let token):
            bytes.begin("token", ref: ref, room: nil)
            bytes.field(",\"token\":", token)
        }
        bytes.append(UInt8(ascii: "}"))
    }
}
