import ChatRedis
import Testing

@testable import ChatNode

@Suite struct ConfigurationProblemTests {
    private func failure(_ environment: [String: String]) -> ConfigurationError? {
        do throws(ConfigurationError) {
            _ = try NodeConfiguration.load(environment: environment)
            return nil
        } catch {
            return error
        }
    }

    private func messages(_ environment: [String: String]) -> [String] {
        failure(environment)?.problems.map(\.message) ?? []
    }

    @Test(arguments: NodeConfiguration.variables)
    func anUnusableValueGivesExactlyOneProblemThatNamesItsVariable(variable: String) {
        for value in ["", "\u{1B}[2J", "a\nb"] {
            let problems = failure([variable: value])?.problems ?? []
            #expect(problems.count == 1, "\(variable) = \(value.debugDescription): \(problems)")
            #expect(problems.first?.variables == [variable])
            #expect(problems.first?.message.hasPrefix("\(variable) is ") == true)
            #expect(problems.first?.message.unicodeScalars.contains(where: Printable.isTreacherous) == false)
        }
    }

    @Test(
        arguments: NodeConfiguration.settings.filter { ["int", "bytes", "duration"].contains($0.type) }.map(\.variable))
    func aNumberMustBeReadableAndInRange(variable: String) {
        for value in [
            "x", "-1", "1.5", " 7", "7 ", "0x10", "٣", "999999999999999999999", "9999999999999", "9223372036854775807d",
        ] {
            #expect(failure([variable: value])?.problems.map(\.variables) == [[variable]], "\(variable) = \(value)")
        }
    }

