import ChatCore
import Testing

@testable import ChatAccess

/// What the claims of a token mean, and which are refused.
struct TokenClaimTests {
    private let forge = Forge()
    private let now = Forge.seconds

    private func grant(_ more: String) throws -> Grant {
        try forge.verify(Forge.sign(claims: Forge.claims(more))).get()
    }

    @Test func aGrantHoldsWhatTheTokenSays() throws {
        let grant = try grant(
            #""device":"phone","jti":"t1","iat":\#(now),"name":"Ana","more":{"a":[1]},"martlet":{"rooms":"#
                + #"{"team:*":["read","send"],"lobby":["read"]},"deny":["team:x"],"roles":["helper","owner"]}"#)
        #expect(grant.user == (try UserID("ana")))
        #expect(grant.device == (try DeviceName("phone")))
        #expect(grant.tokenID == "t1")
        #expect(grant.issuedAt == UInt64(now) * 1_000)
        #expect(grant.expiresAt == UInt64(now + 3_600) * 1_000)
        #expect(grant.permissions.rules.map(\.pattern) == (try ["lobby", "team:*"].map { try RoomPattern($0) }))
        #expect(grant.permissions.rules.map(\.rights) == [.read, [.read, .send]])
        #expect(grant.permissions.denied == [try RoomPattern("team:x")])
        #expect(grant.permissions.roles == ["helper", "owner"])
    }

    @Test(arguments: ["", #""martlet":{}"#, #""martlet":{"roles":[]}"#, #""martlet":{"rooms":{}}"#])
    func withoutRoomsATokenAllowsNone(more: String) throws {
        let grant = try grant(more)
        #expect(grant.permissions.rules.isEmpty && grant.permissions.denied.isEmpty && grant.permissions.roles.isEmpty)
        #expect(grant.device == nil && grant.tokenID == nil && grant.issuedAt == nil)
    }

    // MARK: Times

    private func problem(exp: String?, leeway: Int = 30, at moment: UInt64 = Forge.now) throws -> TokenProblem? {
        var forge = forge
        forge.rules.leeway = .seconds(leeway)
        return try forge.problem(Forge.sign(claims: Forge.claims(exp: exp)), now: moment)
    }

    @Test(arguments: [0, 30, 300])
    func expiryWithLeeway(leeway: Int) throws {
        let edge = now - leeway
        #expect(try problem(exp: "\(edge - 1)", leeway: leeway) == .expired)
        #expect(try problem(exp: "\(edge)", leeway: leeway) == .expired)
        #expect(try problem(exp: "\(edge + 1)", leeway: leeway) == nil)
        // To the millisecond.
        #expect(try problem(exp: "\(edge)", leeway: leeway, at: Forge.now - 1) == nil)
        #expect(try problem(exp: "\(edge).001", leeway: leeway) == nil)
    }

    @Test(arguments: [0, 30, 300], ["nbf", "iat"])
    func notBeforeWithLeeway(leeway: Int, claim: String) throws {
        var forge = forge
        forge.rules.leeway = .seconds(leeway)
        let edge = now + leeway
        #expect(try forge.problem(claims: "\"\(claim)\":\(edge - 1)") == nil)
        #expect(try forge.problem(claims: "\"\(claim)\":\(edge)") == nil)
        #expect(try forge.problem(claims: "\"\(claim)\":\(edge + 1)") == .notYetValid)
    }

    @Test func expiryIsRequiredUnlessTheRulesSayOtherwise() throws {
        #expect(try problem(exp: nil) == .badClaim("exp", "is missing"))
        var lenient = forge
        lenient.rules.requiresExpiry = false
        let endless = try lenient.verify(Forge.sign(claims: Forge.claims(exp: nil))).get()
        #expect(endless.expiresAt == nil)
        #expect(try lenient.problem(Forge.sign(claims: Forge.claims(exp: "1"))) == .expired)
        #expect(try lenient.problem(Forge.sign(claims: Forge.claims(exp: "\"x\"")))?.subject == "exp")
    }

    @Test(arguments: [
        "\"1900000000\"", "null", "true", "[]", "[1900000000]", "{}", "1e300", "-1e300", "1e999", "-1", "-0.001",
        "1e308", "253402300800", "1900000000000", "99999999999999999999999999999999", "18446744073709551616",
        "9223372036854775808",
    ])
    func timesAreSecondsWithinBounds(value: String) throws {
        #expect(try problem(exp: value)?.subject == "exp")
        for claim in ["nbf", "iat"] {
            #expect(try forge.problem(claims: "\"\(claim)\":\(value)")?.subject == claim)
        }
    }

    @Test(arguments: ["1900000000", "1.9e9", "1900000000.5", "19E8", "253402300799", "1.9e+9", "190000000000e-2"])
    func timesMayBeWrittenAsFractions(value: String) throws {
        #expect(try problem(exp: value) == nil)
    }

    @Test(arguments: ["0", "-0", "1e-300", "1e-999", "0.0"])
    func timesLongAgo(value: String) throws { #expect(try problem(exp: value) == .expired) }

    @Test func millisecondsAreRecognised() throws {
        #expect(try problem(exp: "1900000000000")?.description.contains("milliseconds") == true)
    }

    @Test func unreasonableClocksAndLeewaysDoNotTrap() throws {
        var forge = forge
        for leeway: Duration in [.seconds(-5), .seconds(Int64.max), .zero, .seconds(Int64.min)] {
            forge.rules.leeway = leeway
            for now: UInt64 in [0, 1, Forge.now, 1 << 60] {
                _ = try forge.problem(Forge.sign(claims: Forge.claims("\"nbf\":5,\"iat\":6")), now: now)
            }
        }
    }

    // MARK: Names

    @Test(arguments: [
        "{\"exp\":1900000000}", "{\"sub\":null,\"exp\":1900000000}", "{\"sub\":1,\"exp\":1900000000}",
        "{\"sub\":\"\",\"exp\":1900000000}", "{\"sub\":[\"ana\"],\"exp\":1900000000}",
        "{\"sub\":\"a\\u0000b\",\"exp\":1900000000}", "{\"sub\":\"\\u3164\",\"exp\":1900000000}",
        "{\"sub\":\"\(String(repeating: "x", count: 129))\",\"exp\":1900000000}",
    ])
    func theSubjectIsAUser(claims: String) throws {
        #expect(try forge.problem(Forge.sign(claims: claims))?.subject == "sub")
    }

    @Test(arguments: ["null", "1", "\"\"", "\"a\\u202eb\"", "\"\(String(repeating: "x", count: 65))\""])
    func theDeviceIsADevice(value: String) throws {
        #expect(try forge.problem(claims: "\"device\":\(value)")?.subject == "device")
    }

    @Test(arguments: ["null", "1", "[]", "\"\"", "\"\(String(repeating: "x", count: 129))\""])
    func theTokenIDIsAShortString(value: String) throws {
        #expect(try forge.problem(claims: "\"jti\":\(value)")?.subject == "jti")
        #expect(try grant("\"jti\":\"\(String(repeating: "x", count: 128))\"").tokenID?.count == 128)
    }

    @Test(arguments: ["null", "1", "{}", "\"\(String(repeating: "x", count: 257))\""])
    func theNameIsAString(value: String) throws {
        #expect(try forge.problem(claims: "\"name\":\(value)")?.subject == "name")
        _ = try grant("\"name\":\"\"")
    }

    // MARK: Issuer and audience

    @Test func theIssuerIsTheConfiguredOne() throws {
        var strict = forge
        strict.rules.issuer = "https://a.example"
        #expect(try strict.problem(claims: #""iss":"https://a.example""#) == nil)
        for other in ["https://a.example/", "https://A.example", "", " https://a.example", "https://b.example"] {
            #expect(try strict.problem(claims: "\"iss\":\"\(other)\"") == .badIssuer)
        }
        #expect(try strict.problem(claims: "") == .badIssuer)
        for value in ["null", "1", "[\"https://a.example\"]"] {
            #expect(try strict.problem(claims: "\"iss\":\(value)")?.subject == "iss")
            #expect(try forge.problem(claims: "\"iss\":\(value)")?.subject == "iss")
        }
        #expect(try forge.problem(claims: #""iss":"anybody""#) == nil)
    }

    /// Two encodings of a letter are equal for Swift's `==`, but are not the same issuer.
    @Test func issuerAndAudienceAreComparedByBytes() throws {
        var strict = forge
        strict.rules.issuer = "caf\u{E9}"
        strict.rules.audience = "caf\u{E9}"
        #expect(try strict.problem(claims: #""iss":"caf\u00e9","aud":"caf\u00e9""#) == nil)
        #expect(try strict.problem(claims: #""iss":"cafe\u0301","aud":"caf\u00e9""#) == .badIssuer)
        #expect(try strict.problem(claims: #""iss":"caf\u00e9","aud":["cafe\u0301"]"#) == .badAudience)
    }

    @Test func theAudienceContainsTheConfiguredOne() throws {
        var strict = forge
        strict.rules.audience = "chat"
        for good in [#""chat""#, #"["chat"]"#, #"["shop","chat"]"#, #"["chat","chat"]"#] {
            #expect(try strict.problem(claims: "\"aud\":\(good)") == nil)
        }
        for bad in [#""shop""#, #""""#, #"["shop"]"#, #"["chats","cha"]"#, #""chat ""#, "[]", #""CHAT""#] {
            #expect(try strict.problem(claims: "\"aud\":\(bad)") == .badAudience)
        }
        #expect(try strict.problem(claims: "") == .badAudience)
        for wrong in ["null", "1", "{}", "{\"chat\":1}", "[1]", "[\"chat\",null]", "[[\"chat\"]]"] {
            #expect(try strict.problem(claims: "\"aud\":\(wrong)")?.subject == "aud")
            #expect(try forge.problem(claims: "\"aud\":\(wrong)")?.subject == "aud")
        }
        // An empty list is a refusal also where any audience will do.
        #expect(try forge.problem(claims: "\"aud\":[]") == .badAudience)
        #expect(try forge.problem(claims: "\"aud\":\"anything\"") == nil)
    }

    // MARK: Rights

    @Test(arguments: [
        ("martlet", "null"), ("martlet", "[]"), ("martlet", "\"all\""), ("martlet", #"{"denied":[]}"#),
        ("martlet", #"{"Rooms":{}}"#), ("martlet.rooms", #"{"rooms":null}"#), ("martlet.rooms", #"{"rooms":[]}"#),
        ("martlet.rooms", #"{"rooms":"*"}"#), ("martlet.rooms", #"{"rooms":{"a":"read"}}"#),
        ("martlet.rooms", #"{"rooms":{"a":{"read":true}}}"#), ("martlet.rooms", #"{"rooms":{"a":null}}"#),
        ("martlet.rooms", #"{"rooms":{"a":[1]}}"#), ("martlet.rooms", #"{"rooms":{"a":[null]}}"#),
        ("martlet.rooms", #"{"rooms":{"a":["Read"]}}"#), ("martlet.rooms", #"{"rooms":{"a":["read","write"]}}"#),
        ("martlet.rooms", #"{"rooms":{"a":[""]}}"#), ("martlet.rooms", #"{"rooms":{"a":["amendAny"]}}"#),
        ("martlet.rooms", #"{"rooms":{"":["read"]}}"#), ("martlet.rooms", #"{"rooms":{"a\u0000":["read"]}}"#),
        ("martlet.deny", #"{"deny":null}"#), ("martlet.deny", #"{"deny":"a"}"#), ("martlet.deny", #"{"deny":{}}"#),
        ("martlet.deny", #"{"deny":[1]}"#), ("martlet.deny", #"{"deny":[""]}"#), ("martlet.deny", #"{"deny":[["a"]]}"#),
        ("martlet.roles", #"{"roles":null}"#), ("martlet.roles", #"{"roles":"owner"}"#),
        ("martlet.roles", #"{"roles":[1]}"#), ("martlet.roles", #"{"roles":[""]}"#),
    ])
    func aWrongClaimIsNamed(claim: String, value: String) throws {
        #expect(try forge.problem(claims: "\"martlet\":\(value)")?.subject == claim)
    }

    @Test func allRightsHaveNames() throws {
        let grant = try grant(
            #""martlet":{"rooms":{"a":["read","send","signal","amend","amend-any","moderate"],"b":[]}}"#)
        #expect(grant.permissions.rules.map(\.rights) == [.all, []])
    }

    @Test func thereIsALimitOfPatterns() throws {
        func claims(_ rooms: Int, _ denied: Int) -> String {
            let rooms = (0..<rooms).map { "\"r\($0)\":[\"read\"]" }.joined(separator: ",")
            let denied = (0..<denied).map { "\"d\($0)\"" }.joined(separator: ",")
            return "\"martlet\":{\"rooms\":{\(rooms)},\"deny\":[\(denied)]}"
        }
        #expect(try grant(claims(64, 0)).permissions.rules.count == 64)
        #expect(try grant(claims(0, 64)).permissions.denied.count == 64)
        #expect(try grant(claims(40, 24)).permissions.rules.count == 40)
        #expect(try forge.problem(claims: claims(65, 0))?.subject == "martlet.rooms")
        #expect(try forge.problem(claims: claims(0, 65))?.subject == "martlet.deny")
        #expect(try forge.problem(claims: claims(40, 25))?.subject == "martlet")
    }

    @Test func thereIsALimitOfRoles() throws {
        func claims(_ count: Int, _ length: Int) -> String {
            let roles = (0..<count).map { _ in "\"\(String(repeating: "r", count: length))\"" }
            return "\"martlet\":{\"roles\":[\(roles.joined(separator: ","))]}"
        }
        #expect(try grant(claims(32, 64)).permissions.roles.count == 32)
        #expect(try forge.problem(claims: claims(33, 1))?.subject == "martlet.roles")
        #expect(try forge.problem(claims: claims(1, 65))?.subject == "martlet.roles")
    }
}
