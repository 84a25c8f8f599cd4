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
            if let thread = send.extra?.thread { bytes.field(",\"thread\":", thread) }
            if let mentions = send.extra?.mentions, !mentions.isEmpty {
                bytes.field(",\"mentions\":", list: mentions) { $1.appendJSON($0.text) }
            }
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
            case .time(let time): bytes.field(",\"time\":", time)
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
        case .conversation(.star(let room, let position)):
            bytes.begin("star", ref: ref, room: room)
            bytes.field(",\"position\":", position)
        case .conversation(.unstar(let room, let position)):
            bytes.begin("unstar", ref: ref, room: room)
            bytes.field(",\"position\":", position)
        case .conversation(.stars(let limit, let before)):
            bytes.begin("stars", ref: ref, room: nil)
            bytes.field(",\"limit\":", limit)
            if let before { bytes.field(",\"cursor\":", String(before)) }
        case .conversation(let order):
            let words = ConversationWords(order)
            bytes.begin("conversation", ref: ref, room: nil)
            bytes.field(",\"operation\":", words.operation)
            if let room = words.room { bytes.field(",\"room\":", room) }
            if let user = words.user { bytes.field(",\"user\":", user) }
            if let users = words.users { bytes.field(",\"users\":", list: users) { $1.appendJSON($0) } }
            if let role = words.role { bytes.field(",\"role\":", role) }
            if let level = words.level { bytes.field(",\"level\":", level) }
        case .amend(let amend):
            bytes.begin("amend", ref: ref, room: amend.room)
            bytes.field(",\"operation\":", amend.operation.name)
            if let of = amend.operation.of { bytes.field(",\"of\":", of) }
            switch amend.operation {
            case .edit(_, let text, let data):
                if let text { bytes.field(",\"text\":", text) }
                if let data { bytes.field(",\"data\":", raw: data) }
            case .react(_, let emoji), .unreact(_, let emoji): bytes.field(",\"reaction\":", emoji)
            case .deleteUser(let user, _): bytes.field(",\"user\":", user.text)
            case .deleteRange(_, let to): bytes.field(",\"to\":", to)
            case .report(_, let reason): bytes.field(",\"reason\":", reason)
            case .delete, .pin, .unpin: break
            }
            if let key = amend.key { bytes.field(",\"key\":", key) }
        case .inbox(let inbox): inbox.write(ref: ref, to: &bytes)
        case .token(let token):
            bytes.begin("token", ref: ref, room: nil)
            bytes.field(",\"token\":", token)
        }
        bytes.append(UInt8(ascii: "}"))
    }
}
