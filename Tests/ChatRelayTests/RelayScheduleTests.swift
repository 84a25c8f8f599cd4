import ChatCore
import ChatRedis
import Logging
import RedisSchema
import Synchronization
import TestSupport
import Testing

@testable import ChatRelay

/// Two relays, with the code that ships and a real Redis, through schedules that are made from seeds: crashes between
/// any two commands, lost connections, a relay that is frozen while another one takes over, messages that nobody notes,
/// deletions, trimmed logs, an operator who sets cursors back, and failovers of Redis that rewind everything.
@Suite("Schedules of relays", .serialized)
struct RelayScheduleTests {
    @Test(arguments: 0..<20)
    func everyMessageReachesTheStreamsInOrder(seed: Int) async throws {
        let world = try await RelayWorld(seed: UInt64(seed))
        for _ in 0..<world.length { try await world.step() }
        try await world.settle()
        for problem in try await world.problems() { Issue.record("seed \(seed): \(problem)") }
    }

    @Test func aSinkThatLosesWhatItAcceptedIsNoticed() async throws {
        var noticed = 0
        for seed in 0..<5 {
            let world = try await RelayWorld(seed: UInt64(seed), forgets: true)
            for _ in 0..<world.length { try await world.step() }
            try await world.settle()
            noticed += try await world.problems().isEmpty ? 0 : 1
        }
        #expect(noticed >= 3)
    }
}

