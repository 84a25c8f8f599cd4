/// A pattern over room names, which are compared segment by segment; colons separate segments.
///
/// A segment of a pattern is `*` (exactly one segment, whatever it is), `**` (one or more segments; only as the last
/// one), `$sub` (the name of the user who bears the grant), or the text that the room's segment must be. A wildcard is
/// always a whole segment: `team:*` is a pattern, `team-*` is none.
///
/// A user whose name has a colon matches no `$sub`. Otherwise `dm:$sub:**` of the user `a` would include rooms of the
/// user `a:b`.
public struct RoomPattern: Hashable, Sendable, CustomStringConvertible {
    private enum Segment: Hashable, Sendable {
        case text(String)
        case any
        case user
        case rest
    }

    /// The maximum length of a pattern, in bytes.
    public static let maxBytes = 2 * RoomName.maxBytes

    private let segments: [Segment]

    /// Every room.
    public static let everywhere = RoomPattern([.rest])

    private init(_ segments: [Segment]) {
        self.segments = segments
    }

    /// Throws a ``NameError`` that says which rule was broken.
    public init(_ text: String) throws(NameError) {
        try NameRules.validate(
            text, noun: "pattern of rooms", maxBytes: Self.maxBytes, reserved: "{}",
            because: "holds a brace, which no name of a room has")
        var segments: [Segment] = []
        for part in text.split(separator: ":", omittingEmptySubsequences: false) {
            guard segments.last != .rest else { throw NameError("** must be the last segment of a pattern") }
            switch part {
            case "*": segments.append(.any)
            case "**": segments.append(.rest)
            case "$sub": segments.append(.user)
            default:
                guard !part.contains("*") else { throw NameError("a wildcard must be a whole segment, as in team:*") }
                segments.append(.text(String(part)))
            }
        }
        self.segments = segments
    }

    /// Whether the room's name matches, for a grant of that user; with nil, `$sub` matches nothing.
    public func matches(_ room: RoomName, user: UserID?) -> Bool {
        var rest = room.text.utf8[...]
        var isAtEnd = false
        for segment in segments {
            guard !isAtEnd else { return false }
            if segment == .rest { return true }
            let end = rest.firstIndex(of: UInt8(ascii: ":"))
            let part = rest[..<(end ?? rest.endIndex)]
            switch segment {
            case .any, .rest: break
            case .text(let text): guard part.elementsEqual(text.utf8) else { return false }
            case .user: guard let user, part.elementsEqual(user.text.utf8) else { return false }
            }
            if let end { rest = rest[rest.index(after: end)...] } else { isAtEnd = true }
        }
        return isAtEnd
    }

    public var description: String {
        segments.map { segment in
            switch segment {
            case .text(let text): text
            case .any: "*"
            case .user: "$sub"
            case .rest: "**"
            }
        }.joined(separator: ":")
    }
}
