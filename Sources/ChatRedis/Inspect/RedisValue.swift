/// A reply of Redis that owns its contents, for tools: unlike a ``RESPReply`` it may be kept. Text that is not UTF-8 is
/// repaired.
public enum RedisValue: Sendable, Hashable {
    case null
    case integer(Int64)
    case string(String)
    /// `ERR …`: concerns one command; others of the same batch may have succeeded.
    case error(String)
    case array([RedisValue])

    init(_ reply: RESPReply) {
        switch reply.kind {
        case .null: self = .null
        case .integer: self = .integer(reply.integer ?? 0)
        case .string, .status: self = .string(reply.withBytes { String(decoding: $0, as: UTF8.self) })
        case .error: self = .error(reply.error ?? "")
        case .array: self = .array((0..<reply.count).map { RedisValue(reply[$0]) })
        }
    }

    public var string: String? {
        guard case .string(let text) = self else { return nil }
        return text
    }

    /// The number, even if Redis returned it as text.
    public var integer: Int? {
        switch self {
        case .integer(let number): Int(exactly: number)
        case .string(let text): Int(text)
        case .null, .error, .array: nil
        }
    }

    public var array: [RedisValue]? {
        guard case .array(let elements) = self else { return nil }
        return elements
    }

    public var error: String? {
        guard case .error(let text) = self else { return nil }
        return text
    }

    /// An array of names and values (HGETALL, CONFIG GET, XINFO) as a dictionary; empty for any other value.
    public var pairs: [String: RedisValue] {
        guard case .array(let elements) = self else { return [:] }
        var result: [String: RedisValue] = [:]
        for index in stride(from: 0, to: elements.count - 1, by: 2) {
            if let name = elements[index].string { result[name] = elements[index + 1] }
        }
        return result
    }

    /// The `name:value` lines of INFO; empty for any other value.
    public var info: [String: String] {
        guard case .string(let text) = self else { return [:] }
        var result: [String: String] = [:]
        for line in text.split(whereSeparator: \.isNewline) where line.first != "#" {
            let name = line.prefix { $0 != ":" }
            result[String(name)] = String(line.dropFirst(name.count + 1))
        }
        return result
    }
}
