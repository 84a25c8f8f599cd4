import Testing

@testable import ChatCore

/// Patterns of room names, and the rights that follow from a grant.
@Suite struct GrantTests {
    private func grant(
        _ rules: [(String, Rights)], denied: [String] = [], user: String = "ana", expiresAt: UInt64? = nil
    ) throws -> Grant {
        Grant(
            user: try UserID(user),
            permissions: Permissions(
                rules: try rules.map { Permissions.Rule(try RoomPattern($0.0), $0.1) },
                denied: try denied.map { try RoomPattern($0) }),
            expiresAt: expiresAt)
    }

    @Test(arguments: [
        ("lobby", "lobby", true), ("lobby", "lobby:a", false), ("lobby", "lobb", false), ("lobby:a", "lobby", false),
        ("*", "lobby", true), ("*", "team:a", false), ("**", "team:a:b", true), ("team:*", "team:a", true),
        ("team:*", "team", false), ("team:*", "team:", true), ("team:*", "team:a:b", false),
        ("team:**", "team:a:b", true), ("team:**", "team", false), ("team:**", "teams:a", false),
        ("*:b", "a:b", true), ("*:b", "b", false), ("dm:$sub", "dm:ana", true), ("dm:$sub", "dm:bob", false),
        ("dm:*:$sub", "dm:bob:ana", true), ("dm:$sub:*", "dm:ana:bob", true), ("팀:*", "팀:하나", true),
        (":", ":", true), ("a::b", "a::b", true), ("a:*:b", "a::b", true),
    ])
    func aPatternIsComparedSegmentBySegment(pattern: String, room: String, matches: Bool) throws {
        let pattern = try RoomPattern(pattern)
        #expect(pattern.matches(try RoomName(room), user: try UserID("ana")) == matches)
    }

    @Test(arguments: ["", "team-*", "a:**:b", "**:a", "a*", "*a", "***", String(repeating: "a", count: 257)])
    func aTextThatIsNoPatternIsRefused(text: String) {
        #expect(throws: NameError.self) { try RoomPattern(text) }
    }

    @Test func aNameWithAColonIsNoSegmentOfAnotherUsersRooms() throws {
        let pattern = try RoomPattern("dm:$sub:**")
        #expect(!pattern.matches(try RoomName("dm:a:b:c"), user: try UserID("a:b")))
        #expect(pattern.matches(try RoomName("dm:a:b:c"), user: try UserID("a")))
        #expect(!(try RoomPattern("dm:$sub")).matches(try RoomName("dm:x"), user: try UserID("*")))
    }

    @Test func rightsAddUpAndDenyWins() throws {
        let grant = try grant(
            [("**", [.read]), ("team:*", [.send, .signal]), ("team:a", [.moderate])], denied: ["team:secret"])
        #expect(grant.rights(in: try RoomName("news:today")) == [.read])
        #expect(grant.rights(in: try RoomName("team:a")) == [.read, .send, .signal, .moderate])
        #expect(grant.rights(in: try RoomName("team:b")) == [.read, .send, .signal])
        #expect(grant.rights(in: try RoomName("team:secret")) == [])
        #expect(try self.grant([]).rights(in: try RoomName("lobby")) == [])
    }

    @Test func aRefusalNamesTheMissingRight() throws {
        let grant = try grant([("lobby", [.read])])
        let lobby = try RoomName("lobby")
        #expect(AccessDecision.refusal(of: .read, in: lobby, by: grant) == nil)
        let refusal = try #require(AccessDecision.refusal(of: .send, in: lobby, by: grant))
        #expect(refusal.code == .forbidden && refusal.message.contains("send"))
        #expect(AccessDecision.refusal(of: .send, in: lobby, by: nil) == nil, "development mode")
    }

    @Test func everyRequestToARoomRequiresARight() throws {
        let room = try RoomName("lobby")
        let bodies: [(ClientRequest.Body, Rights?)] = [
            (.join(room: room, after: nil, history: nil), .read), (.leave(room: room), nil),
            (.send(SendRequest(room: room, text: "a")), .send),
            (.signal(room: room, name: "typing", data: nil), .signal),
            (.history(room: room, query: HistoryQuery(anchor: .newest, limit: 1)), .read),
            (.roster(room: room, cursor: nil), .read), (.ping, nil), (.token("a"), nil),
        ]
        for (body, right) in bodies { #expect(body.requirement?.right == right) }
    }

    @Test func timesThatAreFarAwayDoNotOverflow() throws {
        let forever = try grant([], expiresAt: .max)
        #expect(!forever.isExpired(at: 1_800_000_000_000, grace: .max))
        #expect(forever.isExpired(at: .max, grace: .max))
        let soon = try grant([], expiresAt: 10_500)
        #expect(soon.expires(after: 10_000) == 0 && soon.expires(after: 20_000) == 0 && soon.expires(after: 0) == 10)
        #expect(!soon.isExpired(at: 10_499) && soon.isExpired(at: 10_500))
        #expect(!soon.isExpired(at: 10_500, grace: 1) && soon.isExpired(at: 10_501, grace: 1))
    }

    @Test func rightsHaveNames() {
        #expect(Rights(names: ["read", "amend-any"]) == [.read, .amendAny])
        #expect(Rights(names: ["read", "write"]) == nil)
        #expect(Rights.all.names == ["read", "send", "signal", "amend", "amend-any", "moderate"])
    }
}
