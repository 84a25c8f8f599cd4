import ChatCore
import ChatJSON
import ChatWire
import Histogram
import Testing

@testable import martlet

struct BenchLedgerTests {
    private func ledger(_ seqs: [UInt64], base: UInt64 = 10) -> BenchLedger {
        var ledger = BenchLedger()
        ledger.joined(at: base)
        for seq in seqs { ledger.saw(seq: seq, stamp: seq * 7) }
        return ledger
    }

    @Test func whatComesInOrderIsExact() {
        let verdict = BenchRoomVerdict([ledger([11, 12, 13]), ledger([11, 12, 13])], stored: 3)
        #expect(verdict.messages == 3)
        #expect(verdict.missing == 0 && verdict.repeated == 0 && verdict.swapped == 0 && verdict.isOneOrder)
    }

    @Test func aHoleIsMissingAndFoundByTheOthersOrTheAcksIfItIsAtTheEnd() {
        #expect(BenchRoomVerdict([ledger([11, 13, 14]), ledger([11, 12, 13, 14])], stored: 4).missing == 1)
        #expect(BenchRoomVerdict([ledger([11, 12]), ledger([11, 12, 13, 14])], stored: 4).missing == 2)
        #expect(BenchRoomVerdict([ledger([11, 12]), ledger([11, 12])], stored: 4).missing == 4)
        #expect(BenchRoomVerdict([ledger([]), ledger([])], stored: 0).missing == 0)
    }

    @Test func aLateOneIsSwappedNotMissingAndNotRepeated() {
        let verdict = BenchRoomVerdict([ledger([11, 13, 12, 14]), ledger([11, 12, 13, 14])], stored: 4)
        #expect(verdict.missing == 0 && verdict.repeated == 0 && verdict.swapped == 1)
        #expect(!verdict.isOneOrder)
    }

    @Test func oneThatCameTwiceIsRepeated() {
        let verdict = BenchRoomVerdict([ledger([11, 12, 12, 13, 11])], stored: 3)
        #expect(verdict.repeated == 2 && verdict.missing == 0 && verdict.swapped == 0)
        #expect(BenchRoomVerdict([ledger([10])], stored: 0).repeated == 1, "shown before it joined")
    }

    @Test func theSamePositionWithAnotherMessageIsAnotherOrder() {
        var other = BenchLedger()
        other.joined(at: 10)
        other.saw(seq: 11, stamp: 1)
        #expect(!BenchRoomVerdict([ledger([11]), other], stored: 1).isOneOrder)
    }
}

struct BenchFramesTests {
    private func frame(_ text: String) -> [UInt8] {
        var bytes: [UInt8] = []
        WebSocketFrame.append(.text, Array(text.utf8), to: &bytes)
        return bytes
    }

    /// The same frames are found however the bytes are split.
    @Test func framesOfAllLengthsAreFoundWhole() {
        let texts = [0, 1, 125, 126, 127, 65_535, 65_536, 70_000].map { String(repeating: "x", count: $0) }
        let bytes = texts.flatMap(frame)
        bytes.withUnsafeBytes { all in
            var index = 0
            for text in texts {
                let found = BenchFrames.next(all, &index)
                #expect(found?.opcode == 1)
                #expect(found?.payload.count == text.utf8.count)
            }
            #expect(index == all.count)
            #expect(BenchFrames.next(all, &index) == nil)
            for count in [0, 1, 2, 3, 4, 5] {
                var start = 0
                let part = UnsafeRawBufferPointer(rebasing: all[..<count])
                let frames = [0, 1].map { _ in BenchFrames.next(part, &start) }.compactMap(\.self)
                #expect(frames.count == (count >= 5 ? 2 : count >= 2 ? 1 : 0))
            }
        }
    }

