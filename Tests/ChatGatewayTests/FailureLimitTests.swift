import ChatCore
import ChatWire
import NIOCore
import Synchronization
import TestSupport
import Testing

@testable import ChatGateway

/// Refused handshakes and credentials, which are limited for each address.
struct FailureLimitTests {
    private let begin = Moment(nanoseconds: 1_000_000_000)

    /// Knows one token, and counts how often it is asked.
    private final class Tokens: Authenticator {
        private let asked = Atomic<Int>(0)
        private let isSlow: Bool

        init(isSlow: Bool = false) { self.isSlow = isSlow }

        var count: Int { asked.load(ordering: .relaxed) }

        func authenticateAtOnce(_ credentials: Credentials) -> Result<Identity, WireError>? {
            isSlow ? nil : answer(credentials)
        }

        func authenticate(_ credentials: Credentials) async -> Result<Identity, WireError> { answer(credentials) }

        private func answer(_ credentials: Credentials) -> Result<Identity, WireError> {
            asked.add(1, ordering: .relaxed)
            guard credentials.token == "right", let user = try? UserID("ana") else {
                return .failure(WireError(.unauthenticated, "the token is not valid"))
            }
            return .success(Identity(user: user))
        }
    }

    @Test func asManyAsInAMinuteMayFailAtOnce() throws {
        let book = AddressBook(connections: 2, bytesPerSecond: 1_000, failuresPerMinute: 60)
        let address = try #require(PeerAddress("192.0.2.7"))
        let other = try #require(PeerAddress("192.0.2.8"))
        for _ in 0..<59 { book.failed(address, now: begin) }
        #expect(book.penalty(of: address, now: begin) == .zero && book.refused == 0)
        book.failed(address, now: begin)
        let wait = book.penalty(of: address, now: begin)
        #expect(wait > .milliseconds(900) && wait <= .seconds(1), "\(wait)")
        #expect(book.penalty(of: other, now: begin) == .zero && book.refused == 1)
        #expect(book.penalty(of: address, now: begin + .seconds(1)) == .zero)
        book.failed(address, now: begin + .seconds(1))
        #expect(book.penalty(of: address, now: begin + .seconds(1)) > .zero, "one a second in the long run")
        for _ in 0..<100_000 { book.failed(address, now: begin) }
        #expect(book.penalty(of: address, now: begin) <= .seconds(17 * 60), "nobody is locked out for good")
        let few = AddressBook(connections: 2, bytesPerSecond: 1_000, failuresPerMinute: 1)
        few.failed(address, now: begin)
        let minute = few.penalty(of: address, now: begin)
        #expect(minute > .seconds(59) && minute <= .seconds(60), "\(minute)")
    }

    @Test func addressesThatFailedAreForgottenAfterwards() {
        let book = AddressBook(connections: 2, bytesPerSecond: 1_000, failuresPerMinute: 60)
        for number in 0..<20_000 {
            let address = PeerAddress(high: UInt64(number + 1) << 32, low: 0)
            book.failed(address, now: begin + .milliseconds(number * 10))
        }
        #expect(book.count < 10_000)
    }

    private func status(_ port: Int, _ request: String) async throws -> Int {
        let socket = try await TestSocket.connect(port: port)
        try await socket.write(request)
        let head = await socket.readAnswer(hasBody: false)?.head ?? ""
        return head.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
    }

    private func post(_ token: String?, _ extra: String = "") -> String {
        let body = #"{"user":"ana","text":"hi"}"#
        let credentials = token.map { "Authorization: Bearer \($0)\r\n" } ?? ""
        return "POST /api/rooms/a/messages HTTP/1.1\r\nHost: a\r\n\(credentials)\(extra)"
            + "Content-Length: \(body.utf8.count)\r\n\r\n\(body)"
    }

    @Test(arguments: [false, true])
    func wrongCredentialsOfAnAddressAreNotLookedAtForEver(isSlow: Bool) async throws {
        let tokens = Tokens(isSlow: isSlow)
        try await withGateway(authenticator: tokens) {
            $0.trustedAddresses = []
            $0.limits.failuresPerMinutePerAddress = 3
        } _: { port, service, server in
            let right = try await TestWebSocket.connect(port: port, "token=right")
            for _ in 0..<3 {
                let wrong = try await TestWebSocket.connect(port: port, "token=wrong")
                #expect(
                    await wrong.closeFrame() == .close(WebSocketCloseCode(rawValue: 4002), reason: "unauthenticated"))
            }
            #expect(tokens.count == 4)
            let refused = try await TestSocket.connect(port: port)
            try await refused.write(TestWebSocket.handshake("token=right"))
            let head = try #require(await refused.readAnswer()).head
            #expect(head.hasPrefix("HTTP/1.1 429 ") && head.contains("Retry-After: "), "\(head)")
            #expect(try await status(port, post("right")) == 429)
            #expect(tokens.count == 4, "the authenticator was not asked")
            #expect(try await status(port, post(nil)) == 401, "without credentials there is nothing to guess")
            #expect(try await status(port, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n") == 200)
            #expect(await server.counters().limitRefusals[.failuresPerMinutePerAddress] == 2)
            #expect(await server.counters().refusals == [.unauthenticated: 3, .addressFailures: 1])
            try await right.send(#"{"type":"ping","ref":1}"#)
            _ = try await right.json("pong")
            #expect(service.sessions == 1)
        }
    }

    @Test func requestsAndHandshakesCountTogether() async throws {
        let tokens = Tokens()
        try await withGateway(authenticator: tokens) {
            $0.trustedAddresses = []
            $0.limits.failuresPerMinutePerAddress = 4
        } _: { port, _, _ in
            var statuses: [Int] = []
            for request in [
                post("wrong"), post("wrong"), "GET /ws?user=x HTTP/1.1\r\nHost: a\r\n\r\n", post("right"),
                TestWebSocket.handshake("token=wrong"), TestWebSocket.handshake("token=right"), post("right"),
            ] {
                statuses.append(try await status(port, request))
            }
            #expect(statuses == [401, 401, 426, 201, 101, 429, 429])
        }
    }

    @Test func theClientThatAProxyNamesIsLimitedAndAProxyThatNamesNobodyIsNot() async throws {
        try await withGateway(authenticator: Tokens()) {
            $0.trustedAddresses = AddressRange.loopback
            $0.limits.failuresPerMinutePerAddress = 2
        } _: { port, _, _ in
            let (ana, bob) = ("X-Forwarded-For: 192.0.2.1\r\n", "X-Forwarded-For: 192.0.2.2\r\n")
            let wrong = TestWebSocket.handshake("token=wrong", extra: ana)
            var statuses: [Int] = []
            for request in [
                wrong, wrong, TestWebSocket.handshake("token=right", extra: ana), post("right", ana),
                TestWebSocket.handshake("token=right", extra: bob),
            ] {
                statuses.append(try await status(port, request))
            }
            #expect(statuses == [101, 101, 429, 429, 101])
            for _ in 0..<5 {
                let handshake = try await status(port, TestWebSocket.handshake("token=wrong"))
                let posted = try await status(port, post("wrong"))
                #expect(handshake == 101 && posted == 401)
            }
            let right = try await status(port, post("right"))
            #expect(right == 201)
        }
    }
}
