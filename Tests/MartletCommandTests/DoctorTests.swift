import ChatCore
import ChatRedis
import ChatRelay
import RedisSchema
import Testing

@testable import martlet

@Suite struct DoctorServerTests {
    @Test func theEnvironmentIsJudgedAsANodeWouldJudgeIt() {
        #expect(DoctorServer.configuration(["MARTLET_PORT": "80", "PATH": "/bin"]).isEmpty)
        let bad = DoctorServer.configuration(["MARTLET_PORT": "x", "MARTLET_HOSTT": "h"])
        #expect(bad.map(\.level) == [.must, .warning])
        #expect(bad.map(\.place) == ["MARTLET_PORT", "MARTLET_HOSTT"])
        #expect(bad.allSatisfy { $0.remedy != nil })
    }

    /// Set-ups of access that can be attacked: with some a node does not start, with others it does, and should not.
    @Test(arguments: [
        (
            ["MARTLET_TOKEN_HMAC_SECRET": "thirty-one bytes are not enough"], Finding.Level.must,
            "MARTLET_TOKEN_HMAC_SECRET"
        ),
        (["MARTLET_TOKEN_HMAC_SECRET": String(repeating: "ab", count: 20)], .warning, "MARTLET_TOKEN_HMAC_SECRET"),
        (["MARTLET_TOKEN_COOKIE": "chat"], .must, "MARTLET_TOKEN_COOKIE, MARTLET_ALLOWED_ORIGINS"),
        (["MARTLET_TOKEN_JWKS_URL": "https://issuer.example/keys"], .warning, "MARTLET_TOKEN_JWKS_URL"),
        (["MARTLET_HOST": "0.0.0.0"], .must, "MARTLET_AUTH, MARTLET_HOST"),
        (["MARTLET_HOST": "0.0.0.0", "MARTLET_AUTH": "none"], .warning, "MARTLET_AUTH"),
        (["MARTLET_HOOK_URL": "https://hook.example/"], .must, "MARTLET_HOOK_URL, MARTLET_HOOK_SECRET"),
        (["MARTLET_WORDS": "/dev/zero"], .must, "MARTLET_WORDS"),
    ])
    func weakSetUpsAreFound(environment: [String: String], level: Finding.Level, place: String) {
        let findings = DoctorServer.configuration(environment)
        #expect(findings.map(\.level) == [level] && findings.map(\.place) == [place], "\(findings)")
        #expect(findings.allSatisfy { $0.remedy != nil && !$0.problem.contains("abab") })
    }

    private func list(_ code: [UInt8]) -> RedisValue {
        .array([
            .array([
                .string("library_name"), .string("martlet"), .string("library_code"),
                .string(String(decoding: code, as: UTF8.self)),
            ])
        ])
    }

