import MartletClient
import Testing

@testable import martlet

@Suite struct ChatConversationTests {
    private let lobby: RoomName
    private let now = Moment(nanoseconds: 100_000_000_000)
    private let bob: UserID

    init() throws {
        lobby = try RoomName("lobby")
        bob = try UserID("bob")
    }

    /// In a conversation, of which the messages up to 5-9 were read, and `unread` were not.
    private func model(unread: UInt64 = 0, reads: Bool = true) throws -> ChatModel {
        var model = ChatModel(
            user: "ana", room: lobby, history: 20, keyPrefix: "k", endsWithInput: false, reads: reads)
        _ = model.started()
        let own = JoinedReceipts.Own(read: position(9), unread: unread)
        let joined = JoinedRoom(
            room: lobby, position: position(9), members: [], count: 2, resumption: .fresh,
            receipts: JoinedReceipts(reads: [:], own: own))
        _ = model.received(.joined(joined), now: now)
        return model
    }

    private func position(_ seq: UInt64) -> Position { Position(epoch: 5, seq: seq) }

    private func says(_ model: inout ChatModel, _ seq: UInt64, _ text: String, user: String = "bob") throws
        -> [ChatModel.Action]
    {
        model.received(
            .message(
                lobby,
                Message(position: position(seq), content: MessageContent(user: try UserID(user), at: 1_000, text: text))
            ),
            now: now)
    }

    private func change(_ seq: UInt64, _ operation: Amendment.Operation, of: UInt64, text: String? = nil) -> ClientEvent
    {
        .changed(
            lobby,
            Message(
                position: position(seq),
                content: MessageContent(
                    user: bob, at: 2_000, text: text,
                    extra: MessageExtra(amendment: Amendment(operation, of: position(of), number: 1)))))
    }

