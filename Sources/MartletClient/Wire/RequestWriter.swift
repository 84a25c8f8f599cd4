import ChatCore
import ChatJSON

extension ClientRequest {
    /// Appends the frame's JSON text.
    func write(to bytes: inout ByteWriter) {
        switch body {
        case .join(let room, let after, let history):
            begin("join", room, &bytes)
            bytes.field(",\"after\":", after?.description)
            if let history {
                bytes.appendText(",\"history\":")
                bytes.appendJSON(history)
            }
        case .leave(let room): begin("leave", room, &bytes)
        case .send(let send):
            begin("send", send.room, &bytes)
            bytes.field(",\"text\":", send.text)
            bytes.field(",\"data\":", raw: send.data)
            bytes.field(",\"key\":", send.key)
            if let again = send.again { bytes.appendText(again ? ",\"again\":true" : ",\"again\":false") }
            bytes.field(",\"since\":", send.since?.description)
        case .signal(let room, let name, let data):
            begin("signal", room, &bytes)
            bytes.field(",\"name\":", name)
            bytes.field(",\"data\":", raw: data)
        case .history(let room, let query):
            begin("history", room, &bytes)
            switch query.anchor {
            case .newest: break
            case .before(let position): bytes.field(",\"before\":", position.description)
            case .after(let position): bytes.field(",\"after\":", position.description)
            case .around(let position): bytes.field(",\"around\":", position.description)
            }
            bytes.appendText(",\"limit\":")
            bytes.appendJSON(query.limit)
        case .roster(let room, let cursor):
            begin("roster", room, &bytes)
            bytes.field(",\"cursor\":", cursor)
        case .ping: begin("ping", nil, &bytes)
        }
        bytes.append(UInt8(ascii: "}"))
    }

    private func begin(_ type: StaticString, _ room: RoomName?, _ bytes: inout ByteWriter) {
        bytes.appendText("{\"type\":\"")
        bytes.appendText(type)
        bytes.append(UInt8(ascii: "\""))
        switch ref {
        case .string(let text): bytes.field(",\"ref\":", text)
        case .number(let text): bytes.field(",\"ref\":", raw: text)
        case .own, .page, nil: break
        }
        bytes.field(",\"room\":", room?.text)
    }
}

/// A field consists of its comma, name and colon, which are written as they are, and its value. Nil writes no field.
extension ByteWriter {
    fileprivate mutating func field(_ name: StaticString, _ text: String?) {
        guard let text else { return }
        appendText(name)
        appendJSON(text)
    }

    fileprivate mutating func field(_ name: StaticString, raw text: String?) {
        guard let text else { return }
        appendText(name)
        appendRaw(text)
    }
}
