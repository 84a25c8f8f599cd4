/// A complete JSON value in memory, for code off the hot path: the client library, the tools, and configuration.
///
/// Numbers are kept as text, so those that do not fit a `Double` lose nothing. If members have the same name, the last
/// one counts.
public enum JSONValue: Hashable, Sendable {
    case null
    case bool(Bool)
    /// The number's JSON text.
    case number(String)
    case string(String)
    case array([JSONValue])
    case object([String: JSONValue])

    /// Parses JSON text: UTF-8, one value, nothing after it. The error names the byte.
    public init(parsing bytes: [UInt8]) throws(JSONError) {
        let result = bytes.withUnsafeBytes { Self.parse($0) }
        self = try result.get()
    }

    /// Parses JSON text.
    public init(parsing text: String) throws(JSONError) {
        try self.init(parsing: Array(text.utf8))
    }

    /// Parses JSON text in memory that the caller owns.
    public static func parse(_ bytes: UnsafeRawBufferPointer) -> Result<JSONValue, JSONError> {
        do throws(JSONError) {
            var validator = UTF8Validator()
            if let offset = validator.check(bytes) { throw JSONError(offset: offset, problem: "not UTF-8") }
            guard validator.isComplete else {
                throw JSONError(offset: bytes.count, problem: "the text ends inside a UTF-8 character")
            }
            var scanner = JSONScanner(bytes)
            scanner.skipSpace()
            let value = try scanner.tree()
            try scanner.end()
            return .success(value)
        } catch {
            return .failure(error)
        }
    }

    public subscript(_ name: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        return members[name]
    }

    public var string: String? {
        guard case .string(let text) = self else { return nil }
        return text
    }

    public var bool: Bool? {
        guard case .bool(let flag) = self else { return nil }
        return flag
    }

    /// The number, if it is written as an integer and fits.
    public var integer: Int? {
        guard case .number(let text) = self else { return nil }
        return Int(text)
    }

    public var double: Double? {
        guard case .number(let text) = self else { return nil }
        return Double(text)
    }

    public var array: [JSONValue]? {
        guard case .array(let elements) = self else { return nil }
        return elements
    }

    public var object: [String: JSONValue]? {
        guard case .object(let members) = self else { return nil }
        return members
    }

    /// Compact JSON text, with an object's members sorted by name.
    public var text: String {
        var bytes = ByteWriter()
        write(to: &bytes)
        return bytes.withBytes { String(decoding: $0, as: UTF8.self) }
    }

    /// Appends compact JSON text, with an object's members sorted by name.
    public func write(to bytes: inout ByteWriter) {
        switch self {
        case .null: bytes.appendText("null")
        case .bool(let flag): bytes.appendText(flag ? "true" : "false")
        case .number(let text): bytes.appendRaw(text)
        case .string(let text): bytes.appendJSON(text)
        case .array(let elements):
            bytes.append(UInt8(ascii: "["))
            for (index, element) in elements.enumerated() {
                if index > 0 { bytes.append(UInt8(ascii: ",")) }
                element.write(to: &bytes)
            }
            bytes.append(UInt8(ascii: "]"))
        case .object(let members):
            bytes.append(UInt8(ascii: "{"))
            for (index, member) in members.sorted(by: { $0.key < $1.key }).enumerated() {
                if index > 0 { bytes.append(UInt8(ascii: ",")) }
                bytes.appendJSON(member.key)
                bytes.append(UInt8(ascii: ":"))
                member.value.write(to: &bytes)
            }
            bytes.append(UInt8(ascii: "}"))
        }
    }
}
