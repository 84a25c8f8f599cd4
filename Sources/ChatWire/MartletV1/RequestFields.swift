import ChatCore
import ChatJSON

/// The positions of the known fields in a frame, found in one pass. The bytes must outlive this value.
struct RequestFields {
    enum Name: Int, CaseIterable {
        /// Created once, as the compiler's own list is created anew at each access.
        static let all = allCases

        case type, ref, room, after, before, around, history, limit, text, data, key, again, since, name, cursor, user,
            token,
            device, value, time, reason, operation, of, to, by, reaction, thread, mentions
        case users, kind, role, level, position, rooms, shown

        /// The bytes of each name as one number, of names with more than eight the first eight.
        private static let words = all.map { name in
            name.text.withUTF8Buffer { $0.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) } }
        }

        /// The field whose name consists of these bytes.
        init?(_ bytes: UnsafeRawBufferPointer) {
            guard bytes.count <= 8 else {
                guard bytes.elementsEqual("operation".utf8) else { return nil }
                self = .operation
                return
            }
            var word: UInt64 = 0
            for (place, byte) in bytes.enumerated() { word |= UInt64(byte) << UInt64(8 &* place) }
            // A NUL at the end is not part of any name.
            guard let index = Self.words.firstIndex(of: word), Self.all[index].text.utf8CodeUnitCount == bytes.count
            else { return nil }
            self = Self.all[index]
        }

        var text: StaticString {
            switch self {
            case .type: "type"
            case .ref: "ref"
            case .room: "room"
            case .after: "after"
            case .before: "before"
            case .around: "around"
            case .history: "history"
            case .limit: "limit"
            case .text: "text"
            case .data: "data"
            case .key: "key"
            case .again: "again"
            case .since: "since"
            case .name: "name"
            case .cursor: "cursor"
            case .user: "user"
            case .token: "token"
            case .device: "device"
            case .value: "value"
            case .time: "time"
            case .reason: "reason"
            case .operation: "operation"
            case .users: "users"
            case .kind: "kind"
            case .role: "role"
            case .level: "level"
            case .of: "of"
            case .to: "to"
            case .by: "by"
            case .reaction: "reaction"
            case .thread: "thread"
            case .mentions: "mentions"
            case .position: "position"
            case .rooms: "rooms"
            case .shown: "shown"
            }
        }
    }

    private var scanner: JSONScanner
    private var slices: [JSONSlice?]

    init(_ bytes: UnsafeRawBufferPointer) {
        scanner = JSONScanner(bytes)
        slices = Array(repeating: nil, count: Name.all.count)
    }

    /// Reads the whole frame; fields that were found before an error are kept.
    mutating func read(isUTF8: Bool) throws(JSONError) {
        let bytes = scanner.bytes
        if !isUTF8 {
            var validator = UTF8Validator()
            if let offset = validator.check(bytes) { throw JSONError(offset: offset, problem: "not UTF-8") }
            guard validator.isComplete else {
                throw JSONError(offset: bytes.count, problem: "the text ends inside a UTF-8 character")
            }
        }
        scanner.skipSpace()
        guard scanner.offset < bytes.count, bytes[scanner.offset] == UInt8(ascii: "{") else {
            throw JSONError(offset: scanner.offset, problem: "expected '{'")
        }
        let names = scanner
        var found = slices
        defer { slices = found }
        try scanner.members { name, value in
            let known =
                name.kind == .string(escaped: true)
                ? Array(names.string(name).utf8).withUnsafeBytes { Name($0) } : Name(names.inside(name))
            guard let known else { return }
            found[known.rawValue] = value.kind == .null ? nil : value
        }
        try scanner.end()
    }

    /// Nil if there is none.
    func ref() throws(WireError) -> Ref? {
        guard let slice = slices[Name.ref.rawValue] else { return nil }
        let ref: Ref
        let count: Int
        switch slice.kind {
        case .number:
            let text = scanner.text(slice)
            // It is sent back in the reply.
            if JSONData.problem(UnsafeRawBufferPointer(rebasing: scanner.bytes[slice.range])) != nil {
                throw WireError(.badField, "ref is a number that not every reader of JSON takes")
            }
            (ref, count) = (.number(text), text.utf8.count)
        case .string:
            // An escape takes at most twelve bytes for one: a longer text cannot be a ref, however it is decoded.
            guard slice.range.count <= Ref.maxBytes * 12 + 2 else { throw tooLong(.ref, Ref.maxBytes) }
            let text = scanner.string(slice)
            (ref, count) = (.string(text), text.utf8.count)
        case .null, .bool, .array, .object:
            throw WireError(.badField, "ref must be a string or a number, it is \(slice.kind.noun)")
        }
        guard count <= Ref.maxBytes else { throw tooLong(.ref, Ref.maxBytes) }
        return ref
    }

    func string(_ name: Name, maxBytes: Int? = nil) throws(WireError) -> String? {
        guard let slice = slices[name.rawValue] else { return nil }
        guard case .string = slice.kind else {
            throw WireError(.badField, "\(name.text) must be a string, it is \(slice.kind.noun)")
        }
        let text = scanner.string(slice)
        if let maxBytes, text.utf8.count > maxBytes { throw tooLong(name, maxBytes) }
        return text
    }

    func needString(_ name: Name, maxBytes: Int? = nil) throws(WireError) -> String {
        guard let text = try string(name, maxBytes: maxBytes) else { throw missing(name) }
        return text
    }

    /// An array of strings.
    func strings(_ name: Name, most: Int) throws(WireError) -> [String]? {
        guard let slice = slices[name.rawValue] else { return nil }
        guard case .array = slice.kind else {
            throw WireError(.badField, "\(name.text) must be a list of strings, it is \(slice.kind.noun)")
        }
        guard
            case .success(.array(let values)) = JSONValue.parse(
                UnsafeRawBufferPointer(rebasing: scanner.bytes[slice.range])), values.count <= most
        else { throw WireError(.badField, "\(name.text) has more than \(most) elements") }
        var strings: [String] = []
        for value in values {
            guard let text = value.string else {
                throw WireError(.badField, "\(name.text) must be a list of strings")
            }
            strings.append(text)
        }
        return strings
    }

    func bool(_ name: Name) throws(WireError) -> Bool? {
        guard let slice = slices[name.rawValue] else { return nil }
        guard case .bool(let flag) = slice.kind else {
            throw WireError(.badField, "\(name.text) must be true or false, it is \(slice.kind.noun)")
        }
        return flag
    }

    func integer(_ name: Name, in range: ClosedRange<Int>) throws(WireError) -> Int? {
        guard let slice = slices[name.rawValue] else { return nil }
        let wanted = "\(name.text) must be a whole number from \(range.lowerBound) to \(range.upperBound)"
        guard case .number = slice.kind else { throw WireError(.badField, "\(wanted), it is \(slice.kind.noun)") }
        guard let number = scanner.integer(slice), range.contains(number) else { throw WireError(.badField, wanted) }
        return number
    }

    func position(_ name: Name) throws(WireError) -> Position? {
        guard let text = try string(name) else { return nil }
        guard let position = Position(text) else {
            throw WireError(.badField, "\(name.text) must be a position: two decimal numbers, <epoch>-<seq>")
        }
        return position
    }

    func needPosition(_ name: Name) throws(WireError) -> Position {
        guard let position = try position(name) else { throw missing(name) }
        return position
    }

    /// The names of users; empty if there are none.
    func users(_ name: Name, most: Int) throws(WireError) -> [UserID] {
        guard let slice = slices[name.rawValue] else { return [] }
        let wanted = "\(name.text) must be an array of at most \(most) names"
        guard slice.kind == .array else { throw WireError(.badField, "\(wanted), it is \(slice.kind.noun)") }
        guard
            case .success(.array(let values)) = JSONValue.parse(
                UnsafeRawBufferPointer(rebasing: scanner.bytes[slice.range])), values.count <= most
        else { throw WireError(.badField, wanted) }
        var users: [UserID] = []
        for value in values {
            guard let text = value.string else { throw WireError(.badField, wanted) }
            do throws(NameError) {
                let user = try UserID(text)
                if !users.contains(user) { users.append(user) }
            } catch {
                throw WireError(.badName, error.description)
            }
        }
        return users
    }

    /// The user that is named; throws `missingField` if none is.
    func needUser(_ name: Name) throws(WireError) -> UserID {
        let text = try needString(name)
        do throws(NameError) {
            return try UserID(text)
        } catch {
            throw WireError(.badName, error.description)
        }
    }

    func room() throws(WireError) -> RoomName {
        guard let slice = slices[Name.room.rawValue] else { throw missing(.room) }
        guard case .string = slice.kind else {
            throw WireError(.badField, "room must be a string, it is \(slice.kind.noun)")
        }
        do {
            return try RoomName(scanner.string(slice))
        } catch {
            throw WireError(.badName, error.description)
        }
    }

    /// The value's JSON text, within the bounds of ``JSONData``.
    func data() throws(WireError) -> String? {
        guard let slice = slices[Name.data.rawValue] else { return nil }
        switch slice.kind {
        case .number, .array, .object:
            if let problem = JSONData.problem(UnsafeRawBufferPointer(rebasing: scanner.bytes[slice.range])) {
                throw WireError(.badField, "data contains JSON that not every parser accepts: \(problem)")
            }
        case .null, .bool, .string: break
        }
        return scanner.text(slice)
    }

    /// The key of a send.
    func key() throws(WireError) -> String? {
        try string(.key).map { (key) throws(WireError) in try Self.checked(key: key, called: "key") }
    }

    /// The key, if it follows the rules of keys. `name`: what the error calls it.
    static func checked(key: String, called name: String) throws(WireError) -> String {
        if key.utf8.count > SendRequest.maxKeyBytes {
            throw WireError(.badField, "\(name) is longer than \(SendRequest.maxKeyBytes) bytes")
        }
        if key.isEmpty { throw WireError(.badField, "\(name) is empty") }
        if key.utf8.first == UInt8(ascii: "~") {
            throw WireError(.badField, "\(name) begins with '~', which is for keys that nodes make")
        }
        return key
    }

    /// Throws if there is no content. An empty text counts as none, as Redis' function takes it for a missing one.
    func needContent(text: String?) throws(WireError) {
        guard !has(.data) else { return }
        guard let text else {
            throw WireError(.missingField, "text and data are missing, one of them is needed")
        }
        if text.isEmpty {
            throw WireError(.missingField, "text is empty and data is missing, one of them is needed")
        }
    }

    func has(_ name: Name) -> Bool { slices[name.rawValue] != nil }

    func missing(_ name: Name) -> WireError { WireError(.missingField, "\(name.text) is missing") }

    func tooLong(_ name: Name, _ maxBytes: Int) -> WireError {
        WireError(.badField, "\(name.text) is longer than \(maxBytes) bytes")
    }
}
