import ChatCore
import ChatGateway
import ChatJSON
import ChatWire
import Testing

struct RefusalPauseTests {
    /// A refusal costs about as much as a small request, so a client that continues is read more slowly. It gets all
    /// answers in the end.
    @Test func whoIsRefusedIsListenedToMoreSlowlyAndAnsweredAll() async throws {
        try await withGateway {
            $0.limits.requestsPerSecond = 1
            $0.limits.requestBurst = 10
        } _: { port, _, server in
            let client = try await TestWebSocket.connect(port: port)
            let began = ContinuousClock.now
            let pad = String(repeating: " ", count: 900)
            for number in 0..<20 { try await client.send(#"{"type":"ping","ref":\#(number)}\#(pad)"#) }
            var types: [String] = []
            while types.count < 20 {
                let frame = try await client.json()
                if let type = frame["type"]?.string, type != "welcome" { types.append(type) }
            }
            #expect(types.prefix(10).allSatisfy { $0 == "pong" })
            let time = ContinuousClock.now - began
            // Beyond the burst, one more for each second that it took.
            let least = 9 - Int(time.components.seconds)
            #expect(types.count { $0 == "error" } >= least)
            // A read takes a kilobyte, so there is a pause after every eight refusals or so.
            #expect(time > .milliseconds(500))
            #expect(await server.counters().limitRefusals[.requestsPerSecond] ?? 0 >= least)
        }
    }
}
