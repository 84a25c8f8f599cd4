import MartletClient
import Testing

@testable import martlet

@Suite struct ChatModelTests {
    private let lobby: RoomName
    private let now = Moment(nanoseconds: 100_000_000_000)

    init() throws { lobby = try RoomName("lobby") }

    private func model(endsWithInput: Bool = false) throws -> ChatModel {
        var model = ChatModel(user: "ana", room: lobby, history: 20, keyPrefix: "k", endsWithInput: endsWithInput)
        #expect(model.started() == [.join(lobby, history: 20)])
        return model
    }

    private func joined(_ count: Int = 1) -> ClientEvent {
        .joined(
            JoinedRoom(
                room: lobby, position: Position(epoch: 5, seq: 9), members: [], count: count, resumption: .fresh))
    }

    private func message(_ seq: UInt64, _ text: String, user: String = "bob", key: String? = nil) throws -> ClientEvent
    {
        .message(
            lobby,
            Message(
                position: Position(epoch: 5, seq: seq),
                content: MessageContent(user: try UserID(user), at: 1_000, text: text, key: key)))
    }

    private let sent = Sent(position: Position(epoch: 5, seq: 10), at: 1, repeated: false)

    @Test func aMessageWaitsUntilItIsShownWhateverComesFirst() throws {
        for answerFirst in [true, false] {
            var model = try model()
            _ = model.received(joined(), now: now)
            #expect(model.entered("hi", now: now) == [.send(lobby, text: "hi", key: "k-1")])
            #expect(model.pending.map(\.state) == [.sending])
            if answerFirst {
                #expect(model.sendFinished("k-1", .success(sent), now: now) == [.show(.sent(lobby, key: "k-1", sent))])
                #expect(model.pending.map(\.state) == [.stored(since: now)])
                _ = model.received(try message(10, "hi", user: "ana", key: "k-1"), now: now)
            } else {
                _ = model.received(try message(10, "hi", user: "ana", key: "k-1"), now: now)
                #expect(model.pending.count == 1)
                _ = model.sendFinished("k-1", .success(sent), now: now)
            }
            #expect(model.pending.isEmpty)
        }
    }

    @Test func somebodyElsesMessageWithTheSameKeyEndsNothing() throws {
        var model = try model()
        _ = model.entered("hi", now: now)
        _ = model.received(try message(10, "hi", user: "bob", key: "k-1"), now: now)
        #expect(model.pending.map(\.state) == [.sending])
    }

    @Test func aStoredMessageThatIsNeverShownDoesNotWaitForEver() throws {
        var model = try model()
        _ = model.entered("hi", now: now)
        _ = model.sendFinished("k-1", .success(sent), now: now)
        _ = model.ticked(now: now + .seconds(4))
        #expect(model.pending.count == 1)
        _ = model.ticked(now: now + .seconds(5))
        #expect(model.pending.isEmpty)
    }

    @Test func theEndOfTheInputEndsTheChatOnlyWhenAllIsStoredAndShown() throws {
        var model = try model(endsWithInput: true)
        #expect(model.entered("hi", now: now).count == 1)
        #expect(model.inputEnded(now: now).isEmpty)
        _ = model.received(joined(), now: now)
        #expect(model.joinFinished(lobby).isEmpty)
        #expect(model.sendFinished("k-1", .success(sent), now: now).last != .quit(0))
        #expect(model.received(try message(10, "hi", user: "ana", key: "k-1"), now: now).last == .quit(0))
    }

    @Test func withNothingToSayItStaysUntilTheRoomWasShown() throws {
        var model = try model(endsWithInput: true)
        #expect(model.inputEnded(now: now).isEmpty)
        #expect(model.joinFinished(lobby) == [.quit(0)])
    }

