import ChatJSON

/// A packet of the Socket.IO protocol, version 5 (`docs/socket.io-protocol/v5-current.md` in socketio/socket.io):
/// `<type>[<attachments>-][<namespace>,][<id>][<JSON>]`.
public struct SocketPacket: Hashable, Sendable {
    public enum Kind: UInt8, Sendable, CaseIterable {
        case connect = 0x30
        case disconnect, event, ack, connectError, binaryEvent, binaryAck

        /// Whether binary attachments follow.
        public var isBinary: Bool { self == .binaryEvent || self == .binaryAck }
    }

    public var kind: Kind
    /// `/` for the main one.
    public var namespace: String
    public var id: UInt64?
    /// The number of binary messages that follow.
    public var attachments: Int
    /// JSON text; empty if there is none. For an event and an acknowledgement it is an array.
    public var payload: [UInt8]

    public init(
        _ kind: Kind, namespace: String = SocketPacket.mainNamespace, id: UInt64? = nil, attachments: Int = 0,
        payload: [UInt8] = []
    ) {
        self.kind = kind
        self.namespace = namespace
        self.id = id
        self.attachments = attachments
        self.payload = payload
    }

    public static let mainNamespace = "/"
    /// The most bytes of a namespace's name.
    public static let maxNamespaceBytes = 256
    /// The largest number that a double holds exactly, as clients count in doubles.
    static let maxID: UInt64 = 1 << 53

    /// Events that a client of the library has itself, and that no peer may send.
    static let reserved: Set<String> = [
        "connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener",
    ]

    /// Reads what a client sends. Nil if it breaks the protocol. `maxAttachments`: more are refused.
    public init?(_ bytes: [UInt8], maxAttachments: Int) {
        guard let first = bytes.first, let kind = Kind(rawValue: first), kind != .connectError else { return nil }
        var index = 1
        attachments = 0
        if kind.isBinary {
            guard let number = Self.number(bytes, &index), index < bytes.count, bytes[index] == UInt8(ascii: "-"),
                number <= UInt64(max(0, maxAttachments))
            else { return nil }
            attachments = Int(number)
            index += 1
        }
        namespace = Self.mainNamespace
        if index < bytes.count, bytes[index] == UInt8(ascii: "/") {
            let end = bytes[index...].firstIndex(of: UInt8(ascii: ",")) ?? bytes.count
            guard let name = Self.namespace(bytes[index..<end]) else { return nil }
            namespace = name
            index = min(end + 1, bytes.count)
        }
        if index < bytes.count, Self.isDigit(bytes[index]) {
            guard kind != .connect, kind != .disconnect, let number = Self.number(bytes, &index) else { return nil }
            id = number
        }
        self.kind = kind
        payload = Array(bytes[index...])
        guard Self.isValid(kind, payload, id) else { return nil }
    }

    /// Older clients put a query behind the name; it is ignored.
    private static func namespace(_ bytes: ArraySlice<UInt8>) -> String? {
        let name = bytes.prefix { $0 != UInt8(ascii: "?") }
        guard name.count <= maxNamespaceBytes else { return nil }
        return String(validating: name, as: UTF8.self)
    }

    private static func isDigit(_ byte: UInt8) -> Bool { byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9") }

    private static func number(_ bytes: [UInt8], _ index: inout Int) -> UInt64? {
        var number: UInt64 = 0
        let start = index
        while index < bytes.count, isDigit(bytes[index]) {
            guard index - start < 16 else { return nil }
            number = number * 10 + UInt64(bytes[index] - UInt8(ascii: "0"))
            index += 1
        }
        return index > start && number <= maxID ? number : nil
    }

    private static func isValid(_ kind: Kind, _ payload: [UInt8], _ id: UInt64?) -> Bool {
        switch kind {
        case .connect: return payload.isEmpty || isJSON(payload, .object)
        case .disconnect: return payload.isEmpty
        case .ack, .binaryAck: return id != nil && isJSON(payload, .array)
        case .event, .binaryEvent:
            guard isJSON(payload, .array), let name = SocketArguments(payload)?.event else { return false }
            return !reserved.contains(name)
        case .connectError: return false
        }
    }

    private static func isJSON(_ text: [UInt8], _ kind: JSONSlice.Kind) -> Bool {
        text.withUnsafeBytes { bytes in
            var validator = UTF8Validator()
            guard validator.check(bytes) == nil, validator.isComplete else { return false }
            var scanner = JSONScanner(bytes)
            guard let slice = try? scanner.document() else { return false }
            return slice.kind == kind
        }
    }

    /// The content of its message in Engine.IO.
    public var content: [UInt8] {
        var bytes = Self.prefix(kind, namespace: namespace, id: id, attachments: attachments)
        bytes += payload
        return bytes
    }

    /// What comes before the JSON.
    public static func prefix(
        _ kind: Kind, namespace: String = mainNamespace, id: UInt64? = nil, attachments: Int = 0
    ) -> [UInt8] {
        var bytes = [kind.rawValue]
        if kind.isBinary { bytes += Array("\(attachments)-".utf8) }
        if namespace != mainNamespace { bytes += Array("\(namespace),".utf8) }
        if let id { bytes += Array("\(id)".utf8) }
        return bytes
    }
}

/// The elements of an event or of an acknowledgement, each as its JSON text. The first one of an event is its name.
public struct SocketArguments: Sendable, Hashable {
    private let text: [UInt8]
    private let slices: [JSONSlice]

