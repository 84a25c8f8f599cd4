import ChatAccess
import ChatCore
import ChatGateway
import ChatJSON

/// The file of incoming hooks: what other services may post, and what becomes of it. It is read when the node starts.
///
/// ```json
/// {"github": {"signature": "github", "secret": "…", "room": "dev", "user": "github",
///             "text": "{{repository.full_name}}: {{action}} {{issue.title}}", "data": true}}
/// ```
struct HookFile: IncomingHooks {
    struct Hook: Sendable {
        let signature: HookSignature
        let secrets: [HookSecret]
        let room: RoomName
        let user: UserID
        let text: HookTemplate
        /// Whether the whole delivery becomes the message's `data`.
        let hasData: Bool
        /// The message is refused if it is longer.
        let maxBytes: Int
    }

    private let hooks: [String: Hook]

    /// The number of hooks.
    var count: Int { hooks.count }

    /// Reads the file's text. Throws what is wrong with it, and where.
    init(_ text: String, maxBytes: Int) throws(ConfigurationProblem) {
        let value: JSONValue
        do throws(JSONError) {
            value = try JSONValue(parsing: text)
        } catch {
            throw Self.problem("it is no JSON: \(error)")
        }
        guard let entries = value.object else { throw Self.problem("it is no JSON object") }
        var hooks: [String: Hook] = [:]
        for (name, entry) in entries {
            guard Self.isName(name) else {
                throw Self.problem("\(name.debugDescription) is no name: 1 to 64 letters, digits, - and _")
            }
            hooks[name] = try Self.hook(entry, name, maxBytes)
        }
        self.hooks = hooks
    }

    private static func isName(_ name: String) -> Bool {
        (1...64).contains(name.utf8.count)
            && name.utf8.allSatisfy { byte in
                (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
                    || byte == 0x2D || byte == 0x5F
            }
    }

    private static func problem(_ text: String) -> ConfigurationProblem {
        ConfigurationProblem(variables: ["MARTLET_HOOKS"], message: "MARTLET_HOOKS: \(text)")
    }

    private static func hook(_ entry: JSONValue, _ name: String, _ maxBytes: Int) throws(ConfigurationProblem) -> Hook {
        guard let fields = entry.object else { throw problem("\(name): it is no JSON object") }
        let known: Set = ["signature", "secret", "secrets", "room", "user", "text", "data"]
        if let unknown = fields.keys.sorted().first(where: { !known.contains($0) }) {
            throw problem(
                "\(name): \(unknown.debugDescription) is no field; there are \(known.sorted().joined(separator: ", "))")
        }
        guard let signature = fields["signature"]?.string.flatMap({ HookSignature(rawValue: $0) }) else {
            let all = HookSignature.allCases.map(\.rawValue).joined(separator: ", ")
            throw problem("\(name): signature must be one of \(all)")
        }
        let texts = fields["secrets"]?.array?.compactMap(\.string) ?? [fields["secret"]?.string].compactMap { $0 }
        let secrets = texts.compactMap { signature.secret($0) }
        guard !secrets.isEmpty, secrets.count == texts.count, secrets.count <= 4 else {
            throw problem(
                "\(name): it needs a secret, 16 bytes or longer (standard: 24), or up to 4 secrets"
            )
        }
        guard let room = fields["room"]?.string.flatMap({ try? RoomName($0) }) else {
            throw problem("\(name): room is missing, or no name of a room")
        }
        guard let user = (fields["user"]?.string ?? name).asUser else {
            throw problem("\(name): user is no name of a user")
        }
        guard let text = HookTemplate(fields["text"]?.string ?? "") else {
            throw problem("\(name): text has {{ without }}")
        }
        let hasData = fields["data"]?.bool ?? false
        guard !text.isEmpty || hasData else { throw problem("\(name): it needs a text, or data true") }
        return Hook(
            signature: signature, secrets: secrets, room: room, user: user, text: text, hasData: hasData,
            maxBytes: maxBytes)
    }

    func take(_ name: String, field: (String) -> String?, body: [UInt8], now: UInt64) -> IncomingHookOutcome {
        guard let hook = hooks[name],
            let signed = hook.signature.delivery(field: field, body: body, secrets: hook.secrets, now: now)
        else { return .refused }
        guard let value = try? JSONValue(parsing: body), value.object != nil else {
            return .unreadable("the body must be a JSON object")
        }
        if hook.signature == .slack, value["type"]?.string == "url_verification" {
            return .challenge(value["challenge"]?.string ?? "")
        }
        let id = signed.isEmpty ? value[hook.signature == .slack ? "event_id" : "id"]?.string ?? "" : signed
        guard !id.isEmpty else { return .unreadable("the delivery has no ID, so it could take effect twice") }
        let text = hook.text.filled(with: value)
        guard !text.isEmpty || hook.hasData else { return .ignored }
        let data = hook.hasData ? value.text : nil
        guard text.utf8.count + (data?.utf8.count ?? 0) <= hook.maxBytes else {
            return .unreadable("the message would be longer than \(hook.maxBytes) bytes")
        }
        if let data, !data.isJSONData { return .unreadable("the body holds JSON that not every reader takes") }
        let content = MessageContent(
            user: hook.user, at: now, text: text.isEmpty ? nil : text, data: data,
            key: "hook:" + HookSignature.digest(of: "\(name)\n\(id)"))
        return .message(hook.room, content)
    }
}

extension String {
    fileprivate var asUser: UserID? { try? UserID(self) }

