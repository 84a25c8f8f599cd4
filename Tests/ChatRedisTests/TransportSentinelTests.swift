import ChatCore
import NIOCore
import Testing

@testable import ChatRedis

@Suite struct TransportSentinelURLTests {
    @Test func itNamesSentinelsAndWhoWeAreAtTheMaster() throws {
        let url = try SentinelURL("redis+sentinel://ana:p%40ss@a,b:7000,[::1],[::2]:9/main%20one/3")
        #expect(
            url.sentinels
                == [("a", 26_379), ("b", 7_000), ("::1", 26_379), ("::2", 9)].map {
                    RedisURL(address: .tcp(host: $0.0, port: $0.1))
                })
        #expect(url.masterName == "main one")
        #expect(
            url.master(host: "10.0.0.9", port: 6_380)
                == RedisURL(address: .tcp(host: "10.0.0.9", port: 6_380), user: "ana", password: "p@ss", database: 3))
        #expect(url.description == "redis+sentinel://ana:***@a:26379,b:7000,[::1]:26379,[::2]:9/main one/3")
    }

    @Test func tlsAndSentinelsOwnPasswords() throws {
        var url = try SentinelURL("rediss+sentinel://:x@a/m?insecure=1")
        url.authenticate(user: "s", password: "t")
        let tls = RedisURL.TLS(insecure: true)
        #expect(
            url.sentinels
                == [RedisURL(address: .tcp(host: "a", port: 26_379), tls: tls, user: "s", password: "t")])
        #expect(
            url.master(host: "h", port: 1) == RedisURL(address: .tcp(host: "h", port: 1), tls: tls, password: "x"))
    }

    @Test(arguments: [
        ("redis+sentinel://a:1", "master's name"), ("redis+sentinel://a:1/", "master's name"),
        ("redis+sentinel:///m", "host is missing"), ("redis+sentinel://a,,b/m", "host is missing"),
        ("redis+sentinel://a:0/m", "port"), ("redis+sentinel://a/m/x", "database"), ("redis+sentinel://a/m/1/2", "/1"),
        ("redis+sentinel://hunter2@a/m", "without a password"), ("redis+sentinel://a/m?x=hunter2", "unknown"),
        ("redis+sentinel://a/m%zz", "hexadecimal"), ("redis://a/m", "neither"), ("redis+sentinel://a b/m", "space"),
    ])
    func aWrongOneIsRefusedWithTheReason(text: String, reason: String) {
        let error = #expect(throws: RedisURLError.self) { try SentinelURL(text) }
        #expect(error?.description.contains(reason) == true, "\(error?.description ?? "")")
        #expect(error?.description.contains("hunter2") == false)
    }
}

/// Sequences of events and the actions that follow.
@Suite struct TransportSentinelStateMachineTests {
    private typealias Action = SentinelStateMachine.Action

    /// Three sentinels unless a test says otherwise, and a clock in milliseconds.
    private struct Harness {
        var machine: SentinelStateMachine
        var ms: Int64 = 1_000

        init(_ sentinels: Int = 3) {
            machine = SentinelStateMachine(.init(sentinels: sentinels))
            let actions = run { $0.started(now: $1, &$2) }
            #expect(actions == (0..<sentinels).map { .connect($0) })
        }

        var now: Moment { Moment(nanoseconds: 0) + .milliseconds(ms) }

        mutating func run(
            _ event: (inout SentinelStateMachine, Moment, inout [SentinelStateMachine.Action]) -> Void
        ) -> [SentinelStateMachine.Action] {
            var actions: [SentinelStateMachine.Action] = []
            event(&machine, now, &actions)
            return actions
        }

        mutating func connect(_ index: Int) {
            #expect(run { $0.connected(index, now: $1, &$2) } == [.ask(index)])
        }

