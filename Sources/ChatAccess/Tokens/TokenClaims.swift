import ChatCore
import ChatJSON

/// The claims of a token whose signature was verified. Claims that are not read here are ignored (RFC 7519 §4).
struct TokenClaims {
    /// Patterns in `martlet.rooms` and `martlet.deny` together.
    static let maxPatterns = 64
    static let maxRoles = 32
    static let maxRoleBytes = 64
    static let maxTokenIDBytes = 128
    static let maxNameBytes = 256
    /// The end of the year 9999, in seconds since 1970.
    static let maxTime = 253_402_300_799.0

    private let members: [String: JSONValue]

    init(_ bytes: [UInt8]) throws(TokenProblem) {
        do throws(JSONError) {
            guard let object = try StrictJSON.parse(bytes).object else {
                throw JSONError(offset: 0, problem: "not an object")
            }
            members = object
        } catch {
            throw .malformed("claims, \(error)")
        }
    }

    /// The grant, if the token is valid at `now` (milliseconds since 1970) by these rules.
    func grant(_ rules: TokenRules, now: UInt64) throws(TokenProblem) -> Grant {
        let leeway = rules.leewayMilliseconds
        let expiresAt = try time("exp")
        if expiresAt == nil, rules.requiresExpiry { throw .badClaim("exp", "is missing") }
        if let expiresAt, now >= expiresAt + leeway { throw .expired }
        if let notBefore = try time("nbf"), now + leeway < notBefore { throw .notYetValid }
        let issuedAt = try time("iat")
        // Otherwise a token could be outside of every revocation of tokens that were issued before a certain time.
        if let issuedAt, now + leeway < issuedAt { throw .notYetValid }
        try checkIssuer(rules)
        try checkAudience(rules)
        _ = try text("name", maxBytes: Self.maxNameBytes)
        let access = try access()
        return Grant(
            user: try user(), device: try device(),
            permissions: Permissions(rules: access.rooms, denied: access.denied, roles: access.roles),
            tokenID: try text("jti", maxBytes: Self.maxTokenIDBytes), issuedAt: issuedAt, expiresAt: expiresAt)
    }

    // MARK: Registered claims

    /// A time in milliseconds since 1970; the claim has seconds, possibly with a fraction (RFC 7519 §2, NumericDate).
    private func time(_ name: String) throws(TokenProblem) -> UInt64? {
        guard let value = members[name] else { return nil }
        guard case .number = value, let seconds = value.double else { throw .badClaim(name, "is not a number") }
        guard seconds >= 0, seconds <= Self.maxTime else {
            let hint = seconds > Self.maxTime && seconds < Self.maxTime * 1_000 ? "; is it in milliseconds?" : ""
            throw .badClaim(name, "is not a number of seconds since 1970" + hint)
        }
        return UInt64(seconds * 1_000)
    }

    private func text(_ name: String, maxBytes: Int) throws(TokenProblem) -> String? {
        guard let value = members[name] else { return nil }
        guard case .string(let text) = value else { throw .badClaim(name, "is not a string") }
        guard !text.isEmpty || name == "name" else { throw .badClaim(name, "is empty") }
        guard text.utf8.count <= maxBytes else { throw .badClaim(name, "is longer than \(maxBytes) bytes") }
        return text
    }

    private func user() throws(TokenProblem) -> UserID {
        guard let value = members["sub"] else { throw .badClaim("sub", "is missing") }
        guard case .string(let text) = value else { throw .badClaim("sub", "is not a string") }
        do throws(NameError) {
            return try UserID(text)
        } catch {
            throw .badClaim("sub", "is not a user's name: \(error)")
        }
    }

    private func device() throws(TokenProblem) -> DeviceName? {
        guard let value = members["device"] else { return nil }
        guard case .string(let text) = value else { throw .badClaim("device", "is not a string") }
        do throws(NameError) {
            return try DeviceName(text)
        } catch {
            throw .badClaim("device", "is not a device's name: \(error)")
        }
    }

    private func checkIssuer(_ rules: TokenRules) throws(TokenProblem) {
        let value = members["iss"]
        if let value, value.string == nil { throw .badClaim("iss", "is not a string") }
        guard let wanted = rules.issuer else { return }
        guard let issuer = value?.string, issuer.utf8.elementsEqual(wanted.utf8) else { throw .badIssuer }
    }