/// One schedule: Redis, two relays, and what was said.
private actor RelayWorld {
    private static let server = Task {
        let redis = try await PrivateRedis.start(
            PrivateRedis.Options(configuration: ["stream-node-max-entries 1"]))
        return redis
    }

    let length: Int
    private let keys: RedisKeys
    private let redis: RelayRedis
    private let rooms: [RoomName]
    private let isTrimmed: Bool
    private let forgets: Bool
    private var random: SplitMix64
    private let time = TestTime()
    private var relays: [TestRelay] = []
    /// Rounds of relays that were frozen.
    private var frozen: [Task<Void, Never>] = []
    private var count = 0
    /// The keys of the last look, of which there are copies.
    private var snapshot: [String] = []
    /// What was said, and not lost since: room → position → text.
    private var said: [RoomName: [Position: String]] = [:]
    private var deleted: [RoomName: Set<Position>] = [:]
    /// Whether Redis lost what it had; then positions that nobody knows any more may be in the streams.
    private var wasRewound = false

    init(seed: UInt64, forgets: Bool = false) async throws {
        random = SplitMix64(seed: seed &* 7_919 &+ 13)
        self.forgets = forgets
        length = Int.random(in: 40...90, using: &random)
        isTrimmed = seed % 4 == 3 && !forgets
        keys = try #require(RedisKeys(prefix: "s\(UInt64.random(in: 0 ... .max)):"))
        rooms = try (0..<3).map { try RoomName("room\($0)") }
        let url = try RedisURL(try await Self.server.value.url)
        redis = RelayRedis(name: "schedule") { .single(url) }
        for index in 0..<2 { relays.append(makeRelay(index)) }
        // Nothing is older than the sink, so what it lacks at the beginning is a gap.
        try await relays[0].holder.tick()
        try await relays[0].holder.isWhole("streams")
    }

    private func makeRelay(_ index: Int) -> TestRelay {
        count += 1
        return TestRelay(
            id: "relay\(index)-\(count)", redis, keys, time, forgets: forgets, seed: random.next())
    }

    // MARK: steps

    func step() async throws {
        time.advance(.milliseconds(Int64.random(in: 1...400, using: &random)))
        let relay = relays[Int.random(in: 0..<2, using: &random)]
        // A process that is stopped does nothing.
        let isFrozen = relay.store.isFrozen
        switch Int.random(in: 0..<100, using: &random) {
        case 35..<88 where isFrozen: break
        case 0..<35: try await say(Int.random(in: 1...6, using: &random))
        case 35..<45: try? await relay.holder.tick()
        case 45..<55: _ = try? await relay.taker.take()
        case 55..<75: _ = try? await relay.worker.round()
        case 75..<80:
            // The connection is lost somewhere in a round.
            relay.store.fail(after: Int.random(in: 0..<12, using: &random))
            _ = try? await relay.worker.round()
            relay.store.heal()
        case 80..<84:
            // The process is killed somewhere in a round, or in handing rooms over.
            relay.store.fail(after: Int.random(in: 0..<12, using: &random))
            if Bool.random(using: &random) { _ = try? await relay.taker.take() }
            _ = try? await relay.worker.round()
            try await replace(relay)
        case 84..<88: try await freeze(relay)
        case 88..<91: for task in frozen { await release(task) }
        case 91..<94: try await delete()
        case 94..<96: try await setBack()
        case 96..<98: try await save()
        default: try await rewind()
        }
    }

    private func replace(_ relay: TestRelay) async throws {
        guard let index = relays.firstIndex(where: { $0 === relay }) else { return }
        relays[index] = makeRelay(index)
        try await endLeases()
    }

    /// The relay stops between two commands of a round, for longer than its leases live, and goes on later.
    private func freeze(_ relay: TestRelay) async throws {
        relay.store.freeze(after: Int.random(in: 0..<8, using: &random))
        let end = RoundEnd()
        frozen.append(
            Task {
                _ = try? await relay.worker.round()
                end.isTrue = true
            })
        await relay.store.untilFrozen(or: end)
        try await endLeases()
        time.advance(.seconds(11))
    }

    private func release(_ task: Task<Void, Never>) async {
        for relay in relays { relay.store.thaw() }
        await task.value
        frozen.removeAll { $0 == task }
    }

    /// In Redis the leases have ended, as if time had passed.
    private func endLeases() async throws {
        _ = try await redis.ask(
            EventPartition.all.map { ["HSET", keys.key(.lease, ofPartition: $0.keyTag), "until", "0"] })
    }

    private func say(_ messages: Int) async throws {
        let room = rooms[Int.random(in: 0..<rooms.count, using: &random)]
        let bounds = isTrimmed ? "8:1000000:8:1000000" : "100000:100000000:100000:100000000"
        for _ in 0..<messages {
            count += 1
            let reply = try await redis.ask([
                [
                    "FCALL", "martlet_say", "1", keys.key(.log, of: room.text), "ana", "text \(count)", "", "", "",
                    bounds,
                ]
            ])
            guard let position = reply.first?.array?.first?.string.flatMap({ Position($0) }) else {
                throw RelayTrouble("\(reply)")
            }
            said[room, default: [:]][position] = "text \(count)"
        }
        // A node that died has not noted it.
        if Int.random(in: 0..<5, using: &random) > 0 { try await note(room) }
    }

    private func note(_ room: RoomName) async throws {
        _ = try await redis.ask([
            ["ZADD", keys.key(.rooms, ofPartition: EventPartition(of: room).keyTag), "1", room.text]
        ])
    }

    private func delete() async throws {
        let room = rooms[Int.random(in: 0..<rooms.count, using: &random)]
        guard let position = said[room]?.keys.sorted().randomElement(using: &random) else { return }
        let reply = try await redis.ask([
            [
                "FCALL", "martlet_amend", "1", keys.key(.log, of: room.text), "delete", "ana", position.description, "",
                "", "", "", "0", "any",
            ]
        ])
        if reply.first?.error == nil { deleted[room, default: []].insert(position) }
        try await note(room)
    }

    /// An operator has events sent again.
    private func setBack() async throws {
        let room = rooms[Int.random(in: 0..<rooms.count, using: &random)]
        guard let position = said[room]?.keys.sorted().randomElement(using: &random) else { return }
        let cursors = keys.key(.cursors, of: room.text)
        let present = LogReader.cursor(try await redis.ask([["HGET", cursors, "streams"]]).first?.string)
        guard let present, position < present else { return }
        _ = try await redis.ask([["HSET", cursors, "streams", "\(position) 0"]])
        try await note(room)
    }

    // MARK: failovers

    private func all() async throws -> [String] {
        let reply = try await redis.ask([["KEYS", keys.prefix + "*"]])
        return (reply.first?.array ?? []).compactMap(\.string)
    }

    private static let copy = """
        for _, key in ipairs(KEYS) do redis.call('COPY', key, 'copy:' .. key, 'REPLACE') end
        return #KEYS
        """

    private func save() async throws {
        let names = try await all()
        _ = try await redis.ask(snapshot.map { ["DEL", "copy:" + $0] })
        snapshot = names
        savedSaid = said
        savedDeleted = deleted
        if !names.isEmpty { _ = try await redis.ask([["EVAL", Self.copy, String(names.count)] + names]) }
        hasSaved = true
    }

    private var hasSaved = false
    private var savedSaid: [RoomName: [Position: String]] = [:]
    private var savedDeleted: [RoomName: Set<Position>] = [:]

    /// Another Redis takes over, with what there was at the last look.
    private func rewind() async throws {
        guard hasSaved else { return }
        for name in try await all() { _ = try await redis.ask([["DEL", name]]) }
        let names = snapshot
        _ = try await redis.ask(names.map { ["COPY", "copy:" + $0, $0, "REPLACE"] })
        // Rooms see that they have not met it, and begin an epoch.
        for room in rooms where names.contains(keys.key(.meta, of: room.text)) {
            _ = try await redis.ask([
                ["HSET", keys.key(.meta, of: room.text), "run", String(repeating: "0", count: 40)]
            ])
        }
        (said, deleted) = (savedSaid, savedDeleted)
        wasRewound = true
    }

    // MARK: the end

    /// No more faults, until everything is quiet.
    func settle() async throws {
        for task in frozen { await release(task) }
        try await endLeases()
        for relay in relays { relay.store.heal() }
        for room in rooms { try await note(room) }
        for _ in 0..<40 {
            time.advance(.seconds(2))
            for relay in relays {
                try await relay.holder.tick()
                _ = try await relay.taker.take()
                while try await relay.worker.round() {}
            }
        }
    }

    func problems() async throws -> [String] {
        var found: [String] = []
        for room in rooms {
            let tag = EventPartition(of: room).keyTag
            let stream = try await redis.ask([["XRANGE", keys.key(.log, ofPartition: tag), "-", "+"]])
            var first: [Position] = []
            var contents: [Position: String] = [:]
            var gaps: [ClosedRange<UInt64>] = []
            for entry in stream.first?.array ?? [] {
                let fields = entry.array?.last?.pairs.compactMapValues(\.string) ?? [:]
                guard fields["room"] == room.text, let id = fields["id"], let event = fields["event"] else { continue }
                let places = id.split(separator: "~").dropFirst()
                if fields["type"] == "gap" {
                    let ends = places.dropFirst().map { Position($0) }
                    guard let end = ends.last ?? nil else { continue }
                    let start = ends.count > 1 ? ends.first.flatMap { $0 }?.seq ?? 0 : 0
                    gaps.append(min(start, end.seq)...end.seq)
                    continue
                }
                guard let position = places.first.flatMap({ Position($0) }) else { continue }
                if contents[position] == nil { first.append(position) }
                contents[position] = event
            }
            if first != first.sorted(), !wasRewound { found.append("\(room): another order: \(first)") }
            for (position, text) in (said[room] ?? [:]).sorted(by: { $0.key < $1.key }) {
                guard let event = contents[position] else {
                    let isNamed = isTrimmed && gaps.contains { $0.contains(position.seq) }
                    if !isNamed { found.append("\(room): \(position) is missing, and in no gap of \(gaps)") }
                    continue
                }
                let isDeleted = deleted[room]?.contains(position) ?? false
                if !isDeleted, !event.contains("\"\(text)\"") { found.append("\(room): \(position) is \(event)") }
            }
            if !isTrimmed, !wasRewound, !gaps.isEmpty { found.append("\(room): gaps \(gaps) of what is not trimmed") }
        }
        return found
    }
}