        mutating func answer(_ index: Int, _ port: Int, epoch: UInt64) -> [SentinelStateMachine.Action] {
            run { $0.answered(index, .master(.init(host: "m", port: port), epoch: epoch), now: $1, &$2) }
        }

        mutating func fail(_ index: Int) -> [SentinelStateMachine.Action] {
            run { $0.failed(index, "gone", now: $1, &$2) }
        }

        mutating func wait(_ milliseconds: Int64) -> [SentinelStateMachine.Action] {
            ms += milliseconds
            return run { $0.timerFired(now: $1, &$2) }
        }
    }

    private func lead(_ port: Int) -> [Action] { [.lead(to: .init(host: "m", port: port))] }

    @Test func aMajorityThatAgreesIsEnough() {
        var h = Harness()
        for index in 0..<3 { h.connect(index) }
        #expect(h.answer(0, 1, epoch: 4) == [])
        #expect(h.answer(1, 1, epoch: 4) == lead(1))
        #expect(h.answer(2, 1, epoch: 4) == [])
    }

    @Test func oneThatAnswersIsBelievedWhenTheOthersHaveFailedOrAreSilent() {
        var h = Harness()
        h.connect(1)
        _ = h.fail(0)
        #expect(h.answer(1, 1, epoch: 0) == [])
        #expect(h.fail(2) == [.lost(2, "gone")] + lead(1), "all are settled")
        h = Harness()
        h.connect(1)
        #expect(h.answer(1, 1, epoch: 0) == [])
        #expect(h.machine.nextWake == h.now + .milliseconds(300))
        #expect(h.wait(299) == [])
        #expect(h.wait(1) == lead(1))
    }

    @Test func theHigherConfigurationEpochWins() {
        var h = Harness()
        for index in 0..<3 { h.connect(index) }
        #expect(h.answer(0, 1, epoch: 4) == [])
        #expect(h.answer(1, 2, epoch: 5) == lead(2), "the failover is known to it alone")
        #expect(h.answer(2, 1, epoch: 4) == [], "cut off, and believed by nobody")
        for _ in 0..<20 {
            _ = h.wait(2_000)
            #expect(h.answer(0, 1, epoch: 4) == [])
            #expect(h.answer(1, 2, epoch: 5) == [])
        }
        #expect(h.machine.master == .init(host: "m", port: 2))
    }

    @Test func aSwitchIsFollowedByTheFirstWordWithItsEpoch() {
        var h = Harness()
        for index in 0..<3 { h.connect(index) }
        for index in 0..<3 { _ = h.answer(index, 1, epoch: 4) }
        h.ms += 500
        #expect(h.run { $0.switched(now: $1, &$2) } == [.ask(0), .ask(1), .ask(2)])
        #expect(h.answer(2, 1, epoch: 4) == [])
        #expect(h.answer(0, 2, epoch: 5) == lead(2))
        #expect(h.answer(1, 1, epoch: 4) == [], "not told yet")
    }

    @Test func troubleAsksAtOnceButNotWithoutEnd() {
        var h = Harness()
        for index in 0..<3 { h.connect(index) }
        for index in 0..<3 { _ = h.answer(index, 1, epoch: 4) }
        #expect(h.run { $0.troubled(now: $1, &$2) } == [], "just asked")
        #expect(h.machine.nextWake == h.now + .milliseconds(100))
        #expect(h.wait(100) == [.ask(0), .ask(1), .ask(2)])
        #expect(h.run { $0.troubled(now: $1, &$2) } == [])
        for index in 0..<3 { _ = h.answer(index, 1, epoch: 4) }
        #expect(h.wait(99) == [])
        #expect(h.wait(1) == [.ask(0), .ask(1), .ask(2)], "asked for while the answer was on its way")
        for index in 0..<3 { _ = h.answer(index, 1, epoch: 4) }
        #expect(h.wait(1_999) == [], "quiet again")
        #expect(h.wait(1) == [.ask(0), .ask(1), .ask(2)])
    }

