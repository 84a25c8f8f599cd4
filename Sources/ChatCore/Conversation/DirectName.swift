extension RoomName {
    /// What the names of direct conversations begin with. Only these two users may enter such a room.
    public static let directPrefix = "dm:"

    /// Whether the room is a direct conversation, or would be one if it was begun.
    public var isDirect: Bool { text.utf8.starts(with: Self.directPrefix.utf8) }

    /// The direct conversation of two users, whoever of them starts it: `dm:` and both names, percent-encoded, in the
    /// order of their bytes, with a colon between them. If that is too long for a name of a room, `dm:` and its
    /// SHA-256. Nil if both are the same user.
    public init?(directOf first: UserID, and second: UserID) {
        guard first != second else { return nil }
        let names = [Self.encoded(first), Self.encoded(second)].sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        var text = "\(Self.directPrefix)\(names[0]):\(names[1])"
        if text.utf8.count > Self.maxBytes { text = Self.directPrefix + SHA256.hex(of: text) }
        guard let room = try? RoomName(text) else { return nil }
        self = room
    }

    /// The user with whom that user talks in this room, if the name of the room tells it.
    public func directPartner(of user: UserID) -> UserID? {
        guard isDirect else { return nil }
        let names = text.utf8.dropFirst(Self.directPrefix.utf8.count).split(separator: UInt8(ascii: ":"))
        guard names.count == 2 else { return nil }
        let users = names.compactMap { Self.decoded($0).flatMap { try? UserID(stored: $0) } }
        guard users.count == 2, users.contains(user) else { return nil }
        return users[0] == user ? users[1] : users[0]
    }

    /// Every byte but letters, digits, `-`, `.`, `_` and `~` as `%` and two digits (RFC 3986, 2.3).
    private static func encoded(_ user: UserID) -> String {
        var text = ""
        let digits = Array("0123456789ABCDEF".unicodeScalars)
        for byte in user.text.utf8 {
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
                UInt8(ascii: "~"):
                text.unicodeScalars.append(Unicode.Scalar(byte))
            default:
                text += "%"
                text.unicodeScalars.append(digits[Int(byte >> 4)])
                text.unicodeScalars.append(digits[Int(byte & 15)])
            }
        }
        return text
    }

    private static func decoded(_ bytes: Substring.UTF8View.SubSequence) -> String? {
        var decoded: [UInt8] = []
        var rest = bytes
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                decoded.append(byte)
                continue
            }
            guard let high = rest.popFirst().flatMap(digit), let low = rest.popFirst().flatMap(digit) else {
                return nil
            }
            decoded.append(high << 4 | low)
        }
        return String(validating: decoded, as: UTF8.self)
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        default: nil
        }
    }
}