    fileprivate var isJSONData: Bool {
        var text = self
        return text.withUTF8 { JSONData.problem(UnsafeRawBufferPointer($0)) == nil }
    }
}

/// A text with places for parts of a delivery: `{{a.b.0.c}}` is a member, of a member, of the first element, of a
/// member. What is not there is nothing; a number and a truth value are written as JSON; an object or an array too.
struct HookTemplate: Hashable, Sendable {
    private enum Part: Hashable, Sendable {
        case text(String)
        case path([String])
    }

    private let parts: [Part]

    var isEmpty: Bool { parts.isEmpty }

    /// Nil if a place has no end.
    init?(_ text: String) {
        var parts: [Part] = []
        var rest = text[...]
        while let begin = rest.firstRange(of: "{{") {
            guard let end = rest[begin.upperBound...].firstRange(of: "}}") else { return nil }
            if begin.lowerBound > rest.startIndex { parts.append(.text(String(rest[..<begin.lowerBound]))) }
            let path = rest[begin.upperBound..<end.lowerBound].filter { $0 != " " }
            parts.append(.path(path.split(separator: ".").map(String.init)))
            rest = rest[end.upperBound...]
        }
        if !rest.isEmpty { parts.append(.text(String(rest))) }
        self.parts = parts
    }

    /// Without control characters except line feeds. Empty if nothing but what is fixed was left.
    func filled(with value: JSONValue) -> String {
        var text = ""
        var hasFound = !parts.contains { if case .path = $0 { true } else { false } }
        for part in parts {
            switch part {
            case .text(let fixed): text += fixed
            case .path(let path):
                let found = Self.text(of: path, in: value)
                hasFound = hasFound || !found.isEmpty
                text += found
            }
        }
        guard hasFound else { return "" }
        return String(String.UnicodeScalarView(text.unicodeScalars.filter { $0.value >= 0x20 || $0 == "\n" }))
    }

    private static func text(of path: [String], in value: JSONValue) -> String {
        var place = value
        for name in path {
            if let index = Int(name), let elements = place.array {
                guard elements.indices.contains(index) else { return "" }
                place = elements[index]
            } else {
                guard let next = place[name] else { return "" }
                place = next
            }
        }
        switch place {
        case .null: return ""
        case .string(let text): return text
        default: return place.text
        }
    }
}