    @Test func aSilentSentinelIsGivenUpAndTriedAgainAndWhatItSaidCountsNoMore() {
        var h = Harness()
        for index in 0..<3 { h.connect(index) }
        for index in 0..<3 { _ = h.answer(index, 1, epoch: 4) }
        #expect(h.wait(2_000) == [.ask(0), .ask(1), .ask(2)])
        _ = h.answer(0, 1, epoch: 4)
        _ = h.answer(1, 1, epoch: 4)
        #expect(h.wait(1_000) == [.close(2), .lost(2, "does not answer in 1.0 seconds")])
        #expect(h.wait(100) == [.connect(2)])
        #expect(h.wait(1_000) == [.ask(0), .ask(1), .close(2)], "said once, however long it lasts")
        #expect(h.wait(200) == [.connect(2)])
        h.connect(2)
        #expect(h.answer(2, 1, epoch: 4) == [.back(2)])
    }

    @Test func whenAllAreGoneTheLastWordStands() {
        var h = Harness()
        for index in 0..<3 { h.connect(index) }
        for index in 0..<3 { _ = h.answer(index, 1, epoch: 4) }
        for index in 0..<3 { _ = h.fail(index) }
        #expect(h.machine.master == .init(host: "m", port: 1))
        #expect(h.machine.troubles == ["gone", "gone", "gone"])
        #expect(h.wait(100) == [.connect(0), .connect(1), .connect(2)])
    }

    @Test func anOlderEpochIsBelievedOnlyOfAMajorityAndOnlyLater() {
        var h = Harness()
        for index in 0..<3 { h.connect(index) }
        _ = h.answer(0, 2, epoch: 5)
        #expect(h.answer(1, 1, epoch: 4) == lead(2))
        _ = h.answer(2, 1, epoch: 4)
        #expect(h.fail(0) == [.lost(0, "gone")], "two are left with the older word")
        #expect(h.machine.master == .init(host: "m", port: 2))
        var led: [Action] = []
        var waited: Int64 = 0
        while led.isEmpty, waited < 30_000 {
            waited += 500
            for action in h.wait(500) {
                guard case .ask(let index) = action else { continue }
                led += h.answer(index, 1, epoch: 0).filter { $0 != .back(index) }
            }
        }
        #expect(led == lead(1), "the sentinels were set up anew")
        #expect(waited >= 10_000)
        #expect(waited < 20_000)
    }

    @Test func twoAddressesInOneEpochAreDecidedByTheMajority() {
        var h = Harness()
        for index in 0..<3 { h.connect(index) }
        _ = h.answer(0, 1, epoch: 0)
        #expect(h.answer(1, 1, epoch: 0) == lead(1))
        #expect(h.answer(2, 2, epoch: 0) == [])
        _ = h.wait(2_000)
        #expect(h.answer(0, 2, epoch: 0) == lead(2), "announced under another address")
    }

    @Test func aNameThatNoneKnowsIsSaid() {
        var h = Harness(2)
        h.connect(0)
        _ = h.run { $0.answered(0, .unknownName, now: $1, &$2) }
        #expect(h.machine.troubles == nil, "the other was not asked yet")
        _ = h.fail(1)
        #expect(h.machine.troubles == ["watches no master of that name", "gone"])
        #expect(h.machine.isNameUnknown && h.machine.master == nil)
        _ = h.wait(2_000)
        #expect(h.answer(0, 1, epoch: 0) == lead(1), "somebody has told it since")
        #expect(!h.machine.isNameUnknown)
    }

    @Test func lateEventsOfAConnectionThatWasGivenUpChangeNothing() {
        var h = Harness(1)
        h.connect(0)
        #expect(h.wait(1_000) == [.close(0), .lost(0, "does not answer in 1.0 seconds")])
        #expect(h.answer(0, 1, epoch: 9) == [])
        #expect(h.fail(0) == [])
        #expect(h.run { $0.connected(0, now: $1, &$2) } == [])
        #expect(h.run { $0.connected(7, now: $1, &$2) } == [], "there is no such sentinel")
        #expect(h.machine.master == nil)
    }
}

