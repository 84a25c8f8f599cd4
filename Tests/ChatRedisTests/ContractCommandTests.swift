import ChatCore
import RedisSchema
import TestSupport
import Testing

@testable import ChatRedis

/// The stream of commands: what is ordered is read back by everybody, in order and page by page.
@Suite struct ContractCommandTests {
    private func position(_ store: ContractStore, _ command: NodeCommand, by: String = "") throws -> Position {
        guard case .commanded(let position) = try store.reply(.command(command, by: by)) else {
            throw StoreFailure("command")
        }
        return position
    }

    private func read(_ store: ContractStore, after: Position? = nil, count: Int = 100) throws -> [CommandEntry] {
        guard case .commands(let entries) = try store.reply(.commands(after: after, count: count)) else {
            throw StoreFailure("commands")
        }
        return entries
    }

    @Test(arguments: StoreKind.allCases)
    func commandsAreReadInTheirOrderAndFromAnyPlace(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        #expect(try read(store) == [], "a stream that is not there has no commands")
        let subjects: [Revocations.Subject] = [
            .user(try UserID("ana {x} 로비")), .token(id: "3f1c"), .everybody, .user(try UserID("bob")),
        ]
        let commands = subjects.map { NodeCommand.revoke($0, issuedBefore: 5_000, until: 9_000) }
        let positions = try commands.map { try position(store, $0, by: "backend") }
        #expect(positions == positions.sorted() && Set(positions).count == 4)
        let all = zip(positions, commands).map { CommandEntry(position: $0, command: $1, by: "backend") }
        #expect(try read(store) == all)
        #expect(try read(store, count: 2) == Array(all[..<2]))
        #expect(try read(store, after: positions[1]) == Array(all[2...]))
        #expect(try read(store, after: positions[3]) == [])
    }

    @Test(arguments: StoreKind.allCases)
    func timesThatAreNotGivenAreNowAndInThirtyDays(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let made = try position(store, .revoke(.everybody, issuedBefore: nil, until: nil))
        guard case .revoke(.everybody, let before?, let until?)? = try read(store).first?.command else {
            throw StoreFailure("times")
        }
        #expect(before.distance(to: made.epoch) < 1_000 && until == before + NodeCommand.revocationLife)
    }

    @Test(arguments: StoreKind.allCases)
    func sanctionsOfUsersAreReadWithTheTimeAtWhichTheyEnd(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let bob = try UserID("bob {x} 로비")
        let commands: [NodeCommand] = [
            .impose(.ban, on: bob, for: 60_000, reason: "spam, 스팸"), .impose(.mute, on: bob, for: nil, reason: ""),
            .lift(.ban, from: bob), .lift(.mute, from: bob),
        ]
        for command in commands { _ = try position(store, command, by: "ana") }
        let entries = try read(store)
        #expect(entries.map(\.command) == commands)
        let ban = try #require(entries.first?.sanction)
        #expect(ban.until == ban.at + 60_000 && ban.reason == "spam, 스팸" && ban.by == "ana")
        #expect(ban.at == entries[0].position.epoch)
        #expect(entries[1].sanction?.until == nil && entries[1].sanction != nil && entries[2].sanction == nil)
    }

    @Test func whatNobodyKnowsIsReadAsNothing() async throws {
        let store = try await ContractStore(.redis)
        for fields in [
            ["type", "dance"], ["type", "revoke", "subject", "user", "name", "", "before", "1", "until", "2"],
            ["type", "revoke", "subject", "user", "name", "ana", "before", "x", "until", "2"],
            ["type", "revoke", "subject", "user", "name", "ana", "before", "1", "until", "9007199254740993"],
            ["type", "revoke", "subject", "token", "name", "", "before", "1", "until", "2"],
            ["type", "revoke", "subject", "moon", "name", "a", "before", "1", "until", "2"], ["a", "b"],
            ["type", "ban", "subject", "user", "name", ""], ["type", "ban", "subject", "token", "name", "ana"],
            ["type", "mute", "subject", "user", "name", "ana", "time", "0"],
            ["type", "mute", "subject", "user", "name", "ana", "time", "soon"],
            ["type", "ban", "subject", "user", "name", "ana", "reason", String(repeating: "r", count: 201)],
            ["type", "unban", "name", "ana"],
        ] {
            try store.raw(bytes: (["XADD", store.keys.commands, "*"] + fields).map { Array($0.utf8) })
        }
        let good = try position(store, .revoke(.token(id: "t"), issuedBefore: 1, until: 2))
        let entries = try read(store)
        #expect(entries.count == 14 && entries.filter { $0.command == nil }.count == 13)
        #expect(entries.last?.position == good)
    }

    @Test(arguments: [
        ["dance", "user", "ana"], ["revoke", "moon", "ana"], ["revoke", "user", ""], ["revoke", "user", "a\nb"],
        ["revoke", "user", String(repeating: "a", count: 129)], ["revoke", "token", "t", "soon"],
        ["revoke", "token", "t", "1", "-1"], ["revoke", "token", "t", "1", "2", "a\u{7}"], [],
        ["ban"], ["ban", ""], ["ban", "a\nb"], ["ban", "ana", "0"], ["ban", "ana", "soon"], ["ban", "ana", "-1"],
        ["mute", "ana", "", String(repeating: "r", count: 201)], ["mute", "ana", "", "", "a\u{7}"], ["unmute", ""],
    ])
    func theFunctionRefusesWhatIsNoCommand(arguments: [String]) async throws {
        let store = try await ContractStore(.redis)
        let call = ["FCALL", "martlet_command", "1", store.keys.commands] + arguments
        guard case .error(let text) = try store.raw(bytes: call.map { Array($0.utf8) }) else {
            throw StoreFailure("it was accepted")
        }
        #expect(text.hasPrefix("ERR martlet: "), "\(text)")
        #expect(try store.raw("EXISTS", store.keys.commands) == .integer(0))
    }

    @Test func aForeignKeyInItsPlaceIsNamed() async throws {
        let store = try await ContractStore(.redis)
        _ = try store.raw("SET", store.keys.commands, "x")
        let command = BrokerRequest.command(.revoke(.everybody, issuedBefore: nil, until: nil), by: "")
        for request in [command, .commands(after: nil, count: 1)] {
            guard case .failure(.notStored(let text)) = try store.ask(request).result else {
                throw StoreFailure("a foreign key")
            }
            #expect(text.contains("WRONGTYPE"), "\(text)")
        }
    }
}