    /// One string, or a list of strings, which must not be empty.
    private func checkAudience(_ rules: TokenRules) throws(TokenProblem) {
        var audiences: [String]
        switch members["aud"] {
        case nil: audiences = []
        case .string(let text)?: audiences = [text]
        case .array(let elements)?:
            audiences = []
            for element in elements {
                guard case .string(let text) = element else {
                    throw .badClaim("aud", "holds something else than strings")
                }
                audiences.append(text)
            }
            guard !audiences.isEmpty else { throw .badAudience }
        default: throw .badClaim("aud", "is neither a string nor a list of strings")
        }
        guard let wanted = rules.audience else { return }
        guard audiences.contains(where: { $0.utf8.elementsEqual(wanted.utf8) }) else { throw .badAudience }
    }

    // MARK: The claim martlet

    private typealias Access = (rooms: [Permissions.Rule], denied: [RoomPattern], roles: [String])

    /// The claim `martlet`. Its members must be the known ones: a misspelt `deny` would otherwise allow what it was to
    /// forbid.
    private func access() throws(TokenProblem) -> Access {
        var access: Access = ([], [], [])
        guard let value = members["martlet"] else { return access }
        guard case .object(let parts) = value else { throw .badClaim("martlet", "is not an object") }
        for (name, part) in parts.sorted(by: { $0.key < $1.key }) {
            switch name {
            case "rooms": access.rooms = try rooms(part)
            case "deny": access.denied = try denied(part)
            case "roles": access.roles = try roles(part)
            default: throw .badClaim("martlet", "has a member other than rooms, deny and roles")
            }
        }
        guard access.rooms.count + access.denied.count <= Self.maxPatterns else {
            throw .badClaim("martlet", "has more than \(Self.maxPatterns) patterns in rooms and deny together")
        }
        return access
    }

    /// In the order of the patterns' texts, since the members of an object have none.
    private func rooms(_ value: JSONValue) throws(TokenProblem) -> [Permissions.Rule] {
        guard case .object(let members) = value else {
            throw .badClaim("martlet.rooms", "is not an object of lists of rights")
        }
        guard members.count <= Self.maxPatterns else {
            throw .badClaim("martlet.rooms", "has more than \(Self.maxPatterns) patterns")
        }
        var rooms: [Permissions.Rule] = []
        for (text, list) in members.sorted(by: { $0.key < $1.key }) {
            let pattern = try pattern(text, of: "martlet.rooms")
            guard case .array(let elements) = list else {
                throw .badClaim("martlet.rooms", "has a pattern without a list of rights")
            }
            guard let rights = Rights(names: try strings(elements, of: "martlet.rooms")) else {
                throw .badClaim(
                    "martlet.rooms", "has a right other than read, send, signal, amend, amend-any and moderate")
            }
            rooms.append(Permissions.Rule(pattern, rights))
        }
        return rooms
    }

    private func denied(_ value: JSONValue) throws(TokenProblem) -> [RoomPattern] {
        guard case .array(let elements) = value else { throw .badClaim("martlet.deny", "is not a list of patterns") }
        guard elements.count <= Self.maxPatterns else {
            throw .badClaim("martlet.deny", "has more than \(Self.maxPatterns) patterns")
        }
        var denied: [RoomPattern] = []
        for text in try strings(elements, of: "martlet.deny") {
            denied.append(try pattern(text, of: "martlet.deny"))
        }
        return denied
    }

    private func roles(_ value: JSONValue) throws(TokenProblem) -> [String] {
        guard case .array(let elements) = value else { throw .badClaim("martlet.roles", "is not a list of strings") }
        let roles = try strings(elements, of: "martlet.roles")
        guard !roles.contains(Permissions.administrator) else {
            throw .badClaim("martlet.roles", "holds \(Permissions.administrator), which is for keys of servers")
        }
        guard roles.count <= Self.maxRoles, roles.allSatisfy({ (1...Self.maxRoleBytes).contains($0.utf8.count) }) else {
            throw .badClaim(
                "martlet.roles", "has more than \(Self.maxRoles) roles, or one without 1 to \(Self.maxRoleBytes) bytes")
        }
        return roles
    }

    private func strings(_ values: [JSONValue], of claim: String) throws(TokenProblem) -> [String] {
        var strings: [String] = []
        for value in values {
            guard case .string(let text) = value else {
                throw .badClaim(claim, "holds something else than strings in a list")
            }
            strings.append(text)
        }
        return strings
    }

    private func pattern(_ text: String, of claim: String) throws(TokenProblem) -> RoomPattern {
        do throws(NameError) {
            return try RoomPattern(text)
        } catch {
            throw .badClaim(claim, "has a pattern that is none: \(error)")
        }
    }
}
