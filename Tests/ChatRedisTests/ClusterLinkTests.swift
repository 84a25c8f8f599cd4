import ChatCore
import Logging
import NIOCore
import NIOPosix
import RedisSchema
import TestSupport
import Testing

@testable import ChatRedis

/// A link to a real Redis Cluster: requests go to the right masters, channels stay with them, slots move, and masters
/// fail.
@Suite(.timeLimit(.minutes(3))) struct ClusterLinkTests {
    private let node: NodeID
    private let keys: RedisKeys

    init() throws {
        node = try NodeID("n-1")
        var keys = RedisKeys()
        keys.isClustered = true
        self.keys = keys
    }

    private struct Running {
        let cluster: PrivateCluster
        let watch: RedisCluster
        let link: LinkProbe
        let codec: RedisCodec

        func stop() async throws {
            try await link.with { $0.stop() }
            watch.stop()
            cluster.stop()
        }
    }

    private func link(_ watch: RedisCluster, replicas: Bool = false) async throws -> LinkProbe {
        let codec = RedisCodec(keys: keys)
        let keys = keys
        return try await LinkProbe.start { eventLoop in
            var settings = RedisLinkSettings(
                url: try RedisURL("redis://unused"), commandTimeout: .seconds(2), pingInterval: .milliseconds(500),
                backoffLongest: .milliseconds(200))
            settings.confirmsReplicas = replicas
            var logger = Logger(label: "test")
            logger.logLevel = .critical
            return RedisClusterLink(
                settings: settings, cluster: watch, nodesSlot: HashSlot(ofKey: keys.nodes), codec: codec,
                eventLoop: eventLoop, tick: LinkTesting.tick(of: eventLoop), logger: logger)
        }
    }

    private func start(replicas: Int = 0, password: String? = nil) async throws -> Running {
        let cluster = try await PrivateCluster.start(replicas: replicas, password: password)
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        let watch = try RedisCluster(
            try ClusterURL(cluster.url), eventLoop: MultiThreadedEventLoopGroup.singleton.any(), logger: logger)
        watch.start()
        return Running(
            cluster: cluster, watch: watch, link: try await link(watch, replicas: replicas > 0),
            codec: RedisCodec(keys: keys))
    }

    /// Waits until every slot is up on both connections.
    private func everythingUp(_ link: LinkProbe) async throws {
        var (commands, subscriptions) = (SlotSet(), SlotSet())
        while commands != .all || subscriptions != .all {
            let event = try await link.next("all masters", where: { $0.scope != nil })
            switch event {
            case .commandsUp(_, let scope): commands.formUnion(scope.slots)
            case .commandsDown(_, let scope): commands.subtract(scope.slots)
            case .subscriptionsUp(_, let scope): subscriptions.formUnion(scope.slots)
            case .subscriptionsDown(_, let scope): subscriptions.subtract(scope.slots)
            default: break
            }
        }
    }

    /// A room for each master.
    private func rooms(_ cluster: PrivateCluster) throws -> [RoomName] {
        try (0..<cluster.masters).map { index in
            let share = 16_384 * index / cluster.masters..<16_384 * (index + 1) / cluster.masters
            return try #require(
                try (0..<1_000).lazy.map { try RoomName("room \($0)") }.first {
                    share.contains(HashSlot(of: $0).number)
                })
        }
    }

    private func content(_ text: String, _ key: String) throws -> MessageContent {
        MessageContent(user: try UserID("ana"), at: 1, text: text, key: key)
    }

    /// Subscribes, registers and returns the epoch.
    private func enter(
        _ room: RoomName, _ link: LinkProbe, _ node: NodeID? = nil, within patience: Duration = .seconds(60)
    ) async throws -> UInt64 {
        try await link.with { $0.subscribe(room) }
        _ = try await link.next("subscribed", within: patience, where: { $0 == .subscribed(room) })
        let node = node ?? self.node
        try await link.submit(.hold(room: room, node: node), serial: 0)
        let result = try await link.ask(
            .enter(EnterRequest(room: room, node: node, clock: 1_700_000_000_000, page: PageBounds(count: 10))))
        guard case .success(.view(let view)) = result else { throw LinkProbe.TimedOut(description: "\(result)") }
        return view.epoch
    }

    /// All parts of a node's list.
    private func held(by node: NodeID, _ link: LinkProbe) async throws -> Set<RoomName> {
        var rooms: Set<RoomName> = []
        var cursor: UInt64 = 0
        while true {
            switch try await link.ask(.rooms(of: node, cursor: cursor)) {
            case .success(.rooms(let last)): return rooms.union(last)
            case .success(.someRooms(let some, let next)):
                rooms.formUnion(some)
                cursor = next
            case let other: throw LinkProbe.TimedOut(description: "\(other)")
            }
        }
    }

    private func forget(_ node: NodeID, _ link: LinkProbe) async throws {
        var answer = try await link.ask(.forget(node))
        while case .success(.forgetting(let cursor)) = answer {
            answer = try await link.ask(.forget(node, cursor: cursor))
        }
        #expect(answer == .success(.done))
    }

    /// The keys of a node, on all masters.
    private func keys(of node: NodeID, _ cluster: PrivateCluster) throws -> [String] {
        try cluster.servers.flatMap { server in
            try server.cli("--scan", "--pattern", "martlet:node:*:\(node)*").split(separator: "\n").map(String.init)
        }
    }

    /// A slot may go once more, as the masters hear of a move one after the other: what was asked before is void then.
    private func enterAgain(_ room: RoomName, _ link: LinkProbe) async throws -> UInt64 {
        for _ in 0..<60 { if let epoch = try? await enter(room, link, within: .seconds(1)) { return epoch } }
        return try await enter(room, link)
    }

    @Test func eachRoomIsOnItsMasterAndItsChannelToo() async throws {
        let running = try await start(password: "secret")
        let (link, cluster) = (running.link, running.cluster)
        try await everythingUp(link)
        for room in try rooms(cluster) {
            _ = try await enter(room, link)
            let epoch = try await enter(room, link, try NodeID("n-2"))
            let reply = try await link.ask(.append(room: room, epoch: epoch, content: try content("x", "k")))
            #expect(reply == .success(.appended(Position(epoch: epoch, seq: 1))))
            try await link.submit(
                .publish(
                    room: room,
                    event: .signal(
                        Signal(node: node, session: SessionID(raw: 9), user: try UserID("ana"), name: "typing"))),
                serial: 0)
            _ = try await link.next("the signal") {
                if case .heard(.room(room), .signal) = $0 { true } else { false }
            }
            let master = try cluster.master(of: HashSlot(of: room).number)
            #expect(try master.cli("PUBSUB", "SHARDCHANNELS").contains(keys.channel(of: room.text)))
            #expect(try master.cli("EXISTS", keys.key(.log, of: room.text)) == "1")
            for server in cluster.servers where server.port != master.port {
                #expect(try !server.cli("PUBSUB", "SHARDCHANNELS").contains(keys.channel(of: room.text)))
            }
            try await link.submit(.say(room: room, content: try content("hello", "s")), serial: 77)
            _ = try await link.next("what was said") {
                if case .heard(.room(room), .message) = $0 { true } else { false }
            }
            try await link.with { $0.unsubscribe(room) }
            _ = try await link.next("unsubscribed", where: { $0 == .unsubscribed(room) })
        }
        let report = NodeReport(node: node, address: "h:1", version: "1", clock: 1)
        _ = try await link.ask(.heartbeat(report, lease: .seconds(10)))
        guard case .success(.nodes(let records)) = try await link.ask(.nodes) else {
            throw LinkProbe.TimedOut(description: "no nodes")
        }
        #expect(records.map(\.node) == [node] && records.first?.report?.address == "h:1")
        #expect(try await held(by: node, link) == Set(try rooms(cluster)))
        try await forget(node, link)
        #expect(try await link.ask(.nodes) == .success(.nodes([])))
        #expect(try await held(by: node, link).isEmpty)
        try await running.stop()
    }

    /// A node owns a channel in any slot, so it can prove of each master that messages go round.
    @Test func aNodeHearsItselfThroughEachMaster() async throws {
        let running = try await start()
        let (link, cluster) = (running.link, running.cluster)
        try await everythingUp(link)
        for room in try rooms(cluster) {
            let slot = HashSlot(of: room)
            let entity = Entity.node(node, slot)
            try await link.with { $0.subscribe(entity) }
            _ = try await link.next("subscribed", where: { $0 == .subscribed(entity) })
            let signal = Signal(node: node, session: SessionID(raw: 1), user: try UserID("ana"), name: "probe")
            let answer = try await link.ask(
                .publish(on: entity, event: .signal(signal)), andHear: "the signal",
                where: { $0 == .heard(entity, .signal(signal)) })
            #expect(answer == .success(.done))
            let channels = try cluster.master(of: slot.number).cli("PUBSUB", "SHARDCHANNELS")
            #expect(channels == "martlet:node:{\(slot.tag)}:\(node)")
            #expect(try await link.ask(.tryStoring(entity)) == .success(.done))
            try await link.with { $0.unsubscribe(entity) }
            _ = try await link.next("unsubscribed", where: { $0 == .unsubscribed(entity) })
        }
        #expect(try keys(of: node, cluster).isEmpty, "nothing is stored")
        try await running.stop()
    }

    /// Whatever the number of nodes, here one: the rooms of a node are written down where the rooms are.
    @Test func coldEntersAreSpreadOverTheMasters() async throws {
        let running = try await start()
        let (link, cluster) = (running.link, running.cluster)
        try await everythingUp(link)
        try await link.with { _ = $0.keepOldList(false) }
        let before = try cluster.servers.map { try Self.calls($0) }
        let rooms = try (0..<3_000).map { try RoomName("cold \($0)") }
        let node = node
        for start in stride(from: 0, to: rooms.count, by: 100) {
            try await link.with { link in
                for number in start..<start + 100 {
                    let room = rooms[number]
                    link.submit(
                        .hold(room: room, node: node),
                        tag: RequestTag(owner: 1, generation: 2, serial: RequestTag.ignoredSerial))
                    let enter = EnterRequest(
                        room: room, node: node, clock: 1_700_000_000_000, page: PageBounds(count: 10))
                    link.submit(.enter(enter), tag: RequestTag(owner: 1, generation: 2, serial: UInt64(number) + 1))
                }
            }
            var answers = 0
            while answers < 100 {
                let event = try await link.next("an answer", where: { $0.serial != nil })
                guard case .completed(_, .success(.view)) = event else {
                    throw LinkProbe.TimedOut(description: "\(event)")
                }
                answers += 1
            }
        }
        let after = try cluster.servers.map { try Self.calls($0) }
        for name in ["sadd", "fcall", "all"] {
            let counts = zip(before, after).map { $1[name, default: 0] - $0[name, default: 0] }
            let (least, most) = (counts.min() ?? 0, counts.max() ?? 0)
            #expect(Double(most) <= 1.2 * Double(least) && least > 0, "\(name): \(counts)")
            print("cold enters, \(name) of each master: \(counts)")
        }
        #expect(try await held(by: node, link) == Set(rooms))
        try await forget(node, link)
        #expect(try keys(of: node, cluster).isEmpty)
        try await running.stop()
    }

    /// How often a server was asked for each command; `all` together.
    private static func calls(_ server: PrivateRedis) throws -> [String: Int] {
        var calls: [String: Int] = [:]
        for line in try server.cli("INFO", "commandstats").split(whereSeparator: \.isNewline) {
            let halves = line.split(separator: ":", maxSplits: 1)
            guard halves.count == 2, halves[0].hasPrefix("cmdstat_"),
                let first = halves[1].split(separator: ",").first, let count = Int(first.dropFirst("calls=".count))
            else { continue }
            let name = String(halves[0].dropFirst("cmdstat_".count))
            calls[name] = count
            calls["all", default: 0] += count
        }
        return calls
    }

    // MARK: Beside nodes of schema 1, which keep and read the old list only

    /// What such a node finds of another one's rooms.
    private func oldList(of node: NodeID, _ cluster: PrivateCluster) throws -> Set<String> {
        let master = try cluster.master(of: HashSlot(ofKey: keys.nodes).number)
        let text = try master.cli("SMEMBERS", "martlet:node:{martlet:nodes}:\(node):rooms")
        return Set(text.split(separator: "\n").map(String.init))
    }

    @Test func anOlderNodeFindsTheRoomsOfANewOne() async throws {
        let running = try await start()
        let (link, cluster) = (running.link, running.cluster)
        try await everythingUp(link)
        let all = try rooms(cluster)
        let names = Set(all.map(\.text))
        // Whoever begins does not know yet who lives.
        for room in all { _ = try await enter(room, link) }
        #expect(try oldList(of: node, cluster) == names)
        #expect(try await held(by: node, link) == Set(all))
        // Nobody older lives: the old list is not written any more.
        try await link.with { _ = $0.keepOldList(false) }
        let later = try RoomName("later")
        _ = try await enter(later, link)
        #expect(try oldList(of: node, cluster) == names)
        // An older one has come: what is held is written there again, and what is left is taken out of it.
        let node = node
        try await link.with { link in
            #expect(link.keepOldList(true))
            for room in all + [later] {
                link.submit(.hold(room: room, node: node), tag: RequestTag(owner: 0, generation: 0, serial: 0))
            }
        }
        #expect(try await link.ask(.hold(room: later, node: node)) == .success(.done))
        #expect(try oldList(of: node, cluster) == names.union(["later"]))
        _ = try await link.ask(.release(room: later, node: node))
        while try oldList(of: node, cluster) != names { _ = try await link.ask(.nodes) }
        #expect(try await held(by: node, link) == Set(all))
        try await running.stop()
    }

    @Test func aNewNodeSweepsAnOlderOne() async throws {
        let running = try await start()
        let (link, cluster) = (running.link, running.cluster)
        try await everythingUp(link)
        try await link.with { _ = $0.keepOldList(false) }
        let old = try NodeID("old-1")
        // What a node of schema 1 sends.
        let master = try cluster.master(of: HashSlot(ofKey: keys.nodes).number)
        let json = #"{"node":"old-1","address":"h:1","version":"1","draining":false}"#
        _ = try master.cli("SET", "martlet:node:{martlet:nodes}:old-1", json, "PX", "10000")
        _ = try master.cli("ZADD", "martlet:nodes", "1", "old-1")
        for room in try rooms(cluster) {
            _ = try master.cli("SADD", "martlet:node:{martlet:nodes}:old-1:rooms", room.text)
            let server = try cluster.master(of: HashSlot(of: room).number)
            let six = ["log", "nodes", "epochs", "meta", "presence", "roster"].map { "martlet:{\(room)}:\($0)" }
            let arguments = ["old-1", "", "0", "1700000000000", "0", "10:1000", "0"]
            _ = try server.cli(["FCALL", "martlet_enter", "6"] + six + arguments)
        }
        guard case .success(.nodes(let records)) = try await link.ask(.nodes) else {
            throw LinkProbe.TimedOut(description: "no nodes")
        }
        #expect(records.first?.report?.schema == 1)
        let found = try await held(by: old, link)
        #expect(found == Set(try rooms(cluster)))
        for room in found {
            guard case .success(.holders(let nodes)) = try await link.ask(.holders(room: room)) else {
                throw LinkProbe.TimedOut(description: "no holders")
            }
            let value = try #require(nodes[old])
            #expect(try await link.ask(.leave(room: room, node: old, value: value)) == .success(.left(true)))
        }
        try await forget(old, link)
        #expect(try keys(of: old, cluster).isEmpty)
        #expect(try master.cli("ZCARD", "martlet:nodes") == "0")
        try await running.stop()
    }

    @Test func aSlotMovesUnderARoom() async throws {
        let running = try await start()
        let (link, cluster) = (running.link, running.cluster)
        try await everythingUp(link)
        let all = try rooms(cluster)
        for room in all { _ = try await enter(room, link) }
        let (room, other) = (all[0], all[1])
        let slot = HashSlot(of: room)
        let target = try cluster.master(of: HashSlot(of: other).number)
        try await cluster.move(slot.number, to: target) {
            // Half of the keys are there, half here. A command that needs all of them is refused, and the room is
            // unavailable.
            let refused = try await link.ask(.view(room: room, after: nil, page: PageBounds(count: 1)))
            #expect(refused == .failure(.notConnected))
            #expect(try await link.ask(.roster(room: other)) != .failure(.notConnected), "nobody else is")
        }
        // With or without another request, the link finds the new master, and the channel leaves the old one.
        let epoch = try await enterAgain(room, link)
        #expect(epoch > 0)
        #expect(try target.cli("PUBSUB", "SHARDCHANNELS").contains(keys.channel(of: room.text)))
        #expect(try target.cli("EXISTS", keys.key(.log, of: room.text)) == "1")
        try await running.stop()
    }

    @Test func aMasterFailsAndItsReplicaTakesOver() async throws {
        let running = try await start(replicas: 1)
        let (link, cluster) = (running.link, running.cluster)
        try await everythingUp(link)
        let all = try rooms(cluster)
        for room in all { _ = try await enter(room, link) }
        #expect(try await running.link.confirmed(replicas: 1) == 1)
        let (room, other) = (all[1], all[2])
        let before = try cluster.master(of: HashSlot(of: room).number)
        before.kill()
        let down = try await link.next("down", where: { $0.isCommandsDown })
        #expect(down.scope?.contains(room) == true && down.scope?.contains(other) == false)
        #expect(try await link.ask(.roster(room: other)) != .failure(.notConnected), "others go on")
        _ = try await link.next("back") { $0.isCommandsUp && $0.scope?.contains(room) == true }
        _ = try await enterAgain(room, link)
        #expect(try cluster.master(of: HashSlot(of: room).number).port != before.port)
        try await running.stop()
    }

    @Test func aNodeThatLeftTheClusterIsNotBelieved() async throws {
        let running = try await start()
        try await everythingUp(running.link)
        let (cluster, watch) = (running.cluster, running.watch)
        let spare = try await PrivateRedis.start(
            .init(configuration: ["cluster-enabled yes", "cluster-port \(try PrivateRedis.freePort())"]))
        defer { spare.stop() }
        let alone = try RedisCluster(
            try ClusterURL("redis+cluster://127.0.0.1:\(spare.port)"),
            eventLoop: MultiThreadedEventLoopGroup.singleton.any(), logger: Logger(label: "test"))
        alone.start()
        defer { alone.stop() }
        let slot = HashSlot(ofKey: keys.nodes)
        // On a busy machine it may not have been asked in the first seconds.
        var told = ""
        for _ in 0..<12 where !told.contains("knows nobody that serves any slot") {
            let error = await #expect(throws: RedisSetupError.self) { try await alone.find(slot, within: .seconds(5)) }
            told = error?.message ?? ""
        }
        #expect(told.contains("knows nobody that serves any slot"))
        // The hint of a MOVED names the same server, so the others are asked.
        watch.troubled(best: ClusterAddress(host: "127.0.0.1", port: spare.port), last: nil)
        #expect(try await running.link.ask(.roster(room: try rooms(cluster)[0])) != .failure(.notConnected))
        #expect(watch.masters.count == 3)
        try await running.stop()
    }

    @Test func aSingleRedisIsNoCluster() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let watch = try RedisCluster(
            try ClusterURL("redis+cluster://127.0.0.1:\(redis.port)"),
            eventLoop: MultiThreadedEventLoopGroup.singleton.any(), logger: Logger(label: "test"))
        watch.start()
        defer { watch.stop() }
        let slot = HashSlot(ofKey: keys.nodes)
        let error = await #expect(throws: RedisSetupError.self) { try await watch.find(slot, within: .seconds(30)) }
        #expect(error?.code == .cluster)
        #expect(error?.message.contains("cluster-enabled no") == true)
    }
}
