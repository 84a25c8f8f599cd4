/// The kind of a JSON value, and the position of its text.
public struct JSONSlice: Hashable, Sendable {
    public enum Kind: Hashable, Sendable {
        case null
        case bool(Bool)
        case number
        /// `escaped`: the string holds at least one backslash, so its text differs from its value.
        case string(escaped: Bool)
        case array
        case object

        /// The kind with its article, for error messages.
        public var noun: String {
            switch self {
            case .null: "null"
            case .bool: "a boolean"
            case .number: "a number"
            case .string: "a string"
            case .array: "an array"
            case .object: "an object"
            }
        }
    }

    public var kind: Kind
    /// The range of the value's bytes in the input; for a string, including its quotes.
    public var range: Range<Int>

    public init(kind: Kind, range: Range<Int>) {
        self.kind = kind
        self.range = range
    }
}

/// A strict scanner for JSON text (RFC 8259) that copies nothing: it checks the grammar and reports the positions of
/// values. It accepts no comments, no trailing commas, no leading zeros, no control characters in strings, and no lone
/// surrogates in `\u` escapes. Nesting is limited, so no input can exhaust the stack.
///
/// The bytes must be valid UTF-8 (``UTF8Validator``) and outlive the scanner.
public struct JSONScanner {
    /// The maximum nesting depth of arrays and objects.
    public static let maxDepth = 64

    public let bytes: UnsafeRawBufferPointer
    public private(set) var offset = 0
    private var depth = 0
    private var depthLimit = JSONScanner.maxDepth
    private var boundsNumbers = false

    public init(_ bytes: UnsafeRawBufferPointer) {
        self.bytes = bytes
    }

    /// A scanner that accepts only what every JSON parser accepts: see ``JSONData``.
    init(data bytes: UnsafeRawBufferPointer) {
        self.bytes = bytes
        depthLimit = JSONData.maxDepth
        boundsNumbers = true
    }

    /// Reads one value with optional white space around it, and expects the end of the input after it.
    public mutating func document() throws(JSONError) -> JSONSlice {
        skipSpace()
        let value = try value()
        try end()
        return value
    }

    /// Expects nothing but white space up to the end of the input.
    public mutating func end() throws(JSONError) {
        skipSpace()
        if offset < bytes.count { throw fail("text after the end of the JSON value") }
    }

    /// Skips the text if exactly that is at the current position; otherwise does nothing.
    public mutating func skip(_ text: StaticString) -> Bool {
        let count = text.utf8CodeUnitCount
        guard bytes.count - offset >= count else { return false }
        let there = UnsafeRawBufferPointer(rebasing: bytes[offset..<offset &+ count])
        guard there.isSame(as: UnsafeRawBufferPointer(start: text.utf8Start, count: count)) else { return false }
        offset += count
        return true
    }

    public mutating func skipSpace() {
        while offset < bytes.count {
            switch bytes[offset] {
            case 0x20, 0x0A, 0x0D, 0x09: offset += 1
            default: return
            }
        }
    }

    /// Reads one value, which begins at ``offset``.
    public mutating func value() throws(JSONError) -> JSONSlice {
        let start = offset
        guard offset < bytes.count else { throw fail("the text ends where a value was expected") }
        let kind: JSONSlice.Kind
        switch bytes[offset] {
        case UInt8(ascii: "\""): kind = .string(escaped: try string())
        case UInt8(ascii: "{"):
            try members { _, _ in }
            kind = .object
        case UInt8(ascii: "["):
            try elements { _ in }
            kind = .array
        case UInt8(ascii: "t"):
            try literal("true")
            kind = .bool(true)
        case UInt8(ascii: "f"):
            try literal("false")
            kind = .bool(false)
        case UInt8(ascii: "n"):
            try literal("null")
            kind = .null
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"):
            try number()
            kind = .number
        default:
            throw fail("expected a value")
        }
        return JSONSlice(kind: kind, range: start..<offset)
    }

    /// Reads an object, which begins at ``offset``, and calls `body` with the name and value of each member in order;
    /// the same name may occur more than once.
    public mutating func members(
        _ body: (_ name: JSONSlice, _ value: JSONSlice) throws(JSONError) -> Void
    ) throws(JSONError) {
        try descend()
        if closes(UInt8(ascii: "}")) { return }
        repeat { try body(try memberName(), try value()) } while try goesOn(to: UInt8(ascii: "}"), "an object")
    }

    /// Reads an array, which begins at ``offset``, and calls `body` with each element in order.
    public mutating func elements(_ body: (JSONSlice) throws(JSONError) -> Void) throws(JSONError) {
        try descend()
        if closes(UInt8(ascii: "]")) { return }
        repeat {
            skipSpace()
            try body(try value())
        } while try goesOn(to: UInt8(ascii: "]"), "an array")
    }

    /// Reads one value, which begins at ``offset``, as a tree. Each byte is read once, however deep it is nested.
    mutating func tree() throws(JSONError) -> JSONValue {
        guard offset < bytes.count else { throw fail("the text ends where a value was expected") }
        switch bytes[offset] {
        case UInt8(ascii: "{"):
            var members: [String: JSONValue] = [:]
            try descend()
            if closes(UInt8(ascii: "}")) { return .object(members) }
            repeat {
                let name = string(try memberName())
                members[name] = try tree()
            } while try goesOn(to: UInt8(ascii: "}"), "an object")
            return .object(members)
        case UInt8(ascii: "["):
            var elements: [JSONValue] = []
            try descend()
            if closes(UInt8(ascii: "]")) { return .array(elements) }
            repeat {
                skipSpace()
                elements.append(try tree())
            } while try goesOn(to: UInt8(ascii: "]"), "an array")
            return .array(elements)
        default:
            let slice = try value()
            switch slice.kind {
            case .bool(let flag): return .bool(flag)
            case .number: return .number(text(slice))
            case .string: return .string(string(slice))
            // The bytes of arrays and objects begin with brackets.
            case .null, .array, .object: return .null
            }
        }
    }

