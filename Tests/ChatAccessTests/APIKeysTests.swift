import ChatCore
import Testing

@testable import ChatAccess

/// The keys of servers.
struct APIKeysTests {
    private func hash(_ key: String) -> String {
        SHA256Digest(of: key).bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    private func problem(_ text: String) -> String? {
        do throws(APIKeys.Problem) {
            _ = try APIKeys(text)
            return nil
        } catch {
            return error.description
        }
    }

    @Test func keysAreFoundByWhatIsPresented() throws {
        let keys = try APIKeys(
            "bot:\(hash("k1")):read+send@team:*, ops:\(hash("k2").uppercased()):admin+moderate ,x.y-z_1:\(hash("k3")):read@a"
        )
        #expect(keys.keys.map(\.name) == ["bot", "ops", "x.y-z_1"])
        #expect(keys.key("k1")?.name == "bot" && keys.key("k2")?.name == "ops" && keys.key("k3")?.name == "x.y-z_1")
        for wrong in ["", "k", "k4", "K1", "k1 ", hash("k1"), "bot", "bot:\(hash("k1"))"] {
            #expect(keys.key(wrong) == nil, "\(wrong)")
        }
        #expect(
            keys.keys[0].permissions == [
                APIKeys.Permission(scope: .read, rooms: nil),
                APIKeys.Permission(scope: .send, rooms: try RoomPattern("team:*")),
            ])
        #expect(keys.keys[1].permissions.map(\.scope) == [.admin, .moderate])
        #expect(keys.keys[2].permissions == [APIKeys.Permission(scope: .read, rooms: try RoomPattern("a"))])
    }

    @Test func sha256IsTheKnownOne() {
        #expect(hash("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        #expect(hash("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    }

    @Test func noKeys() throws {
        #expect(try APIKeys("").keys.isEmpty)
        #expect(try APIKeys("").key("") == nil)
    }

    @Test func aWrongEntryIsNamed() {
        let hash = hash("k1")
        let cases = [
            (" ", "API key 1: expected name:sha256:scopes"),
            ("bot", "API key 1: expected name:sha256:scopes"),
            ("bot:\(hash)", "API key 1: expected name:sha256:scopes"),
            ("a:\(hash):read,", "API key 2: expected name:sha256:scopes"),
            ("\(hash):read", "API key 1: expected name:sha256:scopes"),
            ("\(hash):bot:read", "API key 1: its name is not 1 to 64 letters"),
            (":\(hash):read", "API key 1: its name is not 1 to 64 letters"),
            ("b t:\(hash):read", "API key 1: its name is not 1 to 64 letters"),
            ("bot:abc:read", "API key 1 (bot): its hash is not 64 hexadecimal digits"),
            ("bot:\(hash)0:read", "API key 1 (bot): its hash is not 64 hexadecimal digits"),
            ("bot:\(hash.dropLast())g:read", "API key 1 (bot): its hash is not 64 hexadecimal digits"),
            ("bot:\(self.hash("")):read", "API key 1 (bot): its hash is the one of an empty key"),
            ("bot:\(hash):", "API key 1 (bot): expected scopes"),
            ("bot:\(hash):write", "API key 1 (bot): expected scopes"),
            ("bot:\(hash):read+", "API key 1 (bot): expected scopes"),
            ("bot:\(hash):Read", "API key 1 (bot): expected scopes"),
            ("bot:\(hash):@a", "API key 1 (bot): expected scopes"),
            ("bot:\(hash):read@", "API key 1 (bot): the pattern of read is not acceptable"),
            ("bot:\(hash):read@dm:$sub", "API key 1 (bot): $sub in the pattern of read"),
            ("a:\(hash):read,a:\(self.hash("k2")):read", "API key 2 (a): the same name as API key 1"),
            ("a:\(hash):read,b:\(hash):read", "API key 2 (b): the same hash as API key 1"),
        ]
        for (text, expected) in cases {
            let problem = problem(text)
            #expect(problem?.hasPrefix(expected) == true, "\(text): \(problem ?? "accepted")")
            #expect(problem?.contains(hash.prefix(8)) != true)
        }
    }

    @Test func anyTextIsReadWithoutTrap() {
        var generator = SplitMix64(seed: 3)
        let pieces = [":", ",", "+", "@", "read", "bot", hash("k"), " ", "\u{0}", "é", "$sub", "*"]
        for _ in 0..<5_000 {
            let count = Int.random(in: 0...12, using: &generator)
            let text = (0..<count).map { _ in pieces.randomElement(using: &generator) ?? "" }.joined()
            _ = problem(text)
        }
    }
}