    @Test func theLibraryMustBeTheOneThatThisProgramBrings() {
        #expect(DoctorServer.library(list(FunctionLibrary.source), nodes: 1).isEmpty)
        #expect(DoctorServer.library(.array([]), nodes: 0).map(\.level) == [.ok])
        #expect(DoctorServer.library(.array([]), nodes: 2).map(\.level) == [.must])
        let old = Array("local VERSION = 1\n".utf8)
        #expect(DoctorServer.library(list(old), nodes: 1).map(\.level) == [.warning])
        let new = Array("local VERSION = 9999\n".utf8)
        #expect(DoctorServer.library(list(new), nodes: 1).first?.problem.contains("newer") == true)
        #expect(
            DoctorServer.library(list(FunctionLibrary.source + Array("-- x".utf8)), nodes: 1).map(\.level) == [.must])
    }

    @Test func missingRightsAreNamedOnce() {
        let keys = RedisKeys()
        let commands = DoctorServer.rehearsal(keys)
        let queued = Array(repeating: RedisValue.string("QUEUED"), count: commands.count + 1)
        #expect(DoctorServer.rights(queued, keys, user: "u") == [])
        var some = queued
        for (index, command) in commands.enumerated() where ["XADD", "XGROUP"].contains(command[0]) {
            some[index + 1] = .error("NOPERM this user has no permissions to run the command")
        }
        let finding = DoctorServer.rights(some, keys, user: "u")?.first
        #expect(finding?.level == .must)
        #expect(finding?.problem.hasSuffix("XADD, XGROUP CREATE, XGROUP DESTROY") == true)
        #expect(DoctorServer.rights([.error("NOPERM")], keys, user: "u") == nil)
    }

    /// A function has no more rights than the user who calls it.
    @Test func theRehearsalHasEachCommandOfTheFunctions() {
        let source = String(decoding: FunctionLibrary.source, as: UTF8.self)
        let words = Set(DoctorServer.rehearsal(RedisKeys()).map { $0[0] })
        let used = Set(source.matches(of: /(?:redis\.p?call|page)\('([A-Z]+)'/).map { String($0.1) })
        #expect(used.count > 40 && used.subtracting(words) == [])
    }

    @Test func theRehearsalIsNeverPlayed() {
        var clustered = RedisKeys()
        clustered.isClustered = true
        for command in DoctorServer.rehearsal(RedisKeys()) + DoctorServer.rehearsal(clustered) {
            #expect(!["EXEC", "MULTI", "DISCARD"].contains(command[0]))
        }
        let words = Set(DoctorServer.rehearsal(clustered).map { $0[0] })
        #expect(words.isSuperset(of: ["CLUSTER", "SSUBSCRIBE", "SUNSUBSCRIBE", "SPUBLISH"]))
        #expect(words.isDisjoint(with: ["SUBSCRIBE", "UNSUBSCRIBE", "PUBLISH"]))
    }

    @Test func findingsNameTheMasterWhereThereAreSeveral() throws {
        let server = "[::1]:7001"
        let replicas = DoctorServer.replicas(0, wanted: 1, at: server)
        #expect(replicas.first?.problem.contains("the master at [::1]:7001: no send in its rooms") == true)
        #expect(DoctorServer.replicas(0, wanted: 1).first?.problem.contains("follow this Redis: no send") == true)
        let library = try #require(DoctorServer.library(.array([]), nodes: 2, at: server).first)
        #expect(library.place == "martlet at [::1]:7001")
        #expect(library.remedy?.contains("| redis-cli -h ::1 -p 7001 -x FUNCTION LOAD") == true)
        let advice = RedisAdvice.on(configuration: ["timeout": "30"], info: [:])
        #expect(DoctorServer.findings(advice, at: server).map(\.place) == ["timeout at [::1]:7001"])
        #expect(DoctorServer.findings(advice).map(\.place) == ["timeout"])
    }

    @Test func slotsThatNobodyServesAndMastersThatAreAwayMustBeSeenTo() throws {
        #expect(DoctorServer.unserved(SlotSet(), at: nil).isEmpty)
        let slots = SlotSet((0...9).compactMap { HashSlot($0) })
        let unserved = try #require(DoctorServer.unserved(slots, at: "h:1").first)
        #expect(unserved.level == .must && unserved.place == "slots 0-9")
        #expect(unserved.remedy?.hasPrefix("redis-cli --cluster fix h:1") == true)
        let away = DoctorServer.away("h:1", slots, RedisSetupError(.unreachable, "redis at h:1 is away"))
        #expect(away.level == .must && away.problem.contains("the rooms of its slots (0-9) wait"))
        #expect(away.remedy?.contains("CLUSTER FAILOVER") == true)
        let refused = DoctorServer.away("h:1", slots, RedisSetupError(.notPermitted, "no"))
        #expect(refused.remedy?.contains("redis/users.acl") == true)
    }

    @Test func aServerThatCannotBeUsedIsAFindingOneThatIsAwayIsNot() {
        for code in RedisSetupError.Code.allCases {
            let finding = DoctorServer.connection(RedisSetupError(code, "x"))
            #expect(finding.level == .must && finding.remedy?.isEmpty == false, "\(code)")
        }
    }
}

@Suite struct DoctorNodesTests {
    private func node(
        _ name: String, alive: Bool, lastBeat: UInt64 = 90_000, lease: Int? = 5_000, version: String = "1"
    ) throws
        -> TopSample.Node
    {
        let id = try NodeID(name)
        let report = NodeReport(node: id, address: "", version: version, clock: lastBeat)
        return TopSample.Node(
            id: id, report: alive ? report : nil, leaseLeft: alive ? lease : nil, lastBeat: lastBeat, heldRooms: 2)
    }

