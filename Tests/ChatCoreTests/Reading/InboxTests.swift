import Testing

@testable import ChatCore

@Suite struct InboxTests {
    private func conversation(
        _ name: String, at: UInt64, unread: UInt64 = 0, text: String = "hi", seq: UInt64 = 1
    ) throws -> InboxConversation {
        let position = Position(epoch: 5, seq: seq)
        return InboxConversation(
            room: try RoomName(name),
            head: RoomHead(
                kind: .group, participant: Participant(since: 1), newest: position, mark: nil, unread: unread,
                last: MessagePreview(position: position, user: try UserID("ana"), at: at, text: text)))
    }

    @Test func pagesFollowNewestFirstAndEndWithWhatIsKnown() throws {
        let all = try (1...7).map { try conversation("r\($0)", at: UInt64($0)) }
        var cursor = InboxCursor()
        var seen: [String] = []
        var pages = 0
        while true {
            let page = InboxPage(of: all.shuffled(), known: cursor, limit: 3)
            seen += page.conversations.map(\.room.text)
            cursor = try #require(InboxCursor(page.cursor.text))
            pages += 1
            if !page.hasMore { break }
        }
        #expect(seen == ["r7", "r6", "r5", "r4", "r3", "r2", "r1"] && pages == 3 && cursor.count == 7)
        #expect(InboxPage(of: all, known: cursor, limit: 3).conversations.isEmpty)
    }