    @Test func allProblemsAreListedAtOnce() {
        let found = failure([
            "MARTLET_PORT": "70000", "MARTLET_LINGER": "10", "MARTLET_REDIS_URL": "http://x",
            "MARTLET_LOG_FORMAT": "jsn",
            "MARTLET_LIMIT_FRAME_BYTES": "64KB", "MARTLET_NODE_LEASE": "4s", "MARTLET_HEARTBEAT_INTERVAL": "2s",
            "MARTLET_PROT": "1",
        ])
        #expect(
            found?.description == """
                the configuration has 6 problems:
                  - MARTLET_PORT is "70000": expected a whole number from 0 to 65535 (it is out of range)
                  - MARTLET_REDIS_URL is "http://x": expected redis://[[user]:password@]host[:port][/database], rediss://… (TLS), unix:///path, redis+sentinel://[[user]:password@]host[:port],host…/master-name[/database], redis+cluster://[[user]:password@]host[:port],host… or memory: (it begins with none of redis://, rediss:// and unix://)
                  - MARTLET_LINGER is "10": expected a duration from 0s to 1h, such as 15s (it has no unit: write 10s or 10ms)
                  - MARTLET_LIMIT_FRAME_BYTES is "64KB": expected a number of bytes from 1KiB to 16MiB, such as 65536 or 64KiB (the units are B, KiB, MiB and GiB)
                  - MARTLET_LOG_FORMAT is "jsn": expected one of text, json (did you mean json?)
                  - MARTLET_NODE_LEASE (4s) must be at least 3 × MARTLET_HEARTBEAT_INTERVAL (2s): two heartbeats that get lost must not make a living node look dead
                  - warning: MARTLET_PROT is not a setting and has no effect: did you mean MARTLET_PORT?
                """)
    }

    @Test func nobodyBelongsToMoreRoomsThanAnInboxReads() {
        #expect(messages(["MARTLET_LIMIT_CONVERSATIONS_PER_USER": "1000"]).isEmpty)
        #expect(messages(["MARTLET_LIMIT_CONVERSATIONS_PER_USER": "1001"]).count == 1)
    }

    @Test func aLongValueIsCut() {
        let message = messages(["MARTLET_PORT": String(repeating: "é", count: 100_000)]).first ?? ""
        #expect(message.utf8.count < 400)
        #expect(message.contains("bytes more"))
    }

    @Test func aRefusedSecretIsNotRepeated() {
        #expect(
            messages(["MARTLET_REDIS_PASSWORD": "hunter2\n"]) == [
                "MARTLET_REDIS_PASSWORD is ***: expected a text without control characters (it ends with a line break)"
            ])
        for url in [
            "http://:hunter2@host", "redis//:hunter2@host", "redis://:hunter2 @host", "hunter2@host",
            "redis://:hunter2\n",
            "http://ana:hunter2", "http://host/?password=hunter2", "http://host?hunter2", "http://a:b@c:hunter2@host",
            "http://a:hunter2?x@host", "http://a:hunter2/x@host", "http://a:b?hunter2@host",
            "unix:///s\t?password=hunter2",
        ] {
            let message = messages(["MARTLET_REDIS_URL": url]).first
            #expect(message?.contains("hunter2") == false, "\(message ?? "accepted")")
            #expect(message?.contains("***") == true, "\(message ?? "accepted")")
        }
    }

    @Test func brokerAddressesKeepWhatIsNoSecret() throws {
        for address in [
            "redis://127.0.0.1:6379", "redis://redis.example", "redis://[::1]:6379/3", "unix:///run/redis.sock",
            "memory:",
            "rediss://h:1/15", "unix:///run/redis.sock?db=3", "REDIS://h",
            "redis+sentinel://a:26379,b:26380,[::1]:1/mymaster/1", "rediss+sentinel://a,b/m",
            "redis+sentinel://a:26379/m",
        ] {
            let read = try? NodeConfiguration.BrokerAddress(address)
            #expect(read != nil, "\(address)")
            #expect(read?.description == address)
        }
        #expect(try NodeConfiguration.BrokerAddress("redis://ana:x@h").description == "redis://ana:***@h")
        #expect(try NodeConfiguration.BrokerAddress("redis://:x@h").description == "redis://:***@h")
        #expect(
            try NodeConfiguration.BrokerAddress("redis+sentinel://ana:x@a:1,b/m").description
                == "redis+sentinel://ana:***@a:1,b/m")
        for address in [
            "redis://", "redis:", "localhost:6379", "memory", "memory://", "redis://a b", "valkey://h", "unix://",
            "redis+sentinel://a:1,b:2", "redis+sentinel:///m",
        ] {
            #expect(throws: RedisURLError.self, "\(address)") { try NodeConfiguration.BrokerAddress(address) }
        }
    }

    @Test(arguments: [
        (["MARTLET_AUTH": "none", "MARTLET_HOST": "0.0.0.0"], ["MARTLET_AUTH"]),
        (
            ["MARTLET_AUTH": "none", "MARTLET_TOKEN_HMAC_SECRET": "a secret of thirty-two bytes, or more"],
            ["MARTLET_AUTH"]
        ),
        (["MARTLET_TOKEN_JWKS_URL": "https://issuer.example/keys"], ["MARTLET_TOKEN_JWKS_URL"]),
        (["MARTLET_TOKEN_JWKS_URL": "https://issuer.example/keys", "MARTLET_TOKEN_AUDIENCE": "chat"], []),
        (["MARTLET_TOKEN_HMAC_SECRET": String(repeating: "ab", count: 16)], ["MARTLET_TOKEN_HMAC_SECRET"]),
        (["MARTLET_TOKEN_HMAC_SECRET": "a secret of thirty-two bytes, or more"], []),
    ])
    func weakSettingsOfAccessAreWarnings(environment: [String: String], variables: [String]) throws {
        let warnings = try NodeConfiguration.load(environment: environment).warnings
        #expect(warnings.map(\.variable) == variables)
        #expect(!warnings.contains { $0.message.contains("abab") || $0.message.contains("thirty-two") })
    }

    @Test(arguments: [
        ("MARTLET_TOKEN_HMAC_SECRET", "short", "it has 5 bytes"),
        ("MARTLET_TOKEN_HMAC_SECRET_PREVIOUS", "a secret of thirty-two bytes, or more@soon", "seconds since 1970"),
        ("MARTLET_TOKEN_ALGORITHMS", "HS256,none", "never accepted"),
        ("MARTLET_TOKEN_COOKIE", "a b", "name of a cookie"),
        ("MARTLET_TOKEN_JWKS_URL", "http://issuer.example/keys", "http:// is for this machine only"),
        ("MARTLET_API_KEYS", "bot:1234:read", "API key 1 (bot)"), ("MARTLET_AUTH", "none?", "did you mean none"),
        ("MARTLET_TOKEN_PUBLIC_KEYS", "/nowhere.pem", "No such file"),
    ])
    func unusableKeysOfTokensAreNamedAndNotShown(variable: String, value: String, part: String) {
        let problems = failure([variable: value])?.problems ?? []
        #expect(problems.map(\.variables) == [[variable]])
        #expect(problems.first?.message.contains(part) == true, "\(problems)")
        let isSecret = ["SECRET", "API_KEYS"].contains { variable.contains($0) }
        #expect(!isSecret || problems.first?.message.contains(value) == false)
    }

    @Test func settingsThatDoNotFitTogetherSaySo() {
        let broken: [([String: String], [String])] = [
            (["MARTLET_HEARTBEAT_INTERVAL": "6s"], ["MARTLET_NODE_LEASE", "MARTLET_HEARTBEAT_INTERVAL"]),
            (
                ["MARTLET_REDIS_DEADLINE": "1m", "MARTLET_LIMIT_SEND_WAIT": "2m"],
                ["MARTLET_REDIS_DEADLINE", "MARTLET_NODE_LEASE"]
            ),
            (["MARTLET_LIMIT_SEND_WAIT": "2s"], ["MARTLET_REDIS_DEADLINE", "MARTLET_LIMIT_SEND_WAIT"]),
            (
                ["MARTLET_NODE_LEASE": "3s", "MARTLET_PRESENCE_INTERVAL": "3s"],
                ["MARTLET_PRESENCE_INTERVAL", "MARTLET_NODE_LEASE"]
            ),
            (["MARTLET_ROOM_TTL": "20s"], ["MARTLET_ROOM_TTL", "MARTLET_NODE_LEASE", "MARTLET_LINGER"]),
            (
                ["MARTLET_LIMIT_FRAME_BYTES": "1MiB"],
                ["MARTLET_LIMIT_OUTBOUND_BYTES", "MARTLET_LIMIT_FRAME_BYTES"]
            ),
            (
                ["MARTLET_LIMIT_WAITING_SENDS_PER_ROOM": "255"],
                ["MARTLET_LIMIT_WAITING_SENDS_PER_ROOM", "MARTLET_LIMIT_WAITING_SENDS_PER_SESSION"]
            ),
            (["MARTLET_REDIS_USER": "ana"], ["MARTLET_REDIS_USER", "MARTLET_REDIS_PASSWORD", "MARTLET_REDIS_URL"]),
            (["MARTLET_REDIS_KEY": "/etc/hosts"], ["MARTLET_REDIS_CERTIFICATE", "MARTLET_REDIS_KEY"]),
            (["MARTLET_TLS_CERTIFICATE": "/etc/hosts"], ["MARTLET_TLS_CERTIFICATE", "MARTLET_TLS_KEY"]),
            (
                ["MARTLET_REDIS_SENTINEL_USER": "ana"],
                ["MARTLET_REDIS_SENTINEL_USER", "MARTLET_REDIS_SENTINEL_PASSWORD"]
            ),
            (
                ["MARTLET_ACK_REPLICAS": "1", "MARTLET_REDIS_URL": "memory:"],
                ["MARTLET_ACK_REPLICAS", "MARTLET_REDIS_URL"]
            ),
            (
                ["MARTLET_ACK_REPLICAS": "1", "MARTLET_ACK_DEADLINE": "15s"],
                ["MARTLET_ACK_DEADLINE", "MARTLET_LIMIT_SEND_WAIT"]
            ),
            (["MARTLET_HOST": "0.0.0.0"], ["MARTLET_AUTH", "MARTLET_HOST"]),
            (["MARTLET_TOKEN_COOKIE": "chat"], ["MARTLET_TOKEN_COOKIE", "MARTLET_ALLOWED_ORIGINS"]),
            (["MARTLET_ANONYMOUS": "read"], ["MARTLET_ANONYMOUS", "MARTLET_AUTH"]),
            (["MARTLET_HOOK_URL": "https://hook.example/"], ["MARTLET_HOOK_URL", "MARTLET_HOOK_SECRET"]),
        ]
        #expect(broken.count == NodeConfiguration.checks.count)
        for (environment, variables) in broken {
            let problems = failure(environment)?.problems ?? []
            #expect(problems.map(\.variables) == [variables], "\(problems)")
            #expect(problems.first?.message.contains("%") == false)
        }
        #expect(
            messages(["MARTLET_ROOM_TTL": "20s"]) == [
                "MARTLET_ROOM_TTL (20s) must be at least MARTLET_NODE_LEASE (15s, the default) "
                    + "+ MARTLET_LINGER (10s, the default): "
                    + "a room must not be forgotten while a node may still come back to it"
            ])
        #expect(failure(["MARTLET_REDIS_USER": "ana", "MARTLET_REDIS_URL": "redis://:x@h"]) == nil)
    }

    @Test func aValueThatCannotBeReadIsNotComparedWithOthers() {
        let problems = failure(["MARTLET_NODE_LEASE": "x", "MARTLET_HEARTBEAT_INTERVAL": "2m"])?.problems ?? []
        #expect(problems.map(\.variables) == [["MARTLET_NODE_LEASE"]])
    }

    @Test(arguments: NodeConfiguration.variables)
    func aMistypedNameIsWarnedOfWithTheRightSuggestion(variable: String) throws {
        var typos: Set<String> = [variable.lowercased(), variable + "S", variable + "_"]
        let letters = Array(variable)
        for index in letters.indices {
            var typo = letters
            switch index % 4 {
            case 0: typo.remove(at: index)
            case 1: typo.insert(letters[index], at: index)
            case 2: typo[index] = "X"
            default: typo.swapAt(index - 1, index)
            }
            typos.insert(String(typo))
        }
        for typo in typos where !NodeConfiguration.variables.contains(typo) {
            let warnings = try NodeConfiguration.load(environment: [typo: "1"]).warnings
            #expect(
                warnings.map(\.message) == ["\(typo) is not a setting and has no effect: did you mean \(variable)?"])
        }
    }

    @Test func namesOfOthersAreLeftAlone() throws {
        let environment = ["PORT": "1", "REDIS_URL": "x", "HOST": "y", "MARTLETS_PORT_OF_CALL": "z", "LANG": "C"]
        #expect(try NodeConfiguration.load(environment: environment).warnings.isEmpty)
        let strange = try NodeConfiguration.load(environment: ["MARTLET_\u{1B}": "", "MARTLET_COLOUR_OF_FEATHERS": "1"])
            .warnings
        #expect(
            strange.map(\.message)
                == ["MARTLET_\\u{1B}", "MARTLET_COLOUR_OF_FEATHERS"].map {
                    "\($0) is not a setting and has no effect: no setting has a similar name"
                })
    }

    @Test(arguments: ["MARTLET_GATHER_TIME", "MARTLET_BUSY_POLL"])
    func aSettingOfAnEarlierVersionIsSaidToBeGone(name: String) throws {
        let warnings = try NodeConfiguration.load(environment: [name: "5ms"]).warnings
        #expect(warnings.map(\.variable) == [name])
        #expect(warnings.first?.message.hasPrefix("\(name) was removed and has no effect: ") == true)
    }

    @Test func aPasswordForTheMemoryBrokerIsWarnedOf() throws {
        let configuration = try NodeConfiguration.load(
            environment: ["MARTLET_REDIS_URL": "memory:", "MARTLET_REDIS_PASSWORD": "x"])
        #expect(configuration.redis.address.isMemory)
        #expect(configuration.warnings.map(\.variable) == ["MARTLET_REDIS_PASSWORD"])
    }

    @Test func anAddressIsReadToItsEndBeforeTheNodeStarts() {
        for url in [
            "redis://h:0", "redis://h:70000", "redis://h/x", "redis://ana@h", "redis://[::1", "unix://run/redis.sock",
        ] {
            #expect(failure(["MARTLET_REDIS_URL": url])?.problems.map(\.variables) == [["MARTLET_REDIS_URL"]], "\(url)")
        }
    }

    @Test func hintsNameTheLikelyMistake() {
        #expect(messages(["MARTLET_PORT": "tcp://10.0.0.7:8080"]).first?.contains("enableServiceLinks") == true)
        #expect(messages(["MARTLET_LINGER": "1.5s"]).first?.contains("write 1500ms for 1.5s") == true)
        #expect(messages(["MARTLET_LINGER": "3sec"]).first?.contains("the units are us, ms, s, m, h and d") == true)
        #expect(messages(["MARTLET_REDIS_URL": "localhost:6379"]).first?.contains("it begins with none of") == true)
        #expect(
            messages(["MARTLET_ALLOWED_ORIGINS": "https://a/b"]).first?.contains("ends after host and port") == true)
        #expect(messages(["MARTLET_SESSION_HEARTBEAT": "1500ms"]).first?.contains("whole seconds") == true)
        #expect(messages(["MARTLET_LINGER": "1500us"]).first?.contains("only whole milliseconds") == true)
        #expect(messages(["MARTLET_PORT": ""]).first?.contains("is empty: ") == true)
    }
}

