import Testing

@testable import ChatCore

@Suite struct TurnsTests {
    @Test func aFewAtATimeAndThoseWhoAreWaitedForFirst() {
        var turns = Turns<Int, Int>(limit: 2)
        for id in 1...4 { turns.ask(id, at: 0, isUrgent: id == 4) }
        #expect(turns.next() == 4 && turns.next() == 1 && turns.next() == nil && turns.waiting == 2)
        turns.ended(4)
        #expect(turns.next() == 2 && turns.next() == nil)
    }

    @Test func serversDoNotWaitForEachOther() {
        var turns = Turns<Int, Int>(limit: 1)
        turns.ask(1, at: 0, isUrgent: false)
        turns.ask(2, at: 0, isUrgent: false)
        turns.ask(3, at: 1, isUrgent: false)
        #expect(Set([turns.next(), turns.next()]) == [1, 3] && turns.next() == nil)
    }

    @Test func whoChangesHisMindIsPassedOver() {
        var turns = Turns<Int, Int>(limit: 1)
        for id in 1...3 { turns.ask(id, at: 0, isUrgent: false) }
        turns.ask(1, at: 0, isUrgent: true)
        #expect(turns.next() == 1)
        turns.ended(2)
        turns.ended(2)
        turns.ended(1)
        #expect(turns.next() == 3 && turns.waiting == 0)
        turns.ended(3)
        #expect(turns.isEmpty && turns.next() == nil)
    }
}