    @Test func anyDifferenceIsShownAgain() throws {
        let all = try (1...5).map { try conversation("r\($0)", at: UInt64($0)) }
        let cursor = InboxPage(of: all, known: InboxCursor(), limit: 100).cursor
        let others = [
            try conversation("r3", at: 3, unread: 1), try conversation("r3", at: 3, text: "edited"),
            try conversation("r3", at: 3, seq: 2),
        ]
        for other in others {
            let page = InboxPage(of: all.map { $0.room == other.room ? other : $0 }, known: cursor, limit: 100)
            #expect(page.conversations == [other] && page.cursor.count == 5 && !page.hasMore)
        }
        // What a failover took back is a difference too.
        let behind = try conversation("r5", at: 2, seq: 1)
        #expect(
            InboxPage(of: all.map { $0.room == behind.room ? behind : $0 }, known: cursor, limit: 100).conversations
                == [behind])
    }

    @Test func aCursorIsOnlyWhatAPageGave() throws {
        for text in ["x", "abcdefg", "abcdefg!", String(repeating: "A", count: 12_296)] {
            #expect(InboxCursor(text) == nil, "\(text.prefix(20))")
        }
        #expect(InboxCursor("") == InboxCursor())
        let all = try (0..<1_000).map { try conversation("room \($0)", at: 1) }
        let cursor = InboxPage(of: all, known: InboxCursor(), limit: 1_000).cursor
        #expect(cursor.count == 1_000 && cursor.text.utf8.count == 8_000 && InboxCursor(cursor.text) == cursor)
    }

    @Test func previewsAreNeverCutInsideACharacter() {
        let family = "👨‍👩‍👧‍👦"
        #expect(MessagePreview.beginning(of: String(repeating: family, count: 150))?.count == 100)
        #expect(MessagePreview.beginning(of: "e\u{301}x") == "e\u{301}x")
        // Redis has cut the text behind whole scalars, so the last character may be a part of one.
        #expect(MessagePreview.beginning(of: "ab👨‍👩", isCut: true) == "ab")
        #expect(MessagePreview.beginning(of: "") == nil)
        let stacked = "a" + String(repeating: "\u{301}", count: 500)
        #expect(MessagePreview.beginning(of: "x" + stacked) == "x")
        #expect(MessagePreview.beginning(of: stacked) == nil)
    }

    @Test func headsAreToldAtMostOnceASecond() throws {
        var watch = HeadWatch()
        let start = Moment(nanoseconds: 5_000_000_000)
        let ana = try UserID("ana")
        let isTold = watch.changed(now: start)
        #expect(!isTold)
        watch.add(SessionID(raw: 1), ana)
        watch.add(SessionID(raw: 1), ana)
        let new = (watch.takeNew(), watch.takeNew())
        #expect(new == ([SessionID(raw: 1)], []))
        var told = 0
        for tick in 0..<400 {
            let now = start + .milliseconds(10 * tick)
            if tick < 300, watch.changed(now: now) { told += 1 }
            if watch.timePassed(now: now) { told += 1 }
        }
        #expect(told == 4, "at once, and at the end of each second with news")
        let removed = [watch.remove(SessionID(raw: 1)), watch.remove(SessionID(raw: 1))]
        #expect(removed == [true, false] && watch.isEmpty)
    }

    @Test func receiptsCountWhatIsUnreadAndOnlyGoForward() throws {
        let (ana, bob) = (try UserID("ana"), try UserID("bob"))
        let mark = { (seq: UInt64, ops: UInt64) in ReadMark(Position(epoch: 5, seq: seq), amendments: ops) }
        var receipts = RoomReceipts(
            participants: [ana, bob], marks: [ana: mark(8, 1)], tally: LogTally(last: 10, amendments: 2), kept: 6)
        #expect(receipts.unread(of: ana) == 1 && receipts.unread(of: bob) == 6)
        let message = { (seq: UInt64, user: UserID) in
            Message(position: Position(epoch: 5, seq: seq), content: MessageContent(user: user, at: 1, text: "x"))
        }
        receipts.shown(message(11, bob), isAmendment: false)
        receipts.shown(message(12, ana), isAmendment: true)
        // Who says something has read up to there; who amends something has not.
        #expect(receipts.unread(of: bob) == 0 && receipts.unread(of: ana) == 2)
        receipts.shown(message(12, bob), isAmendment: false)
        receipts.shown(message(13, bob), isAmendment: false)
        #expect(receipts.unread(of: ana) == 3 && receipts.positions[bob]?.seq == 13)
        let old = receipts.heard([ana: mark(7, 1), bob: mark(13, 3)])
        let news = receipts.heard([ana: mark(13, 3), try UserID("eve"): mark(13, 3)])
        #expect(old.isEmpty && news == [ana: mark(13, 3)])
        #expect(receipts.unread(of: ana) == 0)
        let stale = receipts.update(
            participants: [ana], marks: [ana: mark(2, 0)], tally: LogTally(last: 13, amendments: 3), kept: 6)
        #expect(stale.isEmpty)
        #expect(receipts.position(of: ana)?.seq == 13 && receipts.position(of: bob) == nil && receipts.count == 1)
    }

    @Test func whatWasReadOfALostBranchDoesNotCount() throws {
        let (ana, bob) = (try UserID("ana"), try UserID("bob"))
        let mark = { (seq: UInt64) in ReadMark(Position(epoch: 5, seq: seq)) }
        var receipts = RoomReceipts(
            participants: [ana, bob], marks: [ana: mark(4), bob: mark(90)], tally: LogTally(last: 100), kept: 100)
        _ = receipts.update(
            participants: [ana, bob], marks: [ana: mark(4)], tally: LogTally(last: 50), kept: 50, isRewound: true)
        #expect(receipts.unread(of: ana) == 46 && receipts.unread(of: bob) == 50)
        let message = Message(
            position: Position(epoch: 9, seq: 51), content: MessageContent(user: bob, at: 1, text: "x"))
        receipts.shown(message, isAmendment: false)
        #expect(receipts.unread(of: ana) == 47 && receipts.position(of: bob) == message.position)
    }

    @Test func aMessageThatIsShownLateDoesNotMoveItsAuthorBack() throws {
        let (ana, bob) = (try UserID("ana"), try UserID("bob"))
        var receipts = RoomReceipts(participants: [bob], marks: [:], tally: LogTally(last: 8), kept: 8)
        // Bob has said 9, and has read 10 on another node; both are still on their way here.
        let news = receipts.heard([bob: ReadMark(Position(epoch: 5, seq: 10))])
        #expect(news.count == 1)
        for (seq, user) in [(UInt64(9), bob), (10, ana)] {
            let content = MessageContent(user: user, at: 1, text: "x")
            receipts.shown(Message(position: Position(epoch: 5, seq: seq), content: content), isAmendment: false)
        }
        #expect(receipts.position(of: bob)?.seq == 10 && receipts.unread(of: bob) == 0)
    }

    @Test func aLongMessageIsStarredWithoutHalfACharacter() throws {
        let (room, bob) = (try RoomName("lobby"), try UserID("bob"))
        func kept(_ text: String, data: String? = nil) -> Star {
            let content = MessageContent(user: bob, at: 1, text: text, data: data)
            return Star(Message(position: Position(epoch: 5, seq: 9), content: content), in: room)
        }
        let short = kept("hi", data: "[1]")
        #expect(short.text == "hi" && short.data == "[1]")
        for (character, bytes) in [("a", 8_192), ("e\u{301}", 8_190), ("👨‍👩‍👧", 8_190), ("이", 8_190)] {
            let star = kept(String(repeating: character, count: 9_000), data: "[1]")
            #expect(star.text?.utf8.count == bytes && star.data == nil, "\(character)")
            #expect(star.text?.count == bytes / character.utf8.count, "\(character)")
        }
        // One character of 60 KB took nine seconds of the loop.
        let stacked = "x" + String(repeating: "\u{301}", count: 30_000)
        let time = ContinuousClock().measure {
            let star = kept(stacked)
            #expect(star.text?.isEmpty == true)
        }
        #expect(time < .seconds(1))
    }
}
