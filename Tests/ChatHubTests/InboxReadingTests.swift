import ChatCore
import Testing

@testable import ChatHub

struct InboxReadingTests {
    /// A broker that answers at once, and a clock that goes on when somebody waits.
    private final class Node: HostContext {
        var now = Moment(nanoseconds: 1_000_000_000_000)
        var wallClock: UInt64 { 7 }
        var heads = 0
        /// Heads that were asked for before each wait.
        var rounds: [Int] = []
        private var later: [() -> Void] = []
        let rooms: [RoomName]

        init(rooms: Int) throws { self.rooms = try (0..<rooms).map { try RoomName("room \($0)") } }

        func atHome(_ loop: Int, _ body: @escaping @Sendable (RoomHost) -> Void) {}

        func ask(_ request: BrokerRequest, _ then: @escaping (Result<BrokerReply, BrokerError>) -> Void) {
            switch request {
            case .user(let request):
                guard case .rooms = request.operation else { return then(.success(.user(.done))) }
                let indexed = rooms.map { IndexedRoom($0, kind: .group, since: 1, version: 1) }
                then(.success(.user(.rooms(indexed, cursor: 0))))
            default:
                heads += 1
                later.append { then(.success(.reading(.head(nil)))) }
            }
        }

        func schedule(after delay: Duration, _ body: @escaping () -> Void) {
            rounds.append(heads)
            later.append { [self] in
                now = now + delay
                body()
            }
        }

        func finish() {
            while !later.isEmpty { later.removeFirst()() }
        }
    }

    private func rate(costPerSecond: Int) -> UserRate {
        var limits = Limits()
        limits.costPerSecond = costPerSecond
        return UserRate(UserRate.Rules(limits))
    }

    private let mayRead = { (room: RoomName) in true }

    /// A user with very many conversations and devices costs others no more than the limit says.
    @Test func whoOwesSomethingWaitsBetweenParts() throws {
        let node = try Node(rooms: 1_000)
        let rate = rate(costPerSecond: Limits().costPerSecond)
        let ana = try UserID("ana")
        var answers = 0
        let began = node.now
        for _ in 0..<8 {
            InboxReading.begin(of: ana, by: node, paidBy: rate, mayRead: mayRead) { result, cost in
                if case .success = result, cost == 1_000 * RequestCost.head { answers += 1 }
            }
        }
        node.finish()
        #expect(answers == 8 && node.heads == 8_000)
        #expect(node.rounds.first ?? 0 > 0, "the first part is read at once")
        // What the limit allows in that time, after what may be owed at once.
        let seconds = (node.now - began) / .seconds(1)
        let paid = 8_000 * Double(RequestCost.head) / 1e9
        let allowed = Double(Limits().costPerSecond) / 1e6
        #expect(
            seconds > paid / allowed / 2, "\(seconds) s for \(paid) s of work, of which \(allowed) a second are allowed"
        )
    }

    @Test func whoOwesNothingDoesNotWait() throws {
        let node = try Node(rooms: 100)
        let rate = rate(costPerSecond: Limits().costPerSecond)
        var isAnswered = false
        InboxReading.begin(of: try UserID("ana"), by: node, paidBy: rate, mayRead: mayRead) { _, _ in
            isAnswered = true
        }
        node.finish()
        #expect(isAnswered && node.rounds.isEmpty && node.heads == 100)
    }
}
