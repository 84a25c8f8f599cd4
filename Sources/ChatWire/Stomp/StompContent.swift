import ChatCore
import ChatJSON

/// The content of a message, as the two sides of a room store and show it.
///
/// What a SEND has becomes a message that all protocols can show: a body of text is `text`; a body that is a JSON
/// object is `data`, and its `message`, `content` or `text` is also `text`. Everything else that has to come back
/// (other headers, a content type, a body that is not UTF-8) is in `data` under the one member `stomp`:
///
///     {"stomp":{"base64":…, "type":…, "headers":{…}, "body":…}}
///
/// `base64`: the body, if it is not UTF-8. `type`: the content type. `body`: the body, if it is a JSON object. Without
/// `base64` and `body`, the body is `text`.
struct StompContent: Sendable, Hashable {
    var text: String?
    var data: String?

    /// Headers of a SEND that say what to do with it, or that MESSAGE has of its own.
    private static let ours: Set<String> = [
        "destination", "content-length", "content-type", "receipt", "transaction", "subscription", "ack", "user", "at",
        "position", "data", "martlet-key", "martlet-again", "martlet-event",
    ]

    // MARK: from a SEND

    init(text: String?, data: String?) {
        self.text = text
        self.data = data
    }

    /// Reads a SEND. `object`: the body, if it is a JSON object.
    init(_ frame: StompFrame, object: StompObject?) {
        let headers = Self.headers(of: frame)
        let type = frame["content-type"]
        if let object {
            text = object.shownText
            let isPlain = headers.isEmpty && type.map(Self.isJSON) ?? true
            data = isPlain ? object.json : Self.envelope(type: type, headers: headers, body: object.json)
        } else if let body = String(validating: frame.body, as: UTF8.self) {
            text = body.isEmpty ? nil : body
            let isPlain = headers.isEmpty && type.map { $0 == Self.plainType } ?? true && !body.isEmpty
            data = isPlain ? nil : Self.envelope(type: type, headers: headers)
        } else {
            text = nil
            data = Self.envelope(base64: frame.body, type: type, headers: headers)
        }
    }

    /// The bytes that the message takes.
    var byteCount: Int { (text?.utf8.count ?? 0) + (data?.utf8.count ?? 0) }

    private static func headers(of frame: StompFrame) -> [StompFrame.Header] {
        var seen: Set<String> = []
        return frame.headers.filter { !ours.contains($0.name) && seen.insert($0.name).inserted }
    }

    static func isJSON(_ type: String) -> Bool {
        type == "application/json" || type.hasPrefix("application/json;")
    }

    static let plainType = "text/plain"
    static let jsonType = "application/json"
    /// How the data of a message begins that holds what STOMP needs.
    static let mark = "{\"stomp\":{"
    /// The same, if the body is not UTF-8.
    static let binaryMark = "{\"stomp\":{\"base64\":"

    private static func envelope(
        base64: [UInt8]? = nil, type: String?, headers: [StompFrame.Header], body: String? = nil
    ) -> String {
        var bytes = ByteWriter(capacity: 128)
        var isFirst = true
        func next(_ name: StaticString, _ bytes: inout ByteWriter) {
            if !isFirst { bytes.append(UInt8(ascii: ",")) }
            isFirst = false
            bytes.appendText(name)
        }
        bytes.appendText("{\"stomp\":{")
        if let base64 {
            next("\"base64\":\"", &bytes)
            bytes.appendRaw(Base64.encodePadded(base64))
            bytes.append(UInt8(ascii: "\""))
        }
        if let type {
            next("\"type\":", &bytes)
            bytes.appendJSON(type)
        }
        if !headers.isEmpty {
            next("\"headers\":{", &bytes)
            for (index, header) in headers.enumerated() {
                if index > 0 { bytes.append(UInt8(ascii: ",")) }
                bytes.appendJSON(header.name)
                bytes.append(UInt8(ascii: ":"))
                bytes.appendJSON(header.value)
            }
            bytes.append(UInt8(ascii: "}"))
        }
        if let body {
            next("\"body\":", &bytes)
            bytes.appendRaw(body)
        }
        bytes.appendText("}}")
        return bytes.withBytes { String(decoding: $0, as: UTF8.self) }
    }

    // MARK: to a MESSAGE

    /// What a MESSAGE of a stored content has.
    struct Shown {
        var body: [UInt8]
        var type: String
        var headers: [StompFrame.Header] = []
        /// JSON that is shown beside a text.
        var data: String?
        var isBinary = false
        /// Whether the body is a JSON object.
        var isObject = false
    }