@Suite struct ConfigurationValueTests {
    @Test(arguments: [
        ("0s", 0), ("0ms", 0), ("0us", 0), ("1000us", 1), ("1ms", 1), ("250ms", 250), ("10s", 10_000), ("90s", 90_000),
        ("2m", 120_000),
        ("1h", 3_600_000),
        ("7d", 604_800_000), ("007s", 7_000),
    ])
    func durationsAreReadWithTheirUnit(text: String, milliseconds: Int64) throws {
        #expect(try DurationText.parse(text) == .milliseconds(milliseconds))
        #expect(try DurationText.parse(DurationText.show(.milliseconds(milliseconds))) == .milliseconds(milliseconds))
    }

    @Test(arguments: [
        "", "s", "10", "-1s", "+1s", "1 s", "1S", "1.5s", "1s1ms", "١s", "1ns", "9223372036854775807s",
        "99999999999999999999s",
    ])
    func otherDurationsAreRefused(text: String) {
        #expect(throws: Misfit.self) { try DurationText.parse(text) }
    }

    @Test(arguments: [
        ("0", 0), ("1", 1), ("65536", 65_536), ("64KiB", 65_536), ("1MiB", 1_048_576), ("1GiB", 1 << 30), ("7B", 7),
    ])
    func byteCountsAreReadWithOrWithoutUnit(text: String, bytes: Int) throws {
        #expect(try ByteText.parse(text) == bytes)
        #expect(try ByteText.parse(ByteText.show(bytes)) == bytes)
    }