/// A relay with a store that fails, freezes and dies when it is told to.
private final class TestRelay: Sendable {
    let store: FaultyStore
    let holder: LeaseHolder
    let taker: RoomTaker
    let worker: SinkWorker

    init(id: String, _ redis: RelayRedis, _ keys: RedisKeys, _ time: TestTime, forgets: Bool, seed: UInt64) {
        let logger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
        let clock = RelayClock(clock: { time.now }, wallClock: { 1_795_230_114_073 + time.now.nanoseconds / 1_000_000 })
        let news = QueueNews()
        store = FaultyStore(redis)
        holder = LeaseHolder(
            redis: store, keys: keys, id: id, feeds: ["streams"], life: .seconds(10), clock: clock, logger: logger)
        taker = RoomTaker(redis: store, keys: keys, holder: holder, news: news)
        let streams = StreamSink(filter: .everything, redis: store, keys: keys, length: 1_000_000)
        let sink: any EventSink = forgets ? ForgetfulSink(streams) : streams
        worker = SinkWorker(
            sink, SinkFeed("streams", .log), redis: store, keys: keys, holder: holder, news: news, book: SinkBook(),
            clock: clock, logger: logger)
    }
}

/// Says that it has accepted what it has not.
private final class ForgetfulSink: EventSink {
    private let sink: StreamSink
    private let calls = Mutex(0)
    var name: String { sink.name }
    var filter: EventFilter { sink.filter }

