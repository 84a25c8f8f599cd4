import ChatCore
import NIOCore
import Testing

@testable import ChatGateway

struct AddressRatesTests {
    private let start = Moment(nanoseconds: 1_000_000_000_000)

    @Test func eachAddressHasABudgetOfItsOwn() throws {
        let rates = AddressRates(CostRate(perSecond: 1_000_000, burst: 0))
        let first = try #require(ClientAddress("192.0.2.1"))
        let second = try #require(ClientAddress("192.0.2.2"))
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
            let address = try #require(ClientAddress("10.1.\(number / 256).\(number % 256)"))
            _ = rates.take(1_000, from: address, now: start + .microseconds(number * 10))
        }
        #expect(rates.count <= 32_768)
    }

    @Test func anIPv6NetworkIsOneAddress() throws {
        let one = try #require(ClientAddress("2001:db8:1:2::1"))
        #expect(one == ClientAddress("[2001:db8:1:2:ffff::9]:443"))
        #expect(one != ClientAddress("2001:db8:1:3::1"))
        #expect(ClientAddress("::ffff:192.0.2.1") == ClientAddress("192.0.2.1:80"))
        #expect(ClientAddress(try SocketAddress(ipAddress: "192.0.2.1", port: 9)) == ClientAddress("192.0.2.1"))
        #expect(ClientAddress("unknown") == nil && ClientAddress("") == nil && ClientAddress("[::1") == nil)
    }

    @Test func aTrustedProxySaysForWhomItAsks() throws {
        let proxy = try #require(ClientAddress("127.0.0.1"))
        let client = try #require(ClientAddress("192.0.2.1"))
        let proxies = TrustedProxies.loopback
        #expect(proxies.client(peer: proxy, forwardedFor: ["203.0.113.9, 192.0.2.1"]) == client)
        #expect(proxies.client(peer: proxy, forwardedFor: ["192.0.2.1", "::1, 127.0.0.7"]) == client)
        #expect(proxies.client(peer: proxy, forwardedFor: []) == proxy)
        #expect(proxies.client(peer: proxy, forwardedFor: ["192.0.2.1, nonsense"]) == proxy)
        #expect(proxies.client(peer: client, forwardedFor: ["203.0.113.9"]) == client, "it is not believed")
        #expect(TrustedProxies.nobody.client(peer: proxy, forwardedFor: ["192.0.2.1"]) == proxy)
    }

    @Test func proxiesAreReadAndShownAsTheyWereWritten() throws {
        let proxies = try #require(TrustedProxies("loopback,10.0.0.0/8, 2001:db8::/32,192.0.2.7"))
        #expect(proxies.description == "loopback,10.0.0.0/8,2001:db8::/32,192.0.2.7")
        for (text, isTrusted) in [
            ("10.9.8.7", true), ("11.0.0.1", false), ("2001:db8:77::1", true), ("2001:db9::1", false),
            ("192.0.2.7", true), ("192.0.2.8", false), ("127.8.0.1", true), ("::1", true),
        ] {
            #expect(proxies.contains(try #require(ClientAddress(text))) == isTrusted, "\(text)")
        }
        #expect(TrustedProxies("none") == .nobody)
        for wrong in ["", "10.0.0.0/33", "example.org", "loopback,", "10.0.0.0/x"] {
            #expect(TrustedProxies(wrong) == nil, "\(wrong)")
        }
    }

    private func status(_ port: Int, _ path: String, _ extra: String = "") async throws -> Int {
        let socket = try await TestSocket.connect(port: port)
        try await socket.write("GET \(path) HTTP/1.1\r\nHost: localhost\r\n\(extra)\r\n")
        let head = try #require(await socket.readAnswer()).head
        return Int(head.split(separator: " ")[1]) ?? 0
    }

    @Test func requestsBeyondAnAddressesBudgetAreRefusedAndThoseOfOthersAreNot() async throws {
        try await withGateway {
            // Five requests at once, and hardly any more within the test.
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
