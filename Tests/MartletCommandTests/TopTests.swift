import ChatCore
import ChatRedis
import RedisSchema
import Testing

@testable import martlet

@Suite struct TopTests {
    private let queries = TopQueries(keys: RedisKeys())

    private func node(
        _ name: String, clock: UInt64, messages: UInt64 = 0, lease: Int? = 10_000, alive: Bool = true, rooms: Int = 1
    ) throws -> TopSample.Node {
        let id = try NodeID(name)
        let report = NodeReport(
            node: id, address: "h:1", version: "1", sessions: 3, rooms: rooms, messages: messages,
            deliveries: messages * 10,
            clock: clock, started: 1)
        return TopSample.Node(
            id: id, report: alive ? report : nil, leaseLeft: alive ? lease : nil, lastBeat: clock, heldRooms: rooms)
    }

    private func room(_ name: String, at time: UInt64, seq: UInt64, epoch: UInt64 = 5) -> TopSample.Room {
        TopSample.Room(
            name: name, seenAt: time, last: Position(epoch: epoch, seq: seq), length: 5, people: 2, nodes: ["a": 5],
            holders: ["a"])
    }

    private func sample(_ time: UInt64, _ nodes: [TopSample.Node], _ rooms: [TopSample.Room] = []) -> TopSample {
        var sample = TopSample(time: time, nodes: nodes, rooms: rooms)
        sample.roomsKnown = rooms.count
        return sample
    }

    @Test func aNodeThatIsGoneStaysInViewForAWhile() throws {
        var watch = TopWatch()
        let both = [try node("a", clock: 99_000), try node("b", clock: 99_000)]
        _ = watch.look(sample(100_000, both))
        let gone = watch.look(sample(102_000, [both[0]]))
        #expect(gone.nodes.map(\.state) == [.ok, .gone] && gone.nodes[1].id == "b" && gone.present == 1)
        #expect(gone.behind.contains { $0.hasPrefix("node b is gone") && $0.contains("see its log") }, "\(gone.behind)")
        let later = watch.look(sample(161_000, [both[0]]))
        #expect(later.nodes.map(\.state).contains(.gone))
        let after = watch.look(sample(162_000, [both[0]]))
        #expect(after.nodes.count == 1 && !after.behind.contains { $0.contains("gone") })
        _ = watch.look(sample(163_000, both))
        let back = watch.look(sample(164_000, both))
        #expect(back.present == 2 && back.nodes.count == 2, "it came back")
    }

    @Test func ofAConversationItIsShownHowManyBelongToIt() throws {
        let replies: [RedisValue] = [.error("ERR no such key"), .array([]), .integer(2), .integer(12)]
        let team = queries.readRoom("team", replies[...], at: 5)
        #expect(team.people == 2 && team.participants == 12 && team.problem == nil)
        #expect(queries.room("team").last == ["HLEN", "martlet:{team}:participants"])
        var watch = TopWatch()
        let view = watch.look(sample(100_000, [try node("a", clock: 99_000)], [team, room("lobby", at: 5, seq: 1)]))
        let screen = TopScreen(address: "redis://h:1/0", columns: 120, rows: nil, clock: { _ in "12:00:00" }).lines(
            view)
        #expect(screen.contains { $0.hasPrefix("team") && $0.contains(" 2/12 ") }, "\(screen)")
        #expect(screen.contains { $0.hasPrefix("lobby") && $0.contains("  2  ") })
        let json = view.json(rooms: 5)
        #expect(json.contains(#""participants":12"#) && json.contains(#""participants":null"#))
    }