    @Test(arguments: ["", "KiB", "64KB", "64K", "64kib", "1.5MiB", "-1", "64 KiB", "9223372036854775807GiB"])
    func otherByteCountsAreRefused(text: String) {
        #expect(throws: Misfit.self) { try ByteText.parse(text) }
    }

    @Test func hostsAreAddressesOrNamesWithoutAPort() {
        for host in ["127.0.0.1", "0.0.0.0", "::", "::1", "fe80::1", "localhost", "chat.example", "a_b-c.d"] {
            #expect(HostName.isListenable(host), "\(host)")
        }
        for host in [
            "300.1.1.1", "1.2.3", "[::1]", "localhost:80", "::1:x", "a b", "http://a", "a..b", ".", "é", "a/b",
            "1.2.3.4:5",
        ] {
            #expect(!HostName.isListenable(host), "\(host)")
        }
    }

    @Test func aNodeIsNamedAfterItsHostWhateverThatIsCalled() {
        #expect(HostName.nodeName(from: "west-1.example") == "west-1.example")
        #expect(HostName.nodeName(from: "a:b{c} d\u{7}é") == "a-b-c--d--")
        #expect(HostName.nodeName(from: "") == "node")
        #expect(HostName.isNodeName(HostName.nodeName(from: String(repeating: "x", count: 500))))
    }

