import ChatCore
import Testing

@testable import ChatRelay

@Suite("The turns of partitions")
struct PartitionTurnsTests {
    private let leases = EventPartition.all.map { LeaseBook.Lease(partition: $0, token: 5) }
    private let quiet = QueueNews.Counts(numbers: Array(repeating: 3, count: EventPartition.count))
    private func at(_ seconds: Double) -> Moment { Moment(nanoseconds: UInt64(seconds * 1e9) + 1) }

    private func numbers(_ leases: [LeaseBook.Lease]) -> [Int] { leases.map(\.partition.number) }

    /// Turns that have found nothing anywhere at the moment 0.
    private func rested() -> PartitionTurns {
        var turns = PartitionTurns()
        for lease in turns.next(leases, quiet, now: at(0)) { turns.closed(lease) }
        return turns
    }

    @Test func atFirstAllAreAsked() {
        var turns = PartitionTurns()
        #expect(numbers(turns.next(leases, quiet, now: at(0))) == Array(0..<16))
    }

    @Test func aPartitionInWhichNothingWasQueuedIsAskedOnceASecond() {
        var turns = rested()
        #expect(turns.next(leases, quiet, now: at(0.9)).isEmpty)
        #expect(turns.next(leases, quiet, now: at(1)).count == 16)
    }

    @Test func aPartitionInWhichSomethingWasQueuedIsAskedAtOnce() {
        var turns = rested()
        var counts = Array(repeating: UInt64(3), count: EventPartition.count)
        counts[7] += 1
        let news = QueueNews.Counts(numbers: counts)
        #expect(numbers(turns.next(leases, news, now: at(0.1))) == [7])
        turns.closed(leases[7])
        #expect(turns.next(leases, news, now: at(0.2)).isEmpty)
    }

    @Test func whatWasNotHandledIsAskedAgain() {
        var turns = rested()
        _ = turns.next(leases, quiet, now: at(1))
        for lease in leases where lease.partition.number != 4 { turns.closed(lease) }
        #expect(numbers(turns.next(leases, quiet, now: at(1.1))) == [4])
        #expect(numbers(turns.next(leases, quiet, now: at(1.2))) == [4], "until it is closed")
    }

    @Test func aLeaseThatIsNewIsAskedAndOneThatIsGoneIsForgotten() {
        var turns = rested()
        let other = LeaseBook.Lease(partition: leases[2].partition, token: 6)
        #expect(turns.next([leases[1], other], quiet, now: at(0.1)) == [other])
        #expect(turns.next([leases[2]], quiet, now: at(0.1)) == [leases[2]])
    }

    /// Each round has place for what two partitions have, and each always has more.
    @Test func everyPartitionComesIntoItsOwnAmongOthersThatAlwaysHaveMore() {
        var turns = PartitionTurns()
        var served: [Int: Int] = [:]
        for round in 0..<80 {
            let asked = turns.next(leases, quiet, now: at(Double(round) / 100))
            #expect(asked.count == 16)
            for lease in asked.prefix(2) { served[lease.partition.number, default: 0] += 1 }
            turns.cut(at: asked[2])
        }
        #expect(served.count == 16 && Set(served.values) == [10])
    }

    @Test func afterACutAtALeaseThatIsGoneTheNextOneIsFirst() {
        var turns = PartitionTurns()
        turns.cut(at: leases[9])
        #expect(numbers(turns.next([leases[3], leases[11]], quiet, now: at(0))) == [11, 3])
        turns.cut(at: leases[15])
        #expect(numbers(turns.next([leases[3], leases[11]], quiet, now: at(0))) == [3, 11])
    }
}
