import ChatCore
import Testing

@testable import MartletClient

@Suite struct ConversationTests {
    private let lobby: RoomName
    private let at = #""at":"2026-11-21T03:04:05.678Z""#

    init() throws { lobby = try RoomName("lobby") }

    private func reconnect(_ harness: inout Harness) throws {
        harness.machine.connectionClosed(.lost, now: harness.now)
        harness.now = try #require(harness.machine.nextDeadline)
        harness.machine.timerFired(now: harness.now)
        _ = harness.take()
        try harness.welcome()
    }

    private func messages(_ harness: inout Harness) -> [Message] {
        harness.take().compactMap { action in
            switch action {
            case .emit(.message(_, let message)), .emit(.changed(_, let message)): message
            default: nil
            }
        }
    }

    @Test func aChangeIsShownInItsPlaceAndChangesTheMessage() throws {
        var harness = try Harness.inLobby()
        try harness.message("5-11", "first")
        for frame in [
            #""position":"5-12","of":"5-11","operation":"edit","text":"second","edited":{"version":1,"by":"bob",\#(at)}"#,
            #""position":"5-13","of":"5-11","operation":"react","reactions":{"👍":{"count":2,"users":["ana","bob"]}}"#,
            #""position":"5-14","of":"5-11","operation":"pin","pinned":{"by":"bob",\#(at)}"#,
        ] { try harness.hear(#"{"type":"changed","room":"lobby","user":"bob",\#(at),\#(frame)}"#) }
        var entries = messages(&harness)
        let changed = try #require(MessageFold.folded(entries).first)
        #expect(changed.content.text == "second" && changed.content.extra?.state?.version == 1)
        #expect(changed.content.extra?.state?.reactions["👍"]?.count == 2)
        #expect(changed.content.extra?.state?.pinned?.by == "bob")
        #expect(entries[0].changed(by: entries[1]).content.text == "second")
        #expect(entries[0].changed(by: entries[0]) == entries[0])
        try harness.hear(
            #"{"type":"changed","room":"lobby","user":"mod",\#(at),"position":"5-15","of":"5-11","operation":"delete","deleted":{"by":"mod",\#(at)}}"#
        )
        entries += messages(&harness)
        let erased = try #require(MessageFold.folded(entries).first)
        #expect(erased.content.text == nil && erased.content.deleted?.by == "mod")
        // The next message is no hole.
        try harness.message("5-16")
        #expect(harness.told() == ["message 5-16"])
    }

    @Test func aDeletionOfManyMessagesErasesAllOfThem() throws {
        var harness = try Harness.inLobby()
        for seq in 11...13 { try harness.message("5-\(seq)") }
        try harness.hear(
            #"{"type":"changed","room":"lobby","user":"mod",\#(at),"position":"5-14","of":"5-11","operation":"delete","targets":["5-11","5-13"],"deleted":{"by":"mod",\#(at)}}"#
        )
        let folded = MessageFold.folded(messages(&harness))
        #expect(folded.prefix(3).map { $0.content.deleted != nil } == [true, false, true])
    }

    @Test func whatIsFoldedIntoAPageIsNoHole() throws {
        var harness = try Harness.inLobby()
        try harness.message("5-11", "old")
        try reconnect(&harness)
        let ref = try #require(try harness.joinRef())
        _ = harness.take()
        try harness.hear(
            """
            {"type":"joined","ref":\(ref),"room":"lobby","position":"5-18","resumed":true,"count":1,"changes":[\
            {"position":"5-13","of":"5-11","operation":"edit","user":"bob",\(at),"text":"new",\
            "edited":{"version":1,"by":"bob",\(at)}}],"messages":[\
            {"position":"5-12","user":"b",\(at),"text":"12","edited":{"version":2,"by":"b",\(at)}},\
            {"position":"5-16","user":"b",\(at),"text":"16","thread":"5-12","mentions":["ana"]}],"first":"5-12","last":"5-18"}
            """)
        try harness.message("5-19")
        let actions = harness.take()
        let shown = actions.compactMap { action -> String? in
            switch action {
            case .emit(.message(_, let message)): "message \(message.position)"
            case .emit(.changed(_, let change)): "changed \(change.position)"
            case .emit(.gap(_, let gap)): "gap \(gap)"
            default: nil
            }
        }
        #expect(shown == ["message 5-12", "changed 5-13", "message 5-16", "message 5-19"])
        for case .emit(.message(_, let message)) in actions where message.position.seq == 16 {
            #expect(message.content.extra?.thread == Position(epoch: 5, seq: 12))
            #expect(message.content.extra?.mentions == [try UserID("ana")])
        }
    }

    @Test func aChangeIsRepeatedWithItsKeyOnTheNextConnection() throws {
        var harness = try Harness.inLobby()
        let id = harness.machine.amend(
            AmendRequest(room: lobby, .react(of: Position(epoch: 5, seq: 9), emoji: "👍")), now: harness.now)
        let first = try #require(harness.written().first)
        #expect(first.contains(#""type":"amend""#) && first.contains(#""reaction":"👍""#) && first.contains(#""key":""#))
        try reconnect(&harness)
        #expect(harness.written().contains(first))
        try harness.hear(#"{"type":"amended","ref":\#(id),"room":"lobby","position":"5-12","repeated":true}"#)
        let reply = AmendReply(Position(epoch: 5, seq: 12), .repeated)
        #expect(harness.take().contains(.complete(id, .success(.amended(reply)))))
    }

    @Test func aTextThatIsTooLongIsRefusedBeforeItIsSent() throws {
        var harness = try Harness.inLobby()
        let text = String(repeating: "x", count: 70_000)
        let id = harness.machine.amend(
            AmendRequest(room: lobby, .edit(of: Position(epoch: 5, seq: 9), text: text, data: nil)), now: harness.now)
        guard case .complete(id, .failure(.badArgument))? = harness.take().first else {
            Issue.record("it was sent")
            return
        }
    }

    @Test func aTextIsTooLongOnlyIfItsFrameIs() throws {
        var harness = try Harness.inLobby()
        func edit(_ text: String) -> UInt64 {
            harness.machine.amend(
                AmendRequest(room: lobby, .edit(of: Position(epoch: 5, seq: 9), text: text, data: nil)),
                now: harness.now)
        }
        _ = edit(String(repeating: "x", count: 60_000))
        #expect(harness.written().first?.contains(#""type":"amend""#) == true)
        // In JSON each of these takes six bytes.
        let id = edit(String(repeating: "\u{1}", count: 11_000))
        guard case .complete(id, .failure(.badArgument))? = harness.take().first else {
            Issue.record("it was sent")
            return
        }
    }

    @Test func aTextThatWasTooLongForTheNodeIsRefusedWhenTheNodeSaysSo() throws {
        var harness = Harness()
        harness.machine.start(now: harness.now)
        let text = String(repeating: "x", count: 70_000)
        let id = harness.machine.amend(
            AmendRequest(room: lobby, .edit(of: Position(epoch: 5, seq: 9), text: text, data: nil)), now: harness.now)
        _ = harness.take()
        try harness.welcome()
        let actions = harness.take()
        #expect(actions.contains { if case .complete(id, .failure(.badArgument)) = $0 { true } else { false } })
        #expect(!actions.contains { if case .write = $0 { true } else { false } })
    }

    @Test func whatIsReadAfterTheLogLostItsEndIsTold() throws {
        var harness = try Harness.inLobby()
        harness.machine.read(lobby, Position(epoch: 5, seq: 10), now: harness.now)
        _ = harness.take()
        try harness.hear(#"{"type":"reset","room":"lobby","position":"7-4","reason":"rewound"}"#)
        harness.wait(.seconds(1))
        _ = harness.take()
        harness.machine.read(lobby, Position(epoch: 7, seq: 5), now: harness.now)
        #expect(harness.written().contains { $0.contains(#""position":"7-5""#) })
        harness.machine.read(lobby, Position(epoch: 5, seq: 99), now: harness.now)
        harness.wait(.seconds(1))
        #expect(!harness.written().contains { $0.contains(#""position":"5-99""#) })
    }

    @Test func whatWasReadWhileNoNodeAnsweredIsToldWhenOneDoes() throws {
        var harness = try Harness.inLobby()
        harness.machine.connectionClosed(.lost, now: harness.now)
        harness.machine.read(lobby, Position(epoch: 5, seq: 9), now: harness.now)
        // No node is there for much longer than a request may take.
        let end = harness.now + .seconds(90)
        while true {
            harness.now = try #require(harness.machine.nextDeadline)
            harness.machine.timerFired(now: harness.now)
            let connects = harness.take().contains { if case .connect = $0 { true } else { false } }
            guard connects else { continue }
            if harness.now > end { break }
            harness.machine.connectionClosed(.unreachable("down"), now: harness.now)
        }
        try harness.welcome()
        let told = harness.written().filter { $0.contains(#""type":"read""#) }
        #expect(told.count == 1 && told.first?.contains(#""position":"5-9""#) == true)
    }

    @Test func aRoomThatMayNotBeWatchedHidesNoOther() throws {
        var harness = try Harness.inLobby()
        func refuse(_ id: UInt64) throws {
            try harness.hear(
                #"{"type":"error","ref":\#(id),"code":301,"name":"forbidden","message":"m","retry":false}"#)
        }
        let (crew, secret) = (try RoomName("crew"), try RoomName("secret"))
        let first = harness.machine.ask(.watch([lobby, crew]), now: harness.now)
        try harness.hear(#"{"type":"watching","ref":\#(first),"rooms":["crew","lobby"]}"#)
        // What is refused at once is not asked for on the next connection.
        try refuse(harness.machine.ask(.watch([lobby, secret]), now: harness.now))
        #expect(harness.machine.watched == [lobby, crew])
        try reconnect(&harness)
        let again = try #require(harness.machine.lookups.last)
        #expect(again.body == .inbox(.watch([lobby, crew])))
        // The user may not read one of them any more.
        try refuse(again.id)
        let apart = harness.machine.lookups.suffix(2)
        #expect(apart.map(\.body) == [.inbox(.watch([lobby])), .inbox(.watch([crew]))])
        let last = try #require(apart.last)
        try refuse(last.id)
        #expect(harness.machine.watched == [lobby])
    }

    @Test func newsOfAKindThatIsNotKnownAreIgnored() throws {
        var harness = try Harness.inLobby()
        try harness.hear(#"{"type":"notice","room":"lobby","kind":"promoted","by":"bob"}"#)
        #expect(harness.told().isEmpty)
        try harness.message("5-11")
        #expect(harness.told() == ["message 5-11"])
    }

    @Test func readPositionsGoForwardsAtMostOnceASecondAndOnceMoreAfterALoss() throws {
        var harness = try Harness.inLobby()
        for seq: UInt64 in [3, 5, 4] { harness.machine.read(lobby, Position(epoch: 5, seq: seq), now: harness.now) }
        #expect(harness.written() == [#"{"type":"read","ref":3,"room":"lobby","position":"5-3"}"#])
        harness.wait(.milliseconds(900))
        #expect(harness.written().isEmpty)
        harness.wait(.milliseconds(100))
        #expect(harness.written() == [#"{"type":"read","ref":4,"room":"lobby","position":"5-5"}"#])
        try harness.hear(#"{"type":"read","ref":3,"room":"lobby","position":"5-3"}"#)
        try reconnect(&harness)
        #expect(harness.written().contains(#"{"type":"read","ref":4,"room":"lobby","position":"5-5"}"#))
    }

    @Test func theInboxIsReadAndRoomsAreWatchedOnEachConnection() throws {
        var harness = try Harness.inLobby()
        let id = harness.machine.ask(.list(limit: 10, cursor: nil), now: harness.now)
        #expect(harness.written() == [#"{"type":"inbox","ref":\#(id),"limit":10}"#])
        try harness.hear(
            """
            {"type":"inbox","ref":\(id),"conversations":[{"room":"dm:ana:bob","kind":"direct","users":["bob"],\
            "role":"member","notify":"mentions","last":{"position":"5-9","user":"bob",\(at),"text":"hi"},"unread":2,\
            "read":"5-7"},{"room":"crew","kind":"group","role":"owner","notify":"all","unread":0}],"cursor":"","more":true}
            """)
        guard case .complete(id, .success(.inbox(.page(_, let page))))? = harness.take().first else {
            Issue.record("no page")
            return
        }
        let (direct, group) = (page.conversations[0].head, page.conversations[1].head)
        let bob = try UserID("bob")
        #expect(direct.kind == .direct && direct.other == bob && direct.unread == 2)
        #expect(direct.last?.text == "hi" && direct.mark?.position.seq == 7 && direct.participant.notify == .mentions)
        #expect(group.participant.role == .owner && group.last == nil && page.hasMore)
        let watching = harness.machine.ask(.watch([lobby]), now: harness.now)
        _ = harness.take()
        try harness.hear(#"{"type":"watching","ref":\#(watching),"rooms":["lobby"]}"#)
        try harness.hear(#"{"type":"head","room":"lobby","position":"5-9","user":"bob",\#(at),"text":"hi","unread":2}"#)
        try harness.hear(#"{"type":"head","room":"lobby","unread":0}"#)
        try harness.hear(#"{"type":"notice","room":"crew","kind":"invited","conversation":"group","by":"bob"}"#)
        try harness.hear(#"{"type":"receipts","room":"lobby","reads":{"bob":"5-9"}}"#)
        #expect(harness.told() == ["head lobby 2", "head lobby 0", "notice invited crew", "receipts bob 5-9"])
        let changes =
            #"{"user":"cy","role":"member","joined":true},{"user":"bob","role":"owner"},{"user":"di","left":true},"#
            + #"{"user":"eve","role":"warden"}"#
        try harness.hear(#"{"type":"participantsChanged","room":"lobby","changes":[\#(changes)]}"#)
        #expect(harness.told() == ["participants cy joined as member, bob owner, di left"])
        try reconnect(&harness)
        #expect(harness.written().contains { $0.contains(#""type":"watch""#) })
        _ = harness.machine.ask(.unwatch([lobby]), now: harness.now)
        try reconnect(&harness)
        // The first one has no answer yet, so both are repeated, in their order.
        let asked = harness.written().filter { $0.contains(#"watch""#) }
        #expect(asked.count == 2 && asked[1].contains(#""type":"unwatch""#))
    }

    @Test func conversationsAreAnsweredWithWhoBelongsToThem() throws {
        var harness = try Harness.inLobby()
        let begun = harness.machine.converse(.direct(try UserID("bob")), now: harness.now)
        #expect(harness.written() == [#"{"type":"conversation","ref":\#(begun),"operation":"direct","user":"bob"}"#])
        try harness.hear(#"{"type":"conversation","ref":\#(begun),"room":"dm:ana:bob","kind":"direct","changed":true}"#)
        let direct = ConversationAnswer.done(try RoomName("dm:ana:bob"), .direct, isChanged: true)
        #expect(harness.take().contains(.complete(begun, .success(.conversation(direct)))))
        let asked = harness.machine.converse(.participants(lobby), now: harness.now)
        _ = harness.take()
        try harness.hear(
            """
            {"type":"participants","ref":\(asked),"room":"lobby","kind":"group","participants":[\
            {"user":"ana","role":"owner","since":"2026-11-21T03:04:05.678Z","notify":"none","read":"5-9"},\
            {"user":"bob","role":"member","since":"2026-11-21T03:04:05.678Z"}]}
            """)
        guard
            case .complete(asked, .success(.conversation(.participants(_, let list?, let viewer))))? = harness.take()
                .first
        else {
            Issue.record("no list")
            return
        }
        let ana = try UserID("ana")
        #expect(list.kind == .group && list.participants[ana]?.role == .owner && viewer == ana)
        #expect(list.reads[ana]?.position.seq == 9 && list.participants.count == 2)
    }

    @Test func starsAreListedWithWhatTheyKeep() throws {
        var harness = try Harness.inLobby()
        let id = harness.machine.converse(.stars(limit: 5, before: nil), now: harness.now)
        #expect(harness.written() == [#"{"type":"stars","ref":\#(id),"limit":5}"#])
        try harness.hear(
            #"{"type":"stars","ref":\#(id),"stars":[{"room":"lobby","position":"5-9","user":"bob",\#(at),"text":"keep",\#(at.replacing("at", with: "starred"))}],"cursor":"17"}"#
        )
        guard case .complete(id, .success(.conversation(.stars(let stars, let before))))? = harness.take().first else {
            Issue.record("no stars")
            return
        }
        #expect(stars.map(\.text) == ["keep"] && stars[0].position.seq == 9 && stars[0].starred > 0 && before == 17)
    }

    @Test func anOlderNodeRefusesAndNewerOperationsAreIgnored() throws {
        var harness = try Harness.inLobby()
        let id = harness.machine.ask(.list(limit: 10, cursor: nil), now: harness.now)
        _ = harness.take()
        try harness.hear(#"{"type":"error","ref":\#(id),"code":103,"name":"unknownType","message":"m","retry":false}"#)
        guard case .complete(id, .failure(.refused(let fault)))? = harness.take().first else {
            Issue.record("no answer")
            return
        }
        #expect(fault.name == "unknownType")
        try harness.hear(
            #"{"type":"changed","room":"lobby","user":"bob",\#(at),"position":"5-11","of":"5-9","operation":"sing"}"#)
        #expect(harness.told().isEmpty)
    }
}
