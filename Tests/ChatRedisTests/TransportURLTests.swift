import ChatCore
import Testing

@testable import ChatRedis

@Suite struct TransportURLTests {
    @Test(arguments: [
        ("redis://localhost", RedisURL(address: .tcp(host: "localhost", port: 6_379))),
        ("REDIS://h:1/", RedisURL(address: .tcp(host: "h", port: 1))),
        ("redis://h/15", RedisURL(address: .tcp(host: "h", port: 6_379), database: 15)),
        ("redis://[::1]:7000/2", RedisURL(address: .tcp(host: "::1", port: 7_000), database: 2)),
        ("redis://[::1]", RedisURL(address: .tcp(host: "::1", port: 6_379))),
        ("redis://:secret@h", RedisURL(address: .tcp(host: "h", port: 6_379), password: "secret")),
        (
            "redis://ana%40x:p%2F%3A%23%25ä@h:99",
            RedisURL(address: .tcp(host: "h", port: 99), user: "ana@x", password: "p/:#%ä")
        ),
        ("rediss://h", RedisURL(address: .tcp(host: "h", port: 6_379), tls: .init())),
        (
            "rediss://h/3?insecure=1&ca=%2Fetc%2Fca.pem",
            RedisURL(
                address: .tcp(host: "h", port: 6_379), tls: .init(insecure: true, authorityFile: "/etc/ca.pem"),
                database: 3)
        ),
        ("unix:///run/r.sock", RedisURL(address: .unix(path: "/run/r.sock"))),
        (
            "unix://u:p@/run/r%20s?db=1",
            RedisURL(address: .unix(path: "/run/r s"), user: "u", password: "p", database: 1)
        ),
    ])
    func aURLIsReadPartByPart(text: String, expected: RedisURL) throws {
        #expect(try RedisURL(text) == expected)
    }

    @Test(arguments: [
        ("", "empty"), ("hunter2", "none of redis://"), ("http://hunter2", "none of redis://"),
        ("redis://", "host is missing"),
        ("redis://:hunter2@", "host is missing"), ("redis://h:", "port"), ("redis://h:0", "port"),
        ("redis://h:65536", "port"),
        ("redis://h:+1", "port"), ("redis://:hunter2/x@h", "percent-encoded"), ("redis://h/x", "database"),
        ("redis://h/-1", "database"), ("redis://h/1/2", "database"), ("redis://hunter2@h", "without a password"),
        ("redis://u:@h", "password before the @ is empty"), ("redis://u:hunter2%zz@h", "two hexadecimal digits"),
        ("redis://u:hunter2%ff@h", "not UTF-8"), ("redis://u:hunter2%00@h", "not UTF-8"),
        ("redis://u:hun@ter2@h", "more than one @"),
        ("redis://u:hunter2#x@h", "%23"), ("redis://[::1", "closing bracket"), ("redis://[::1]x", ":port"),
        ("redis://h?hunter2=1", "option 1 is unknown"), ("redis://h?insecure=1", "rediss:// only"),
        ("rediss://h?insecure=yes", "neither 0 nor 1"), ("rediss://h?ca=", "PEM"), ("redis://h ost", "space"),
        ("unix://host/path", "unix:///run"), ("unix:///", "missing"), ("unix:///p?db=x", "database"),
        ("unix:///\(String(repeating: "p", count: 120))", "107 bytes"),
    ])
    func aWrongURLIsRefusedWithTheReasonAndWithoutItsPassword(text: String, reason: String) {
        let error = #expect(throws: RedisURLError.self) { try RedisURL(text) }
        #expect(error?.description.contains(reason) == true, "\(error?.description ?? "")")
        #expect(error?.description.contains("hunter2") == false)
    }

    @Test func itsDescriptionHidesThePassword() throws {
        #expect(try RedisURL("redis://ana:hunter2@h/1").description == "redis://ana:***@h:6379/1")
        #expect(try RedisURL("unix://:hunter2@/s").description == "unix://:***@/s?db=0")
        #expect(try RedisURL("rediss://[::1]/0?insecure=1").description == "rediss://[::1]:6379/0?insecure=1")
    }

    @Test func noTextTrapsIt() {
        let pieces = [
            "redis://", "rediss://", "unix://", ":", "@", "/", "?", "#", "[", "]", "%", "%4", "%41", "a", "1", "&", "=",
            "db=", "ä",
        ]
        var accepted = 0
        for seed in 0..<5_000 {
            var generator = SplitMix64(seed: UInt64(seed))
            let text = (0..<Int.random(in: 1...8, using: &generator))
                .map { _ in pieces.randomElement(using: &generator) ?? "" }.joined()
            guard let url = try? RedisURL(text) else { continue }
            accepted += 1
            // The printed URL can be read again, except for the password.
            #expect((try? RedisURL(url.description))?.database == url.database, "seed \(seed): \(text)")
        }
        #expect(accepted > 10)
    }
}

@Suite struct TransportBackoffTests {
    @Test func waitsDoubleUpToTheLongestAndSpreadOverTheirUpperHalf() {
        var generator = SplitMix64(seed: 1)
        var backoff = ReconnectBackoff(first: .milliseconds(100), longest: .milliseconds(1_000))
        for whole in [100, 200, 400, 800, 1_000, 1_000, 1_000] {
            let wait = backoff.failed(using: &generator)
            #expect(wait >= .milliseconds(whole) / 2 && wait <= .milliseconds(whole))
        }
        backoff.succeeded()
        #expect(backoff.failed(using: &generator) <= .milliseconds(100))
    }

    @Test func aThousandFailuresDoNotOverflow() {
        var generator = SplitMix64(seed: 2)
        var backoff = ReconnectBackoff()
        for _ in 0..<1_000 { #expect(backoff.failed(using: &generator) <= .seconds(5)) }
    }
}
