import ChatCore
import Testing

@testable import ChatRedis

@Suite struct TransportCommandQueueTests {
    private func entry(_ serial: UInt64, commands: Int = 1, failure: BrokerError? = nil) -> CommandQueue.Entry {
        CommandQueue.Entry(
            kind: .request, tag: RequestTag(owner: 0, generation: 0, serial: serial),
            sentAt: Moment(nanoseconds: serial),
            commands: commands, failure: failure)
    }

    private func answer(_ queue: inout CommandQueue) -> [UInt64] {
        guard let (entry, _) = queue.answered() else { return [] }
        if let completion = queue.completed(entry, .success(.done)) { return [completion.tag.serial] }
        return release(&queue)
    }

    /// The oldest request has to be sent a second time.
    private func tryAgain(_ queue: inout CommandQueue) throws {
        let answered = queue.answered()
        let first = try #require(answered).entry
        var again = entry(first.tag.serial)
        again.slot = queue.triedAgain(first)
        queue.submitted(again, keeping: .ping)
    }

    private func release(_ queue: inout CommandQueue) -> [UInt64] {
        var serials: [UInt64] = []
        while let completion = queue.released() { serials.append(completion.tag.serial) }
        return serials
    }

    @Test func requestsAreAnsweredInOrder() {
        var queue = CommandQueue()
        for serial in 0..<100 { queue.submitted(entry(UInt64(serial)), keeping: serial % 3 == 0 ? .ping : nil) }
        queue.sent()
        for serial in 0..<100 {
            let answered = queue.answered()
            #expect(answered?.entry.tag.serial == UInt64(serial) && (answered?.request != nil) == (serial % 3 == 0))
        }
        #expect(queue.isEmpty && queue.answered() == nil)
    }

    @Test func whatWasNotSentHasNoReply() {
        var queue = CommandQueue()
        queue.submitted(entry(1), keeping: nil)
        #expect(queue.repliesNeeded == nil)
        queue.sent()
        #expect(queue.repliesNeeded == 1)
    }

    @Test func aSecondTryHoldsTheLaterCompletionsBack() throws {
        var queue = CommandQueue()
        for serial in 1...4 { queue.submitted(entry(UInt64(serial)), keeping: .ping) }
        queue.sent()
        try tryAgain(&queue)
        #expect(answer(&queue) == [])
        // The third has to be tried again too.
        try tryAgain(&queue)
        #expect(answer(&queue) == [])
        #expect(answer(&queue) == [1, 2])
        #expect(answer(&queue) == [3, 4])
        #expect(queue.isEmpty)
        queue.submitted(entry(5), keeping: nil)
        queue.sent()
        #expect(answer(&queue) == [5])
    }

    @Test func aLossCompletesEverythingOnceInOrder() throws {
        var queue = CommandQueue()
        for serial in 1...3 { queue.submitted(entry(UInt64(serial)), keeping: .ping) }
        queue.sent()
        try tryAgain(&queue)
        queue.sent()
        #expect(answer(&queue) == [])
        queue.submitted(entry(4, commands: 0, failure: .notStored("full")), keeping: nil)
        queue.submitted(entry(5), keeping: nil)
        let lost = queue.connectionLost()
        #expect(lost.map(\.tag.serial) == [1, 2, 3, 4, 5])
        #expect(
            lost.map(\.result) == [
                .failure(.outcomeUnknown), .success(.done), .failure(.outcomeUnknown), .failure(.notStored("full")),
                .failure(.notConnected),
            ])
        #expect(queue.isEmpty && queue.bytes == 0)
    }
}
