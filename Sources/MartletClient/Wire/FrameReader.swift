import ChatCore
import ChatJSON

/// Reads frames of `martlet.v1` from a node. `message`, which is by far the most frequent one, is read without building
/// a tree.
package struct FrameReader {
    private enum Field: Int, CaseIterable {
        case type, ref, room, position, user, at, text, data, key
    }

    /// Throws a ``FrameError`` that names the field or the byte.
    package static func read(_ bytes: UnsafeRawBufferPointer) -> Result<ServerFrame, FrameError> {
        do throws(FrameError) {
            return .success(try frame(bytes))
        } catch {
            return .failure(error)
        }
    }

    private static func frame(_ bytes: UnsafeRawBufferPointer) throws(FrameError) -> ServerFrame {
        var validator = UTF8Validator()
        if let offset = validator.check(bytes) { throw FrameError(problem: "byte \(offset): not UTF-8") }
        guard validator.isComplete else { throw FrameError(problem: "it ends inside a UTF-8 character") }
        var reader = FrameReader(scanner: JSONScanner(bytes))
        do {
            try reader.scan()
        } catch {
            throw FrameError(problem: error.description)
        }
        guard let type = reader.slices[Field.type.rawValue], case .string = type.kind else {
            throw FrameError(problem: "no 'type'")
        }
        if !reader.isExtended, reader.scanner.string(type, equals: "message") { return .event(try reader.message()) }
        switch JSONValue.parse(bytes) {
        case .success(let tree): return try TreeReader(tree).frame(type: reader.scanner.string(type))
        case .failure(let error): throw FrameError(problem: error.description)
        }
    }

    private var scanner: JSONScanner
    private var slices: [JSONSlice?] = Array(repeating: nil, count: Field.allCases.count)
    /// It has what only few messages have.
    private var isExtended = false

    private init(scanner: JSONScanner) {
        self.scanner = scanner
    }

    private mutating func scan() throws(JSONError) {
        scanner.skipSpace()
        guard scanner.offset < scanner.bytes.count, scanner.bytes[scanner.offset] == UInt8(ascii: "{") else {
            throw JSONError(offset: scanner.offset, problem: "expected '{'")
        }
        let names = scanner
        var found = slices
        var isExtended = false
        try scanner.members { name, value in
            if let field = Self.field(name, names) {
                found[field.rawValue] = value
            } else if Self.extensions.contains(where: { names.string(name, equals: $0) }) {
                isExtended = true
            }
        }
        slices = found
        self.isExtended = isExtended
        try scanner.end()
    }

    private static func field(_ name: JSONSlice, _ scanner: JSONScanner) -> Field? {
        if scanner.string(name, equals: "type") { return .type }
        if scanner.string(name, equals: "room") { return .room }
        if scanner.string(name, equals: "position") { return .position }
        if scanner.string(name, equals: "user") { return .user }
        if scanner.string(name, equals: "at") { return .at }
        if scanner.string(name, equals: "text") { return .text }
        if scanner.string(name, equals: "data") { return .data }
        if scanner.string(name, equals: "key") { return .key }
        return nil
    }

    private static let extensions: [StaticString] = [
        "thread", "mentions", "edited", "deleted", "reactions", "pinned", "replies",
    ]

    private func string(_ field: Field) -> String? {
        guard let slice = slices[field.rawValue], case .string = slice.kind else { return nil }
        return scanner.string(slice)
    }

    private func message() throws(FrameError) -> ServerEvent {
        guard let name = string(.room) else { throw FrameError(problem: "message without 'room'") }
        do {
            let room = try RoomName(stored: name)
            let content = try content()
            guard let text = string(.position), let position = Position(text) else {
                throw FrameError(problem: "message without a readable 'position'")
            }
            return .message(
                room: room, Message(position: position, content: content), showKey: content.key != nil)
        } catch let error as NameError {
            throw FrameError(problem: "message: \(error.description)")
        } catch let error as FrameError {
            throw error
        } catch {
            throw FrameError(problem: "message: \(error)")
        }
    }

    private func content() throws -> MessageContent {
        guard let user = string(.user) else { throw FrameError(problem: "message without 'user'") }
        guard let at = string(.at).flatMap(Timestamp.milliseconds) else {
            throw FrameError(problem: "message without a readable 'at'")
        }
        var data: String?
        if let slice = slices[Field.data.rawValue], slice.kind != .null { data = scanner.text(slice) }
        return MessageContent(
            user: try UserID(stored: user), at: at, text: string(.text), data: data, key: string(.key))
    }
}
