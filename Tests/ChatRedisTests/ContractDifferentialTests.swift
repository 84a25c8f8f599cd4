import ChatCore
import Foundation
import RedisSchema
import Testing

@testable import ChatRedis

/// The same random requests to both brokers get the same answers and the same events. They include nodes that come and
/// go, old and foreign epochs, positions of other histories, repeated sends, and snapshots to which both return (a
/// failover that loses the end of the log).
@Suite struct ContractDifferentialTests {
    /// Fixed seeds and some fresh ones (the number is MARTLET_TEST_SEEDS). A failing seed is printed; add it here to
    /// repeat it.
    static let seeds: [UInt64] = Array(1...40) + (0..<fresh).map { _ in UInt64.random(in: 1_000 ... .max) }
    private static let fresh = ProcessInfo.processInfo.environment["MARTLET_TEST_SEEDS"].flatMap { Int($0) } ?? 2

    @Test(arguments: seeds)
    func bothBrokersAnswerAlike(seed: UInt64) async throws {
        try await compare(seed: seed, amends: false)
    }

    /// The same with amendments, threads, and pages that are folded.
    @Test(arguments: seeds)
    func bothBrokersAmendAlike(seed: UInt64) async throws {
        try await compare(seed: seed, amends: true)
    }

    private func compare(seed: UInt64, amends: Bool) async throws {
        let redis = try await ContractStore(.redis)
        let memory = try await ContractStore(.memory)
        var walk = try RandomWalk(seed: seed, room: redis.room, amends: amends)
        var saved: (MemoryBroker, RedisSnapshot)?
        var story: [String] = []
        for step in 0..<120 {
            switch walk.number(0..<60) {
            case 0:
                saved = (memory.memory, try RedisSnapshot(redis))
                story.append("snapshot")
            case 1:
                guard let (copy, snapshot) = saved else { continue }
                memory.goBack(to: copy)
                try snapshot.restore(redis)
                walk.lostTail()
                story.append("back to the snapshot")
            default:
                let request = walk.request()
                story.append("\(request)")
                let before = Self.clock()
                let expected = try redis.ask(request)
                // The clock of the memory broker is set to what Redis' clock was. If that matters, the answer contains
                // it.
                memory.now = (Self.times(in: expected).first { $0 >= before && $0 <= Self.clock() } ?? Self.clock()) - 1
                let answer = try memory.ask(request)
                walk.learn(expected)
                let same = Self.normal(answer) == Self.normal(expected)
                #expect(
                    same,
                    """
                    seed \(seed), step \(step)
                    redis:  \(Self.normal(expected))
                    memory: \(Self.normal(answer))
                    after:
                    \(story.suffix(12).joined(separator: "\n"))
                    """)
                guard same else { return }
            }
        }
    }

    private static func clock() -> UInt64 { UInt64(Date().timeIntervalSince1970 * 1_000) }

    /// All numbers of an answer that may be Redis' time.
    private static func times(in answer: StoreAnswer) -> [UInt64] {
        switch answer.result {
        case .success(.view(let view)): [view.epoch]
        case .success(.said(let position, _)): [position.epoch]
        case .success(.once(let reply)): [reply.epoch]
        case .success(.presence(let reply)): [reply.position.epoch]
        case .success(.left):
            answer.events.compactMap { if case .epoch(let epoch, _, _, _, _) = $0 { epoch } else { nil } }
        case .success, .failure: []
        }
    }

    /// Without the parts that may differ: the order within a presence notice, and the place in the Lua code that Redis
    /// adds to errors.
    private static func normal(_ answer: StoreAnswer) -> StoreAnswer {
        func sorted(_ notice: PresenceNotice) -> PresenceNotice {
            var notice = notice
            notice.changes.sort { "\($0)" < "\($1)" }
            return notice
        }
        var answer = answer
        answer.events = answer.events.map { event in
            if case .presence(let notice) = event { return .presence(sorted(notice)) }
            return event
        }
        switch answer.result {
        case .success(.presence(var reply)):
            reply.notice = reply.notice.map(sorted)
            answer.result = .success(.presence(reply))
        case .success(.rooms(let rooms)):
            answer.result = .success(.rooms(rooms.sorted { $0.text < $1.text }))
        case .failure(.notStored(let text)):
            answer.result = .failure(
                .notStored(String(text.prefix { $0 != "," }.components(separatedBy: " script:")[0])))
        case .success, .failure:
            break
        }
        return answer
    }
}

/// All keys of a test at one moment.
private struct RedisSnapshot {
    private var dumps: [(key: [UInt8], value: [UInt8])] = []

    init(_ store: ContractStore) throws {
        for key in try Self.keys(store) {
            guard case .string(let value) = try store.raw(bytes: [Array("DUMP".utf8), key]) else { continue }
            dumps.append((key, value))
        }
    }