    @Test func editingAndDeletingAreAboutTheLastMessageOfOnesOwn() throws {
        var model = try model()
        #expect(model.entered("/edit better", now: now) == [.show(.note("you have said nothing here lately"))])
        _ = try says(&model, 10, "mine", user: "ana")
        _ = try says(&model, 11, "theirs")
        #expect(
            model.entered("/edit better", now: now)
                == [.amend(AmendRequest(room: lobby, .edit(of: position(10), text: "better", data: nil)))])
        #expect(model.entered("/delete", now: now) == [.amend(AmendRequest(room: lobby, .delete(of: position(10))))])
        _ = model.received(
            .changed(
                lobby,
                Message(
                    position: position(12),
                    content: MessageContent(
                        user: try UserID("ana"), at: 1,
                        extra: MessageExtra(amendment: Amendment(.delete, of: position(10)))))),
            now: now)
        #expect(model.entered("/delete", now: now) == [.show(.note("you have said nothing here lately"))])
    }

    @Test func reactionsCountFromTheLastMessageOfOthers() throws {
        var model = try model()
        for seq: UInt64 in 10...12 { _ = try says(&model, seq, "m\(seq)") }
        _ = try says(&model, 13, "mine", user: "ana")
        #expect(
            model.entered("/react 👍", now: now)
                == [.amend(AmendRequest(room: lobby, .react(of: position(12), emoji: "👍")))])
        #expect(
            model.entered("/unreact 👍 3", now: now)
                == [.amend(AmendRequest(room: lobby, .unreact(of: position(10), emoji: "👍")))])
        #expect(model.entered("/react 👍 4", now: now) == [.show(.note("there is no such message here"))])
        guard case .show(.note)? = model.entered("/react", now: now).first else {
            Issue.record("it needs an emoji")
            return
        }
    }

    @Test func whatIsUnreadIsMarkedOnceAndWhatIsShownIsRead() throws {
        var model = try model(unread: 2)
        let actions = try says(&model, 10, "new")
        #expect(actions.first == .show(.unread(lobby, 2)))
        #expect(actions.contains(.read(lobby, position(10))))
        #expect(try says(&model, 11, "newer").first != .show(.unread(lobby, 2)))
        var pipe = try self.model(unread: 2, reads: false)
        #expect(!(try says(&pipe, 10, "new")).contains(.read(lobby, position(10))))
    }

    @Test func aChangeIsShownWithTheMessageAsItIs() throws {
        var model = try model()
        _ = try says(&model, 10, "first")
        let actions = model.received(change(11, .edit, of: 10, text: "second"), now: now)
        guard case .show(.changed(_, _, now: let message?))? = actions.first else {
            Issue.record("it is not shown")
            return
        }
        #expect(message.content.text == "second")
        let text = ChatText(user: "ana") { "\($0)" }
        guard case .show(let line)? = actions.first else { return }
        #expect(text.lines(line, in: lobby, now: 0) == ["2000 * bob edited a message of bob, 1000: second"])
        guard case .show(let unknown)? = model.received(change(12, .pin, of: 3), now: now).first else { return }
        #expect(text.lines(unknown, in: lobby, now: 0) == ["2000 * bob pinned 5-3"])
    }

    @Test func aDirectConversationBecomesTheCurrentRoom() throws {
        var model = try model()
        #expect(model.entered("/direct bob", now: now) == [.direct(bob)])
        let room = try RoomName("dm:ana:bob")
        #expect(model.begun(room) == [.join(room, history: 20)])
        #expect(model.current == room)
        #expect(model.entered("/inbox", now: now) == [.inbox])
        let head = RoomHead(
            kind: .direct, participant: Participant(), newest: position(3), mark: nil, unread: 3,
            last: MessagePreview(position: position(3), user: bob, at: 1_000, text: "hi\nyou"), other: bob)
        let page = InboxPage(
            conversations: [InboxConversation(room: room, head: head)], cursor: InboxCursor(), hasMore: false)
        let text = ChatText(user: "ana") { "\($0)" }
        #expect(
            text.lines(.inbox(page), in: lobby, now: 0)
                == ["  bob (3 unread): 1000 bob: hi ⏎ you  /join dm:ana:bob"])
        #expect(
            ChatLine.notice(UserNotice(.invited, room, by: "bob")).json(now: 0)
                == #"{"type":"notice","room":"dm:ana:bob","kind":"invited","by":"bob"}"#)
    }

    @Test func whoIsOnlineIsShownAndWhenOthersWereLastHere() throws {
        var model = try model()
        #expect(model.entered("/seen", now: now) == [.seen(lobby, nil)])
        #expect(model.entered("/seen bob", now: now) == [.seen(lobby, bob)])
        let (cy, di) = (try UserID("cy"), try UserID("di"))
        let online = OnlineUsers(online: [bob], seen: [cy: 60_000])
        #expect(model.seenRead([bob, cy, di], online) == [.show(.seen([bob, cy, di], online))])
        #expect(model.seenRead([], OnlineUsers(online: [])) == [.show(.note("nobody else belongs to it"))])
        let text = ChatText(user: "ana") { "\($0)" }
        func lines(_ now: UInt64) -> [String] { text.lines(.seen([bob, cy, di], online), in: lobby, now: now) }
        #expect(
            lines(7_260_000).map { $0.trimmingPrefix { $0 == " " || $0 == "*" } }
                == ["bob is online", "cy was last here 2 hours ago", "di is offline"])
        for (now, words) in [(60_000, "just now"), (120_000, "1 minute ago"), (259_260_000, "3 days ago")] {
            #expect(lines(UInt64(now))[1].hasSuffix("cy was last here \(words)"))
        }
        var other = ChatModel(
            user: "ana", room: lobby, history: 20, keyPrefix: "k", endsWithInput: false, reads: true)
        guard case .show(.note(let why))? = other.entered("/seen", now: now).first else {
            Issue.record("a room that is no conversation has nobody who belongs to it")
            return
        }
        #expect(why.hasPrefix("nobody belongs to lobby"))
    }

    @Test func whoBelongsToAConversationIsShown() throws {
        let changes = ParticipantChanges(
            [
                ParticipantChange(of: try UserID("bob"), to: .member, isNew: true),
                ParticipantChange(of: try UserID("cy"), to: .moderator),
                ParticipantChange(of: try UserID("di"), to: nil),
            ], hasMore: true)
        let line = ChatLine.participants(lobby, changes)
        #expect(
            ChatText(user: "ana") { "\($0)" }.lines(line, in: lobby, now: 7)
                == [
                    "7 * [lobby] bob joined the conversation, cy is moderator now, di left the conversation, "
                        + "and others came, left or have another role"
                ])
        #expect(
            line.json(now: 0)
                == #"{"type":"participantsChanged","room":"lobby","changes":[{"user":"bob","role":"member","#
                + #""joined":true},{"user":"cy","role":"moderator"},{"user":"di","left":true}],"hasMore":true}"#)
    }

    @Test func nothingIsSaidInTheOldRoomWhileAnotherOneIsBegun() throws {
        var model = try model()
        _ = model.entered("/direct bob", now: now)
        #expect(model.isBeginning)
        #expect(
            model.entered("for bob alone", now: now)
                == [.show(.note("not sent: the conversation is still being begun"))])
        let room = try RoomName("dm:ana:bob")
        _ = model.begun(room)
        #expect(!model.isBeginning)
        guard case .send(room, _, _)? = model.entered("for bob alone", now: now).first else {
            Issue.record("it is not said to bob")
            return
        }
        _ = model.entered("/direct eve", now: now)
        _ = model.notBegun(try UserID("eve"), .timedOut)
        #expect(!model.isBeginning && model.current == room)
    }

    @Test func theEndOfTheInputWaitsForAllAnswers() throws {
        var model = ChatModel(user: "ana", room: lobby, history: 20, keyPrefix: "k", endsWithInput: true)
        _ = model.started()
        _ = model.joinFinished(lobby)
        _ = try says(&model, 10, "mine", user: "ana")
        _ = model.entered("/edit better", now: now)
        _ = model.entered("/inbox", now: now)
        #expect(model.inputEnded(now: now).isEmpty)
        #expect(model.amended().isEmpty)
        let page = InboxPage(conversations: [], cursor: InboxCursor(), hasMore: false)
        #expect(model.inboxRead(page) == [.show(.inbox(page)), .quit(0)])
    }

    @Test func whatWasShownBeforeAResetCanNotBeChanged() throws {
        var model = try model()
        _ = try says(&model, 10, "mine", user: "ana")
        let reset = Reset(position: Position(epoch: 7, seq: 4), reason: .rewound)
        _ = model.received(.reset(lobby, reset), now: now)
        #expect(model.entered("/edit better", now: now) == [.show(.note("you have said nothing here lately"))])
        #expect(model.rooms[lobby]?.newest == reset.position)
    }

    @Test func anInboxSaysThatThereIsMore() throws {
        let head = RoomHead(
            kind: .group, participant: Participant(), newest: nil, mark: nil, unread: 0, last: nil)
        let page = InboxPage(
            conversations: [InboxConversation(room: lobby, head: head)], cursor: InboxCursor(), hasMore: true)
        let lines = ChatText(user: "ana") { "\($0)" }.lines(.inbox(page), in: lobby, now: 0)
        #expect(lines == ["  lobby (read)  /join lobby", "* there are more, which are older"])
    }
}
