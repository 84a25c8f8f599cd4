import ChatCore
import ChatWire
import NIOCore
import Testing

@testable import ChatGateway

struct OutboundQueueTests {
    private func frame(_ text: String, _ kind: Frame.Kind = .message, isShared: Bool = true) -> SharedFrame {
        SharedFrame(bytes: ByteBuffer(string: text), kind: kind, isShared: isShared)
    }

    private func drain(_ queue: inout OutboundQueue) -> [String] {
        var all: [String] = []
        while let buffer = queue.next() { all.append(String(buffer: buffer)) }
        return all
    }

    @Test func framesOfOneTickLeaveAsOneBufferInOrder() {
        var queue = OutboundQueue(limit: 1_000)
        var joiner = FrameJoiner()
        #expect(queue.append(frame("a"), joiner: &joiner) == .queued(isFirst: true))
        #expect(queue.append(frame("b", .reply, isShared: false), joiner: &joiner) == .queued(isFirst: false))
        _ = queue.append(frame("c", .presence), joiner: &joiner)
        _ = queue.append(frame("d", .signal), joiner: &joiner)
        #expect(queue.count == 4)
        #expect(drain(&queue) == ["abcd"])
        #expect(queue.isEmpty)
        #expect(drain(&queue) == [])
    }

    @Test func aPeerThatIsNotToBlameMayLetTwiceAsMuchWaitUntilItHasCaughtUp() {
        var queue = OutboundQueue(limit: 10)
        var joiner = FrameJoiner()
        queue.fallBehind()
        #expect(queue.append(frame("12345678"), joiner: &joiner) == .behind)
        #expect(queue.append(frame("abcd"), joiner: &joiner) == .overflow)
        queue.pardon()
        #expect(queue.append(frame("abcd"), joiner: &joiner) == .behind)
        #expect(queue.append(frame("123456789"), joiner: &joiner) == .overflow)
        _ = drain(&queue)
        queue.catchUp()
        queue.fallBehind()
        #expect(queue.append(frame("12345678"), joiner: &joiner) == .behind)
        #expect(queue.append(frame("abcd"), joiner: &joiner) == .overflow)
    }

    @Test func aSingleFrameLeavesWithoutACopy() {
        var queue = OutboundQueue(limit: 1_000)
        var joiner = FrameJoiner()
        let shared = frame("shared by all")
        _ = queue.append(shared, joiner: &joiner)
        let address = shared.bytes.withUnsafeReadableBytes { $0.baseAddress }
        #expect(queue.next()?.withUnsafeReadableBytes { $0.baseAddress } == address)
    }

    @Test func sessionsThatGetTheSameFramesShareTheJoinedBuffer() {
        var joiner = FrameJoiner()
        let frames = [frame("a"), frame("b"), frame("c")]
        var addresses: Set<UnsafeRawPointer?> = []
        var queues = [OutboundQueue(limit: 1_000), OutboundQueue(limit: 1_000), OutboundQueue(limit: 1_000)]
        for frame in frames {
            for index in queues.indices { _ = queues[index].append(frame, joiner: &joiner) }
        }
        var buffers: [ByteBuffer] = []
        for index in queues.indices {
            if let buffer = queues[index].next() { buffers.append(buffer) }
        }
        for buffer in buffers {
            #expect(String(buffer: buffer) == "abc")
            addresses.insert(buffer.withUnsafeReadableBytes { $0.baseAddress })
        }
        #expect(addresses.count == 1)
    }

    @Test func oneThatIsBehindLosesSignalsAtOnceAndPresenceAtHalf() {
        var queue = OutboundQueue(limit: 100)
        var joiner = FrameJoiner()
        _ = queue.append(frame("first"), joiner: &joiner)
        queue.fallBehind()
        #expect(queue.append(frame("s", .signal), joiner: &joiner) == .dropped)
        #expect(queue.append(frame("p", .presence), joiner: &joiner) == .behind)
        #expect(queue.append(frame(String(repeating: "m", count: 60)), joiner: &joiner) == .behind)
        #expect(queue.append(frame("p", .presence), joiner: &joiner) == .dropped)
        #expect(queue.append(frame("r", .reply), joiner: &joiner) == .behind)
        #expect(queue.append(frame(String(repeating: "m", count: 60)), joiner: &joiner) == .overflow)
        #expect(drain(&queue) == ["first", "p", String(repeating: "m", count: 60), "r"])
        queue.catchUp()
        #expect(queue.append(frame("s", .signal), joiner: &joiner) == .queued(isFirst: true))
    }

