import ChatCore
import NIOCore
import Testing

@testable import ChatGateway

struct AddressRatesTests {
    private let start = Moment(nanoseconds: 1_000_000_000_000)

    @Test func eachAddressHasABudgetOfItsOwn() throws {
        let rates = AddressRates(CostRate(perSecond: 1_000_000, burst: 0))
        let first = try #require(PeerAddress("192.0.2.1"))
        let second = try #require(PeerAddress("192.0.2.2"))
        #expect(rates.take(1_000, from: first, now: start) == .zero)
        #expect(rates.take(1_000, from: first, now: start) == .milliseconds(1))
        #expect(rates.take(1_000, from: second, now: start) == .zero)
        #expect(rates.take(1_000, from: first, now: start + .milliseconds(1)) == .zero)
        rates.charge(1_000_000, to: second, now: start)
        #expect(rates.take(0, from: second, now: start + .milliseconds(900)) > .zero)
    }

    @Test func addressesThatOweNothingAreForgotten() throws {
        let rates = AddressRates(CostRate(perSecond: 1_000_000, burst: 0))
        for number in 0..<40_000 {
            let address = try #require(PeerAddress("10.1.\(number / 256).\(number % 256)"))
            _ = rates.take(1_000, from: address, now: start + .microseconds(number * 10))
        }
        #expect(rates.count <= 32_768)
    }

    @Test func anIPv6NetworkIsOneAddress() throws {
        let one = try #require(PeerAddress("2001:db8:1:2::1"))
        #expect(one.network == PeerAddress("2001:db8:1:2:ffff::9")?.network)
        #expect(one.network != PeerAddress("2001:db8:1:3::1")?.network)
        #expect(PeerAddress("::ffff:192.0.2.1") == PeerAddress("192.0.2.1"))
        #expect(PeerAddress(try SocketAddress(ipAddress: "192.0.2.1", port: 9)) == PeerAddress("192.0.2.1"))
        #expect(PeerAddress("unknown") == nil && PeerAddress("") == nil && PeerAddress("[::1") == nil)
    }

    @Test func aTrustedProxySaysForWhomItAsks() throws {
        let proxy = try #require(PeerAddress("127.0.0.1"))
        let client = try #require(PeerAddress("192.0.2.1"))
        func who(_ peer: PeerAddress, _ names: [String], _ trusted: [AddressRange] = AddressRange.loopback)
            -> PeerAddress?
        {
            PeerAddress.client(peer, forwardedFor: names, trusted: trusted)
        }
        #expect(who(proxy, ["203.0.113.9", "192.0.2.1"]) == client)
        #expect(who(proxy, ["192.0.2.1", "::1", "127.0.0.7"]) == client)
        #expect(who(proxy, []) == proxy)
        #expect(who(proxy, ["192.0.2.1", "nonsense"]) == proxy)
        #expect(who(client, ["203.0.113.9"]) == client, "it is not believed")
        #expect(who(proxy, ["192.0.2.1"], []) == proxy)
    }

    private func status(_ port: Int, _ path: String, _ extra: String = "") async throws -> Int {
        let socket = try await TestSocket.connect(port: port)
        try await socket.write("GET \(path) HTTP/1.1\r\nHost: localhost\r\n\(extra)\r\n")
        let head = try #require(await socket.readAnswer()).head
        return Int(head.split(separator: " ")[1]) ?? 0
    }

    @Test func requestsBeyondAnAddressesBudgetAreRefusedAndThoseOfOthersAreNot() async throws {
        try await withGateway {
            // Five requests at once, and hardly any further ones within the test.
            $0.limits.costPerSecond = 1
            $0.limits.costBurst = Int(RequestCost.httpRequest / 1_000) * 5
        } _: { port, _, server in
            var statuses: [Int] = []
            for _ in 0..<8 { statuses.append(try await status(port, "/api/rooms/lobby/messages")) }
            #expect(statuses.prefix(5).allSatisfy { $0 == 200 } && statuses.suffix(2).allSatisfy { $0 == 429 })
            #expect(try await status(port, "/healthz") == 200, "health is asked for at another account")
            #expect(try await status(port, "/metrics", "X-Forwarded-For: 192.0.2.1\r\n") == 200)
            #expect(try await status(port, "/metrics") == 429)
            let refused = await server.counters().limitRefusals[.costOfAddress] ?? 0
            #expect(refused == UInt64(statuses.count { $0 == 429 }) + 1)
        }
    }
}
