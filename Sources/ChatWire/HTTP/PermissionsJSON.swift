public import ChatCore
public import ChatJSON

/// Rights as JSON, in the form of a token's claim `martlet`: `rooms` with lists of rights by pattern, and `deny` with
/// patterns.
public enum PermissionsJSON {
    /// Patterns in `rooms` and `deny` together.
    public static let maxPatterns = 64

    /// Reads the members `rooms` and `deny`. Throws `badField`.
    public static func read(
        _ members: [String: JSONValue]
    ) throws(WireError) -> (rules: [Permissions.Rule], denied: [RoomPattern]) {
        var rules: [Permissions.Rule] = []
        var denied: [RoomPattern] = []
        if let value = members["rooms"], value != .null {
            guard let rooms = value.object else {
                throw WireError(.badField, "rooms must be an object of lists of rights")
            }
            guard rooms.count <= maxPatterns else { throw tooMany }
            for (text, list) in rooms.sorted(by: { $0.key < $1.key }) {
                guard let names = strings(list), let rights = Rights(names: names) else {
                    throw WireError(
                        .badField, "rooms must hold lists of read, send, signal, amend, amend-any and moderate")
                }
                rules.append(Permissions.Rule(try pattern(text), rights))
            }
        }
        if let value = members["deny"], value != .null {
            guard let texts = strings(value) else { throw WireError(.badField, "deny must be a list of patterns") }
            guard texts.count <= maxPatterns else { throw tooMany }
            for text in texts { denied.append(try pattern(text)) }
        }
        guard rules.count + denied.count <= maxPatterns else { throw tooMany }
        return (rules, denied)
    }

    /// The members that ``read(_:)`` reads.
    public static func members(of permissions: Permissions) -> [String: JSONValue] {
        var rooms: [String: Rights] = [:]
        for rule in permissions.rules { rooms[rule.pattern.description, default: []].formUnion(rule.rights) }
        return [
            "rooms": .object(rooms.mapValues { .array($0.names.map { .string($0) }) }),
            "deny": .array(permissions.denied.map { .string($0.description) }),
        ]
    }

    private static let tooMany = WireError(.badField, "rooms and deny may have \(maxPatterns) patterns together")

    private static func strings(_ value: JSONValue) -> [String]? {
        guard let elements = value.array else { return nil }
        let strings = elements.compactMap(\.string)
        return strings.count == elements.count ? strings : nil
    }

    private static func pattern(_ text: String) throws(WireError) -> RoomPattern {
        do throws(NameError) {
            return try RoomPattern(text)
        } catch {
            throw WireError(.badField, "a pattern of rooms is none: \(error)")
        }
    }
}
