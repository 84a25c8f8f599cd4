import ChatCore
import Testing

@testable import ChatRelay

@Suite("What a sink is given of a room")
struct RoomFeedTests {
    private let room: RoomName
    private let ana: UserID

    init() throws {
        room = try RoomName("lobby")
        ana = try UserID("ana")
    }

    private func message(_ epoch: UInt64, _ seq: UInt64, _ extra: MessageExtra? = nil) -> Message {
        Message(
            position: Position(epoch: epoch, seq: seq),
            content: MessageContent(user: ana, at: 1_000, text: "hi", extra: extra))
    }

    @Test func entriesBehindTheCursorBecomeEventsInOrder() {
        let feed = RoomFeed(
            of: room, after: Position(epoch: 5, seq: 2), [message(5, 3), message(7, 4), message(7, 5)], isWhole: true)
        #expect(feed.events.map(\.id) == ["lobby~5-3", "lobby~7-4", "lobby~7-5"])
        #expect(feed.events.allSatisfy { $0.kind == .messageCreated })
        #expect(feed.position == Position(epoch: 7, seq: 5))
    }

    @Test func anEmptyPageMovesNothing() {
        let feed = RoomFeed(of: room, after: Position(epoch: 5, seq: 2), [], isWhole: true)
        #expect(feed.events.isEmpty)
        #expect(feed.position == nil)
    }

    @Test func entriesThatTheSinkHasAreNotGivenAgain() {
        let feed = RoomFeed(
            of: room, after: Position(epoch: 5, seq: 2), [message(5, 1), message(5, 2), message(5, 3)], isWhole: true)
        #expect(feed.events.map(\.id) == ["lobby~5-3"])
    }

    @Test func onlyEntriesThatFollowTheCursorWithoutAHoleAreWhole() {
        let cursor = Position(epoch: 5, seq: 2)
        #expect(RoomFeed.isWhole([message(5, 3), message(7, 4)], after: cursor))
        #expect(RoomFeed.isWhole([message(5, 1)], after: nil))
        #expect(!RoomFeed.isWhole([], after: cursor), "the newest ones may have been erased")
        #expect(!RoomFeed.isWhole([message(5, 4)], after: cursor))
        #expect(!RoomFeed.isWhole([message(5, 3), message(5, 5)], after: cursor))
        #expect(!RoomFeed.isWhole([message(9, 1)], after: cursor), "a history that begins again")
        #expect(!RoomFeed.isWhole([message(5, 2)], after: nil))
        #expect(!RoomFeed.isWhole([message(4, 3)], after: cursor), "epochs never go down")
    }

    @Test func aHoleIsAGapThatNamesWhatIsMissing() {
        let feed = RoomFeed(of: room, after: Position(epoch: 5, seq: 2), [message(6, 9)], isWhole: true)
        #expect(feed.events.map(\.kind) == [.gap, .messageCreated])
        #expect(feed.events.first?.id == "lobby~gap~5-2~6-9")
        let json = feed.events.first?.json(now: 0) ?? ""
        #expect(json.contains(#""after":"5-2","before":"6-9","missing":6,"reason":"trimmed""#))
    }

    @Test func aHistoryThatBeginsAgainIsAGapOfUnknownSize() {
        let feed = RoomFeed(
            of: room, after: Position(epoch: 5, seq: 20), [message(9, 1), message(9, 2)], isWhole: true)
        #expect(feed.events.map(\.kind) == [.gap, .messageCreated, .messageCreated])
        let json = feed.events.first?.json(now: 0) ?? ""
        #expect(json.contains(#""reason":"reset""#))
        #expect(!json.contains("missing"))
    }

    @Test(arguments: [true, false])
    func theBeginningOfARoomIsMissingOnlyIfTheSinkWasThereBefore(isWhole: Bool) {
        let feed = RoomFeed(of: room, after: nil, [message(5, 40)], isWhole: isWhole)
        #expect(feed.events.map(\.kind) == (isWhole ? [.gap, .messageCreated] : [.messageCreated]))
    }

    @Test func aNewRoomLacksNothing() {
        #expect(RoomFeed(of: room, after: nil, [message(5, 1)], isWhole: true).events.map(\.id) == ["lobby~5-1"])
    }

    @Test func amendmentsAndErasedMessagesHaveTypesOfTheirOwn() throws {
        let edit = MessageExtra(amendment: Amendment(.edit, of: Position(epoch: 5, seq: 1), number: 1))
        let erase = MessageExtra(amendment: Amendment(.delete, of: Position(epoch: 5, seq: 1), number: 2))
        let erased = MessageExtra(deleted: Deed(by: "mod", at: 2_000))
        let mention = MessageExtra(mentions: [try UserID("bob")])
        let feed = RoomFeed(
            of: room, after: nil,
            [message(5, 1, erased), message(5, 2, edit), message(5, 3, erase), message(5, 4, mention)], isWhole: true)
        #expect(
            feed.events.map(\.kind) == [
                .messageDeleted, .messageChanged, .messageDeleted, .messageCreated, .userMentioned,
            ])
        #expect(feed.events[0].json(now: 0).contains(#""erased":true,"by":"mod""#))
        #expect(feed.events[1].json(now: 0).contains(#""operation":"edit","of":"5-1""#))
        #expect(feed.events[4].id == "lobby~5-4~bob")
        #expect(Set(feed.events.map(\.id)).count == 5)
    }

    @Test func idsHoldNoDotAndTellNamesApart() throws {
        let rooms = try ["a.b", "a%2Eb", "a~b", "방", "a"].map { try RoomName($0) }
        let ids = rooms.map { EventID.of(Position(epoch: 1, seq: 2), in: $0) }
        #expect(Set(ids).count == ids.count)
        for id in ids {
            #expect(id.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: ".") }, "\(id)")
        }
    }

    @Test func anEventIsOneJSONObject() throws {
        let content = MessageContent(user: ana, at: 1_795_230_114_073, text: "\"hi\"\n", data: #"{"a":1}"#)
        let event = RoomEvent.of(Message(position: Position(epoch: 5, seq: 1), content: content), in: room)[0]
        #expect(
            event.json(now: 0)
                == #"{"id":"lobby~5-1","type":"message.created","timestamp":"2026-11-21T03:01:54.073Z","#
                + #""data":{"room":"lobby","position":"5-1","user":"ana","at":"2026-11-21T03:01:54.073Z","#
                + #""text":"\"hi\"\n","data":{"a":1}}}"#)
    }

    @Test func aFilterKeepsGapsOfItsRooms() throws {
        let filter = EventFilter(kinds: [.userMentioned], rooms: [try RoomPattern("team:*")])
        let team = try RoomName("team:a")
        let gap = RoomEvent.gap(in: team, after: nil, before: Position(epoch: 5, seq: 3), missing: 2, .trimmed)
        #expect(filter.accepts(gap))
        #expect(!filter.accepts(RoomEvent.of(message(5, 1), in: team)[0]))
        #expect(!filter.accepts(room))
        #expect(EventFilter.everything.accepts(RoomEvent.of(message(5, 1), in: room)[0]))
    }
}