    @Test func originsAreComparedAsBrowsersWriteThem() {
        typealias Origins = NodeConfiguration.Origins
        #expect(Origins("*") == .any)
        #expect(
            Origins("https://Chat.example, http://localhost:3000")
                == .only(["https://chat.example", "http://localhost:3000"]))
        for text in [
            "", "chat.example", "https://", "https://a/", "https://a,", "ftp://a", "*,https://a", "https://a b",
            "https://a:",
        ] {
            #expect(Origins(text) == nil, "\(text)")
        }
        let only = Origins.only(["https://chat.example"])
        #expect(only.allows(nil) && only.allows("https://CHAT.example"))
        #expect(!only.allows("https://chat.example.evil") && !only.allows("null") && Origins.any.allows("null"))
    }

    @Test func typingErrorsAreCounted() {
        #expect(NearestName.distance("", "abc") == 3)
        #expect(NearestName.distance("kitten", "sitting") == 3)
        #expect(NearestName.distance("ab", "ba") == 1)
        #expect(NearestName.distance("same", "same") == 0)
        #expect(NearestName.of("traec", among: ["trace", "debug"]) == "trace")
        #expect(NearestName.of("xyz", among: ["trace", "debug"]) == nil)
    }

    @Test func escapedTextHoldsNothingThatMovesACursor() {
        #expect(Printable.quoted("a\"b\\c\n\u{1B}\u{9B}\u{2028}") == #""a\"b\\c\n\u{1B}\u{9B}\u{2028}""#)
        #expect(Printable.escaped("안녕 👋", limit: 80) == "안녕 👋")
        #expect(Printable.escaped("abcdef", limit: 4) == "abcd… (2 bytes more)")
        #expect(Printable.escaped("abcd", limit: 4) == "abcd")
    }
}
