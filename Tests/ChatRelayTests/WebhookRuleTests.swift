import ChatCore
import ChatRedis
import Foundation
import NIOCore
import RedisSchema
import Testing

@testable import ChatRelay

@Suite("The rules of webhooks")
struct WebhookRuleTests {
    private func at(_ seconds: Double) -> Moment { Moment(nanoseconds: UInt64(seconds * 1e9) + 1) }

    // MARK: addresses

    @Test(arguments: [
        "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1", "192.0.2.7", "198.18.0.1", "203.0.113.9", "224.0.0.1", "255.255.255.255", "::", "::1", "fe80::1",
        "fc00::1", "fd12::1", "ff02::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::192.168.0.1", "2001:db8::1",
        "2002:0a00:0001::", "2001::1", "100::1",
    ])
    func addressesThatAreNotPublicAreRefused(text: String) throws {
        #expect(!AddressGuard.isPublic(try SocketAddress(ipAddress: text, port: 443)))
    }

    @Test(arguments: [
        "1.1.1.1", "8.8.8.8", "172.15.0.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450:4001::8a",
        "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2001:4860:4860::8888",
    ])
    func publicAddressesAreNot(text: String) throws {
        #expect(AddressGuard.isPublic(try SocketAddress(ipAddress: text, port: 443)))
    }

    @Test func aURLIsReadAsItIsMeant() throws {
        let url = try WebhookURL("https://Example.com:8443/a/b?c=d")
        #expect((url.host, url.port, url.target, url.isSecure) == ("example.com", 8_443, "/a/b?c=d", true))
        #expect(try WebhookURL("https://example.com").target == "/")
        #expect(try WebhookURL("http://[::1]:80/x").authority == "[::1]")
    }

    @Test(arguments: [
        "ftp://x", "https://", "https://a b", "https://user@x", "https://x#y", "https://x:0/", "https://x:99999", "x",
        "https://[::1", "https://" + String(repeating: "a", count: 2_048),
    ])
    func otherTextsAreNoURL(text: String) {
        #expect(throws: WebhookURL.Problem.self) { try WebhookURL(text) }
    }

    // MARK: endpoints

    private let endpoint = #"{"url":"https://example.com/","since":"7","types":["gap"],"rooms":["team:*"]}"#

    @Test func anEndpointIsReadAsItWasWritten() throws {
        var written = WebhookEndpoint(
            id: "a1", url: "https://example.com/",
            filter: EventFilter(kinds: [.gap, .messageCreated], rooms: [try RoomPattern("team:*")]), since: 7)
        #expect(WebhookEndpoint(id: "a1", json: written.json) == written)
        (written.generation, written.previousUntil, written.secrets, written.disabled) = (3, 9, ["a", "b"], "why")
        (written.isAsymmetric, written.isUnordered) = (true, true)
        #expect(WebhookEndpoint(id: "a1", json: written.json) == written)
        #expect(try #require(WebhookEndpoint(id: "a1", json: endpoint)).filter.kinds == [.gap])
    }