    @Test func theKindsOfEventsThatANodeSaysAreTold() throws {
        let room = try RoomName("bench-0")
        let position = Position(epoch: 1, seq: 1)
        let content = MessageContent(user: try UserID("ana"), at: 0, text: "x")
        let message = Message(position: position, content: content)
        let events: [(ServerEvent, BenchFrames.Kind)] = [
            (.message(room: room, message, showKey: false), .message),
            (.sent(ref: nil, room: room, position: position, at: 0, repeated: false), .sent),
            (.left(ref: nil, room: room), .left), (.error(ref: nil, WireError(.rateLimited, "")), .error),
            (.signal(room: room, user: try UserID("ana"), name: "t", data: nil), .other), (.pong(ref: nil), .other),
            (.presence(room: room, joined: [], left: [], count: 0), .presence),
            (.gap(room: room, Gap(after: position, before: position)), .gap),
            (.reset(room: room, Reset(position: position, reason: .rewound)), .reset),
            (.draining(reconnectAfter: 1), .draining),
            (
                .joined(
                    Joined(
                        ref: nil, room: room, position: position, messages: [], members: nil, count: 0,
                        resumption: .fresh)),
                .joined
            ),
            (.roster(ref: nil, room: room, RosterPage(members: [], count: 0, cursor: nil)), .other),
            (
                .history(
                    ref: nil, room: room, HistoryPage(messages: [], newest: nil, hasOlder: false, hasNewer: false)),
                .other
            ),
        ]
        for (event, kind) in events {
            var bytes = ByteWriter()
            MartletV1Codec(limits: Limits()).encode(event, into: &bytes)
            bytes.withBytes { #expect(BenchFrames.kind($0, 0..<$0.count) == kind, "\(event)") }
        }
    }
}

struct BenchPlanTests {
    @Test func membersAreSpreadOverAllNodesOrStayOnOne() {
        var plan = BenchPlan(nodes: 3, rooms: 4, members: 6)
        for room in 0..<4 {
            let counts = Dictionary(grouping: (0..<6).map { plan.node(room: room, member: $0) }) { $0 }.mapValues(
                \.count)
            #expect(counts == [0: 2, 1: 2, 2: 2])
        }
        plan.nodesPerRoom = 1
        for room in 0..<4 { #expect(Set((0..<6).map { plan.node(room: room, member: $0) }) == [room % 3]) }
        plan.nodesPerRoom = 2
        for room in 0..<4 {
            #expect(Set((0..<6).map { plan.node(room: room, member: $0) }) == [room % 3, (room + 1) % 3])
        }
        plan.nodesPerRoom = 9
        #expect(Set((0..<6).map { plan.node(room: 0, member: $0) }) == [0, 1, 2], "more than there are: all")
    }

    @Test func everyRoomIsOneThreads() {
        let plan = BenchPlan(rooms: 10)
        #expect((0..<3).flatMap { plan.rooms(ofThread: $0, among: 3) }.sorted() == Array(0..<10))
    }

    @Test func everyRoomSpeaksAtItsRateAndNotAllAtOnce() {
        var schedule = BenchSchedule(rooms: 4, perSecond: 10, start: 1_000_000_000)
        var times: [Int: [UInt64]] = [:]
        while schedule.due < 2_000_000_000 {
            let (room, due) = schedule.next()
            times[room, default: []].append(due)
        }
        #expect(times.count == 4)
        for room in times.values {
            #expect(room.count == 10)
            #expect(zip(room, room.dropFirst()).allSatisfy { $1 - $0 == 100_000_000 })
        }
        #expect(Set(times.values.compactMap(\.first)).count == 4)
    }

    @Test func whatTheKernelSaysOfAProcessIsRead() {
        let stat = "12 (a (b) c) S 1 1 1 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 9 0 100 1000 10"
        #expect(BenchSample.cpu(inStat: stat, ticksPerSecond: 100) == 3_000_000_000)
        #expect(BenchSample.cpu(inStat: "no", ticksPerSecond: 100) == nil)
        #expect(BenchSample.memory(inStatus: "VmRSS:\t 900 kB\nRssAnon:\t    512 kB\nRssFile: 1 kB\n") == 524_288)
        #expect(BenchSample.memory(inStatus: "RssAnon: 1 kB\nRssFile: 9 kB\nRssShmem: 2 kB\n") == 3_072)
        #expect(BenchSample.memory(inStatus: "") == 0)
        #expect(BenchSample.of(-1) == nil)
        let earlier = BenchSample(threads: [1: 100, 2: 50], memory: 0)
        #expect(BenchSample(threads: [1: 130, 3: 5], memory: 0).computed(since: earlier) == 35)
        #expect((BenchSample.of(1)?.memory ?? 1) > 0)
    }

    @Test func theGeneratorSaysWhenItIsItselfTheLimit() {
        var result = BenchResult()
        (result.threadCPU, result.threadTime) = (50, 100)
        #expect(result.ownLimit == nil)
        result.threadCPU = 90
        #expect(result.ownLimit?.contains("90 %") == true)
        result.threadCPU = 10
        for _ in 0..<100 { _ = result.lag.record(20_000_000) }
        #expect(result.ownLimit?.contains("ms late") == true)
    }

    @Test func thePictureHasALineForEachDoublingAndAddsUp() {
        var latencies = BenchResult().sameNode
        for _ in 0..<99 { _ = latencies.record(100_000) }
        _ = latencies.record(3_000_000)
        let lines = BenchReport.picture(latencies)
        #expect(lines.first?.contains("99 %") == true)
        #expect(lines.last?.contains("▏ 1 %") == true)
        #expect(lines.count == 6)
    }
}