    init(_ sink: StreamSink) { self.sink = sink }

    func accept(_ batches: [EventBatch]) async throws -> SinkReceipt {
        let call = calls.withLock { calls in
            calls += 1
            return calls
        }
        return call % 2 == 0 ? SinkReceipt() : try await sink.accept(batches)
    }
}

private final class TestTime: Sendable {
    private let nanoseconds = Mutex<UInt64>(1_000_000_000)
    var now: Moment { Moment(nanoseconds: nanoseconds.withLock { $0 }) }
    func advance(_ duration: Duration) {
        nanoseconds.withLock { $0 += UInt64(max(0, duration.wholeMilliseconds)) * 1_000_000 }
    }
}

/// Whether a round has ended.
private final class RoundEnd: Sendable {
    private let value = Mutex(false)
    var isTrue: Bool {
        get { value.withLock { $0 } }
        set { value.withLock { $0 = newValue } }
    }
}

private final class FaultyStore: RelayStore {
    private struct State {
        /// Commands until it fails; nil: it does not.
        var failsAfter: Int?
        /// Commands until it freezes; nil: it does not.
        var freezesAfter: Int?
        var isFrozen = false
        var asked: UInt64 = 0
    }

    private let redis: RelayRedis
    private let state = Mutex(State())

    init(_ redis: RelayRedis) { self.redis = redis }

    func fail(after commands: Int) { state.withLock { $0.failsAfter = commands } }
    func heal() { state.withLock { $0.failsAfter = nil } }
    func freeze(after commands: Int) { state.withLock { ($0.freezesAfter, $0.isFrozen) = (commands, false) } }
    var isFrozen: Bool { state.withLock { $0.isFrozen } }
    func thaw() { state.withLock { ($0.freezesAfter, $0.isFrozen) = (nil, false) } }

    /// Returns when a round is frozen, or has ended before that.
    func untilFrozen(or hasEnded: RoundEnd) async {
        while !isFrozen, !hasEnded.isTrue { try? await Task.sleep(for: .milliseconds(1)) }
        if !isFrozen { thaw() }
    }

    func ask(_ commands: [[String]]) async throws(RelayTrouble) -> [RedisValue] {
        guard !commands.isEmpty else { return [] }
        let (mayDo, freezesAt) = state.withLock { state -> (Int, Int?) in
            state.asked += 1
            let mayDo = state.failsAfter.map { min($0, commands.count) } ?? commands.count
            if state.failsAfter != nil { state.failsAfter = (state.failsAfter ?? 0) - mayDo }
            guard let left = state.freezesAfter else { return (mayDo, nil) }
            state.freezesAfter = max(0, left - commands.count)
            return (mayDo, left < commands.count ? left : nil)
        }
        var replies: [RedisValue] = []
        if let freezesAt {
            replies = try await redis.ask(Array(commands.prefix(min(freezesAt, mayDo))))
            state.withLock { $0.isFrozen = true }
            while state.withLock({ $0.isFrozen }) { try? await Task.sleep(for: .milliseconds(1)) }
        }
        replies += try await redis.ask(Array(commands[replies.count..<max(replies.count, mayDo)]))
        guard mayDo == commands.count else { throw RelayTrouble("the connection was lost") }
        return replies
    }
}
