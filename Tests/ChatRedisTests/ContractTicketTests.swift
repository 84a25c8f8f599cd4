import ChatCore
import RedisSchema
import TestSupport
import Testing

@testable import ChatRedis

/// Tickets: who asks first gets what it allows, and nobody else.
@Suite struct ContractTicketTests {
    private func name(_ digit: String) throws -> TicketName {
        try #require(TicketName(String(repeating: digit, count: 64)))
    }

    @Test(arguments: StoreKind.allCases)
    func aTicketIsTakenOnce(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let (one, other) = (try name("a"), try name("7"))
        let allowed = #"{"user":"ana 로비","x":"\"}"#
        #expect(try store.reply(.takeTicket(one)) == .ticket(nil))
        #expect(try store.reply(.storeTicket(one, allows: allowed, life: .seconds(30))) == .done)
        #expect(try store.reply(.storeTicket(other, allows: "b", life: .seconds(30))) == .done)
        #expect(try store.reply(.takeTicket(one)) == .ticket(allowed))
        #expect(try store.reply(.takeTicket(one)) == .ticket(nil))
        #expect(try store.reply(.takeTicket(other)) == .ticket("b"))
    }

    @Test func aTicketExpires() async throws {
        let memory = try await ContractStore(.memory)
        _ = try memory.reply(.storeTicket(try name("a"), allows: "x", life: .seconds(30)))
        memory.now += 30_000
        #expect(try memory.reply(.takeTicket(try name("a"))) == .ticket(nil))
        let redis = try await ContractStore(.redis)
        _ = try redis.reply(.storeTicket(try name("a"), allows: "x", life: .seconds(30)))
        guard case .integer(let time) = try redis.raw("PTTL", redis.keys.ticket(try name("a").text)) else {
            throw StoreFailure("PTTL")
        }
        #expect((1...30_000).contains(time))
    }

    @Test func aForeignKeyInItsPlaceAllowsNothing() async throws {
        let store = try await ContractStore(.redis)
        _ = try store.raw("SADD", store.keys.ticket(try name("b").text), "x")
        guard case .failure(.notStored(let text)) = try store.ask(.takeTicket(try name("b"))).result else {
            throw StoreFailure("a foreign key")
        }
        #expect(text.contains("WRONGTYPE"), "\(text)")
    }

    @Test func namesAreDigestsAndEachHasItsOwnSlot() throws {
        for text in ["", "a", String(repeating: "A", count: 64), String(repeating: "g", count: 64)] {
            #expect(TicketName(text) == nil)
        }
        let nodes = try #require(HashSlot(0))
        let slots = try "0123456789abcdef".map { Entity.ticket(try name(String($0))).slot(nodes: nodes).number }
        #expect(Set(slots).count > 8)
    }
}
