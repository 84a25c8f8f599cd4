import ChatCore
import ChatJSON
import ChatWire

extension InboxRequest {
    /// Appends the frame's JSON text, without the closing brace.
    func write(ref: Ref?, to bytes: inout ByteWriter) {
        switch self {
        case .read(let room, let position):
            bytes.begin("read", ref: ref, room: room)
            bytes.field(",\"position\":", position)
        case .list(let limit, let cursor):
            bytes.begin("inbox", ref: ref, room: nil)
            bytes.field(",\"limit\":", limit)
            if let cursor { bytes.field(",\"cursor\":", cursor.text) }
        case .watch(let rooms):
            bytes.begin("watch", ref: ref, room: nil)
            bytes.field(",\"rooms\":", list: rooms) { $1.appendJSON($0.text) }
        case .unwatch(let rooms):
            bytes.begin("unwatch", ref: ref, room: nil)
            bytes.field(",\"rooms\":", list: rooms) { $1.appendJSON($0.text) }
        case .online(let users):
            bytes.begin("online", ref: ref, room: nil)
            bytes.field(",\"users\":", list: users) { $1.appendJSON($0.text) }
        case .showLastSeen(let isShown):
            bytes.begin("lastSeen", ref: ref, room: nil)
            if let isShown { bytes.field(",\"shown\":", isShown) }
        }
    }
}