    @Test func aMessageThatCouldNotBeSentIsSaidAndShowsInTheExitCode() throws {
        var model = try model(endsWithInput: true)
        _ = model.joinFinished(lobby)
        _ = model.entered("hi", now: now)
        _ = model.inputEnded(now: now)
        #expect(
            model.sendFinished("k-1", .failure(.timedOut), now: now)
                == [.show(.notSent(lobby, text: "hi", .timedOut)), .quit(1)])
    }

    @Test func aListenerStaysWhenTheInputHasEnded() throws {
        var model = try model()
        #expect(model.inputEnded(now: now).isEmpty)
        #expect(model.joinFinished(lobby).isEmpty)
        #expect(model.quit() == [.quit(0)])
        #expect(model.quit().isEmpty, "once")
    }

    @Test func aRefusedJoinOfTheOnlyRoomEndsItWithAFailure() throws {
        var model = try model()
        let fault = ServerFault(code: 301, name: "forbidden", message: "not yours", retry: false)
        let actions = model.joinFailed(lobby, .refused(fault))
        #expect(actions == [.show(.note("cannot join lobby: forbidden: not yours")), .quit(1)])
    }

    @Test func otherRoomsAreCountedUntilOneGoesThere() throws {
        var model = try model()
        let other = try RoomName("other")
        #expect(model.entered("/join other", now: now) == [.join(other, history: 20)])
        _ = model.received(try message(10, "x"), now: now)
        #expect(model.rooms[lobby]?.unread == 1)
        #expect(model.entered("/join lobby", now: now).isEmpty, "already in it")
        #expect(model.current == lobby)
        #expect(model.rooms[lobby]?.unread == 0)
        _ = model.received(.left(lobby), now: now)
        #expect(model.current == other)
    }

    @Test func historyGoesBackFromTheOldestMessageShown() throws {
        var model = try model()
        _ = model.received(try message(8, "x"), now: now)
        _ = model.received(try message(9, "y"), now: now)
        let before = Position(epoch: 5, seq: 8)
        #expect(model.entered("/history 5", now: now) == [.history(lobby, before: before, limit: 5)])
        let first = Message(
            position: Position(epoch: 5, seq: 3), content: MessageContent(user: try UserID("bob"), at: 1, text: "a"))
        _ = model.historyRead(
            lobby, .success(HistoryPage(messages: [first], newest: nil, hasOlder: true, hasNewer: true)))
        #expect(model.entered("/history", now: now) == [.history(lobby, before: Position(epoch: 5, seq: 3), limit: 20)])
    }

    @Test func typingIsToldNowAndThenAndFades() throws {
        var model = try model()
        #expect(model.typed(now: now).isEmpty, "nobody is there to be told")
        let welcome = Welcome(
            session: "s", user: try UserID("ana"), device: try DeviceName("d"), node: "n", heartbeat: 25,
            limits: Limits())
        _ = model.received(.connected(welcome), now: now)
        _ = model.received(joined(), now: now)
        #expect(model.typed(now: now) == [.signalTyping(lobby)])
        #expect(model.typed(now: now + .seconds(1)).isEmpty)
        #expect(model.typed(now: now + .seconds(3)) == [.signalTyping(lobby)])

        _ = model.received(.signal(lobby, user: try UserID("bob"), name: "typing", data: nil), now: now)
        #expect(model.typing(now: now + .seconds(4)).map(\.text) == ["bob"])
        #expect(model.typing(now: now + .seconds(6)).isEmpty)
        _ = model.received(.signal(lobby, user: try UserID("bob"), name: "typing", data: nil), now: now)
        _ = model.received(try message(11, "done"), now: now)
        #expect(model.typing(now: now).isEmpty, "who has said it types no more")
    }

    @Test(arguments: [
        ("", ChatEntry.nothing), ("   ", .nothing), ("hi", .say("hi")), ("//x", .say("/x")),
        ("/join 뉴스 룸", .join("뉴스 룸")),
        ("/who", .who(nil)), ("/history 7", .history(7)), ("/q", .quit), (" /x", .say(" /x")),
        ("/leave b ", .leave("b")),
    ])
    func linesMeanWhatTheySay(line: String, entry: ChatEntry) {
        #expect(ChatEntry(line) == entry)
    }

    @Test(arguments: ["/history 0", "/history x", "/history 1001", "/join", "/nonsense", "/"])
    func commandsThatMakeNoSenseSaySo(line: String) {
        guard case .wrong = ChatEntry(line) else {
            Issue.record("\(line) was taken for \(ChatEntry(line))")
            return
        }
    }

    @Test func aRoomThatCannotBeIsSaidAndNotJoined() throws {
        var model = try model()
        guard case .show(.note(let text)) = try #require(model.entered("/join {x}", now: now).first) else {
            Issue.record("no note")
            return
        }
        #expect(text.contains("brace"))
    }
}

@Suite struct ChatScreenTests {
    private let lobby: RoomName
    init() throws { lobby = try RoomName("lobby") }

    private var text: ChatText { ChatText(user: "ana") { _ in "12:00" } }