    private func levels(_ nodes: [TopSample.Node], at time: UInt64 = 100_000) -> [Finding.Level] {
        DoctorNodes.findings(nodes, at: time, RedisKeys()).map(\.level)
    }

    @Test func aDeadNodeMustBeLookedAtOnlyWhenTheLivingDoNotSweepIt() throws {
        #expect(levels([try node("a", alive: true)]).isEmpty)
        #expect(levels([try node("a", alive: false)]) == [.warning], "nobody lives to sweep it")
        #expect(levels([try node("a", alive: false), try node("b", alive: true)]) == [.warning], "about to be swept")
        #expect(levels([try node("a", alive: false), try node("b", alive: true)], at: 300_000) == [.must])
    }

    @Test func aLeaseWithoutEndAndMixedVersionsAreSaid() throws {
        #expect(levels([try node("a", alive: true, lease: nil)]) == [.must])
        let mixed = [
            try node("a", alive: true), try node("b", alive: true, version: "2"), try node("c", alive: true),
            try node("d", alive: false, version: "3"),
        ]
        #expect(levels(Array(mixed.prefix(3))) == [.warning])
        let findings = DoctorNodes.findings(Array(mixed.prefix(3)), at: 100_000, RedisKeys())
        #expect(findings.first?.problem == "nodes of several versions run: 1 (a, c), 2 (b)")
        #expect(findings.first?.place == nil)
        #expect(DoctorNodes.summary([mixed[0], mixed[2]]) == "2 live, version 1: a, c")
        #expect(DoctorNodes.summary([try node("a", alive: true, version: "")]) == "1 live, version unknown: a")
        #expect(DoctorNodes.summary([]) == "no node is running")
        let dead = DoctorNodes.findings(mixed, at: 100_000, RedisKeys()).map(\.problem)
        #expect(!dead.contains { $0.contains("3 (d)") }, "a dead node runs no version")
    }

    @Test func clocksAreJudgedBySkew() {
        func level(_ skew: Int) -> [Finding.Level] {
            DoctorNodes.findings([DoctorNodes.Clock(node: "a", skew: skew)], here: nil).map(\.level)
        }
        #expect([0, 900, -1_000].allSatisfy { level($0).isEmpty })
        #expect(level(1_500) == [.warning])
        #expect(level(-90_000) == [.must])
        #expect(DoctorNodes.findings([], here: -5_000).first?.place == "this machine")
    }

    @Test func aClockIsKnownFromAHeartbeatThatCame() {
        var watch = ClockWatch()
        watch.look(["a": 50, "b": 900], at: 1_000)
        #expect(!watch.isDone)
        watch.look(["a": 1_050, "b": 900], at: 1_100)
        #expect(watch.clocks == ["a": 0])
        #expect(watch.unknown == ["b"])
        watch.look(["a": 1_050, "b": 5_200], at: 1_200)
        #expect(watch.clocks == ["a": 0, "b": 4_000])
        #expect(watch.isDone)
    }
}

@Suite struct DoctorKeysTests {
    private let rules = DoctorKeys(keys: RedisKeys(), living: ["a"], registered: ["a", "dying"])

    @Test(arguments: [
        ("martlet:{lobby}:log", KeyKind.room("lobby", .log)), ("martlet:nodes", .nodes),
        ("martlet:node:n-1", .node("n-1")),
        ("martlet:node:n-1:rooms", .nodeRooms("n-1")), ("martlet:{lobby}:other", .foreign), ("martlet:x", .foreign),
        ("martlet:{}:log", .foreign), ("martlet:{a\u{1}}:log", .foreign), ("martlet:node:a:b", .foreign),
        ("martlet:user:{ana}:rooms", .user(type: "hash")), ("martlet:user:{a%7B}:blocked", .user(type: "set")),
        ("martlet:user:{ana}:stars", .user(type: "hash")), ("martlet:user:{ana}:starred", .user(type: "zset")),
        ("martlet:user:{}:rooms", .foreign), ("martlet:user:{ana}:x", .foreign), ("martlet:user:ana:rooms", .foreign),
    ])
    func aKeyIsWhatItsNameSays(name: String, kind: KeyKind) {
        #expect(KeyKind(name, RedisKeys()) == kind)
    }

