import ChatCore
import Testing

@testable import ChatGateway

struct AddressTurnsTests {
    private let address = PeerAddress(high: 0, low: 7)
    private let other = PeerAddress(high: 0, low: 8)

    /// What is running, as told by the requests themselves.
    private actor Record {
        private(set) var running = 0
        private(set) var most = 0
        private(set) var begun: [Int] = []

        func begin(_ number: Int) {
            running += 1
            most = max(most, running)
            begun.append(number)
        }

        func end() { running -= 1 }
    }

    /// A field that the request does not know is no way around the turns.
    @Test(arguments: [
        ("GET", "/api/rooms/a/roster", "", true), ("GET", "/api/rooms/a/roster", "wait=5s", true),
        ("GET", "/api/rooms/a/messages", "limit=9", true), ("GET", "/api/rooms/a/messages", "wait=0", true),
        ("GET", "/api/rooms/a/messages", "wait=x", true), ("HEAD", "/api/inbox", "wait=5s", true),
        ("GET", "/api/rooms/a/messages", "after=1-1&wait=5s", false), ("POST", "/api/rooms/a/messages", "", false),
        ("GET", "/metrics", "", false), ("GET", "/chat.js", "", false),
    ])
    func whatReadsTakesTurns(method: String, path: String, query: String, takesTurns: Bool) {
        #expect(ChargesAddress.takesTurns(method: method, path: path, query: query) == takesTurns)
    }

    @Test func requestsOfAnAddressTakeTurns() async {
        let turns = AddressTurns(atOnce: 2)
        let record = Record()
        await withTaskGroup(of: Void.self) { tasks in
            for number in 0..<50 {
                tasks.addTask {
                    await turns.inTurn(of: address) {
                        await record.begin(number)
                        for _ in 0..<10 { await Task.yield() }
                        await record.end()
                    }
                }
            }
        }
        #expect(await record.most <= 2)
        #expect(await Set(record.begun) == Set(0..<50))
        #expect(turns.count == 0)
    }

    @Test func addressesDoNotWaitForEachOtherAndAnErrorGivesTheTurnBack() async throws {
        struct Failure: Error {}
        let turns = AddressTurns(atOnce: 1)
        await turns.inTurn(of: address) {
            await turns.inTurn(of: other) {
                await #expect(throws: Failure.self) {
                    try await turns.inTurn(of: PeerAddress(high: 0, low: 9)) { throw Failure() }
                }
                #expect(turns.count == 2)
            }
            #expect(turns.count == 1)
        }
        #expect(turns.count == 0)
        // The turn that a failed request had is free again.
        await #expect(throws: Failure.self) { try await turns.inTurn(of: address) { throw Failure() } }
        #expect(await turns.inTurn(of: address) { 3 } == 3)
    }
}