@Suite struct TransportSentinelDialogueTests {
    /// Reads the bytes of a sentinel, and returns the result of each reply.
    private func hear(_ dialogue: inout SentinelDialogue, _ text: String) throws -> [SentinelDialogue.Event] {
        let reader = try RESPReader()
        var buffer = ByteBuffer(string: text)
        var events: [SentinelDialogue.Event] = []
        try reader.read(&buffer) {
            events.append(dialogue.received(RESPReplies(arena: reader.arena)[0]))
            reader.arena.removeAll()
            return true
        }
        return events
    }

    private let found =
        "*2\r\n$8\r\n10.0.0.1\r\n$4\r\n6379\r\n*4\r\n$4\r\nname\r\n$1\r\nm\r\n$12\r\nconfig-epoch\r\n$1\r\n7\r\n"
    private let subscribed = "*3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n"

    @Test func itAsksThenListensThenAsksAgain() throws {
        var dialogue = SentinelDialogue(masterName: "m", user: nil, password: "x", clientName: "n")
        #expect(
            dialogue.question() == [
                ["AUTH", "x"], ["CLIENT", "SETNAME", "n"], ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "m"],
                ["SENTINEL", "MASTER", "m"], ["SUBSCRIBE", "+switch-master"],
            ])
        let answer = SentinelDialogue.Event.answered(.master(.init(host: "10.0.0.1", port: 6_379), epoch: 7))
        #expect(try hear(&dialogue, "+OK\r\n+OK\r\n\(found)\(subscribed)") == [.none, .none, .none, answer, .none])
        let news: (String) -> String = { "*3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n$11\r\n\($0) a 1 b 2 \r\n" }
        #expect(try hear(&dialogue, news("m ")) == [.switched])
        #expect(try hear(&dialogue, news("x ")) == [.none], "another master")
        #expect(dialogue.question().first == ["UNSUBSCRIBE", "+switch-master"])
        let left = "*3\r\n$11\r\nunsubscribe\r\n$14\r\n+switch-master\r\n:0\r\n"
        #expect(try hear(&dialogue, "\(left)\(found)\(subscribed)") == [.none, .none, answer, .none])
    }

    private static let sayings: [(String, SentinelDialogue.Event)] = [
        ("*-1\r\n-ERR No such master with that name\r\n", .answered(.unknownName)),
        ("-NOAUTH Authentication required.\r\n", .failed("wants a password: sentinels have one of their own")),
        ("-ERR unknown command 'SENTINEL'\r\n", .failed("is no sentinel but a plain Redis")),
        (":1\r\n", .failed("answers with something that is no address")),
        ("*2\r\n$1\r\nh\r\n$1\r\n0\r\n", .failed("names a master without an address")),
        ("*2\r\n$1\r\nh\r\n$1\r\n1\r\n-NOPERM\r\n", .answered(.master(.init(host: "h", port: 1), epoch: 0))),
    ]

    @Test(arguments: sayings)
    func whatItSaysIsReadOrRefused(text: String, expected: SentinelDialogue.Event) throws {
        var dialogue = SentinelDialogue(masterName: "m", user: nil, password: nil, clientName: "n")
        _ = dialogue.question()
        #expect(try hear(&dialogue, "+OK\r\n" + text).last == expected)
    }

    @Test func aPasswordThatIsWrongOrNotWantedIsSaid() throws {
        var dialogue = SentinelDialogue(masterName: "m", user: "u", password: "x", clientName: "n")
        #expect(dialogue.question().first == ["AUTH", "u", "x"])
        #expect(
            try hear(&dialogue, "-WRONGPASS invalid\r\n") == [
                .failed("does not accept the user or password for sentinels")
            ])
    }
}