    func restore(_ store: ContractStore) throws {
        for key in try Self.keys(store) { try store.raw(bytes: [Array("DEL".utf8), key]) }
        for (key, value) in dumps {
            let reply = try store.raw(bytes: [Array("RESTORE".utf8), key, Array("0".utf8), value])
            guard reply == .status("OK") else { throw StoreFailure("RESTORE: \(reply)") }
        }
    }

    private static func keys(_ store: ContractStore) throws -> [[UInt8]] {
        guard case .array(let names) = try store.raw("KEYS", store.keys.prefix + "*") else {
            throw StoreFailure("KEYS")
        }
        return names.compactMap { if case .string(let name) = $0 { name } else { nil } }
    }
}

/// Makes random requests, mostly such as a node would make that knows the answers.
private struct RandomWalk {
    private var generator: SplitMix64
    private let room: RoomName
    private let nodes: [NodeID]
    private let users: [UserID]
    private let devices: [DeviceName]
    private let stranger: RoomName
    private var epoch: UInt64 = 1
    private var epochs: [UInt64] = [1]
    private var positions: [Position] = []
    private var held: [NodeID: UInt64] = [:]
    /// The part of the log that a node remembers, even if the log has lost it.
    private var memory: [Message] = []
    private var tail: [Message] = []
    private let amends: Bool

    init(seed: UInt64, room: RoomName, amends: Bool) throws {
        self.amends = amends
        generator = SplitMix64(seed: seed)
        self.room = room
        nodes = try ["a-1", "b-2", "c-3"].map { try NodeID($0) }
        users = try ["ana", "bo", "cy \"q\""].map { try UserID($0) }
        devices = try ["phone", "tv", "방"].map { try DeviceName($0) }
        stranger = try RoomName("other")
    }

    mutating func number(_ range: Range<Int>) -> Int { Int.random(in: range, using: &generator) }
    private mutating func chance(_ percent: Int) -> Bool { number(0..<100) < percent }
    private mutating func pick<T>(_ all: [T]) -> T { all[number(0..<all.count)] }

    mutating func lostTail() {
        tail = memory
        // In a log that an append of a lost branch has set back to seq 0 no seq stands for one message.
        if amends { epoch = 0 }
    }

    mutating func learn(_ answer: StoreAnswer) {
        switch answer.result {
        case .success(.view(let view)):
            epoch = view.epoch
            held = view.nodes
            for entry in view.entries where entry.position > (memory.last?.position ?? Position(epoch: 0, seq: 0)) {
                memory.append(entry)
            }
            memory = memory.suffix(30)
        case .success(.appended(let position, _)), .success(.said(let position, _)):
            positions.append(position)
        case .success(.amended(let reply)):
            positions.append(reply.position)
        case .success(.once(let reply)):
            epoch = reply.epoch
        case .success, .failure:
            break
        }
        if epochs.last != epoch { epochs.append(epoch) }
        positions = positions.suffix(40)
    }

