import ChatCore
import Testing

struct HistoryPageTests {
    /// Messages 1…count, each of the same cost.
    private func page(_ count: UInt64) throws -> (page: HistoryPage, cost: Int) {
        let content = MessageContent(user: try UserID("ana"), at: 0, text: String(repeating: "x", count: 1_000))
        let messages = (1...count).map { Message(position: Position(epoch: 1, seq: $0), content: content) }
        let newest = messages.last?.position
        return (HistoryPage(messages: messages, newest: newest, hasOlder: false, hasNewer: false), content.cost)
    }

    private func seqs(_ page: HistoryPage) -> [UInt64] { page.messages.map(\.position.seq) }

    @Test func aPageThatFitsIsLeftAlone() throws {
        let (page, cost) = try page(5)
        #expect(page.limited(toBytes: 5 * cost, anchor: .newest) == page)
    }

    @Test func whatIsFarthestFromTheAnchorIsLeftOutAndSaidToBeThere() throws {
        let (page, cost) = try page(6)
        let newest = page.limited(toBytes: 2 * cost, anchor: .newest)
        #expect(seqs(newest) == [5, 6] && newest.hasOlder && !newest.hasNewer)
        let before = page.limited(toBytes: 2 * cost, anchor: .before(Position(epoch: 1, seq: 7)))
        #expect(seqs(before) == [5, 6] && before.hasOlder && !before.hasNewer)
        let after = page.limited(toBytes: 3 * cost, anchor: .after(Position(epoch: 1, seq: 0)))
        #expect(seqs(after) == [1, 2, 3] && !after.hasOlder && after.hasNewer)
        let around = page.limited(toBytes: 3 * cost, anchor: .around(Position(epoch: 1, seq: 4)))
        #expect(seqs(around) == [3, 4, 5] && around.hasOlder && around.hasNewer)
        #expect(around.newest == page.newest)
    }

    @Test func oneMessageIsThereHoweverLong() throws {
        let (page, _) = try page(3)
        for anchor in [HistoryQuery.Anchor.newest, .after(Position(epoch: 1, seq: 0))] {
            #expect(page.limited(toBytes: 0, anchor: anchor).messages.count == 1)
        }
        let around = page.limited(toBytes: 0, anchor: .around(Position(epoch: 1, seq: 2)))
        #expect(seqs(around) == [2], "the one that was asked for")
    }
}