    /// Reads a JSON array that is valid UTF-8; nil if it is not one.
    public init?(_ text: [UInt8]) {
        var slices: [JSONSlice] = []
        let isArray = text.withUnsafeBytes { bytes in
            var scanner = JSONScanner(bytes)
            scanner.skipSpace()
            guard scanner.offset < bytes.count, bytes[scanner.offset] == UInt8(ascii: "[") else { return false }
            return (try? scanner.elements { slices.append($0) }) != nil
        }
        guard isArray else { return nil }
        self.text = text
        self.slices = slices
    }

    public var count: Int { slices.count }

    /// The name of an event; nil if the first element is none. A number counts as its text.
    public var event: String? {
        guard let first = slices.first else { return nil }
        return text.withUnsafeBytes { bytes in
            switch first.kind {
            case .string: JSONScanner(bytes).string(first)
            case .number: JSONScanner(bytes).text(first)
            case .null, .bool, .array, .object: nil
            }
        }
    }

    /// The JSON text of an element.
    public subscript(index: Int) -> SocketValue? {
        guard slices.indices.contains(index) else { return nil }
        return SocketValue(kind: slices[index].kind, text: text[slices[index].range])
    }
}

/// One JSON value that a client sent.
public struct SocketValue: Sendable, Hashable {
    public let kind: JSONSlice.Kind
    public let text: ArraySlice<UInt8>

    init(kind: JSONSlice.Kind, text: ArraySlice<UInt8>) {
        self.kind = kind
        self.text = text
    }

    /// Reads a JSON text; nil if it is none.
    public init?(_ text: [UInt8]) {
        let slice = text.withUnsafeBytes { bytes in
            var scanner = JSONScanner(bytes)
            return try? scanner.document()
        }
        guard let slice else { return nil }
        self.init(kind: slice.kind, text: text[slice.range])
    }

    /// The value of a string.
    public var string: String? {
        guard case .string = kind else { return nil }
        return text.withUnsafeBytes { JSONScanner($0).string(JSONSlice(kind: kind, range: 0..<$0.count)) }
    }

    public var integer: Int? {
        guard case .number = kind else { return nil }
        return text.withUnsafeBytes { JSONScanner($0).integer(JSONSlice(kind: kind, range: 0..<$0.count)) }
    }

    public var json: String { String(decoding: text, as: UTF8.self) }

    /// A member of an object; of members with the same name the last one counts.
    public subscript(name: String) -> SocketValue? {
        guard case .object = kind else { return nil }
        let found: JSONSlice? = text.withUnsafeBytes { bytes in
            var scanner = JSONScanner(bytes)
            let names = scanner
            var found: JSONSlice?
            try? scanner.members { slice, value in
                if names.string(slice) == name { found = value }
            }
            return found
        }
        guard let found else { return nil }
        let range = text.startIndex + found.range.lowerBound..<text.startIndex + found.range.upperBound
        return SocketValue(kind: found.kind, text: text[range])
    }

    /// Whether it is, or holds, a placeholder of a binary attachment.
    public var holdsPlaceholder: Bool {
        // A quick look is enough: a text that holds the word is rare, and is refused as well.
        let mark = Array("\"_placeholder\"".utf8)
        guard text.count >= mark.count else { return false }
        return text.indices.dropLast(mark.count - 1).contains { text[$0...].starts(with: mark) }
    }
}
