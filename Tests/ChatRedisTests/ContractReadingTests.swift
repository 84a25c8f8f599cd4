import ChatCore
import RedisSchema
import TestSupport
import Testing

@testable import ChatRedis

/// What participants have read, over both brokers.
@Suite struct ContractReadingTests {
    private let n1: NodeID
    private let n2: NodeID
    private let ana: UserID
    private let bob: UserID
    private let eve: UserID

    init() throws {
        n1 = try NodeID("n1-1")
        n2 = try NodeID("n2-1")
        ana = try UserID("ana")
        bob = try UserID("bob \"b\": 이")
        eve = try UserID("eve")
    }

    /// A store whose room has these two participants, and a node in it. Returns the epoch.
    private func begin(_ kind: StoreKind) async throws -> (ContractStore, UInt64) {
        let store = try await ContractStore(kind)
        _ = try store.reply(
            .conversation(ConversationRequest(.create([ana, bob]), in: store.room, by: nil, mayDoAll: true)))
        return (store, try store.enter(n1).epoch)
    }

    private func append(
        _ store: ContractStore, _ epoch: UInt64, _ user: UserID, _ text: String = "x"
    ) throws -> Position {
        let content = MessageContent(user: user, at: 7, text: text)
        let request = BrokerRequest.append(room: store.room, epoch: epoch, content: content)
        guard case .appended(let position, _) = try store.reply(request) else {
            throw StoreFailure("append: no position")
        }
        return position
    }

    private func read(
        _ store: ContractStore, _ reads: [UserRead]
    ) throws -> (outcomes: [ReadOutcome], events: [ChannelEvent]) {
        let answer = try store.ask(.reading(.read(room: store.room, reads, isBooked: false)))
        guard case .reading(.read(let outcomes)) = try answer.result.get() else { throw StoreFailure("\(answer)") }
        return (outcomes, answer.events)
    }

    private func head(_ store: ContractStore, of user: UserID) throws -> RoomHead? {
        guard case .reading(.head(let head)) = try store.reply(.reading(.head(room: store.room, of: user))) else {
            throw StoreFailure("no head")
        }
        for guess in [ConversationKind.group, .direct] {
            switch try brief(store, of: user, guess) {
            case .head(let brief, _): #expect(brief == head)
            case .stranger: #expect(head == nil)
            case .unknown: break
            }
        }
        return head
    }

    private func brief(_ store: ContractStore, of user: UserID, _ kind: ConversationKind) throws -> BriefHead {
        let request = ReadingRequest.brief(room: store.room, of: user, kind)
        guard case .reading(.brief(let brief)) = try store.reply(.reading(request)) else {
            throw StoreFailure("no brief head")
        }
        return brief
    }

    /// What most lines of an inbox are read with. (That it is what `head` tells is checked wherever a test asks for a
    /// head.)
    @Test(arguments: StoreKind.allCases)
    func commandsThatOnlyReadTellMostHeads(_ kind: StoreKind) async throws {
        let (store, epoch) = try await begin(kind)
        #expect(try brief(store, of: ana, .group) == .unknown, "nothing was said")
        let place = try append(store, epoch, bob, "news")
        #expect(try brief(store, of: ana, .group) == .unknown, "ana has read nothing")
        guard case .head(let bobs, _) = try brief(store, of: bob, .group) else { throw StoreFailure("no head") }
        #expect(try bobs.unread == 0 && bobs == head(store, of: bob))
        _ = try read(store, [UserRead(ana, place)])
        _ = try append(store, epoch, bob, "more")
        guard case .head(let anas, let bytes) = try brief(store, of: ana, .group) else {
            throw StoreFailure("no head")
        }
        #expect(try anas.unread == 1 && anas.last?.text == "more" && bytes >= 4 && anas == head(store, of: ana))
        #expect(try brief(store, of: try UserID("mallory"), .group) == .stranger)
        let ban = Moderation.ban(ana, for: nil, reason: "spam")
        _ = try store.reply(.moderate(room: store.room, ban, by: "mod"))
        #expect(try brief(store, of: ana, .group) == .unknown, "a banned user is not shown the message")
    }

    private func receipts(_ store: ContractStore) throws -> ReceiptsView? {
        guard case .reading(.receipts(let view)) = try store.reply(.reading(.receipts(room: store.room))) else {
            throw StoreFailure("no receipts")
        }
        return view
    }