    @Test(arguments: [
        ("martlet:{lobby}:log", KeyKind.room("lobby", .log)), ("martlet:nodes", .nodes),
        ("martlet:node:{martlet:nodes}:n-1", .node("n-1")), ("martlet:node:n-1", .foreign),
        ("martlet:node:{martlet:nodes}:n-1:rooms", .nodeRooms("n-1")), ("martlet:node:{x}:n-1", .foreign),
        ("martlet:node:{123}:n-1:rooms", .nodeRooms("n-1")), ("martlet:node:{x}:n-1:rooms", .foreign),
        ("martlet:node:{123}:n-1", .foreign), ("martlet:node:{123}:a:b:rooms", .foreign),
        ("martlet:node:n-1:rooms", .foreign),
        ("martlet:replicas:{12}", .replicationMark), ("martlet:replicas:12", .foreign), ("martlet:x{12}", .foreign),
    ])
    func aKeyOfAClusterIsWhatItsNameSays(name: String, kind: KeyKind) {
        var keys = RedisKeys()
        keys.isClustered = true
        #expect(KeyKind(name, keys) == kind)
        if kind == .replicationMark { #expect(KeyKind(name, RedisKeys()) == .foreign) }
    }

    @Test func commandsForAClusterFollowItsSlots() throws {
        var keys = RedisKeys()
        keys.isClustered = true
        let rules = DoctorKeys(keys: keys, living: ["a"], registered: ["a"])
        let found = rules.findings(room(nodes: ["a": "5", "gone": "7"]))
        #expect(found.first?.remedy?.hasPrefix("redis-cli -c FCALL martlet_leave 6 ") == true)
        #expect(DoctorQueries(keys: keys).room("x").contains(["PUBSUB", "SHARDNUMSUB", "martlet:{x}"]))
        let clocks = DoctorNodes.findings(masters: [.init(node: "h:1", skew: 900), .init(node: "h:2", skew: -5_000)])
        #expect(clocks.map(\.place) == ["the master at h:2"])
    }

    private func level(_ name: String, _ type: String, ttl: Int = -1) -> Finding.Level? {
        rules.finding(KeyFacts(name: name, type: type, ttl: ttl))?.level
    }

    @Test func foreignTypesMustGoAndStrangersAreWarnedOf() {
        #expect(level("martlet:{x}:log", "stream") == nil)
        #expect(level("martlet:{x}:log", "string") == .must)
        #expect(level("martlet:nodes", "set") == .must)
        #expect(level("martlet:{x}:log", "none") == nil, "it went meanwhile")
        #expect(level("martlet:else", "string") == .warning)
        #expect(level("martlet:node:a", "string") == nil)
        #expect(level("martlet:node:unknown", "string", ttl: 5) == .warning)
        #expect(level("martlet:node:a:rooms", "set") == nil)
        #expect(level("martlet:node:dying:rooms", "set") == nil, "it is swept")
        #expect(level("martlet:node:old:rooms", "set", ttl: 60_000) == .warning)
    }

    // MARK: Rooms

    private func room(nodes: [String: String] = ["a": "5"], ttl: Int = -1) -> RoomFacts {
        var room = RoomFacts(name: "lobby", nodes: nodes)
        for kind in [RoomKey.log, .nodes, .roster] {
            room.keys[kind] = KeyFacts(name: RedisKeys().key(kind, of: "lobby"), type: kind.redisType, ttl: ttl)
        }
        room.length = 3
        room.first = Position(epoch: 5, seq: 8)
        room.last = Position(epoch: 6, seq: 10)
        room.generated = Position(epoch: 6, seq: 10)
        room.subscribers = 1
        return room
    }

    @Test func aRoomInOrderIsNotMentioned() {
        #expect(rules.findings(room()).isEmpty)
        #expect(rules.findings(room(nodes: [:], ttl: 100)).isEmpty)
    }

    @Test func aNodeThatNobodySweepsIsTakenOutByACommand() throws {
        let found = rules.findings(room(nodes: ["a": "5", "it's": "6", "dying": "7"]))
        #expect(found.map(\.level) == [.must], "the one that is registered is swept")
        let command = try #require(found.first?.remedy)
        #expect(command.hasPrefix("redis-cli FCALL martlet_leave 6 'martlet:{lobby}:log' 'martlet:{lobby}:nodes'"))
        #expect(command.hasSuffix(#" 'it'\''s' '6' 604800000 1000"#))
    }

    @Test func roomsThatStayForEverAndRoomsThatGoTooSoonAreFound() {
        let orphan = rules.findings(room(nodes: [:]))
        #expect(orphan.map(\.level) == [.warning])
        #expect(orphan[0].remedy?.contains("redis-cli PEXPIRE 'martlet:{lobby}:log' 604800000") == true)
        var conversation = room(nodes: [:])
        conversation.keys[.participants] = KeyFacts(name: "martlet:{lobby}:participants", type: "hash", ttl: -1)
        let kept = rules.findings(conversation)
        #expect(kept.map(\.level) == [.warning])
        #expect(kept[0].remedy?.contains("redis-cli PEXPIRE 'martlet:{lobby}:log' 7776000000") == true)
        let soon = rules.findings(room(ttl: 5_000))
        #expect(soon.map(\.level) == [.must])
        #expect(soon[0].remedy?.contains("PERSIST") == true)
    }

    @Test func tombstonesAreNoHoles() {
        func at(_ seq: UInt64) -> Position { Position(epoch: 5, seq: seq) }
        let holes = [Gap(after: at(2), before: at(7)), Gap(after: at(8), before: at(10))]
        let (seqs, command) = DoctorQueries(keys: RedisKeys()).overlay("lobby", holes)
        #expect(seqs == [3, 4, 5, 6, 9] && command == ["HMGET", "martlet:{lobby}:overlay", "3", "4", "5", "6", "9"])
        let stone = RedisValue.string(#"{"epoch":"5","user":"ana","deleted":{"by":"ana","at":"7"}}"#)
        let state = RedisValue.string(#"{"v":1,"text":"\"deleted\":{"}"#)
        let erased = DoctorQueries.tombstones(seqs, .array([.null, stone, state, .null, stone]))
        #expect(erased == [4, 9])
        #expect(
            DoctorQueries.holes(holes, without: erased) == [
                Gap(after: at(2), before: at(4)), Gap(after: at(4), before: at(7)),
            ])
        #expect(DoctorQueries.holes(holes, without: [3, 4, 5, 6, 9]).isEmpty)
    }

    @Test func holesAreFoundByArithmetic() {
        var holed = room()
        holed.length = 1
        holed.holes = [Gap(after: Position(epoch: 5, seq: 8), before: Position(epoch: 6, seq: 10))]
        #expect(rules.findings(holed).first?.problem == "it has holes, 2 messages are missing: seq 9")
        var cut = room()
        cut.generated = Position(epoch: 6, seq: 12)
        #expect(rules.findings(cut).first?.problem == "its newest 2 messages were deleted by hand")
        var wild = room()
        wild.first = Position(epoch: 1_700_000_000_000, seq: 0)
        #expect(rules.findings(wild).first?.problem.contains("IDs no node made") == true)
        var empty = room()
        (empty.first, empty.last, empty.length) = (nil, nil, 0)
        #expect(rules.findings(empty).first?.problem.hasPrefix("all 10 messages were deleted") == true)
    }

    @Test func aRosterNamesOnlyNodesThatAreHere() {
        var room = room()
        room.roster = ["ana": #"{"a":["phone"]}"#]
        #expect(rules.findings(room).isEmpty)
        room.roster["eve"] = #"{"gone":["d"]}"#
        room.roster["kim"] = "nonsense"
        let found = rules.findings(room)
        #expect(found.map(\.level) == [.warning, .must])
        #expect(found[0].problem == "it names eve on nodes that are not in the room (gone)")
    }

    @Test func whatNoNodeWroteIsFoundWithTheCommandThatMendsIt() throws {
        var sound = room()
        sound.broken.lastID = "6-10"
        sound.broken.lastEntry = "6-10"
        sound.broken.links = ["5-7", "6-9"]
        sound.broken.meta = ["history": "5", "branch": "5", "run": "never mind"]
        sound.broken.presence = "5-3"
        #expect(rules.findings(sound).isEmpty)
        func found(_ spoil: (inout RoomFacts) -> Void) -> Finding? {
            var room = sound
            spoil(&room)
            let found = rules.findings(room)
            #expect(found.count == 1 && found.first?.level == .must)
            return found.first
        }
        let log = "'martlet:{lobby}:log'"
        for last in ["18446744073709551615-1", "9007199254740991-0", "6-9007199254740991", "x"] {
            #expect(found { $0.broken.lastID = last }?.remedy == "redis-cli XSETID \(log) 6-10")
        }
        #expect(found { $0.broken.firstEntry = "1-18446744073709551615" }?.remedy?.contains("XDEL") == true)
        #expect(found { $0.broken.links[0] = "garbage" }?.remedy?.contains("LREM") == true)
        #expect(found { $0.broken.links.insert("7-0", at: 0) }?.problem.contains("number 2") == true)
        #expect(found { $0.broken.meta["branch"] = "99999999999999999999" }?.remedy?.hasSuffix("branch") == true)
        #expect(found { $0.broken.meta["history"] = "-1" }?.remedy?.hasSuffix("history") == true)
        #expect(found { $0.broken.presence = "1-18446744073709551615" }?.remedy?.contains("DEL") == true)
        #expect(found { $0.nodes = ["a": "never"] }?.remedy?.contains("HDEL") == true)
        // Years ahead of the clock, if the clock is known.
        var timed = rules
        timed.time = 1_800_000_000_000
        var ahead = sound
        ahead.broken.lastID = "2200000000000-1"
        #expect(timed.findings(ahead).map(\.level) == [.must] && rules.findings(ahead).isEmpty)
    }

    @Test func indexesThatNobodyWritesAreFound() {
        var room = room()
        room.pending = 2
        #expect(rules.findings(room).isEmpty, "the nodes of the room write them")
        room.nodes = [:]
        let found = rules.findings(room).first { $0.place?.hasSuffix(":pending") ?? false }
        #expect(found?.level == .warning && found?.remedy?.contains("--repair") == true)
    }

    @Test func aNodeThatDoesNotListenIsFound() {
        var room = room()
        room.subscribers = 0
        #expect(rules.findings(room).map(\.level) == [.must])
        room.subscribers = 5
        #expect(rules.findings(room).isEmpty, "people may listen too")
    }

    @Test func repliesAreReadAsTheyAreAsked() {
        let queries = DoctorQueries(keys: RedisKeys())
        let commands = queries.room("x")
        #expect(commands.count == DoctorQueries.commandsPerRoom)
        var replies = commands.map { $0[0] == "TYPE" ? RedisValue.string("none") : .integer(-2) }
        replies[0] = .string("stream")
        replies[1] = .integer(-1)
        // TYPE and PTTL of each key come first.
        let rest = 2 * RoomKey.allCases.count
        replies[rest] = .array([.string("a"), .string("5")])
        replies[rest + 1] = .array([
            .string("length"), .integer(2), .string("last-generated-id"), .string("5-2"), .string("first-entry"),
            .array([.string("5-1"), .array([])]), .string("last-entry"), .array([.string("5-2"), .array([])]),
        ])
        replies[rest + 2] = .array([.string("0"), .array([.string("ana"), .string("{}")])])
        replies[rest + 3] = .array([.string("5-0"), .string("x")])
        replies[rest + 4] = .array([.string("branch"), .string("x")])
        replies[rest + 5] = .array([.string("last-generated-id"), .string("1-18446744073709551615")])
        replies[rest + 6] = .array([.string("martlet:{x}"), .integer(3)])
        replies[rest + 7] = .integer(2)
        let room = queries.readRoom("x", replies[...])
        #expect(room.keys.keys.map(\.rawValue) == ["log"])
        #expect(room.nodes == ["a": "5"])
        #expect(room.first == Position(epoch: 5, seq: 1))
        #expect(room.generated == Position(epoch: 5, seq: 2))
        #expect(room.roster == ["ana": "{}"])
        #expect(room.subscribers == 3 && room.pending == 2)
        #expect(room.broken.links == ["5-0", "x"] && room.broken.meta == ["branch": "x"])
        #expect(room.broken.presence == "1-18446744073709551615" && room.broken.lastEntry == "5-2")
        #expect(
            DoctorQueries.holes(.array([.array([.string("5-1")]), .array([.string("5-2")]), .array([.string("6-9")])]))
                == [Gap(after: Position(epoch: 5, seq: 2), before: Position(epoch: 6, seq: 9))])
        #expect(DoctorQueries(keys: RedisKeys(prefix: "a*[b]:") ?? RedisKeys()).pattern == #"a\*\[b\]:*"#)
    }
}

@Suite struct DoctorReportTests {
    @Test func webhookEndpointsThatAreSentNothingAreFound() {
        let store = WebhookStore(keys: RedisKeys())
        let fine = WebhookEndpoint(id: "a1", url: "https://chat.example/hook", filter: .everything, since: 5)
        var gone = WebhookEndpoint(id: "b2", url: "https://chat.example/old", filter: .everything, since: 5)
        gone.disabled = "the server answered 410 Gone"
        let stored: [String] = ["a1", fine.json, "b2", gone.json, "c3", "{", "D 4", fine.json]
        let found = DoctorLook.endpoints(.array(stored.map { .string($0) }), store)
        #expect(
            found.map(\.problem) == [
                "the webhook endpoint D 4 cannot be read, so nothing is sent to it",
                "the webhook endpoint c3 cannot be read, so nothing is sent to it",
                "nothing is sent to the webhook endpoint b2: the server answered 410 Gone",
            ])
        #expect(found.allSatisfy { $0.level == .warning && $0.remedy != nil })
        #expect(DoctorLook.endpoints(.null, store).isEmpty)
        let foreign = DoctorLook.endpoints(.error("WRONGTYPE Operation against a key"), store)
        #expect(foreign.map(\.level) == [.must] && foreign.first?.place == store.read.last)
    }

    @Test func theExitCodeSaysWhatMustBeDone() {
        var report = DoctorReport()
        #expect(report.exitCode == 0)
        report.unseen = ["x"]
        #expect(report.exitCode == 2)
        report.add([Finding(.warning, .keys, "k", "p", do: "d")])
        #expect(report.exitCode == 2)
        report.add([Finding(.must, .keys, "k", "p", do: "d")])
        #expect(report.exitCode == 1)
    }

    @Test func anAreaIsFineOnlyIfNothingWasFoundInIt() {
        var report = DoctorReport()
        report.add([Finding(.warning, .keys, "k", "p")])
        report.fine(.keys, "all well")
        report.fine(.rooms, "all well")
        #expect(report.findings.map(\.level) == [.warning, .ok])
    }

    @Test func whatIsFoundInRedisCannotCommandTheTerminalOrTheShell() {
        var report = DoctorReport()
        report.add([Finding(.must, .keys, "a\u{1B}[2J\u{202E}", "b\u{7}", do: "c\u{9B}")])
        for line in report.lines(columns: 40, colour: false) {
            #expect(
                !line.unicodeScalars.contains {
                    $0.value < 0x20 || (0x7F..<0xA0).contains($0.value) || $0.value == 0x202E
                })
        }
        #expect(ShellText.quoted("x'; rm -rf ~ #") == #"'x'\''; rm -rf ~ #'"#)
    }

    @Test func linesFitAndManyOfAKindAreCounted() {
        var report = DoctorReport()
        report.add(
            (1...30).map {
                Finding(.warning, .rooms, "room \($0)", "something that takes a few words to say", do: "this")
            })
        let lines = report.lines(columns: 60, colour: false, limit: 5)
        #expect(lines.allSatisfy { TerminalText.width($0) <= 60 })
        #expect(lines.contains("         25 more of this kind; --json names all"))
        #expect(lines.last == "nothing must be done, 30 warnings")
        #expect(report.json.contains(#""warnings":30"#))
    }
}
