import Testing

@testable import ChatWire

struct SocketIOProfileTests {
    @Test func theShippedProfilesAreValid() throws {
        for (name, text) in SocketIOProfile.shipped {
            let profile = try SocketIOProfile(Array(text.utf8))
            #expect(profile.name == name)
        }
        #expect(SocketIOProfile.shipped.keys.sorted() == ["chat", "martlet", "tutorial"])
    }

    /// Each fault is told with its line.
    @Test(arguments: [
        ("", 1, "not JSON"), ("{\n\"name\": 1}", 2, "\"name\" must be a string"), ("{}", 1, "a profile has a \"name\""),
        ("{\"name\":\"a\",\n\n\"nome\":1}", 3, "has no \"nome\""), ("[]", 1, "must be an object"),
        ("{\"name\":\"a\"}", 1, "has a \"user\", or an event that means \"enter\""),
        ("{\"name\":\"a\",\"user\":\"$who\"}", 1, "\"$who\" is not known"),
        ("{\"name\":\"a\",\"user\":\"$auth..b\"}", 1, "empty name"),
        ("{\"name\":\"a\",\"user\":\"a|\"}", 1, "an alternative of \"user\" is empty"),
        ("{\"name\":\"a\",\"user\":\"b\",\n\"on\":{\"c\":{\n\"do\":\"dance\"}}}", 3, "\"do\" must be one of"),
        ("{\"name\":\"a\",\"user\":\"b\",\n\"on\":{\"c\":{\"do\":\"join\"}}}", 2, "names no room"),
        ("{\"name\":\"a\",\"user\":\"b\",\n\"on\":{\"connect\":{\"do\":\"join\",\"room\":\"r\"}}}", 2, "themselves"),
        (
            "{\"name\":\"a\",\"user\":\"b\",\"room\":\"r\",\n\"on\":{\"c\":{\"do\":\"send\"}}}", 2,
            "needs \"text\" or \"data\""
        ),
        (
            "{\"name\":\"a\",\"user\":\"b\",\"room\":\"r\",\n\"on\":{\"c\":{\"do\":\"send\",\"cursor\":\"$1\"}}}", 2,
            "has no \"cursor\""
        ),
        ("{\"name\":\"a\",\"user\":\"b\",\n\"emit\":{\n\"message\":[\"m\",\"$wort\"]}}", 3, "\"$wort\" is not known"),
        ("{\"name\":\"a\",\"user\":\"b\",\n\"emit\":{\n\"message\":[]}}", 3, "must begin with the name of an event"),
        ("{\"name\":\"a\",\"user\":\"b\",\n\"emit\":{\n\"mess\":[\"m\"]}}", 3, "has no \"mess\""),
        ("{\"name\":\"a\",\"user\":\"b\",\"recovery\":true}", 1, "needs an event for \"message\""),
        ("{\"name\":\"a\",\"user\":\"b\",\"user\":\"c\"}", 1, "twice"),
        (
            "{\"name\":\"a\",\"user\":\"b\",\n\"join\":[{\"do\":\"leave\",\"room\":\"r\"}]}", 2,
            "only operations that join"
        ),
    ])
    func aProfileThatCannotBeUsedIsRefused(_ text: String, line: Int, problem: String) throws {
        do {
            _ = try SocketIOProfile(Array(text.utf8))
            Issue.record("accepted")
        } catch {
            #expect(error.line == line && error.text.contains(problem), "\(error)")
        }
    }
}