    @Test func ratesComeFromTwoLooksAndBusyRoomsComeFirst() throws {
        var watch = TopWatch()
        let first = watch.look(
            sample(
                100_000, [try node("a", clock: 99_000)],
                [room("x", at: 100_000, seq: 10), room("y", at: 100_000, seq: 1)]))
        #expect(first.messagesPerSecond == nil)
        #expect(first.rooms.allSatisfy { $0.messagesPerSecond == nil })
        let second = watch.look(
            sample(
                102_000, [try node("a", clock: 101_000, messages: 40)],
                [
                    room("x", at: 102_000, seq: 12), room("y", at: 102_000, seq: 21),
                ]))
        #expect(second.rooms.map(\.name) == ["y", "x"])
        #expect(second.rooms.map(\.messagesPerSecond) == [10, 1])
        #expect(second.messagesPerSecond == 11)
        #expect(second.nodes[0].messagesPerSecond == 20)
        #expect(second.deliveriesPerSecond == 200)
        // Without a new heartbeat the last rate stays.
        let third = watch.look(sample(104_000, [try node("a", clock: 101_000, messages: 40)]))
        #expect(third.nodes[0].messagesPerSecond == 20)
    }

    @Test func aLogThatWasSetBackHasNoRate() throws {
        var watch = TopWatch()
        _ = watch.look(sample(1_000, [], [room("x", at: 1_000, seq: 10)]))
        #expect(watch.look(sample(2_000, [], [room("x", at: 2_000, seq: 4)])).rooms[0].messagesPerSecond == nil)
    }

    @Test(arguments: [(101_000, 0), (99_000, -1_000), (105_500, 3_500)] as [(UInt64, Int)])
    func aClockIsJudgedByAHeartbeatThatCameBetweenTwoLooks(clock: UInt64, skew: Int) throws {
        var watch = TopWatch()
        #expect(watch.look(sample(100_000, [try node("a", clock: 50_000)])).nodes[0].skew == nil)
        let view = watch.look(sample(102_000, [try node("a", clock: clock)]))
        #expect(view.nodes[0].skew == skew)
        #expect(view.behind.count == (abs(skew) > 500 ? 1 : 0))
        // It stays known between heartbeats.
        #expect(watch.look(sample(103_000, [try node("a", clock: clock)])).nodes[0].skew == skew)
    }

