import Testing

@testable import ChatCore

@Suite struct RefusalTests {
    private var machine = RefusalStateMachine()

    private func at(_ milliseconds: Int64) -> Moment { Moment(nanoseconds: 0) + .milliseconds(milliseconds) }

    private static func refused(_ machine: inout RefusalStateMachine, _ kind: RefusalKind, at now: Moment)
        -> [RefusalStateMachine.Action]
    {
        var actions: [RefusalStateMachine.Action] = []
        machine.refused(kind, "text", now: now, &actions)
        return actions
    }

    private static func stored(_ machine: inout RefusalStateMachine, asked: Moment, at now: Moment)
        -> [RefusalStateMachine.Action]
    {
        var actions: [RefusalStateMachine.Action] = []
        machine.stored(asked: asked, now: now, &actions)
        return actions
    }

    @Test(arguments: [
        ("OOM command not allowed when used memory > 'maxmemory'.", RefusalKind.outOfMemory),
        (
            "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
            .diskError
        ),
        ("NOPERM User node has no permissions to run the 'xadd' command", .noPermission),
        ("ERR The user executing the script can't run this command or subcommand script: x", .noPermission),
        ("NOREPLICAS Not enough good replicas to write.", .noReplicas),
        ("READONLY You can't write against a read only replica.", .readOnly),
        ("LOADING Redis is loading the dataset in memory", .loading),
        ("BUSY Redis is busy running a script.", .busy),
        ("MASTERDOWN Link with MASTER is down", .masterDown), ("CLUSTERDOWN Hash slot not served", .clusterDown),
        ("NOAUTH Authentication required.", .noPassword), ("EXECABORT Transaction discarded", .other),
        ("WRONGTYPE martlet:{a}:log is a string, martlet keeps a stream there", .foreignKey),
    ])
    func everyErrorThatSaysNoHasAKindAndARemedy(text: String, kind: RefusalKind) {
        #expect(RefusalKind(text: text) == kind)
        #expect(!kind.remedy.isEmpty && kind.isGeneral == (kind != .foreignKey))
    }

    @Test(arguments: [
        "", "ERR martlet: no such thing", "MOVED 3999 127.0.0.1:6381", "TRYAGAIN Multiple keys request",
        "more than 67108864 bytes are waiting for redis", "REFUSED 7",
    ])
    func whatIsAboutOneRequestIsNoRefusal(text: String) {
        #expect(RefusalKind(text: text) == nil)
    }

    @Test func eachKindIsWarnedOfAtOnceAndThenOnceAMinuteWithTheCount() {
        var machine = machine
        let first = Self.refused(&machine, .outOfMemory, at: at(0))
        #expect(first == [.warn(.init(kind: .outOfMemory, text: "text", count: 1, lasted: .zero))])
        let more = (1..<60).flatMap { Self.refused(&machine, .outOfMemory, at: at(Int64($0) * 1_000)) }
        #expect(more.isEmpty)
        let other = Self.refused(&machine, .noReplicas, at: at(59_000))
        #expect(other.count == 1, "another kind")
        let next = Self.refused(&machine, .outOfMemory, at: at(60_000))
        #expect(next == [.warn(.init(kind: .outOfMemory, text: "text", count: 61, lasted: .seconds(60)))])
    }

    @Test func itEndsWithAWriteThatWasAskedForAfterTheLastRefusal() {
        var machine = machine
        _ = Self.refused(&machine, .outOfMemory, at: at(0))
        _ = Self.refused(&machine, .outOfMemory, at: at(1_000))
        #expect(!machine.mayJudge && machine.isRefusing)
        let early = Self.stored(&machine, asked: at(900), at: at(5_000))
        #expect(early.isEmpty, "asked for before it")
        let young = Self.stored(&machine, asked: at(1_100), at: at(1_200))
        #expect(young.isEmpty, "others may still hear of it")
        let ended = Self.stored(&machine, asked: at(2_600), at: at(2_601))
        #expect(ended == [.ended(.init(kind: .outOfMemory, text: "text", count: 2, lasted: .seconds(1)))])
        #expect(machine.mayJudge && !machine.isRefusing)
    }

    @Test func aRefusalThatComesAndGoesIsSaidOnceAMinuteAndSoIsItsEnd() {
        var machine = machine
        var said: [RefusalStateMachine.Action] = []
        for second in stride(from: Int64(0), to: 60, by: 5) {
            said += Self.refused(&machine, .busy, at: at(second * 1_000))
            said += Self.stored(&machine, asked: at(second * 1_000 + 2_000), at: at(second * 1_000 + 2_001))
        }
        #expect(said.count == 2, "\(said)")
    }

    @Test func whoIsNotHeardJudgesNobody() {
        var machine = machine
        #expect(machine.mayJudge)
        machine.heartbeat(taken: false)
        #expect(!machine.mayJudge && !machine.isRefusing)
        machine.heartbeat(taken: true)
        #expect(machine.mayJudge)
    }

    @Test func aForeignKeyInOneRoomKeepsNobodyFromJudging() {
        var machine = machine
        let said = Self.refused(&machine, .foreignKey, at: at(0))
        #expect(said.count == 1)
        #expect(machine.mayJudge && !machine.isRefusing)
    }
}
