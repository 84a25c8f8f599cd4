import ChatCore
import ChatJSON
import Synchronization

/// Writes MESSAGE frames. What comes first depends on the subscription (``prefix(subscription:destination:_:)``); all
/// that follows is the same for all members of the room.
enum StompMessage {
    /// The command, and the headers that depend on the subscription. A subscription of 1.0 may have no identifier.
    static func prefix(subscription: String?, destination: String, _ version: StompVersion) -> [UInt8] {
        var bytes = ByteWriter(capacity: 128)
        bytes.appendText("MESSAGE\n")
        if let subscription { bytes.stompHeader("subscription", subscription, version) }
        bytes.stompHeader("destination", destination, version)
        return bytes.array
    }

    /// Everything behind the prefix.
    static func append(
        _ message: Message, showKey: Bool, ack: String? = nil, layout: StompLayout = .plain, in room: RoomName,
        isTextOnly: Bool = false, _ version: StompVersion, to bytes: inout ByteWriter
    ) {
        if !message.content.isPlain, message.content.amendment != nil {
            return append(change: message, ack: ack, showKey: showKey, version, to: &bytes)
        }
        var shown = StompContent.shown(message.content)
        bytes.stompHeader("message-id", message.position)
        if let ack { bytes.stompHeader("ack", plain: ack) }
        bytes.stompHeader("user", message.content.user.text, version)
        bytes.appendText("at:")
        Timestamp.append(message.content.at, to: &bytes)
        bytes.append(0x0A)
        bytes.stompHeader("position", message.position)
        if showKey, let key = message.content.clientKey { bytes.stompHeader("martlet-key", key, version) }
        if case .object = layout, !shown.isObject, !shown.isBinary {
            shown.body = object(message, shown.body, in: room)
            shown.type = StompContent.jsonType
        }
        if shown.isBinary, isTextOnly {
            shown.body = Array(Base64.encodePadded(shown.body).utf8)
            bytes.appendText("content-encoding:base64\n")
        }
        bytes.stompHeader("content-type", shown.type, version)
        if let data = shown.data { bytes.stompHeader("data", data, version) }
        for header in shown.headers { bytes.stompHeader(header, version) }
        shown.body.withUnsafeBytes { bytes.stompBody($0) }
    }

    /// What became of an earlier message, as an event of the room at the position of the amendment.
    private static func append(
        change: Message, ack: String?, showKey: Bool, _ version: StompVersion, to bytes: inout ByteWriter
    ) {
        if let ack { bytes.stompHeader("ack", plain: ack) }
        bytes.stompHeader("position", change.position)
        event("changed", id: change.position.description, version, to: &bytes) { body in
            body.append(UInt8(ascii: "{"))
            MartletV1Codec(limits: Limits()).fields(ofChange: change, showKey: showKey, &body)
            body.append(UInt8(ascii: "}"))
        }
    }

    /// Whether a connection of 1.1 has to have the message in words of its own: 1.1 cannot escape a carriage return.
    static func mayDiffer(_ message: Message) -> Bool {
        message.content.data?.hasPrefix(StompContent.mark) ?? false
    }

    static func isBinary(_ message: Message) -> Bool {
        message.content.data?.hasPrefix(StompContent.binaryMark) ?? false
    }

    /// A message as the pages of tutorials expect it.
    private static func object(_ message: Message, _ text: [UInt8], in room: RoomName) -> [UInt8] {
        var bytes = ByteWriter()
        bytes.appendText("{\"type\":\"TALK\"")
        bytes.field(",\"roomId\":", room.text)
        bytes.field(",\"sender\":", message.content.user.text)
        bytes.field(",\"message\":", String(decoding: text, as: UTF8.self))
        bytes.append(UInt8(ascii: "}"))
        return bytes.array
    }

    /// What a room has to say that is no message: a MESSAGE with the header `martlet-event` and a JSON body.
    static func event(
        _ name: StaticString, id: String, _ version: StompVersion, to bytes: inout ByteWriter,
        _ write: (inout ByteWriter) -> Void
    ) {
        var body = ByteWriter()
        write(&body)
        bytes.stompHeader("message-id", plain: id)
        bytes.stompHeader("martlet-event", plain: name.description)
        bytes.stompHeader("content-type", plain: StompContent.jsonType)
        body.withBytes { bytes.stompBody($0) }
    }
}

/// Prefixes by their bytes: most members of a room name their subscription alike, and sessions with the same object
/// share the joined bytes. Entries of connections that have gone are removed when the table is full.
final class StompPrefixes: Sendable {
    private struct Entry {
        weak var prefix: FramePrefix?
    }

    private static let most = 4_096
    private let entries = Mutex<[[UInt8]: Entry]>([:])

    func prefix(_ bytes: [UInt8]) -> FramePrefix {
        entries.withLock { entries in
            if let known = entries[bytes]?.prefix { return known }
            let prefix = FramePrefix(bytes)
            if entries.count >= Self.most { entries = entries.filter { $0.value.prefix != nil } }
            if entries.count < Self.most { entries[bytes] = Entry(prefix: prefix) }
            return prefix
        }
    }
}

/// The last message that was put into an object: members of a room who need that form get copies of it.
final class StompObjects: Sendable {
    private struct Last {
        var room: RoomName
        var message: Message
        var showKey: Bool
        var version: StompVersion
        var bytes: [UInt8]
    }

    private let last = Mutex<Last?>(nil)

    func bytes(
        of message: Message, showKey: Bool, in room: RoomName, _ version: StompVersion
    ) -> [UInt8] {
        last.withLock { last in
            if let last, last.message.position == message.position, last.room == room, last.showKey == showKey,
                last.version == version
            {
                return last.bytes
            }
            var bytes = ByteWriter()
            StompMessage.append(message, showKey: showKey, layout: .object, in: room, version, to: &bytes)
            last = Last(room: room, message: message, showKey: showKey, version: version, bytes: bytes.array)
            return last?.bytes ?? []
        }
    }
}