    private mutating func content() -> MessageContent {
        MessageContent(
            user: pick(users), at: UInt64(number(0..<1_000)), text: chance(90) ? pick(["hi", "", "줄\n\"x\"\\"]) : nil,
            data: chance(20) ? pick([#"{"a":[1]}"#, "null", "[]"]) : "1",
            key: chance(60) ? pick(["k1", "k2", "~k3", "k4"]) : nil, extra: extra())
    }

    private mutating func extra() -> MessageExtra? {
        guard amends, chance(30), !positions.isEmpty else { return nil }
        let extra = MessageExtra(
            thread: chance(80) ? pick(positions) : nil, mentions: chance(30) ? [pick(users)] : [])
        return extra.isEmpty ? nil : extra
    }

    private mutating func amendment() -> BrokerRequest {
        let of = position() ?? Position(epoch: epoch, seq: UInt64(number(1..<9)))
        let operation: AmendRequest.Operation =
            switch number(0..<12) {
            case 0..<3:
                .edit(of: of, text: chance(80) ? pick(["new", "줄\n\"x\"\\"]) : nil, data: chance(30) ? "[2]" : "1")
            case 3, 4: .delete(of: of)
            case 5, 6: .react(of: of, emoji: pick(["👍", "x"]))
            case 7: .unreact(of: of, emoji: pick(["👍", "x"]))
            case 8: .pin(of: of)
            case 9: .unpin(of: of)
            case 10: .deleteUser(pick(users), from: chance(50) ? of : nil)
            default: .deleteRange(from: of, to: Position(epoch: of.epoch, seq: of.seq + UInt64(number(0..<4))))
            }
        let request = AmendRequest(room: room, operation, key: chance(30) ? pick(["k1", "k2", "k4"]) : nil)
        return .amend(
            AmendOrder(
                request, by: pick(users), at: UInt64(number(0..<1_000)), window: chance(50) ? 0 : 400,
                mayAmendAny: chance(50), obeysRules: chance(50)))
    }

    private mutating func someEpoch() -> UInt64 {
        if chance(85) { return epoch }
        if amends { return min(epoch, pick(epochs)) }
        return chance(90) ? pick(epochs) : epoch + UInt64(number(1..<5_000))
    }

    private mutating func position() -> Position? {
        guard chance(80), !positions.isEmpty else { return nil }
        var position =
            chance(60) ? positions[positions.count - 1 - number(0..<min(3, positions.count))] : pick(positions)
        if chance(15) { position.seq += UInt64(number(0..<5)) }
        if chance(15) { position.epoch = pick(epochs) }
        return position
    }

    private mutating func changes(joinedOnly: Bool) -> [PresenceChange] {
        (0..<number(0..<4)).map { _ in
            PresenceChange(user: pick(users), device: pick(devices), joined: joinedOnly || chance(60))
        }
    }

    mutating func request() -> BrokerRequest {
        let node = pick(nodes)
        if amends, chance(25) { return amendment() }
        switch number(0..<100) {
        case 0..<14: return .append(room: room, epoch: someEpoch(), content: content())
        case 14..<28:
            let others = OtherNodes(
                known: chance(80) ? positions.last?.seq ?? 0 : UInt64(number(0..<100)),
                base: chance(50) ? nil : UInt64(number(0..<9)))
            return .append(room: room, epoch: someEpoch(), content: content(), others: others)
        case 28..<40: return .enter(enter(node))
        case 40..<48: return .view(room: room, after: position(), page: page())
        case 48..<55:
            let value = chance(85) ? held[node] ?? 1 : pick(epochs)
            return .leave(room: room, node: node, value: value, isOwn: chance(50))
        case 55..<66:
            let sends = (0..<number(1..<4)).map { _ in
                var content = content()
                content.key = pick(["k1", "k2", "~k3", "k4", "k5"])
                return OnceSend(content: content, since: position(), again: chance(70))
            }
            let known =
                chance(50) ? 0 : (positions.last?.seq ?? 0) - min(positions.last?.seq ?? 0, UInt64(number(0..<5)))
            return .once(OnceRequest(room: room, node: node, epoch: someEpoch(), known: known, sends: sends))
        case 66..<71: return .say(room: room, content: content())
        case 71..<83:
            return .presence(
                PresenceRequest(
                    room: room, node: node, value: chance(92) ? held[node] ?? 1 : pick(epochs),
                    changes: changes(joinedOnly: chance(30))))
        case 83..<86: return .roster(room: room)
        case 86..<92: return .history(room: chance(95) ? room : stranger, query: query())
        case 92: return .holders(room: room)
        case 93: return .hold(room: chance(50) ? room : stranger, node: node)
        case 94: return .release(room: chance(50) ? room : stranger, node: node)
        case 95: return .rooms(of: node)
        case 96: return .forget(node)
        case 97: return .nodes
        case 98:
            let report = NodeReport(node: node, address: "h:1", version: "1", clock: UInt64(number(0..<50)))
            return .heartbeat(report, lease: .seconds(100))
        default:
            let signal = Signal(
                node: node, session: SessionID(raw: .max), user: pick(users), name: "typing",
                data: chance(50) ? "{ }" : nil)
            return .publish(room: room, event: .signal(signal))
        }
    }

    private mutating func enter(_ node: NodeID) -> EnterRequest {
        let changed = chance(50) && !tail.isEmpty
        return EnterRequest(
            room: room, node: node, after: changed ? tail.last?.position : position(), tail: changed ? tail : [],
            seen: chance(50) ? epoch : 0, clock: 0, identityChanged: changed || chance(5), offersTail: chance(30),
            page: page())
    }

    private mutating func bytes() -> Int { chance(50) ? 100_000 : number(0..<120) }

    private mutating func page() -> PageBounds { PageBounds(count: number(0..<12), bytes: bytes()) }

    private mutating func query() -> HistoryQuery {
        let position = position() ?? Position(epoch: pick(epochs), seq: UInt64(number(0..<30)))
        let anchors: [HistoryQuery.Anchor] = [.newest, .before(position), .after(position), .around(position)]
        var query = HistoryQuery(anchor: pick(anchors), limit: number(0..<8), bytes: bytes())
        if amends, chance(50) {
            query.isFolded = true
            // What became of messages counts in Redis as the JSON that it is there.
            query.bytes = 100_000
        }
        return query
    }
}