    @Test func ofPresenceThatWasGivenUpTheNewestCountOfEachRoomIsOwedOnce() throws {
        var queue = OutboundQueue(limit: 100)
        var joiner = FrameJoiner()
        var owed: [RoomName: Int]?
        func presence(_ room: String, _ count: Int) throws -> SharedFrame {
            SharedFrame(
                bytes: ByteBuffer(string: "p"), kind: .presence, isShared: true, presence: (try RoomName(room), count))
        }
        _ = queue.append(frame(String(repeating: "m", count: 60)), joiner: &joiner)
        queue.fallBehind()
        for (room, count) in [("a", 3), ("b", 9), ("a", 4), ("c", 1)] {
            #expect(queue.append(try presence(room, count), joiner: &joiner) == .dropped)
        }
        queue.forgetOwed(try RoomName("c"))
        owed = queue.payOwed()
        #expect(owed == nil, "not while it is behind")
        _ = drain(&queue)
        queue.catchUp()
        owed = queue.payOwed()
        #expect(owed == [try RoomName("a"): 4, try RoomName("b"): 9])
        owed = queue.payOwed()
        #expect(owed == nil)
    }

    @Test func aPeerThatTakesNothingBetweenTwoQuestionsHasStalled() {
        var queue = OutboundQueue(limit: 100)
        var joiner = FrameJoiner()
        var stalled = false
        for _ in 0..<3 { _ = queue.append(frame(String(repeating: "m", count: 30)), joiner: &joiner) }
        stalled = queue.hasStalled()
        #expect(!stalled)
        queue.fallBehind()
        stalled = queue.hasStalled()
        #expect(!stalled, "it may have been behind for a moment only")
        _ = queue.append(frame("more"), joiner: &joiner)
        stalled = queue.hasStalled()
        #expect(stalled)
        _ = queue.next()
        stalled = queue.hasStalled()
        #expect(!stalled, "it took something")
        stalled = queue.hasStalled()
        #expect(stalled)
        _ = drain(&queue)
        queue.catchUp()
        stalled = queue.hasStalled()
        #expect(!stalled)
        stalled = queue.hasStalled()
        #expect(!stalled)
    }

    /// Frames are appended, joined, written in parts and dropped at random: the bytes that leave are those that were
    /// accepted, in order, and the count is right.
    @Test func randomUseKeepsOrderAndCount() {
        var generator = SystemRandomNumberGenerator()
        let seed = generator.next()
        var random = SplitMix64(seed: seed)
        for _ in 0..<300 {
            var queue = OutboundQueue(limit: 60_000)
            var joiner = FrameJoiner()
            var taken = ""
            var left = ""
            for number in 0..<Int(random.next() % 200) {
                switch random.next() % 10 {
                case 0:
                    for _ in 0...(random.next() % 3) { if let buffer = queue.next() { left += String(buffer: buffer) } }
                    if queue.isEmpty { queue.catchUp() } else { queue.fallBehind() }
                    joiner.clear()
                case 1: queue.fallBehind()
                default:
                    let size = random.next() % 8 == 0 ? 9_000 : Int(random.next() % 50)
                    let text = "<\(number)" + String(repeating: "x", count: size) + ">"
                    let kind = Frame.Kind.allCases[Int(random.next() % 4)]
                    switch queue.append(frame(text, kind, isShared: random.next() % 2 == 0), joiner: &joiner) {
                    case .queued, .behind: taken += text
                    case .dropped, .overflow: break
                    }
                }
                #expect(queue.count == taken.utf8.count - left.utf8.count, "seed \(seed)")
            }
            left += drain(&queue).joined()
            #expect(left == taken, "seed \(seed)")
        }
    }
}
