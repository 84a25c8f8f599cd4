import ChatCore
import Testing

@testable import ChatRedis

@Suite struct TransportHandshakeTests {
    private let settings = RedisHandshakeStateMachine.Settings(
        user: nil, password: nil, database: 0, clientName: "martlet:n:0:commands", checksLibrary: false,
        address: "redis://h:1/0")
    private let server = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\nrun_id:abc\r\n"
    private let master = "# Replication\r\nrole:master\r\nmaster_replid:def\r\n"

    private func machine(_ change: (inout RedisHandshakeStateMachine.Settings) -> Void = { _ in })
        -> RedisHandshakeStateMachine
    {
        var settings = settings
        change(&settings)
        var machine = RedisHandshakeStateMachine(settings)
        _ = machine.connected()
        return machine
    }

    private func code(_ action: RedisHandshakeStateMachine.ReplyAction) -> RedisSetupError.Code? {
        if case .fail(let error) = action { error.code } else { nil }
    }

    @Test func everythingBeforeTheLibraryGoesOutAtOnce() {
        var settings = settings
        (settings.user, settings.password, settings.database) = ("ana", "secret", 3)
        var machine = RedisHandshakeStateMachine(settings)
        #expect(
            machine.connected()
                == .send([
                    ["AUTH", "ana", "secret"], ["SELECT", "3"], ["CLIENT", "SETNAME", "martlet:n:0:commands"],
                    ["INFO", "server"],
                    ["INFO", "replication"],
                ]))
        settings.user = nil
        machine = RedisHandshakeStateMachine(settings)
        guard case .send(let commands) = machine.connected() else { return }
        #expect(commands.first == ["AUTH", "secret"])
    }

    @Test func aMasterOfVersion7IsReady() {
        var machine = machine()
        #expect(machine.received(.text("OK")) == .wait)
        #expect(machine.received(.text(server)) == .wait)
        #expect(
            machine.received(.text(master))
                == .ready(
                    RedisServerInfo(
                        identity: BrokerIdentity(runID: "abc", replicationID: "def"), version: "7.0.15",
                        replicas: 0)))
        #expect(code(machine.received(.text("OK"))) == .notRedis, "an answer to nothing")
    }

    @Test(arguments: ["6.2.14", "2.8.0", "", "x.y", "-7"])
    func anOlderVersionIsRefusedByName(version: String) {
        var machine = machine()
        _ = machine.received(.text("OK"))
        _ = machine.received(.text("redis_version:\(version)\r\nrun_id:abc\r\n"))
        guard case .fail(let error) = machine.received(.text(master)) else {
            Issue.record("not refused")
            return
        }
        #expect(error.code == .wrongVersion && error.message.contains("Redis \(version);") && !error.mayHeal)
    }

    @Test func aReplicaIsRefusedAndMayHeal() {
        var machine = machine()
        _ = machine.received(.text("OK"))
        _ = machine.received(.text(server))
        guard case .fail(let error) = machine.received(.text("role:slave\nmaster_host:10.0.0.1\nmaster_port:6379\n"))
        else {
            Issue.record("not refused")
            return
        }
        #expect(error.code == .replica && error.mayHeal && error.message.contains("10.0.0.1:6379"))
    }

    @Test(arguments: [
        ("WRONGPASS invalid username-password pair or user is disabled.", RedisSetupError.Code.wrongPassword),
        ("ERR AUTH <password> called without any password configured for the default user.", .wrongPassword),
        ("ERR something new", .wrongPassword), ("LOADING Redis is loading the dataset in memory", .busy),
        ("ERR max number of clients reached", .busy),
    ])
    func aRefusedPasswordIsNamed(text: String, expected: RedisSetupError.Code) {
        var machine = machine { $0.password = "hunter2" }
        guard case .fail(let error) = machine.received(.error(text)) else {
            Issue.record("not refused")
            return
        }
        #expect(error.code == expected && error.message.contains("redis://h:1/0") && !error.message.contains("hunter2"))
    }

    @Test func aMissingPasswordIsNamed() {
        var machine = machine()
        #expect(code(machine.received(.error("NOAUTH Authentication required."))) == .passwordNeeded)
    }

    @Test func aDatabaseThatIsNotThereIsNamed() {
        var machine = machine { $0.database = 99 }
        guard case .fail(let error) = machine.received(.error("ERR DB index is out of range")) else { return }
        #expect(error.code == .noSuchDatabase && error.message.contains("99"))
    }

    @Test func aForbiddenNameIsNoReasonToFailButForbiddenINFOIs() {
        var machine = machine()
        #expect(
            machine.received(.error("NOPERM this user has no permissions to run the 'client|setname' command")) == .wait
        )
        #expect(
            code(machine.received(.error("NOPERM this user has no permissions to run the 'info' command")))
                == .notPermitted)
    }

    @Test(arguments: [RedisHandshakeStateMachine.Reply.other, .text(""), .text("HTTP/1.1 200 OK")])
    func whatIsNoRedisIsSaidToBeNone(reply: RedisHandshakeStateMachine.Reply) {
        var machine = machine()
        _ = machine.received(.text("OK"))
        let first = machine.received(reply)
        #expect(code(first) == .notRedis || code(machine.received(reply)) == .notRedis)
    }

    // MARK: Function library

    private func atLibrary() -> RedisHandshakeStateMachine {
        var machine = machine { $0.checksLibrary = true }
        _ = machine.received(.text("OK"))
        _ = machine.received(.text(server))
        #expect(machine.expectation == .plain)
        #expect(machine.received(.text(master)) == .checkLibrary)
        #expect(machine.expectation == .libraryCheck)
        return machine
    }

    private func isReady(_ action: RedisHandshakeStateMachine.ReplyAction) -> Bool {
        if case .ready = action { true } else { false }
    }

    @Test func aLibraryThatIsThereIsNotLoaded() {
        var machine = atLibrary()
        #expect(isReady(machine.received(.library(.ready))))
    }

    @Test func aMissingLibraryIsLoadedOnce() {
        var machine = atLibrary()
        #expect(machine.received(.library(.load)) == .loadLibrary)
        #expect(machine.expectation == .libraryLoad)
        #expect(isReady(machine.received(.library(.ready))))
    }

    @Test func aLibraryThatAnotherNodeLoadedMeanwhileIsFine() {
        var machine = atLibrary()
        _ = machine.received(.library(.load))
        #expect(machine.received(.library(.load)) == .checkLibrary)
        #expect(isReady(machine.received(.library(.ready))))
    }

    @Test func aLibraryThatDoesNotStayIsNotLoadedForEver() {
        var machine = atLibrary()
        _ = machine.received(.library(.load))
        _ = machine.received(.library(.load))
        #expect(code(machine.received(.library(.load))) == .library)
    }

    @Test func aForeignLibraryIsRefusedWithItsReason() {
        var machine = atLibrary()
        guard case .fail(let error) = machine.received(.library(.incompatible("it is version 9"))) else { return }
        #expect(error.code == .library && error.message.contains("it is version 9") && !error.mayHeal)
    }

    @Test func aLoadingRedisIsBusyNotBroken() {
        var machine = atLibrary()
        guard case .fail(let error) = machine.received(.error("LOADING Redis is loading the dataset in memory")) else {
            return
        }
        #expect(error.code == .busy && error.mayHeal)
    }

    @Test(arguments: 0..<500)
    func noSequenceOfRepliesTrapsOrNeverEnds(seed: UInt64) {
        var generator = SplitMix64(seed: seed)
        var machine = machine {
            $0.checksLibrary = seed % 2 == 0
            $0.password = seed % 3 == 0 ? "p" : nil
        }
        let replies: [RedisHandshakeStateMachine.Reply] = [
            .text("OK"), .text(server), .text(master), .text(server + master), .error("ERR x"), .error(""), .other,
            .library(.ready), .library(.load), .library(.incompatible("x")),
        ]
        for _ in 0..<20 {
            let action = machine.received(replies.randomElement(using: &generator) ?? .other)
            if case .fail = action { return }
        }
        #expect(machine.expectation == .nothing, "seed \(seed): still in set-up after 20 replies")
    }
}
