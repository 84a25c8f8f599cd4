import ChatCore
import Testing

@testable import ChatRelay

@Suite("The leases of a relay")
struct LeaseBookTests {
    private let life: Duration = .seconds(10)
    private func at(_ seconds: Double) -> Moment { Moment(nanoseconds: UInt64(seconds * 1e9) + 1) }

    private func asked(_ actions: [LeaseBook.Action]) -> [EventPartition] {
        actions.compactMap { if case .ask(let partition) = $0 { partition } else { nil } }
    }

    private func given(_ actions: [LeaseBook.Action]) -> [EventPartition] {
        actions.compactMap { if case .giveBack(let partition) = $0 { partition } else { nil } }
    }

    /// A book that holds everything since the moment 0.
    private func full() -> LeaseBook {
        var book = LeaseBook(life: life, start: 0)
        for partition in asked(book.tick(now: at(0), relays: 1)) {
            book.answered(partition, .held(token: 7), askedAt: at(0))
        }
        return book
    }

    @Test func aSingleRelayAsksForEverythingAndRenewsIt() {
        var book = full()
        #expect(book.current(now: at(1)).map(\.partition) == EventPartition.all)
        #expect(Set(asked(book.tick(now: at(3), relays: 1))) == Set(EventPartition.all))
    }

    @Test func aLeaseCountsFromTheQuestionOn() {
        let book = full()
        #expect(!book.current(now: at(9.9)).isEmpty)
        #expect(book.current(now: at(10)).isEmpty)
    }

    @Test func asMoreRelaysComeThePartitionsAreSharedEvenly() {
        var book = full()
        let actions = book.tick(now: at(3), relays: 3)
        #expect(asked(actions).count == 6)
        #expect(given(actions).count == 10)
        #expect(book.current(now: at(3)).count == 6)
    }

    @Test func whatAnotherRelayHoldsIsAskedForWhenItsLeaseEnds() {
        var book = LeaseBook(life: life, start: 3)
        for partition in asked(book.tick(now: at(0), relays: 1)) {
            book.answered(partition, .taken(for: .seconds(4)), askedAt: at(0))
        }
        #expect(book.tick(now: at(3), relays: 1).isEmpty)
        #expect(asked(book.tick(now: at(4.1), relays: 1)).count == EventPartition.count)
    }

    @Test func aPartitionWithoutAHolderIsFoundAmongThoseThatOthersRenew() {
        var book = LeaseBook(life: .seconds(2), start: 3)
        var seconds = 0.0
        let mine = Set(EventPartition.all[3...9])
        for _ in 0..<40 {
            for partition in asked(book.tick(now: at(seconds), relays: 2)) {
                let isFree = mine.contains(partition) || partition.number == 2
                // The other relay renews its leases all the time.
                book.answered(partition, isFree ? .held(token: 7) : .taken(for: .seconds(1.3)), askedAt: at(seconds))
            }
            seconds += 0.67
        }
        #expect(book.current(now: at(seconds)).contains { $0.partition.number == 2 })
        #expect(book.current(now: at(seconds)).count == 8)
    }

    @Test func aFencedLeaseIsGoneAndANewerOneIsNot() {
        var book = full()
        let lease = book.current(now: at(1))[5]
        book.answered(lease.partition, .held(token: 9), askedAt: at(1))
        book.fenced(lease)
        #expect(book.current(now: at(1)).contains { $0.partition == lease.partition && $0.token == 9 })
        book.fenced(LeaseBook.Lease(partition: lease.partition, token: 9))
        #expect(!book.current(now: at(1)).contains { $0.partition == lease.partition })
    }

    @Test func relaysThatStartTogetherAskForDifferentPartitions() {
        var first = LeaseBook(life: life, start: 0)
        var second = LeaseBook(life: life, start: 8)
        let mine = Set(asked(first.tick(now: at(0), relays: 2)))
        let theirs = Set(asked(second.tick(now: at(0), relays: 2)))
        #expect(mine.count == 8)
        #expect(mine.isDisjoint(with: theirs))
    }

    @Test func whoEndsGivesEverythingBack() {
        var book = full()
        #expect(given(book.giveBackAll()) == EventPartition.all)
        #expect(book.current(now: at(1)).isEmpty)
    }
}
