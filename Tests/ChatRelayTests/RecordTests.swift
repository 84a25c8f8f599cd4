import ChatCore
import Testing

@testable import ChatRelay

/// What sinks are given of a room's audit, of its presence and of its receipts.
@Suite struct RecordTests {
    private let room: RoomName
    private let place = Position(epoch: 1_795_230_114_073, seq: 2)

    init() throws { room = try RoomName("lo.bby") }

    private func audit(_ operation: String, _ value: String, _ more: [String: String] = [:]) -> [ChatRelay.RoomEvent] {
        let fields = ["operation": operation, "value": value, "user": "bo", "by": "ana", "reason": "", "version": "9"]
        return AuditRecord(place, fields.merging(more) { $1 })?.events(in: room) ?? []
    }

    private func visit(_ kind: String, users: String, _ more: [String: String] = [:]) -> [ChatRelay.RoomEvent] {
        let fields = [
            "kind": kind, "user": "bo", "device": "phone", "node": "n1", "at": "1795230114000", "users": users,
            "edge": "1",
        ]
        return PresenceRecord(place, fields.merging(more) { $1 })?.events(in: room) ?? []
    }

    @Test(arguments: [
        ("invite", "added", ChatRelay.RoomEvent.Kind.participantJoined), ("create", "added", .participantJoined),
        ("direct", "added", .participantJoined), ("leave", "removed", .participantLeft),
        ("remove", "removed", .participantLeft), ("role", "changed", .participantChanged),
        ("leave", "changed", .participantChanged), ("ban", "60000", .roomModerated), ("slow", "5000", .roomModerated),
        ("members", "participants", .roomModerated), ("report", "5-1", .messageReported),
    ])
    func anEntryOfTheAuditIsAnEvent(_ operation: String, _ value: String, _ kind: ChatRelay.RoomEvent.Kind) {
        #expect(audit(operation, value).map(\.kind) == [kind])
    }

    @Test func aRoomThatIsClosedIsToldApart() {
        let events = audit("members", "nobody", ["user": ""])
        #expect(events.map(\.kind) == [.roomModerated, .roomClosed])
        #expect(Set(events.map(\.id)).count == 2)
    }

    @Test func whomSomebodyHasBlockedIsNotTold() {
        #expect(audit("block", "changed").isEmpty && audit("unblock", "changed").isEmpty)
    }

    @Test func whatNoFunctionHasWrittenIsNoEvent() {
        #expect(AuditRecord(place, [:]) == nil && AuditRecord(place, ["operation": ""]) == nil)
        #expect(audit("invite", "renamed").isEmpty)
        #expect(PresenceRecord(place, [:]) == nil)
        #expect(visit("came", users: "1").isEmpty && visit("join", users: "-1").isEmpty)
    }

    @Test func anEventOfTheAuditIsOneJSONObject() {
        #expect(
            audit("role", "changed", ["role": "moderator"])[0].json(now: 0)
                == #"{"id":"lo%2Ebby~participant-changed~1795230114073-2","type":"participant.changed","#
                + #""timestamp":"2026-11-21T03:01:54.073Z","data":{"room":"lo.bby","operation":"role","#
                + #""role":"moderator","user":"bo","by":"ana","at":"2026-11-21T03:01:54.073Z"}}"#)
        let report = audit("report", "5-1", ["reason": "\"spam\""])[0].json(now: 0)
        #expect(report.contains(#""position":"5-1","user":"bo","by":"ana","reason":"\"spam\"""#))
        let ban = audit("ban", "60000")[0].json(now: 0)
        #expect(ban.contains(#""operation":"ban","value":"60000","user":"bo","by":"ana""#))
    }

    @Test func theFirstAndTheLastUserOccupyAndVacateTheRoom() {
        #expect(visit("join", users: "1").map(\.kind) == [.roomOccupied, .presenceJoined])
        #expect(visit("join", users: "2").map(\.kind) == [.presenceJoined])
        #expect(visit("leave", users: "1").map(\.kind) == [.presenceLeft])
        #expect(visit("expire", users: "0").map(\.kind) == [.presenceLeft, .roomVacated])
    }

