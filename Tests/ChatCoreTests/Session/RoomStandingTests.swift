import ChatCore
import Testing

struct RoomStandingTests {
    private func joined(
        _ seqs: Range<UInt64>, ref: Ref?, _ resumption: Resumption = .complete
    ) throws -> Joined {
        let messages = try seqs.map { seq in
            Message(
                position: Position(epoch: 1, seq: seq),
                content: .init(user: try UserID("u\(seq % 2)"), at: 0, text: "x"))
        }
        return Joined(
            ref: ref, room: try RoomName("lobby"), position: Position(epoch: 1, seq: max(1, seqs.upperBound) - 1),
            messages: messages, members: nil, count: 1, resumption: resumption)
    }

    private let ref = Ref.string("mine")

    /// Holds the value under test by reference, so that expectations can call it.
    private final class Subject {
        var value: RoomStanding

        init(_ ref: Ref?) { value = RoomStanding(joining: ref) }

        func answer(_ joined: Joined, bytes: Int = 1_000_000) throws -> RoomStanding.AnswerAction {
            value.answered(joined, for: try UserID("u1"), bytes: bytes, count: 100)
        }

        func refused(_ ref: Ref?) -> RoomStanding.RefusalAction { value.refused(ref) }
        func nextPage() -> (after: Position, ref: Ref)? { value.nextPage() }
        var isLive: Bool { value.isLive }
    }

    @Test func whatFitsIsOneAnswerAndTheSessionIsLive() throws {
        let standing = Subject(ref)
        #expect(standing.value.unanswered == .some(ref))
        let all = try joined(1..<50, ref: ref)
        #expect(try standing.answer(all) == .show([.joined(all)], isLive: true))
        #expect(standing.isLive)
        #expect(standing.nextPage() == nil)
        #expect(standing.value.unanswered == nil)
    }

    @Test func whatDoesNotFitFollowsPageByPageWithoutHoleOrRepeat() throws {
        let standing = Subject(ref)
        var last: UInt64 = 0
        var newest: UInt64 = 250
        var pages = 0
        var request: (after: Position, ref: Ref) = (Position(epoch: 1, seq: 0), ref)
        while !standing.isLive, pages < 100 {
            let action = try standing.answer(try joined(last + 1..<newest + 1, ref: request.ref), bytes: 2_000)
            guard case .show(let events, _) = action else {
                Issue.record("ignored")
                return
            }
            for event in events {
                switch event {
                case .joined(let joined):
                    #expect(pages == 0)
                    for message in joined.messages {
                        #expect(message.position.seq == last + 1)
                        last = message.position.seq
                    }
                case .message(_, let message, let showKey):
                    #expect(message.position.seq == last + 1)
                    #expect(showKey == (message.position.seq % 2 == 1), "the key is shown to who said it")
                    last = message.position.seq
                default: Issue.record("\(event)")
                }
            }
            pages += 1
            // More messages arrive meanwhile.
            newest += 3
            if let next = standing.nextPage() {
                #expect(next.after.seq == last)
                #expect(next.ref.isOfPage)
                #expect(standing.nextPage() == nil, "one question at a time")
                request = next
            }
        }
        #expect(standing.isLive)
        #expect(last >= 250)
        #expect(pages > 10)
    }

    private func behind(_ standing: Subject) throws -> Ref {
        _ = try standing.answer(try joined(1..<50, ref: ref), bytes: 500)
        return try #require(standing.nextPage()).ref
    }

    @Test func aGapAndAResetOnTheWayAreSaid() throws {
        let first = Subject(ref)
        let gap = Gap(after: Position(epoch: 1, seq: 4), before: Position(epoch: 1, seq: 30))
        let action = try first.answer(try joined(30..<31, ref: try behind(first), .gap(gap)))
        guard case .show(let events, true) = action else {
            Issue.record("\(action)")
            return
        }
        #expect(events.first == .gap(room: try RoomName("lobby"), gap))
        #expect(events.count == 2)
        let second = Subject(ref)
        let reset = Reset(position: Position(epoch: 2, seq: 7), reason: .rewound)
        let other = try second.answer(try joined(1..<1, ref: try behind(second), .reset(reset)))
        #expect(other == .show([.reset(room: try RoomName("lobby"), reset)], isLive: true))
    }

    @Test func anAnswerToAPageThatANewJoinMadeVoidIsIgnored() throws {
        let standing = Subject(ref)
        let page = try behind(standing)
        #expect(standing.value.isAskingForPage)
        standing.value.joinAsked(.string("again"))
        #expect(!standing.value.isAskingForPage)
        #expect(try standing.answer(try joined(5..<10, ref: page)) == .ignore)
        #expect(standing.refused(page) == .ignore)
        let again = try joined(1..<3, ref: .string("again"))
        #expect(try standing.answer(again) == .show([.joined(again)], isLive: true))
    }

    @Test func anAnswerToAnEarlierJoinIsIgnored() throws {
        let standing = Subject(ref)
        standing.value.joinAsked(nil)
        #expect(standing.value.unanswered == .some(nil))
        #expect(try standing.answer(try joined(1..<3, ref: ref)) == .ignore)
        #expect(standing.refused(ref) == .ignore)
        #expect(!standing.isLive)
        #expect(standing.refused(nil) == .leave)
    }

    @Test func aPageThatIsRefusedIsAskedForAgain() throws {
        let standing = Subject(ref)
        let page = try behind(standing)
        #expect(standing.refused(page) == .askAgain)
        let next = try #require(standing.nextPage())
        #expect(next.ref != page)
        #expect(try standing.answer(try joined(5..<10, ref: page)) == .ignore)
        let action = try standing.answer(try joined(5..<10, ref: next.ref))
        guard case .show(_, true) = action else {
            Issue.record("the second answer counts, not \(action)")
            return
        }
    }
}