    @Test(arguments: StoreKind.allCases)
    func positionsOnlyGoForwardAndAreToldInOneLine(_ kind: StoreKind) async throws {
        let (store, epoch) = try await begin(kind)
        let places = try (0..<5).map { _ in try append(store, epoch, ana) }
        let first = try read(store, [UserRead(ana, places[4]), UserRead(bob, places[1]), UserRead(eve, places[1])])
        #expect(
            first.outcomes == [
                ReadOutcome(.read, mark: ReadMark(places[4]), unread: 0),
                ReadOutcome(.read, mark: ReadMark(places[1]), unread: 3),
                ReadOutcome(.stranger, mark: nil, unread: 0),
            ])
        #expect(first.events == [.reads([ana: ReadMark(places[4]), bob: ReadMark(places[1])])])
        // Nothing goes back, and what changes nothing is not told.
        let second = try read(store, [UserRead(ana, places[0]), UserRead(bob, places[1])])
        #expect(second.outcomes.map(\.result) == [.known, .known] && second.events.isEmpty)
        #expect(second.outcomes.map(\.mark?.position) == [places[4], places[1]])
        let third = try read(store, [UserRead(bob, places[2])])
        #expect(third.events == [.reads([bob: ReadMark(places[2])])])
        #expect(
            try receipts(store)
                == ReceiptsView(
                    count: 2, tally: LogTally(last: 5), kept: 5,
                    marks: [ana: ReadMark(places[4]), bob: ReadMark(places[2])]))
    }

    @Test(arguments: StoreKind.allCases)
    func aPositionAheadOfTheLogCountsAsItsEndAndOneOfNoHistoryIsRefused(_ kind: StoreKind) async throws {
        let (store, epoch) = try await begin(kind)
        let place = try append(store, epoch, ana)
        let (outcomes, events) = try read(
            store,
            [
                UserRead(ana, Position(epoch: epoch, seq: 1_000)), UserRead(bob, Position(epoch: epoch + 5, seq: 1)),
                UserRead(bob, Position(epoch: epoch - 5_000, seq: 1)), UserRead(bob, Position(epoch: 0, seq: 0)),
            ])
        #expect(outcomes.map(\.result) == [.read, .lost, .lost, .known])
        #expect(outcomes[0].mark == ReadMark(place) && outcomes[3].unread == 1)
        #expect(events == [.reads([ana: ReadMark(place)])])
    }

    @Test(arguments: StoreKind.allCases)
    func aMarkHasTheEpochOfItsMessageAndSurvivesLaterOnes(_ kind: StoreKind) async throws {
        let (store, epoch) = try await begin(kind)
        let places = try (0..<2).map { _ in try append(store, epoch, ana) }
        // Others enter: the epochs are newer, the messages are the same.
        let second = try store.enter(n2).epoch
        let (outcomes, _) = try read(store, [UserRead(bob, Position(epoch: second, seq: 2))])
        #expect(outcomes == [ReadOutcome(.read, mark: ReadMark(places[1]), unread: 0)])
        let third = try store.enter(n1).epoch
        let last = try append(store, third, ana)
        #expect(try head(store, of: bob)?.unread == 1)
        // A position of the second epoch beyond its end is of a branch that was lost.
        let lost = try read(store, [UserRead(bob, Position(epoch: second, seq: 3))])
        #expect(lost.outcomes.map(\.result) == [.lost])
        let now = ReadOutcome(.read, mark: ReadMark(last), unread: 0)
        #expect(try read(store, [UserRead(bob, last)]).outcomes == [now])
    }

    @Test(arguments: StoreKind.allCases)
    func aRoomWithoutParticipantsHasNeitherReceiptsNorHeads(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let epoch = try store.enter(n1).epoch
        let place = try append(store, epoch, ana)
        #expect(try receipts(store) == nil && head(store, of: ana) == nil)
        let (outcomes, events) = try read(store, [UserRead(ana, place)])
        #expect(outcomes == [ReadOutcome(.stranger, mark: nil, unread: 0)] && events.isEmpty)
    }

    @Test(arguments: StoreKind.allCases)
    func aHeadHasTheNewestMessageAndWhatIsUnread(_ kind: StoreKind) async throws {
        let (store, epoch) = try await begin(kind)
        let empty = try #require(try head(store, of: bob))
        #expect(empty.kind == .group && empty.newest == nil && empty.last == nil && empty.unread == 0)
        #expect(try head(store, of: eve) == nil)
        _ = try append(store, epoch, bob)
        let place = try append(store, epoch, ana, "the \"news\"")
        let bobs = try #require(try head(store, of: bob))
        #expect(bobs.last == MessagePreview(position: place, user: ana, at: 7, text: "the \"news\""))
        #expect(bobs.newest == place && bobs.unread == 2 && bobs.participant.role == .member && bobs.other == nil)
        // Who said the newest message has nothing to read.
        let anas = try #require(try head(store, of: ana))
        #expect(anas.unread == 0 && anas.mark == ReadMark(place) && anas.participant.role == .owner)
        _ = try append(store, epoch, bob)
        #expect(try head(store, of: ana)?.unread == 3)
        _ = try read(store, [UserRead(ana, place)])
        #expect(try head(store, of: ana)?.unread == 1)
    }

    @Test(arguments: StoreKind.allCases)
    func theOtherOneOfADirectConversationIsNamed(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let room = try #require(RoomName(directOf: ana, and: bob))
        _ = try store.reply(.conversation(ConversationRequest(.direct(ana, bob), in: room, by: ana)))
        guard case .reading(.head(let head?)) = try store.reply(.reading(.head(room: room, of: ana))) else {
            throw StoreFailure("no head")
        }
        #expect(head.kind == .direct && head.other == bob)
        _ = try store.reply(.say(room: room, content: MessageContent(user: ana, at: 7, text: "hi")))
        guard
            case .reading(.brief(.head(let brief, _))) = try store.reply(
                .reading(.brief(room: room, of: ana, .direct)))
        else { throw StoreFailure("no brief head") }
        #expect(brief.kind == .direct && brief.other == bob && brief.unread == 0 && brief.last?.text == "hi")
    }

    @Test(arguments: StoreKind.allCases)
    func whoIsBannedDoesNotReadTheNewestMessage(_ kind: StoreKind) async throws {
        let (store, epoch) = try await begin(kind)
        let place = try append(store, epoch, bob, "for participants")
        #expect(try head(store, of: ana)?.last?.text == "for participants")
        let ban = Moderation.ban(ana, for: nil, reason: "spam")
        _ = try store.reply(.moderate(room: store.room, ban, by: "mod"))
        let banned = try head(store, of: ana)
        #expect(banned?.last == nil && banned?.newest == place && banned?.unread == 1)
        #expect(try head(store, of: bob)?.last?.text == "for participants")
    }

    @Test(arguments: StoreKind.allCases)
    func whatAParticipantSaysFromOutsideIsRead(_ kind: StoreKind) async throws {
        let (store, epoch) = try await begin(kind)
        _ = try append(store, epoch, bob)
        let content = MessageContent(user: ana, at: 7, text: "from outside")
        guard case .said(let place, false) = try store.reply(.say(room: store.room, content: content)) else {
            throw StoreFailure("not said")
        }
        _ = try append(store, epoch, bob)
        #expect(try receipts(store)?.marks[ana] == ReadMark(place))
        #expect(try head(store, of: ana)?.unread == 1)
    }

    @Test(arguments: StoreKind.allCases)
    func whoCameLaterHasNothingOfBeforeToReadAndWhoLeftNoMark(_ kind: StoreKind) async throws {
        let (store, epoch) = try await begin(kind)
        _ = try append(store, epoch, bob)
        let invite = ConversationRequest(.invite([eve]), in: store.room, by: nil, mayDoAll: true)
        _ = try store.reply(.conversation(invite))
        #expect(try head(store, of: eve)?.unread == 0 && head(store, of: ana)?.unread == 1)
        let view = try store.view()
        _ = try append(store, view.epoch, bob)
        #expect(try head(store, of: eve)?.unread == 1)
        _ = try store.reply(.conversation(ConversationRequest(.leave, in: store.room, by: eve)))
        #expect(try receipts(store)?.marks[eve] == nil && receipts(store)?.count == 2)
    }

    @Test(arguments: StoreKind.allCases)
    func aLogThatIsTrimmedKeepsTheCount(_ kind: StoreKind) async throws {
        let (store, epoch) = try await begin(kind)
        let first = try append(store, epoch, ana)
        _ = try read(store, [UserRead(bob, first)])
        for _ in 0..<(2 * ContractStore.historyLength) { _ = try append(store, epoch, ana) }
        #expect(try head(store, of: bob)?.unread == UInt64(2 * ContractStore.historyLength))
    }

    /// Only `trim` knows who has read, and it trims exactly in Redis too.
    @Test(arguments: StoreKind.allCases)
    func theLogIsHeldForWhoHasNotReadIt(_ kind: StoreKind) async throws {
        let (store, epoch) = try await begin(kind)
        func append(_ count: Int) throws -> Position {
            var last = Position(epoch: 0, seq: 0)
            for _ in 0..<count {
                let content = MessageContent(user: ana, at: 7, text: "x")
                let request = BrokerRequest.append(room: store.room, epoch: epoch, content: content, isHeld: true)
                guard case .appended(let position, _) = try store.reply(request) else { throw StoreFailure("append") }
                last = position
            }
            return last
        }
        func length() throws -> Int {
            #expect(try store.reply(.trim(room: store.room)) == .done)
            return try store.view().entries.count
        }
        let (normal, most) = (ContractStore.historyLength, ContractStore.heldLength)
        let last = try append(2 * normal)
        #expect(try length() == 2 * normal, "nobody has read anything")
        _ = try read(store, [UserRead(ana, last), UserRead(bob, Position(epoch: epoch, seq: 10))])
        #expect(try length() == 2 * normal - 10, "what bob has read is not held")
        _ = try read(store, [UserRead(bob, last)])
        #expect(try length() == normal)
        _ = try append(most)
        #expect(try length() == most, "it is not held beyond its bound")
    }

    /// Long messages are held up to a bound in bytes.
    @Test func aHeldLogHasABoundInBytes() async throws {
        let (store, epoch) = try await begin(.redis)
        let text = String(repeating: "x", count: 40_000)
        for _ in 0..<120 {
            try store.raw("XADD", store.key(.log), "\(epoch)-*", "user", "ana", "at", "7", "text", text)
        }
        func trimmed(_ bounds: String) throws -> Int {
            try store.raw("FCALL", "martlet_trim", "1", store.key(.log), bounds)
            return try store.view(limit: 200).entries.count
        }
        #expect(try trimmed("20:400000:1000:100000000") == 120)
        let held = try trimmed("20:400000:1000:2000000")
        #expect((40...50).contains(held), "\(held)")
        let last = Position(epoch: epoch, seq: 120)
        _ = try read(store, [UserRead(ana, last), UserRead(bob, last)])
        #expect((8...10).contains(try trimmed("20:400000:1000:2000000")))
        #expect((1...5).contains(try trimmed("200000")), "as nodes of earlier versions ask")
    }

    @Test func aLogIsHeldForTheSinksThatNodesName() async throws {
        let store = try await ContractStore(.redis)
        func say(_ count: Int, _ bounds: String) throws {
            for _ in 0..<count {
                try store.raw("FCALL", "martlet_say", "1", store.key(.log), "filler", "x", "", "", "", bounds)
            }
        }
        func trimmed(_ bounds: String) throws -> Int {
            try store.raw("FCALL", "martlet_trim", "1", store.key(.log), bounds)
            return try store.view(limit: 200).entries.count
        }
        func cursor(_ sink: String, _ back: Int) throws {
            let entries = try store.view(limit: 200).entries
            let place = entries[entries.count - 1 - back].position
            try store.raw("HSET", store.key(.cursors), sink, "\(place) 7")
        }
        let held = "20:1000000:80:1000000:a,b"
        try say(60, held)
        #expect(try trimmed(held) == 60, "no sink has anything")
        try cursor("a", 0)
        #expect(try trimmed(held) == 60, "b has nothing")
        try cursor("b", 35)
        #expect(try trimmed(held) == 35)
        try say(60, held)
        #expect(try trimmed(held) == 80, "not beyond its bound")
        try cursor("a", 0)
        try cursor("b", 0)
        #expect(try trimmed(held) == 20)
        try store.raw("HSET", store.key(.cursors), "a", "9-9999 7")
        try say(10, held)
        #expect(try trimmed(held) == 30, "of a log that has begun again it has nothing")
        let plain = "20:1000000:80:1000000"
        try say(1, plain)
        #expect(try trimmed(plain) == 20, "of nodes that hold for participants alone")
    }

    @Test(arguments: StoreKind.allCases)
    func aCallHasABound(_ kind: StoreKind) async throws {
        let (store, epoch) = try await begin(kind)
        let place = try append(store, epoch, ana)
        for count in [0, ReadingRequest.mostReads + 1] {
            let reads = Array(repeating: UserRead(bob, place), count: count)
            let request = ReadingRequest.read(room: store.room, reads, isBooked: count > 0)
            guard case .failure(.notStored(let text)) = try store.ask(.reading(request)).result
            else { throw StoreFailure("\(count) reads were taken") }
            #expect(text.hasPrefix("ERR martlet: read takes 1 to 200"))
        }
        let reads = Array(repeating: UserRead(bob, place), count: ReadingRequest.mostReads)
        #expect(try read(store, reads).outcomes.count == ReadingRequest.mostReads)
    }

    @Test func theMemoryBrokersHubKnowsWhoListens() throws {
        let hub = MemoryBrokerHub()
        var news: [MemoryBrokerNews] = []
        let one = hub.connect { event, _ in news.append(event) }
        let two = hub.connect { _, _ in }
        let tag = RequestTag(owner: 0, generation: 0, serial: 5)
        for (client, count) in [(nil, 0), (one, 1), (two, 2)] as [(MemoryBrokerHub.ClientID?, Int)] {
            if let client { hub.perform(.subscribe(.user(ana)), from: client, now: 1) }
            news = []
            hub.perform(.submit(.reading(.listeners(of: ana)), tag), from: one, now: 1)
            #expect(news == [.completed(tag, .success(.reading(.listeners(count))))])
        }
    }

    // MARK: Redis alone

    @Test func amendmentsAreNotUnread() async throws {
        let (store, epoch) = try await begin(.redis)
        let places = try (0..<6).map { _ in try append(store, epoch, ana) }
        // The second, fourth and fifth entry are amendments.
        try store.raw("HSET", store.key(.meta), "ops", "3")
        let amendments = store.keys.channel(of: store.room.text) + ":amendments"
        try store.raw("ZADD", amendments, "2", "2", "4", "4", "5", "5")
        let (outcomes, _) = try read(store, [UserRead(bob, places[2]), UserRead(ana, places[4])])
        #expect(
            outcomes == [
                ReadOutcome(.read, mark: ReadMark(places[2], amendments: 1), unread: 1),
                ReadOutcome(.read, mark: ReadMark(places[4], amendments: 3), unread: 1),
            ])
        #expect(try receipts(store)?.tally == LogTally(last: 6, amendments: 3))
        #expect(try head(store, of: bob)?.unread == 1)
    }

    @Test func aRoomWithMoreParticipantsThanThatIsNotTold() async throws {
        let (store, epoch) = try await begin(.redis)
        let place = try append(store, epoch, ana)
        try store.raw("FCALL", "martlet_read", "1", store.key(.log), "ana", "\(place)", "1")
        #expect(try read(store, [UserRead(ana, place)]).events.isEmpty)
        guard case .array(let view) = try store.raw("FCALL", "martlet_receipts", "1", store.key(.log), "1") else {
            throw StoreFailure("no receipts")
        }
        #expect(view.count == 5 && view[0] == .integer(2) && view[4] == .array([]))
    }

    @Test func marksOfNobodysMakingCountAsNone() async throws {
        let (store, epoch) = try await begin(.redis)
        let place = try append(store, epoch, ana)
        for text in ["", "x", "5-1", "5-1.2", "\(epoch)-9.0", "1-1.0", "\(epoch)-1.9999999999999999999999"] {
            try store.raw("HSET", store.key(.reads), bob.text, text)
            #expect(try head(store, of: bob)?.mark == nil, "\(text)")
            #expect(try head(store, of: bob)?.unread == 1, "\(text)")
            #expect(try receipts(store)?.marks[bob] == nil, "\(text)")
            #expect(try read(store, [UserRead(bob, place)]).outcomes.map(\.result) == [.read], "\(text)")
        }
    }

    @Test func aLongTextIsCutBetweenCharacters() async throws {
        let (store, epoch) = try await begin(.redis)
        for (text, characters) in [
            (String(repeating: "é", count: 5_000), 100), (String(repeating: "👨‍👩‍👧‍👦", count: 300), 40),
            ("a" + String(repeating: "이", count: 3_000), 100), (String(repeating: "x", count: 1_024), 100),
        ] {
            _ = try append(store, epoch, ana, text)
            let shown = try #require(try head(store, of: bob)?.last?.text)
            #expect(text.hasPrefix(shown) && shown.count == characters, "\(shown.count)")
        }
    }

    @Test func aRoomThatNobodyHoldsExpiresWithItsMarks() async throws {
        let (store, epoch) = try await begin(.redis)
        let place = try append(store, epoch, ana)
        _ = try store.leave(n1, epoch)
        try store.raw("DEL", store.key(.reads))
        _ = try read(store, [UserRead(bob, place)])
        guard case .integer(let time) = try store.raw("PTTL", store.key(.reads)) else { throw StoreFailure("PTTL") }
        #expect(time > 0)
    }

    @Test func forARelayWhatIsReadIsWrittenDownInOrder() async throws {
        let (store, epoch) = try await begin(.redis)
        let places = [try append(store, epoch, ana), try append(store, epoch, ana)]
        func book(_ reads: [UserRead], _ isBooked: Bool = true) throws {
            _ = try store.ask(.reading(.read(room: store.room, reads, isBooked: isBooked)))
        }
        try book([UserRead(bob, places[0])], false)
        #expect(try store.raw("EXISTS", store.key(.receipts)) == .integer(0), "nobody would read it")
        try book([UserRead(bob, places[1]), UserRead(ana, places[1]), UserRead(eve, places[1])])
        // What moves nobody forward is no entry.
        try book([UserRead(bob, places[0])])
        let mark = Tree.string(Array("\(places[1]).0".utf8))
        guard case .array(let entries) = try store.raw("XRANGE", store.key(.receipts), "-", "+"), entries.count == 1,
            case .array(let entry) = entries[0], let fields = entry.last
        else { throw StoreFailure("not one entry") }
        #expect(fields == .array([.string(Array(bob.text.utf8)), mark, .string(Array(ana.text.utf8)), mark]))
        guard case .integer(let life) = try store.raw("PTTL", store.key(.receipts)) else {
            throw StoreFailure("no TTL")
        }
        #expect(life > 86_000_000 && life <= 86_400_000)
        try store.raw("DEL", store.key(.receipts))
        try store.raw("SET", store.key(.receipts), "x")
        let request = ReadingRequest.read(room: store.room, [UserRead(bob, places[1])], isBooked: true)
        guard case .failure(.notStored(let text)) = try store.ask(.reading(request)).result else {
            throw StoreFailure("written into a foreign key")
        }
        #expect(text.contains("WRONGTYPE"), "\(text)")
    }

    @Test func aForeignKeyInTheirPlaceChangesNothing() async throws {
        let (store, epoch) = try await begin(.redis)
        let place = try append(store, epoch, ana)
        try store.raw("DEL", store.key(.reads))
        try store.raw("SADD", store.key(.reads), "x")
        for request in [
            ReadingRequest.read(room: store.room, [UserRead(bob, place)], isBooked: true), .receipts(room: store.room),
            .head(room: store.room, of: bob),
        ] {
            guard case .failure(.notStored(let text)) = try store.ask(.reading(request)).result else {
                throw StoreFailure("\(request)")
            }
            #expect(text.contains("WRONGTYPE"), "\(text)")
        }
    }

    @Test func redisCountsTheListenersOfAUser() async throws {
        let store = try await ContractStore(.redis)
        #expect(try store.reply(.reading(.listeners(of: bob))) == .reading(.listeners(0)))
        let redis = try await SharedRedis.shared.server()
        let listener = try ContractConnection(port: redis.port)
        _ = try listener.ask(["SUBSCRIBE", store.codec.channelName(of: .user(bob))])
        #expect(try store.reply(.reading(.listeners(of: bob))) == .reading(.listeners(1)))
    }
}