    static func shown(_ content: MessageContent) -> Shown {
        guard let data = content.data else {
            return Shown(body: Array((content.text ?? "").utf8), type: plainType)
        }
        if data.hasPrefix(mark), let shown = unpacked(data, text: content.text) { return shown }
        guard let text = content.text else {
            return Shown(body: Array(data.utf8), type: jsonType, isObject: data.utf8.first == UInt8(ascii: "{"))
        }
        if let object = StompObject(Array(data.utf8)), object.shownText == text {
            return Shown(body: Array(data.utf8), type: jsonType, isObject: true)
        }
        return Shown(body: Array(text.utf8), type: plainType, data: data)
    }

    /// Reads ``envelope(base64:type:headers:body:)``; nil for anything else, as any program can write data that begins
    /// like it.
    private static func unpacked(_ data: String, text: String?) -> Shown? {
        guard let value = try? JSONValue(parsing: data), case .object(let outer) = value, outer.count == 1,
            case .object(let inner)? = outer["stomp"]
        else { return nil }
        var shown = Shown(body: Array((text ?? "").utf8), type: plainType)
        if case .string(let type)? = inner["type"] { shown.type = type }
        if case .object(let headers)? = inner["headers"] {
            shown.headers = headers.sorted { $0.key < $1.key }.compactMap { name, value in
                guard case .string(let text) = value, !name.isEmpty, !ours.contains(name) else { return nil }
                return StompFrame.Header(name, text)
            }
        }
        if case .string(let base64)? = inner["base64"] {
            let digits = Array(base64.utf8)
            guard digits.count % 4 == 0, let body = Base64.decode(digits[...]) else { return nil }
            shown.body = body
            shown.isBinary = true
            if case .string? = inner["type"] {} else { shown.type = "application/octet-stream" }
        } else if let body = rawMember("body", of: data) {
            shown.body = Array(body.utf8)
            shown.isObject = true
            if case .string? = inner["type"] {} else { shown.type = jsonType }
        }
        return shown
    }

    /// The text of a member of `stomp`, as it was written.
    private static func rawMember(_ name: StaticString, of data: String) -> String? {
        let bytes = Array(data.utf8)
        return bytes.withUnsafeBytes { raw in
            var found: String?
            var scanner = JSONScanner(raw)
            guard scanner.skip("{\"stomp\":") else { return nil }
            let names = JSONScanner(raw)
            try? scanner.members { member, value in
                if names.string(member, equals: name) { found = names.text(value) }
            }
            return found
        }
    }
}

/// A body that is a JSON object, with the members that pages for chats use.
struct StompObject {
    let json: String
    private(set) var room: String?
    private(set) var type: String?
    /// The value of `message`, `content` or `text`: the first of these that is a string.
    private(set) var shownText: String?

    /// Nil if the bytes are no JSON object that every parser accepts.
    init?(_ bytes: [UInt8]) {
        guard let first = bytes.first(where: { $0 > 0x20 }), first == UInt8(ascii: "{"),
            let json = String(validating: bytes, as: UTF8.self)
        else { return nil }
        self.json = json
        var strings: [String: String] = [:]
        let isValid = bytes.withUnsafeBytes { raw -> Bool in
            guard JSONData.problem(raw) == nil else { return false }
            var scanner = JSONScanner(raw)
            scanner.skipSpace()
            let names = JSONScanner(raw)
            do throws(JSONError) {
                try scanner.members { name, value in
                    let name = names.string(name)
                    guard Self.names.contains(name) else { return }
                    switch value.kind {
                    case .string: strings[name] = names.string(value)
                    case .number where Self.rooms.contains(name): strings[name] = names.text(value)
                    case .number, .null, .bool, .array, .object: strings[name] = nil
                    }
                }
                return true
            } catch {
                return false
            }
        }
        guard isValid else { return nil }
        room = Self.rooms.lazy.compactMap { strings[$0] }.first
        type = strings["type"]
        shownText = Self.texts.lazy.compactMap { strings[$0] }.first { !$0.isEmpty }
    }

    private static let rooms = ["roomId", "chatRoomId", "room"]
    private static let texts = ["message", "content", "text"]
    private static let names = Set(rooms + texts + ["type"])

    /// This object with another `message`.
    func saying(_ message: String) -> String {
        var bytes = ByteWriter(capacity: json.utf8.count + 64)
        bytes.append(UInt8(ascii: "{"))
        Array(json.utf8).withUnsafeBytes { raw in
            var scanner = JSONScanner(raw)
            scanner.skipSpace()
            let names = JSONScanner(raw)
            try? scanner.members { name, value in
                guard !names.string(name, equals: "message") else { return }
                bytes.appendRaw(names.text(name))
                bytes.append(UInt8(ascii: ":"))
                bytes.appendRaw(names.text(value))
                bytes.append(UInt8(ascii: ","))
            }
        }
        bytes.field("\"message\":", message)
        bytes.append(UInt8(ascii: "}"))
        return bytes.withBytes { String(decoding: $0, as: UTF8.self) }
    }
}