    @Test(arguments: [
        (#"["gap"]"#, #"["gapp"]"#), (#"["gap"]"#, #""gap""#), (#"["gap"]"#, "[1]"), (#"["team:*"]"#, "[7]"),
        (#"["team:*"]"#, #"["team:*",""]"#), (#"["team:*"]"#, "{}"), (#""7""#, #""x""#),
        ("{", #"{"generation":"0","#), ("{", #"{"generation":2,"#), ("{", #"{"previousUntil":"-1","#),
        ("{", #"{"secrets":[1],"#), ("{", #"{"signature":"v2","#), ("{", #"{"order":"any","#),
        ("{", #"{"disabled":true,"#),
    ])
    func anEndpointOfWhichAPartCannotBeReadIsNone(part: String, changed: String) throws {
        let text = endpoint.replacingOccurrences(of: part, with: changed, options: [], range: endpoint.range(of: part))
        #expect(text != endpoint)
        #expect(WebhookEndpoint(id: "a1", json: text) == nil, "it would be sent what nobody asked for")
        let reply = RedisValue.array([.string("a1"), .string(text), .string("b2"), .string(endpoint)])
        let store = WebhookStore(keys: RedisKeys())
        #expect(store.endpoints(reply).map(\.id) == ["b2"] && store.unreadable(reply) == ["a1"])
    }

    // MARK: attempts

    @Test func thePausesAreThoseOfTheSchedule() {
        let schedule = RetrySchedule(pauses: [.seconds(10), .seconds(100)])
        #expect(schedule.pause(afterFailures: 1, random: 0.5, atLeast: nil) == .seconds(10))
        #expect(schedule.pause(afterFailures: 2, random: 0, atLeast: nil) == .seconds(90))
        #expect(schedule.pause(afterFailures: 1, random: 0, atLeast: .seconds(50)) == .seconds(50))
        #expect(schedule.pause(afterFailures: 1, random: 0, atLeast: .seconds(1_000_000)) == .seconds(86_400))
        #expect(schedule.pause(afterFailures: 3, random: 0, atLeast: .seconds(50)) == nil)
    }

    /// 784111777 is the time of the example in RFC 9110 §5.6.7.
    @Test(
        arguments: [
            ("120", 120), ("7 s", nil), ("0", nil), ("-5", nil), ("99999999999999999999999", 86_400), ("", nil),
            ("soon", nil),
            ("1.5", nil), ("Sun, 06 Nov 1994 08:49:37 GMT", 10), ("Sunday, 06-Nov-94 08:49:37 GMT", 10),
            ("Sun Nov  6 08:49:37 1994", 10), ("Sun, 06 Nov 1994 08:49:27 GMT", nil),
            ("Tue, 08 Nov 1994 08:49:37 GMT", 86_400),
            ("Sun, 06 Nov 1994 08:49:37 GMT, and more", nil), (String(repeating: "9", count: 65), nil),
        ] as [(String, Int?)])
    func aServerMayAskToBeLeftAlone(field: String, seconds: Int?) {
        #expect(RetryAfter.pause(field, now: 784_111_767_000) == seconds.map { .seconds($0) })
    }

    @Test func theBreakerOpensAfterFiveFailuresAndTriesOneDeliveryAtATime() {
        var breaker = CircuitBreaker(shortest: .seconds(5))
        for second in 0..<4 { breaker.failed(now: at(Double(second)), atLeast: nil) }
        #expect(breaker.closedFor(now: at(4)) == nil && breaker.width(8) == 8)
        breaker.failed(now: at(4), atLeast: nil)
        #expect(breaker.closedFor(now: at(4)) == .seconds(5))
        #expect(breaker.closedFor(now: at(9)) == nil && breaker.width(8) == 1)
        breaker.failed(now: at(9), atLeast: nil)
        #expect(breaker.closedFor(now: at(9)) == .seconds(10), "the pause doubles")
        for _ in 0..<20 { breaker.failed(now: at(20), atLeast: nil) }
        #expect(breaker.closedFor(now: at(20)) == CircuitBreaker.longest)
        breaker.succeeded()
        #expect(breaker.closedFor(now: at(20)) == nil && breaker.width(8) == 8)
    }

    @Test func aServerThatAsksForAPauseGetsIt() {
        var breaker = CircuitBreaker(shortest: .milliseconds(1))
        breaker.failed(now: at(0), atLeast: .seconds(30))
        #expect(breaker.closedFor(now: at(0)) == .seconds(30))
    }

    // MARK: endpoints

    @Test func anEndpointIsKeptAsItIs() throws {
        var endpoint = WebhookEndpoint(
            id: "abc1", url: "https://x/y",
            filter: EventFilter(kinds: [.messageCreated, .gap], rooms: [try RoomPattern("team:*")]), since: 17)
        endpoint.generation = 3
        endpoint.previousUntil = 99
        endpoint.disabled = "why"
        #expect(WebhookEndpoint(id: "abc1", json: endpoint.json) == endpoint)
        #expect(endpoint.sink == "hook-abc1")
    }

    @Test(arguments: ["", "{}", "[]", #"{"url":1,"since":"1"}"#, #"{"url":"x"}"#])
    func whatIsNoEndpointIsLeftOut(json: String) {
        #expect(WebhookEndpoint(id: "abc1", json: json) == nil)
    }

    @Test func aLetterThatWaitsIsReadAsItWasWritten() throws {
        let room = try RoomName("a~\u{1F600} \"b\"")
        let message = Message(
            position: Position(epoch: 5, seq: 2),
            content: MessageContent(user: try UserID("ana"), at: 9, text: "two\nlines"))
        var letter = WebhookLetter(RoomEvent(room: room, kind: .messageCreated, content: .message(message)), now: 9)
        #expect(WebhookLetter(letter.text) == nil, "nothing that was not tried waits")
        letter.failures = 3
        #expect(WebhookLetter(letter.text) == letter)
        for text in ["", "{}", "[]", letter.text.replacingOccurrences(of: #""3""#, with: #""x""#)] {
            #expect(WebhookLetter(text) == nil)
        }
    }

    @Test func aRoomIsReadUpToTheLastPositionOfWhichNothingIsLeft() throws {
        let room = try RoomName("lobby")
        let (ana, ben) = (try UserID("ana"), try UserID("ben"))
        let messages = (1...3).map { seq in
            Message(
                position: Position(epoch: 5, seq: seq),
                content: MessageContent(user: ana, at: 9, text: "hi", extra: MessageExtra(mentions: [ben])))
        }
        let part = EventBatch.Room(room: room, events: messages.flatMap { RoomEvent.of($0, in: room) })
        #expect(part.events.count == 6)
        #expect([0, 1, 2, 3, 4].map { part.position(before: $0)?.seq } == [nil, nil, 1, 1, 2])
    }

    @Test(arguments: ["", "A", "a b", "a:b", String(repeating: "a", count: 33)])
    func anIDConsistsOfLettersAndDigits(text: String) {
        #expect(!WebhookEndpoint.isID(text))
    }
}