    @Test func deadAndLateNodesAreSaid() throws {
        var watch = TopWatch()
        let view = watch.look(
            sample(
                100_000,
                [
                    try node("a", clock: 99_000), try node("b", clock: 90_000, lease: 4_000),
                    try node("c", clock: 40_000, alive: false, rooms: 7),
                ]))
        #expect(view.nodes.map(\.state) == [.ok, .late, .dead])
        #expect(
            view.behind == [
                "node c is dead, last heard 1 min ago; it holds 7 rooms until another node sweeps it",
                "node b is late: no heartbeat, 4.0 s of its lease left",
            ])
    }

    @Test func whatMayBeAMomentIsSaidWhenTwoLooksShowIt() throws {
        var watch = TopWatch()
        let nodes = [try node("a", clock: 99_000), try node("b", clock: 99_000)]
        var odd = room("x", at: 100_000, seq: 1)
        odd.nodes = ["a": 9, "ghost": 4]
        odd.holders = ["a", "b"]
        #expect(watch.look(sample(100_000, nodes, [odd])).behind.isEmpty)
        #expect(
            watch.look(sample(101_000, nodes, [odd])).behind == [
                "node b lists room x but has not entered it", "room x still holds node ghost, which is not alive",
                "room x: node a entered at epoch 9, the log is at 5: it was set back",
            ])
        #expect(watch.look(sample(102_000, nodes, [room("x", at: 102_000, seq: 1)])).behind.isEmpty)
    }

    /// In a Cluster a node's list has 65 parts, and a look reads as many of them as it may.
    @Test func partsOfListsAreReadOneAfterTheOther() throws {
        var keys = RedisKeys()
        keys.isClustered = true
        let queries = TopQueries(keys: keys)
        let empty = RedisValue.array([.string("0"), .array([])])
        for count in [2, 26] {
            var sample = TopSample()
            sample.nodes = try (0..<count).map { try node("n\($0)", clock: 1) }
            let lists = 520 / count >= 65 ? 65 : 520 / count
            var cursors: [String: String] = [:]
            var seen: Set<String> = []
            var looks = 0
            repeat {
                let commands = queries.nodes(sample.nodes, cursors: cursors, slice: 10)
                for command in commands where command[0] == "SCARD" && command[1].contains(":n1:") {
                    #expect(seen.insert(command[1]).inserted, "\(command)")
                }
                let replies = commands.map { command -> RedisValue in
                    switch command[0] {
                    case "SCARD": .integer(command[1].contains("{martlet:nodes}") ? 0 : 3)
                    case "SSCAN": empty
                    default: .null
                    }
                }
                let slices = queries.readNodes(replies, cursors: cursors, into: &sample)
                #expect(sample.nodes[1].heldRooms == 192)
                cursors = slices.mapValues(\.cursor)
                looks += 1
            } while cursors["n1"] != "0" && looks < 100
            #expect(seen.count == 65 && looks == (65 + lists - 1) / lists)
        }
        // A list that is longer than a slice is read on from where the slice ended.
        var sample = TopSample()
        sample.nodes = [try node("n", clock: 1)]
        let commands = queries.nodes(sample.nodes, cursors: [:], slice: 10)
        let replies = commands.enumerated().map { index, command -> RedisValue in
            guard command[0] == "SSCAN" else { return .null }
            return index == 7 ? .array([.string("9"), .array([.string("x")])]) : empty
        }
        let slice = try #require(queries.readNodes(replies, cursors: [:], into: &sample)["n"])
        #expect(slice.rooms == ["x"])
        let next = queries.nodes(sample.nodes, cursors: ["n": slice.cursor], slice: 10)
        #expect(next[3] == ["SSCAN", commands[7][1], "9", "COUNT", "10"])
    }

    @Test func repliesAreReadAndForeignTypesAreNamed() throws {
        let info = "# Server\r\nredis_version:7.0.15\r\nused_memory:2048\r\nused_cpu_user:1.5\r\nused_cpu_sys:0.5\r\n"
        var sample = try queries.begin(
            [
                .array([.string("100"), .string("500000")]),
                .array([.string("b"), .string("90"), .string("a"), .string("99"), .string("{bad}"), .string("1")]),
            ], servers: ["h:1": .string(info)])
        #expect(sample.time == 100_500)
        #expect(sample.server.version == "7.0.15")
        #expect(sample.server.cpu == 2)
        #expect(sample.nodes.map(\.id.text) == ["a", "b"])
        let slices = queries.readNodes(
            [
                .string(#"{"address":"h:1","sessions":4}"#), .integer(900), .integer(2),
                .array([.string("7"), .array([.string("x"), .string("y")])]),
                .null, .integer(-2), .integer(1), .array([.string("0"), .array([.string("x")])]),
            ], cursors: [:], into: &sample)
        #expect(sample.nodes[0].report?.sessions == 4)
        #expect(sample.nodes[1].report == nil)
        #expect(sample.roomsKnown == 2, "what dead nodes hold is not known rooms")
        #expect(slices["a"] == TopQueries.NodeSlice(cursor: "7", rooms: ["x", "y"]))
        #expect(sample.problems.isEmpty)
        let foreign = RedisValue.error("WRONGTYPE Operation against a key holding the wrong kind of value")
        let rest = queries.readNodes(
            [
                foreign, .integer(-1), .integer(2), .array([.string("0"), .array([.string("x")])]),
                .string(#"{"sessions":5}"#), .integer(900), .integer(1), .array([.string("0"), .array([])]),
            ], cursors: [:], into: &sample)
        #expect(sample.problems.map { $0.hasPrefix("the keys of node a cannot be read: WRONGTYPE") } == [true])
        #expect(sample.nodes[1].report?.sessions == 5, "one node's key costs no other node")
        #expect(rest["a"]?.rooms == ["x"])
        let room = queries.readRoom(
            "x",
            [
                .array([
                    .string("length"), .integer(3), .string("last-generated-id"), .string("5-9"), .string("last-entry"),
                    .array([.string("5-9"), .array([.string("user"), .string("u"), .string("at"), .string("777")])]),
                ]), .array([.string("a"), .string("5")]), .error("WRONGTYPE Operation against a key"), .integer(0),
            ], at: 1_000)
        #expect(room.last == Position(epoch: 5, seq: 9))
        #expect(room.lastAt == 777)
        #expect(room.nodes == ["a": 5])
        #expect(room.problem?.hasPrefix("WRONGTYPE") == true)
        #expect(throws: TopError.self) {
            try queries.begin([
                .null, .error("WRONGTYPE Operation against a key holding the wrong kind of value"),
            ])
        }
    }

    @Test func ofAClusterTheMastersAreAddedUp() throws {
        func info(_ version: String, _ number: Int) -> RedisValue {
            .string(
                "redis_version:\(version)\r\nuptime_in_seconds:\(number)\r\nused_memory:\(number)\r\nconnected_clients:\(number)\r\n"
                    + "instantaneous_ops_per_sec:\(number)\r\nused_cpu_user:\(number)\r\nused_cpu_sys:0.5\r\n")
        }
        let time = RedisValue.array([.string("100"), .string("0")])
        let first = try queries.begin(
            [time, .array([])],
            servers: [
                "a:1": info("7.0.15", 3), "b:1": info("7.2.0", 4), "c:1": .error("CLUSTERDOWN redis at c:1 is away"),
            ])
        #expect(first.server.version == "7.0.15 and 7.2.0")
        #expect(first.server.uptime == 3 && first.server.memory == 7 && first.server.clients == 7)
        #expect(first.server.operationsPerSecond == 7 && first.server.cpu == 8)
        #expect(first.problems == ["redis at c:1 is away"])
        // Servers that appeared or disappeared between two samples are not counted.
        var second = try queries.begin(
            [time, .array([])], servers: ["b:1": info("7.2.0", 5), "c:1": info("7.2.0", 90)])
        second.time += 2_000
        var watch = TopWatch()
        #expect(watch.look(first).redisCPU == nil)
        #expect(watch.look(second).redisCPU == 0.5)
    }

    @Test func whatCouldNotBeReadIsNotHeldAgainstANode() throws {
        var watch = TopWatch()
        var away = room("x", at: 100_000, seq: 1)
        (away.problem, away.nodes, away.last) = ("CLUSTERDOWN x", [:], nil)
        _ = watch.look(sample(100_000, [try node("a", clock: 99_000)], [away]))
        #expect(
            watch.look(sample(101_000, [try node("a", clock: 99_000)], [away])).behind == ["room x: CLUSTERDOWN x"])
    }

    @Test func ofTooManyRoomsTheBusyOnesStayAndTheOthersTakeTurns() {
        var plan = TopPlan(limit: 4)
        func slice(_ numbers: ClosedRange<Int>, _ cursor: String) -> [String: TopQueries.NodeSlice] {
            ["n": TopQueries.NodeSlice(cursor: cursor, rooms: numbers.map { "r\($0)" } + ["{bad}"])]
        }
        #expect(plan.rooms(slice(1...6, "9")).map(\.name) == ["r1", "r2", "r3", "r4"])
        #expect(plan.cursors == ["n": "9"])
        #expect(plan.known == nil, "there may be more")
        plan.saw([("r1", 0), ("r2", 1), ("r3", 5), ("r4", 0.5)])
        #expect(plan.rooms(slice(5...9, "0")).map(\.name) == ["r3", "r2", "r5", "r6"])
        #expect(plan.rooms([:]).map(\.name) == ["r3", "r2"])
        #expect(plan.cursors.isEmpty, "a node that is gone leaves none")
        _ = plan.rooms(["a": .init(cursor: "0", rooms: ["x"]), "b": .init(cursor: "0", rooms: ["x", "y"])])
        #expect(plan.known == 2, "a room on two nodes is one room")
    }

    // MARK: Showing

    private func view() throws -> TopView {
        var watch = TopWatch()
        let rooms = [room("뉴스\u{202E}", at: 100_000, seq: 10)] + (1...40).map { room("r\($0)", at: 100_000, seq: 1) }
        _ = watch.look(sample(100_000, [try node("a", clock: 99_000)], rooms))
        return watch.look(
            sample(
                102_000, [try node("a", clock: 101_000, messages: 4), try node("z z", clock: 1, alive: false)],
                [
                    room("뉴스\u{202E}", at: 102_000, seq: 12)
                ]))
    }

    @Test(arguments: [(40, 8), (80, 24), (120, 40), (200, 10)])
    func aScreenNeverGrowsOverTheTerminal(columns: Int, rows: Int) throws {
        let screen = TopScreen(address: "redis://h:1/0", columns: columns, rows: rows, clock: { _ in "12:00:00" })
        let lines = screen.lines(try view())
        #expect(lines.count == rows)
        for line in lines { #expect(TerminalText.width(line) <= columns, "\(line)") }
    }

    @Test func aScreenSaysWhatMatters() throws {
        let screen = TopScreen(address: "redis://h:1/0", columns: 120, rows: nil, clock: { _ in "12:00:00" })
        let lines = screen.lines(try view())
        #expect(lines[0].hasPrefix("1 nodes and 1 dead · 3 sessions · 1.0 messages/s · 20 deliveries/s"))
        #expect(lines.contains { $0.hasPrefix("BEHIND") })
        #expect(lines.contains { $0.hasPrefix("뉴스\u{FFFD}") && $0.contains("12") })
    }

    @Test func aScreenSaysWhoSpeaksWhatWhereThereIsMoreThanOneProtocol() throws {
        let screen = TopScreen(address: "redis://h:1/0", columns: 120, rows: nil, clock: { _ in "12:00:00" })
        var view = try view()
        view.nodes[0].protocols = ["martlet.v1": 3]
        #expect(screen.lines(view)[0].hasPrefix("1 nodes and 1 dead · 3 sessions · "))
        view.nodes[0].protocols = ["events": 1, "martlet.v1": 2]
        #expect(screen.lines(view)[0].hasPrefix("1 nodes and 1 dead · 3 sessions (2 martlet.v1, 1 events) · "))
        #expect(view.plainLines(rooms: 1).contains { $0.contains("protocols=events:1,martlet.v1:2") })
        #expect(view.json(rooms: 1).contains(#""protocols":{"events":1,"martlet.v1":2}"#))
    }

    @Test func aClusterIsShownWithItsMasters() throws {
        var view = try view()
        view.server.version = "7.0.15"
        let screen = TopScreen(address: "redis+cluster://h:1", columns: 120, rows: nil, clock: { _ in "12:00:00" })
        #expect(screen.lines(view)[1].hasPrefix("Redis 7.0.15 at redis+cluster://h:1"))
        view.server.masters = 3
        #expect(screen.lines(view)[1].hasPrefix("Redis 7.0.15, 3 masters at redis+cluster://h:1"))
        #expect(view.plainLines(rooms: 0)[0].hasSuffix(" redis_masters=3"))
        #expect(view.json(rooms: 0).contains(#""masters":3"#))
    }

    @Test func linesAndJSONHoldTheSame() throws {
        let view = try view()
        let lines = view.plainLines(rooms: 5)
        #expect(lines[0].contains(" total nodes=1 dead=1 sessions=3 "))
        #expect(lines.contains { $0.contains("node id=\"z z\" state=dead") })
        #expect(lines.contains { $0.contains("room name=뉴스\u{FFFD} messages_per_second=1.0 position=5-12") })
        let json = view.json(rooms: 5)
        #expect(json.contains(#""messagesPerSecond":1.0"#))
        #expect(json.contains(#""state":"dead""#))
        #expect(view.plainLines(rooms: 0).count == lines.count - 1)
    }

    @Test func numbersAreShort() {
        #expect(
            [0, 0.2, 4.24, 9.99, 120, 999.6, 12_345, 1_200_000].map { TopText.number($0) } == [
                "0", "0.2", "4.2", "10", "120", "1.0k", "12.3k", "1.2M",
            ])
        #expect([0, 999, 1_000].map { TopText.number($0 as Int) } == ["0", "999", "1.0k"])
        #expect(
            [5, 8_240, 300_000, 10_800_000, 864_000_000].map { TopText.span($0) } == [
                "5 ms", "8.2 s", "5 min", "3 h", "10 d",
            ])
        #expect([100, 1_536, 3 << 20, 5 << 30].map { TopText.bytes($0) } == ["100 B", "1.5 KB", "3.0 MB", "5.0 GB"])
        #expect(TopView.decimal(0.0051, 1_000) == "0.005")
        #expect(TopView.decimal(12.04, 10) == "12.0")
    }
}