    private func lines(_ line: ChatLine, columns: Int? = nil, colour: Bool = false) -> [String] {
        var text = text
        text.columns = columns
        text.colour = colour
        return text.lines(line, in: lobby, now: 0)
    }

    private func message(_ user: String, _ words: String?, data: String? = nil) throws -> ChatLine {
        .message(
            lobby,
            Message(
                position: Position(epoch: 1, seq: 1),
                content: MessageContent(user: try UserID(stored: user), at: 0, text: words, data: data)))
    }

    @Test func aMessageIsALineAndFurtherLinesAreSetIn() throws {
        #expect(lines(try message("bob", "hi")) == ["12:00 bob: hi"])
        #expect(lines(try message("bob", "a\nb")) == ["12:00 bob: a", "      b"])
        #expect(lines(try message("bob", nil, data: "{\"x\":1}")) == ["12:00 bob: {\"x\":1}"])
        #expect(
            lines(try message("bob", "one two three four"), columns: 20) == ["12:00 bob: one", "     two three four"])
    }

    @Test func nothingThatOthersSayReachesTheTerminalAsACommand() throws {
        let evil = "\u{1B}]0;x\u{7}\u{9B}2J\u{202E}"
        let user = try UserID(stored: "b\u{202E}b")
        let place = try RoomName(stored: "r\u{2066}")
        let fault = ServerFault(code: 1, name: evil, message: evil, retry: false)
        let kinds: [ChatLine] = [
            try message("bob\u{202E}", evil), try message("bob", nil, data: evil), .note(evil), .fault(fault),
            .presence(place, joined: [user], left: [user], count: 1), .left(place),
            .notSent(place, text: evil, .rejected(evil)),
            .disconnected(.closeFrame(code: 1, reason: evil), retryIn: .seconds(1)),
            .people(place, RosterPage(members: [RosterMember(user: user, devices: [])], count: 1, cursor: nil)),
            .signal(place, user: user, name: evil, data: evil),
        ]
        var all = text
        all.showsSignals = true
        for kind in kinds {
            for line in all.lines(kind, in: lobby, now: 0) {
                for scalar in line.unicodeScalars {
                    #expect(
                        !TerminalText.harmless(String(Character(scalar))).contains("\u{FFFD}") || scalar == "\u{FFFD}")
                    #expect(scalar.value >= 0x20)
                }
            }
            let json = kind.json(now: 0)
            #expect(!json.unicodeScalars.contains { $0.value < 0x20 || (0x7F..<0xA0).contains($0.value) })
        }
    }

    @Test func aGapAndAResetAreSaidInNumbers() {
        let gap = Gap(after: Position(epoch: 5, seq: 3), before: Position(epoch: 5, seq: 9))
        #expect(lines(.gap(lobby, gap)) == ["12:00 * 5 messages are gone from the log of lobby, between 5-3 and 5-9"])
        let reset = lines(.reset(lobby, Reset(position: Position(epoch: 7, seq: 1), reason: .rewound)))
        #expect(reset[0].contains("goes on at 7-1"))
    }

    @Test func whoComesAndGoesIsSaidAndOfOtherRoomsWhere() throws {
        let (bob, ana) = (try UserID("bob"), try UserID("ana"))
        let other = try RoomName("other")
        #expect(lines(.presence(lobby, joined: [bob], left: [], count: 2)) == ["12:00 * bob came (2 here)"])
        #expect(lines(.presence(other, joined: [], left: [bob], count: 1)) == ["12:00 * [other] bob left (1 here)"])
        #expect(lines(.presence(lobby, joined: [ana], left: [], count: 1)).isEmpty, "oneself is said by the join")
        #expect(lines(.presence(lobby, joined: [], left: [], count: 500)).isEmpty, "large rooms only count")
    }

    @Test func theFooterStaysBelowWhatComesIn() throws {
        var model = ChatModel(user: "ana", room: lobby, history: 1, keyPrefix: "k", endsWithInput: false)
        _ = model.started()
        var editor = LineEditor()
        _ = editor.handle(.text("안녕"))
        var screen = ChatScreen()
        let now = Moment(nanoseconds: 0)
        let footer = ChatFooter(model, editor: editor, text: text, columns: 80, now: now)
        #expect(footer.lines == ["○ lobby · connecting", "> 안녕"])
        #expect(footer.column == 6)
        #expect(screen.draw([], footer, columns: 80) == "○ lobby · connecting\r\n> 안녕\r\u{1B}[6C")
        #expect(screen.draw([], footer, columns: 80).isEmpty, "nothing changed")
        #expect(
            screen.draw(["new"], footer, columns: 80)
                == "\u{1B}[1A\r\u{1B}[Jnew\r\n○ lobby · connecting\r\n> 안녕\r\u{1B}[6C")
        // With ten columns, the state takes two rows.
        #expect(screen.erase(columns: 10) == "\u{1B}[2A\r\u{1B}[J")
    }

    @Test func whatWaitsIsShownAndTheRestIsCounted() throws {
        var model = ChatModel(user: "ana", room: lobby, history: 1, keyPrefix: "k", endsWithInput: false)
        for number in 1...7 { _ = model.entered("m\(number)\u{1B}", now: Moment(nanoseconds: 0)) }
        #expect(model.pending.isEmpty, "not before the room was asked for")
        _ = model.started()
        for number in 1...7 { _ = model.entered("m\(number)\u{1B}", now: Moment(nanoseconds: 0)) }
        let footer = ChatFooter(model, editor: LineEditor(), text: text, columns: 80, now: Moment(nanoseconds: 0))
        #expect(footer.lines.prefix(2) == ["  … 2 more on their way", "  … m3␛"])
        #expect(footer.lines.count == 8)
    }

    @Test func namesAndCommandsAreCompleted() throws {
        var model = ChatModel(user: "ana", room: lobby, history: 1, keyPrefix: "k", endsWithInput: false)
        _ = model.started()
        _ = model.received(
            .presence(
                lobby, joined: [try UserID("barbara"), try UserID("bob"), try UserID("김철수")], left: [], count: 3),
            now: Moment(nanoseconds: 0))
        #expect(ChatCompletion.complete("/hi", model) == "/history ")
        #expect(ChatCompletion.complete("bo", model) == "bob: ")
        #expect(ChatCompletion.complete("b", model) == nil)
        #expect(ChatCompletion.complete("hi 김", model) == "hi 김철수 ")
        #expect(ChatCompletion.complete("", model) == nil)
    }

    @Test func linesAreCutOutOfBytes() {
        var splitter = LineSplitter()
        #expect(splitter.add(Array("a\r\nb".utf8)) == [.text("a")])
        #expect(splitter.add(Array("c\n\n".utf8)) == [.text("bc"), .text("")])
        #expect(splitter.rest() == nil)
        #expect(splitter.add([0xFF]).isEmpty)
        #expect(splitter.rest() == .text("\u{FFFD}"))
    }

    @Test func aByteOrderMarkIsNoPartOfTheFirstLineAndOnlyOfThat() {
        var splitter = LineSplitter()
        #expect(splitter.add([0xEF]).isEmpty && splitter.add([0xBB, 0xBF] + Array("a".utf8)).isEmpty)
        #expect(splitter.add(Array("b\n\u{FEFF}c\n".utf8)) == [.text("ab"), .text("\u{FEFF}c")])
        var alone = LineSplitter()
        #expect(alone.add([0xEF, 0xBB, 0xBF, 0x0D, 0x0A]) == [.text("")])
        var short = LineSplitter()
        #expect(short.add([0xEF, 0xBB, 0xBF]).isEmpty && short.rest() == .text(""))
    }

    @Test func aLineThatIsTooLongIsNotSentNorCutIntoTwo() throws {
        var splitter = LineSplitter()
        let most = [UInt8](repeating: 97, count: LineSplitter.maxLine)
        #expect(splitter.add(most + [98]).isEmpty)
        #expect(splitter.add(most + Array("\nnext\n".utf8)) == [.tooLong, .text("next")])
        #expect(splitter.add(most).isEmpty)
        #expect(splitter.rest() == .text(String(repeating: "a", count: most.count)))
        var chat = ChatModel(
            user: "ana", room: try RoomName("lobby"), history: 1, keyPrefix: "k", endsWithInput: true)
        _ = chat.started()
        guard case .show(.note) = chat.enteredTooLong().first else {
            Issue.record("nothing was said of it")
            return
        }
        #expect(chat.quit() == [.quit(1)])
    }

    @Test func whatPeoplePasteIsAnAddress() {
        #expect(Chat.address("http://h:1") == "ws://h:1")
        #expect(Chat.address("https://h") == "wss://h")
        #expect(Chat.address("h:1") == "ws://h:1")
        #expect(Chat.address("wss://h/ws") == "wss://h/ws")
    }
}