    /// Reads a member's name and the colon, up to the member's value.
    @inline(__always)
    private mutating func memberName() throws(JSONError) -> JSONSlice {
        skipSpace()
        guard offset < bytes.count, bytes[offset] == UInt8(ascii: "\"") else {
            throw fail("expected a member's name in quotes")
        }
        let start = offset
        let name = JSONSlice(kind: .string(escaped: try string()), range: start..<offset)
        skipSpace()
        guard take(UInt8(ascii: ":")) else { throw fail("expected ':' after a member's name") }
        skipSpace()
        return name
    }

    /// Reads the comma before another member or element, or the bracket that closes what they are in.
    @inline(__always)
    private mutating func goesOn(to bracket: UInt8, _ noun: StaticString) throws(JSONError) -> Bool {
        if closes(bracket) { return false }
        guard take(UInt8(ascii: ",")) else {
            throw fail("expected ',' or '\(Unicode.Scalar(bracket))' in \(noun)")
        }
        return true
    }

    private mutating func descend() throws(JSONError) {
        guard depth < depthLimit else { throw fail("nested deeper than \(depthLimit) levels") }
        depth += 1
        offset += 1
    }

    private mutating func closes(_ byte: UInt8) -> Bool {
        skipSpace()
        guard take(byte) else { return false }
        depth -= 1
        return true
    }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard offset < bytes.count, bytes[offset] == byte else { return false }
        offset += 1
        return true
    }

    private mutating func literal(_ text: StaticString) throws(JSONError) {
        for index in 0..<text.utf8CodeUnitCount {
            guard take(text.utf8Start[index]) else { throw fail("expected the literal '\(text)'") }
        }
    }

    private mutating func digits() throws(JSONError) {
        let start = offset
        while offset < bytes.count, isDigit(bytes[offset]) { offset += 1 }
        if offset == start { throw fail("expected a digit") }
    }

    private func isDigit(_ byte: UInt8) -> Bool { byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9") }

    private mutating func number() throws(JSONError) {
        let start = offset
        try numberText()
        guard boundsNumbers, !JSONData.isWithinBounds(UnsafeRawBufferPointer(rebasing: bytes[start..<offset])) else {
            return
        }
        throw JSONError(offset: start, problem: JSONData.numberProblem)
    }

    private mutating func numberText() throws(JSONError) {
        _ = take(UInt8(ascii: "-"))
        if take(UInt8(ascii: "0")) {
            if offset < bytes.count, isDigit(bytes[offset]) { throw fail("a number with a leading zero") }
        } else {
            try digits()
        }
        if take(UInt8(ascii: ".")) { try digits() }
        if take(UInt8(ascii: "e")) || take(UInt8(ascii: "E")) {
            if !take(UInt8(ascii: "+")) { _ = take(UInt8(ascii: "-")) }
            try digits()
        }
    }

    /// Scans a string; returns whether it holds escapes.
    private mutating func string() throws(JSONError) -> Bool {
        offset += 1
        var escaped = false
        while offset < bytes.count {
            if offset &+ 8 <= bytes.count {
                let plain = bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self).plainJSONBytes
                offset &+= plain
                if plain == 8 { continue }
            }
            switch bytes[offset] {
            case UInt8(ascii: "\""):
                offset += 1
                return escaped
            case UInt8(ascii: "\\"):
                escaped = true
                try escape()
            case 0..<0x20:
                throw fail("a control character in a string, which must be written as \\u escape")
            default:
                offset += 1
            }
        }
        throw fail("the text ends inside a string")
    }

    private mutating func escape() throws(JSONError) {
        let start = offset
        offset += 1
        guard offset < bytes.count else { throw fail("the text ends inside a string") }
        switch bytes[offset] {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "b"), UInt8(ascii: "f"),
            UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"):
            offset += 1
        case UInt8(ascii: "u"):
            offset += 1
            let unit = try hex4()
            if unit >= 0xDC00, unit < 0xE000 { throw JSONError(offset: start, problem: "a lone low surrogate") }
            guard unit >= 0xD800, unit < 0xDC00 else { return }
            guard take(UInt8(ascii: "\\")), take(UInt8(ascii: "u")), case let low = try hex4(), low >= 0xDC00,
                low < 0xE000
            else { throw JSONError(offset: start, problem: "a high surrogate without its low one") }
        default:
            throw fail("an escape that JSON does not know")
        }
    }

    private mutating func hex4() throws(JSONError) -> UInt32 {
        var unit: UInt32 = 0
        for _ in 0..<4 {
            guard offset < bytes.count, let digit = hexDigit(bytes[offset]) else {
                throw fail("expected four hexadecimal digits after \\u")
            }
            unit = unit << 4 | digit
            offset += 1
        }
        return unit
    }

    private func fail(_ problem: String) -> JSONError { JSONError(offset: offset, problem: problem) }
}
