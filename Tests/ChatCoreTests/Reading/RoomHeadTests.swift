import Testing

@testable import ChatCore

/// A room in memory as a line of a participant's inbox.
@Suite struct RoomHeadTests {
    private let ana: UserID
    private let bo: UserID

    init() throws {
        ana = try UserID("ana")
        bo = try UserID("bo")
    }

    private func entered(
        _ entries: [Message], kind: ConversationKind = .group, bans: [UserID: Sanction] = [:]
    ) throws -> RoomHarness {
        var room = try RoomHarness()
        room.linksUp()
        try room.join(1)
        room.subscribed()
        let last = entries.last?.position.seq ?? 0
        var view = room.view(100, last: last, base: 0, entries: entries)
        let participants = [ana: Participant(role: .owner, since: 7), bo: Participant(since: 8)]
        view.moderation = RoomModeration(
            version: 90, policy: RoomPolicy(), bans: bans, conversation: Conversation(kind, participants: participants))
        room.finishEnter(view)
        return room
    }

    private func said(_ seq: UInt64, _ text: String, by user: UserID) -> Message {
        Message(position: Position(epoch: 100, seq: seq), content: MessageContent(user: user, at: seq, text: text))
    }

    private func edit(_ seq: UInt64, of: UInt64, _ text: String, by user: UserID) -> Message {
        let extra = MessageExtra(amendment: Amendment(.edit, of: Position(epoch: 100, seq: of), number: 1))
        return Message(
            position: Position(epoch: 100, seq: seq),
            content: MessageContent(user: user, at: seq, text: text, extra: extra))
    }

    private func mark(_ seq: UInt64) -> ReadMark { ReadMark(Position(epoch: 100, seq: seq)) }

    @Test func itIsWhatRedisWouldAnswer() throws {
        let room = try entered([said(1, "one", by: ana), said(2, "two", by: bo)], kind: .direct)
        let tally = LogTally(last: 2)
        let head = try #require(room.machine.head(of: ana, readUpTo: mark(1), tally))
        #expect(
            head
                == RoomHead(
                    kind: .direct, participant: Participant(role: .owner, since: 7),
                    newest: Position(epoch: 100, seq: 2), mark: mark(1), unread: 1,
                    last: MessagePreview(position: Position(epoch: 100, seq: 2), user: bo, at: 2, text: "two"),
                    other: bo))
        // Who said the last one has read it.
        let own = room.machine.head(of: bo, readUpTo: mark(1), tally)
        #expect(own?.unread == 0 && own?.mark == mark(2))
    }

    @Test func theNewestMessageIsShownAsItReadsNow() throws {
        let room = try entered([
            said(1, "one", by: ana), said(2, "two", by: bo), edit(3, of: 2, "zwei", by: bo),
            edit(4, of: 1, "eins", by: ana),
        ])
        #expect(room.machine.newestMessage?.content.text == "zwei")
        let head = room.machine.head(of: ana, readUpTo: mark(2), LogTally(last: 4, amendments: 2))
        #expect(head?.last?.text == "zwei" && head?.last?.position.seq == 2 && head?.unread == 0)
    }

    @Test func whatIsNotCertainIsAskedFor() throws {
        var room = try entered([said(1, "one", by: ana)])
        let tally = LogTally(last: 1)
        #expect(room.machine.head(of: ana, readUpTo: mark(1), tally) != nil)
        #expect(room.machine.head(of: try UserID("eve"), readUpTo: mark(1), tally) == nil, "no participant")
        #expect(room.machine.head(of: ana, readUpTo: mark(2), tally) == nil, "a mark beyond the log")
        #expect(room.machine.head(of: ana, readUpTo: mark(1), LogTally(last: 2)) == nil, "another log")
        let banned = try entered([said(1, "one", by: ana)], bans: [ana: Sanction(by: "mod")])
        #expect(banned.machine.head(of: ana, readUpTo: mark(1), tally) == nil, "Redis knows what a banned user sees")
        // Newer rules were announced, and are not read yet.
        room.on(.heard(.epoch(110, base: 1, nodes: [room.me: 110], by: room.me, rules: 110)))
        #expect(room.machine.head(of: ana, readUpTo: mark(1), tally) == nil, "newer rules")
    }

    @Test func aMessageBehindManyAmendmentsIsAskedFor() throws {
        var entries = [said(1, "one", by: ana)]
        for seq in 2...65 { entries.append(edit(UInt64(seq), of: 1, "\(seq)", by: ana)) }
        let tally = LogTally(last: 65, amendments: 64)
        #expect(try entered(entries).machine.head(of: bo, readUpTo: mark(1), tally)?.last?.text == "65")
        entries.append(edit(66, of: 1, "66", by: ana))
        let later = LogTally(last: 66, amendments: 65)
        #expect(try entered(entries).machine.head(of: bo, readUpTo: mark(1), later) == nil)
    }

    @Test func previewsAreTheSameAsOfATextThatRedisHasCut() {
        let text = String(repeating: "👨‍👩‍👧‍👦", count: 90)
        let cut = String(decoding: Array(text.utf8).prefix(1_024), as: UTF8.self)
            .trimmingSuffix("\u{FFFD}")
        let message = Message(
            position: Position(epoch: 1, seq: 1), content: MessageContent(user: ana, at: 1, text: text))
        #expect(MessagePreview(message).text == MessagePreview.beginning(of: cut, isCut: true))
    }
}

extension String {
    fileprivate func trimmingSuffix(_ character: Character) -> String {
        var end = self[...]
        while end.last == character { end.removeLast() }
        return String(end)
    }
}
