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
        /// How many of the rooms the node knows, from the first one on.
        var held = 0
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
                later.append { then(.success(.reading(.brief(.stranger)))) }
            }
        }

        func heads(of rooms: [RoomName], for user: UserID, _ then: @escaping ([RoomHead?]) -> Void) {
            let known = Set(self.rooms.prefix(held))
            let head = RoomHead(kind: .group, participant: Participant(), newest: nil, mark: nil, unread: 1, last: nil)
            later.append { then(rooms.map { known.contains($0) ? head : nil }) }
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
                if case .success = result, cost == 1_000 * (RequestCost.briefHead + RequestCost.heldHead) {
                    answers += 1
                }
            }
        }
        node.finish()
        #expect(answers == 8 && node.heads == 8_000)
        #expect(node.rounds.first ?? 0 > 0, "the first part is read at once")
        // What the limit allows in that time, after what may be owed at once.
        let seconds = (node.now - began) / .seconds(1)
        let paid = 8_000 * Double(RequestCost.briefHead) / 1e9
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

    @Test func whatTheNodeKnowsIsNotAskedFor() throws {
        let node = try Node(rooms: 95)
        node.held = 42
        var found: [InboxConversation] = []
        var paid: UInt64 = 0
        InboxReading.begin(of: try UserID("ana"), by: node, paidBy: nil, mayRead: mayRead) { result, cost in
            found = (try? result.get()) ?? []
            paid = cost
        }
        node.finish()
        #expect(node.heads == 53 && Set(found.map(\.room)) == Set(node.rooms.prefix(42)))
        #expect(paid == 53 * RequestCost.briefHead + 95 * RequestCost.heldHead)
    }
}