    @Test func furtherDevicesOfAUserAreNoEvents() {
        #expect(visit("join", users: "1", ["edge": "0"]).isEmpty)
        // As nodes of earlier versions write it.
        #expect(PresenceRecord(place, ["kind": "join", "user": "bo", "device": "a", "at": "1"]) == nil)
    }

    @Test func anEventOfPresenceIsOneJSONObject() {
        let events = visit("expire", users: "0")
        #expect(
            events[0].json(now: 0)
                == #"{"id":"lo%2Ebby~presence-left~1795230114073-2","type":"presence.left","#
                + #""timestamp":"2026-11-21T03:01:54.000Z","data":{"room":"lo.bby","user":"bo","device":"phone","#
                + #""expired":true,"users":0,"at":"2026-11-21T03:01:54.000Z"}}"#)
        #expect(events[1].json(now: 0).contains(#""data":{"room":"lo.bby","users":0,"at":"#))
    }

    @Test func whatParticipantsHaveReadIsAnEventOfEach() {
        let fields = ["bo": "1795230114000-7.1", "ana": "1795230114000-8.1", "eve": "x", "a\u{7}": "1-1.0"]
        let events = ReceiptsRecord.all(place, fields).map { $0.event(in: room) }
        #expect(
            events.map { $0.json(now: 0) } == [
                #"{"id":"lo%2Ebby~participant-read~1795230114073-2~ana","type":"participant.read","#
                    + #""timestamp":"2026-11-21T03:01:54.073Z","data":{"room":"lo.bby","user":"ana","#
                    + #""position":"1795230114000-8","at":"2026-11-21T03:01:54.073Z"}}"#,
                #"{"id":"lo%2Ebby~participant-read~1795230114073-2~bo","type":"participant.read","#
                    + #""timestamp":"2026-11-21T03:01:54.073Z","data":{"room":"lo.bby","user":"bo","#
                    + #""position":"1795230114000-7","at":"2026-11-21T03:01:54.073Z"}}"#,
            ])
        #expect(events.allSatisfy { $0.position == place && !EventFilter.everything.accepts($0) })
        #expect(ReceiptsRecord.all(place, [:]).isEmpty)
    }

    @Test func ofPresenceASinkIsGivenOnlyWhatItHasAskedFor() throws {
        let (joined, left) = (visit("join", users: "2")[0], visit("leave", users: "2")[0])
        let ban = audit("ban", "1")[0]
        #expect(!EventFilter.everything.accepts(joined) && EventFilter.everything.accepts(ban))
        #expect(EventFilter.everything.books == [.log, .audit])
        let some = EventFilter(kinds: try EventFilter.kinds(["presence.left", "room.*"]), rooms: [])
        #expect(some.accepts(left) && some.accepts(ban) && !some.accepts(joined))
        #expect(some.books == [.audit, .presence], "the log is not read for it")
        #expect(EventFilter(kinds: try EventFilter.kinds(["*"]), rooms: []).books == RoomBook.allCases)
        #expect(EventFilter.messages.books == [.log])
        #expect(throws: EventFilter.UnknownType.self) { try EventFilter.kinds(["message.created", "pres.*"]) }
        #expect(throws: EventFilter.UnknownType.self) { try EventFilter.kinds(["message"]) }
    }

    @Test func theNameOfAFeedTellsItsSinkAndItsBook() {
        for sink in ["streams", "archive", "hook-1c8x0q"] {
            for book in RoomBook.allCases {
                let feed = SinkFeed(sink, book)
                #expect(SinkFeed(named: feed.name) == feed)
            }
            #expect(SinkFeed(sink, .log).name == sink)
        }
        #expect(SinkFeed("streams", .presence).name == "streams-presence")
        #expect(RoomBook(ofFeed: "streams-receipts") == .receipts && RoomBook(ofFeed: "presence") == .log)
    }
}
