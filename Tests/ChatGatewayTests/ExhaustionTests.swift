import ChatCore
import ChatJSON
import ChatWire
import NIOCore
import TestSupport
import Testing

@testable import ChatGateway

struct ExhaustionTests {
    private typealias Look = AcceptStateMachine.Look

    private let begin = Moment(nanoseconds: 1_000_000_000)

    @Test func aNodeThatIsFullTakesFewConnectionsAndSaysSoOnce() {
        let budget = DescriptorBudget(limit: 64, reserved: 12, doorway: 4)
        var machine = AcceptStateMachine(budget: budget, maxConnections: 1_000, now: begin)
        #expect(machine.asked(Look(lowestFree: 20, connections: 3), now: begin) == .init(accept: 28))
        let full = machine.asked(Look(lowestFree: 48, connections: 30), now: begin)
        #expect(full.accept == 1)
        guard case .becameFull = full.change else {
            Issue.record("it is full")
            return
        }
        var taken = 0
        for millisecond in 0..<1_000 {
            let action = machine.asked(Look(lowestFree: 48, connections: 30), now: begin + .milliseconds(millisecond))
            #expect(action.change == nil)
            taken += action.accept
        }
        #expect((50...70).contains(taken))
        #expect(
            machine.asked(Look(lowestFree: 52, connections: 34), now: begin + .seconds(2)).accept == 0,
            "the rest is for others")
        #expect(machine.asked(Look(lowestFree: nil, connections: 34), now: begin + .seconds(2)).accept == 0)
        #expect(machine.asked(Look(lowestFree: 30, connections: 10), now: begin + .seconds(3)).change == .becameOpen)
    }

    /// The limit of the process was lowered while it ran. The remaining descriptors must not be used for connections:
    /// libdispatch ends a process that has none left (`scripts/chaos refusals`).
    @Test func aLimitThatWasLoweredIsHeeded() {
        let budget = DescriptorBudget(limit: 20_000, reserved: 64, doorway: 32)
        var machine = AcceptStateMachine(budget: budget, maxConnections: 19_000, now: begin)
        let action = machine.asked(Look(lowestFree: 120, connections: 100, limit: 132), now: begin)
        #expect(action.accept == 1, "to be told so")
        guard case .becameFull = action.change else {
            Issue.record("it is full")
            return
        }
        #expect(
            machine.asked(Look(lowestFree: 124, connections: 104, limit: 132), now: begin + .seconds(1)).accept == 0)
        let again = machine.asked(Look(lowestFree: 120, connections: 100, limit: 20_000), now: begin + .seconds(2))
        #expect(again.change == .becameOpen)
    }

    @Test func aKernelThatHasNoneIsNotAskedAgainAtOnce() {
        var machine = AcceptStateMachine(budget: nil, maxConnections: 10, now: begin)
        machine.failed(now: begin)
        #expect(
            machine.asked(Look(lowestFree: nil, connections: 0), now: begin)
                == .init(accept: 0, wait: AcceptStateMachine.pause))
        #expect(machine.asked(Look(lowestFree: nil, connections: 0), now: begin + .seconds(1)).accept == 10)
    }

    @Test func aFullNodeTellsWebSocketsAndProbesAndNobodyElse() async throws {
        try await withGateway {
            $0.doorwayTime = .seconds(60)
            $0.maxConnections = 1
        } _: { port, service, server in
            let first = try await TestWebSocket.connect(port: port)
            let second = try await TestWebSocket.connect(port: port, "user=bob")
            #expect(await second.next() == .close(WebSocketCloseCode(rawValue: 4003), reason: "nodeFull"))
            let probe = try await TestSocket.connect(port: port)
            try await probe.write("GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")
            let answer = await probe.readToEnd()
            #expect(answer.hasPrefix("HTTP/1.1 503 ") && answer.contains("as many connections are open as may be (1)"))
            let other = try await TestSocket.connect(port: port)
            try await other.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            #expect(await other.readToEnd().hasPrefix("HTTP/1.1 503 "))
            #expect(service.sessions == 1)
            #expect(await server.counters().timesFull == 1)
            try await first.sendFrame(.close, [0x03, 0xE8])
            try await eventually("it is ready again") { await !server.counters().isFull }
            let late = try await TestWebSocket.connect(port: port)
            _ = try await late.json("welcome")
        }
    }

    // MARK: Addresses

    @Test func addressesAreReadInAllForms() throws {
        let four = try #require(PeerAddress("192.0.2.7"))
        #expect(PeerAddress("::ffff:192.0.2.7") == four)
        #expect(four.description == "192.0.2.7")
        #expect(four.network == four)
        let six = try #require(PeerAddress("2001:db8:1:2::3"))
        #expect(six.network == PeerAddress("2001:db8:1:2:ffff::9")?.network)
        #expect(six.network != PeerAddress("2001:db8:1:3::3")?.network)
        #expect(six.description == "2001:db8:1:2::3")
        #expect(PeerAddress("fe80::1%eth0") != nil)
        #expect(PeerAddress("1.2.3") == nil && PeerAddress("") == nil && PeerAddress("chat.example") == nil)
        #expect(PeerAddress(try SocketAddress(ipAddress: "192.0.2.7", port: 1)) == four)
        #expect(PeerAddress(try SocketAddress(ipAddress: "2001:db8:1:2::3", port: 1)) == six)
    }

    @Test func rangesHoldWhatBeginsAsTheyDo() throws {
        func holds(_ range: String, _ address: String) throws -> Bool {
            try #require(AddressRange(range)).contains(try #require(PeerAddress(address)))
        }
        #expect(try holds("10.0.0.0/8", "10.255.0.1") && !holds("10.0.0.0/8", "11.0.0.1"))
        #expect(try holds("192.0.2.7", "192.0.2.7") && !holds("192.0.2.7", "192.0.2.6"))
        #expect(try holds("2001:db8::/33", "2001:db8:7fff::1") && !holds("2001:db8::/33", "2001:db8:8000::1"))
        #expect(try holds("::/0", "1.2.3.4") && !holds("0.0.0.0/0", "2001:db8::1"))
        for wrong in ["", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+1", "::/129", "a/8"] {
            #expect(AddressRange(wrong) == nil)
        }
        #expect(AddressRange.local.count == 7 && AddressRange.loopback.count == 2)
    }

    @Test func proxiesThatAreTrustedAreBelieved() throws {
        let trusted = AddressRange.loopback + AddressRange.local
        func client(_ peer: String, _ forwarded: [String]) -> String? {
            PeerAddress.client(PeerAddress(peer), forwardedFor: forwarded, trusted: trusted)?.description
        }
        #expect(client("127.0.0.1", []) == "127.0.0.1")
        #expect(client("127.0.0.1", ["192.0.2.1"]) == "192.0.2.1")
        #expect(client("127.0.0.1", ["192.0.2.66", "192.0.2.1:4711", "10.0.0.3"]) == "192.0.2.1")
        #expect(client("192.0.2.9", ["192.0.2.66"]) == "192.0.2.9", "a stranger may say anything")
        #expect(client("127.0.0.1", ["[2001:db8::1]:80"]) == "2001:db8::1")
        #expect(client("127.0.0.1", ["unknown"]) == "127.0.0.1")
    }

    @Test func anAddressHasABudget() throws {
        let book = AddressBook(connections: 2, bytesPerSecond: 1_000, failuresPerMinute: 60)
        let address = try #require(PeerAddress("192.0.2.7"))
        #expect(book.enter(address, now: begin) && book.enter(address, now: begin) && !book.enter(address, now: begin))
        #expect(book.take(4_000, from: address, now: begin) == .zero)
        #expect(book.take(500, from: address, now: begin) == .milliseconds(500))
        book.leave(address)
        #expect(book.enter(address, now: begin))
        #expect(book.take(0, from: address, now: begin + .seconds(1)) == .zero, "time pays")
        #expect(book.take(1_000, from: address, now: begin + .seconds(1)) > .zero, "a new connection is no new budget")
        let later = begin + .seconds(100)
        for number in 0..<20_000 {
            let other = PeerAddress(high: UInt64(number + 1) << 32, low: 0)
            _ = book.enter(other, now: later)
            book.leave(other)
        }
        #expect(book.count < 10_000)
        #expect(!book.enter(address, now: later), "those that are here are remembered")
    }

    @Test func connectionsOfAnAddressAreLimitedUntilTheyAreSessions() async throws {
        try await withGateway {
            $0.trustedAddresses = []
            $0.limits.connectionsPerAddress = 2
        } _: { port, _, server in
            var sessions: [TestWebSocket] = []
            for number in 0..<5 { sessions.append(try await TestWebSocket.connect(port: port, "user=u\(number)")) }
            let waiting = [try await TestSocket.connect(port: port), try await TestSocket.connect(port: port)]
            try await eventually("both are here") { await server.counters().connections == 7 }
            let third = try await TestSocket.connect(port: port)
            #expect(await third.readToEnd().hasPrefix("HTTP/1.1 429 "))
            try await waiting[0].channel.close().get()
            try await eventually("its place is free") { await server.counters().connections <= 6 }
            sessions.append(try await TestWebSocket.connect(port: port, "user=late"))
            #expect(await server.counters().refusals == [.addressConnections: 1])
        }
    }

    @Test func bytesOfAnAddressThatAreTooManyWait() async throws {
        try await withGateway {
            $0.trustedAddresses = []
            $0.limits.bytesPerSecondPerAddress = 2_000
        } _: { port, _, server in
            let clock = ContinuousClock()
            let began = clock.now
            let socket = try await TestSocket.connect(port: port)
            let request = "GET /healthz HTTP/1.1\r\nHost: a\r\nX: \(String(repeating: "x", count: 960))\r\n\r\n"
            try await socket.write(String(repeating: request, count: 12))
            for _ in 0..<12 { #expect(await socket.readAnswer()?.body == "ok\n") }
            // One read may take all of these; then the next bytes wait.
            try await socket.write(request)
            #expect(await socket.readAnswer()?.body == "ok\n")
            #expect(clock.now - began > .milliseconds(300))
            #expect(await server.counters().limitRefusals[.bytesPerSecondPerAddress] ?? 0 > 0)
        }
    }

    @Test func aLineAboutRefusalsComesSeldom() {
        var lines = LineRate<GatewayCounters.Refusal>(pause: .seconds(10))
        #expect(lines.happened(.origin, now: begin) == 1)
        for _ in 0..<10 { #expect(lines.happened(.origin, now: begin + .seconds(1)) == nil) }
        #expect(lines.happened(.badName, now: begin + .seconds(1)) == 1)
        #expect(lines.happened(.origin, now: begin + .seconds(11)) == 11)
    }

    @Test func anAddressAndAPortAreOneText() {
        #expect(HostPort.text("::1", 80) == "[::1]:80")
        #expect(HostPort.text("127.0.0.1", 80) == "127.0.0.1:80")
        #expect(HostPort.text("chat.example", 80) == "chat.example:80")
    }
}
