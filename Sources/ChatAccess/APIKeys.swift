import ChatCore
import ChatJSON

/// The keys with which servers identify themselves: `name:sha256:scopes`, separated by commas, for example `bot:<64
/// hexadecimal digits>:read+send@team:*`. Only the SHA-256 of a key is known here, not the key.
///
/// Each scope applies to all rooms, or to those of the pattern after its own `@`: this bot reads everywhere, and sends
/// to rooms of teams only. So that a key is worth guessing nowhere, it should be random: `openssl rand -hex 32`.
public struct APIKeys: Sendable {
    public enum Scope: String, Hashable, Sendable, CaseIterable {
        case read, send, moderate, admin
    }

    /// A scope, and the rooms in which it applies: nil for all of them, and for what concerns no room.
    public struct Permission: Hashable, Sendable {
        public let scope: Scope
        public let rooms: RoomPattern?
    }

    public struct Key: Hashable, Sendable {
        public let name: String
        public let permissions: [Permission]
        fileprivate let digest: SHA256Digest
    }

    /// Why an entry is not acceptable. The text names it by position and, if it has a readable one, name; it holds no
    /// other part of the entry, in which a key may stand by mistake.
    public struct Problem: Error, Hashable, Sendable, CustomStringConvertible {
        public let description: String
    }

    public let keys: [Key]

    /// No keys.
    public init() {
        keys = []
    }

    /// Reads the entries; an empty text has none.
    public init(_ text: String) throws(Problem) {
        var keys: [Key] = []
        let entries = text.split(separator: ",", omittingEmptySubsequences: false)
        for (index, entry) in entries.enumerated() where !text.isEmpty {
            let entry = entry.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed()
            let fields = String(entry).split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard fields.count == 3 else {
                throw Problem(description: "API key \(index + 1): expected name:sha256:scopes")
            }
            let name = String(fields[0])
            guard Self.isName(name) else {
                throw Problem(
                    description: "API key \(index + 1): its name is not 1 to 64 letters, digits, '.', '_' or '-', "
                        + "or looks like a hash")
            }
            let key = try Self.key(name, fields[1], fields[2], "API key \(index + 1) (\(name))")
            if let first = keys.firstIndex(where: { $0.name == name || $0.digest == key.digest }) {
                let what = keys[first].name == name ? "name" : "hash"
                throw Problem(
                    description: "API key \(index + 1) (\(name)): the same \(what) as API key \(first + 1)")
            }
            keys.append(key)
        }
        self.keys = keys
    }

    /// The SHA-256 of a key in hexadecimal digits, as an entry holds it.
    public static func hash(of key: String) -> String {
        SHA256Digest(of: key).bytes.map { byte in
            let digits = String(byte, radix: 16)
            return digits.utf8.count == 1 ? "0" + digits : digits
        }.joined()
    }

    /// The key whose hash is that of `presented`. The time depends on the length of what was presented and on the
    /// number of keys, not on how much of a hash matches.
    public func key(_ presented: String) -> Key? {
        let digest = SHA256Digest(of: presented)
        var found: Key?
        for key in keys where key.digest.isEqualInConstantTime(to: digest) { found = key }
        return found
    }

    /// Long hexadecimal names are refused, because they are hashes in the wrong place, and names are shown.
    private static func isName(_ name: String) -> Bool {
        let isWellFormed =
            (1...64).contains(name.utf8.count)
            && name.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
                    true
                default: false
                }
            }
        return isWellFormed && (name.utf8.count < 32 || !name.utf8.allSatisfy { hexDigit($0) != nil })
    }

    private static func key(
        _ name: String, _ hash: Substring, _ scopes: Substring, _ place: String
    ) throws(Problem) -> Key {
        guard let digest = SHA256Digest(hexadecimal: hash) else {
            throw Problem(description: "\(place): its hash is not 64 hexadecimal digits; see sha256sum(1)")
        }
        guard digest != SHA256Digest(of: "") else {
            throw Problem(description: "\(place): its hash is the one of an empty key")
        }
        var permissions: [Permission] = []
        for text in scopes.split(separator: "+", omittingEmptySubsequences: false) {
            let parts = text.split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false)
            guard let word = parts.first, let scope = Scope(rawValue: String(word)) else {
                throw Problem(
                    description: "\(place): expected scopes out of read, send, moderate and admin, joined by '+'")
            }
            var rooms: RoomPattern?
            if parts.count > 1 {
                guard !parts[1].contains("$sub") else {
                    throw Problem(description: "\(place): $sub in the pattern of \(scope) means a user; a key has none")
                }
                do throws(NameError) {
                    rooms = try RoomPattern(String(parts[1]))
                } catch {
                    throw Problem(description: "\(place): the pattern of \(scope) is not acceptable: \(error)")
                }
            }
            permissions.append(Permission(scope: scope, rooms: rooms))
        }
        return Key(name: name, permissions: permissions, digest: digest)
    }
}
