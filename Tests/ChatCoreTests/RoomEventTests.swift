import Testing

@testable import ChatCore

/// Events as values: what a trace shows of them, and that every members-only event is refused in one place.
struct RoomEventTests {
    private static let secret = "SECRET"
    private let session = SessionID(raw: 7)

    /// Events and actions with a secret wherever a payload can be.
    private func payloads(_ room: RoomHarness) throws -> (events: [RoomEvent], actions: [RoomAction]) {
        let (secret, ref) = (Self.secret, Ref.string(Self.secret))
        let user = try UserID("ana")
        let content = MessageContent(user: user, at: 1, text: secret, data: "\"\(secret)\"", key: secret)
        let message = Message(position: room.position(100, 1), content: content)
        let signal = Signal(node: room.me, session: session, user: user, name: secret, data: secret)
        let view = room.view(100, last: 1, entries: [message])
        let send = SendRequest(room: room.room, text: secret, data: secret, key: secret, again: true)
        let joined = Joined(
            ref: ref, room: room.room, position: message.position, messages: [message], members: nil, count: 1,
            resumption: .complete)
        let once = OnceRequest(
            room: room.room, node: room.me, epoch: 100, known: 1, sends: [OnceSend(content: content)])
        let enter = EnterRequest(room: room.room, node: room.me, tail: [message], page: PageBounds(count: 10))
        let others = OtherNodes(known: 4, base: 3)
        let device = try DeviceName("phone")
        let join = JoinRequest(session: session, user: user, device: device, since: room.now, ref: ref)
        return (
            [
                .join(join), .leave(session), .send(send, ref: ref, from: session, at: 1),
                .signal(name: secret, data: secret, ref: ref, from: session),
                .roster(cursor: secret, ref: ref, from: session), .heard(.message(message, base: 0)),
                .heard(.signal(signal)), .completed(serial: 3, .success(.view(view))),
                .completed(serial: 3, .success(.appended(message.position))),
                .completed(serial: 3, .failure(.notStored("ERR unknown command '\(secret)'"))),
                .completed(serial: 3, .failure(.malformed(secret))),
                .completed(serial: 3, .success(.appended(message.position, isPublished: true))),
            ],
            [
                .submit(.append(room: room.room, epoch: 100, content: content), serial: 1),
                .submit(.append(room: room.room, epoch: 100, content: content, others: others), serial: 1),
                .submit(.publish(room: room.room, event: .message(message, base: 0)), serial: RequestTag.ignoredSerial),
                .submit(.enter(enter), serial: 2), .submit(.once(once), serial: 2), .deliver(message),
                .deliverSignal(signal), .goLive(session, joined),
                .answer(session, .message(room: room.room, message, showKey: true)),
                .answer(session, .error(ref: ref, WireError(.unavailable, secret))),
                .refuseJoin(session, .error(ref: ref, WireError(.unavailable, secret))),
            ]
        )
    }

    @Test func aTraceHoldsNoPayload() throws {
        let (events, actions) = try payloads(RoomHarness())
        for text in events.map(\.traceText) + actions.map(\.traceText) {
            #expect(!text.contains(Self.secret))
            #expect(!text.isEmpty)
        }
    }

    @Test func aTraceSaysWhoWhatAndWhere() throws {
        let (events, actions) = try payloads(RoomHarness())
        #expect(events[0].traceText == "join of session 7, user ana, device phone, history 0")
        #expect(events[2].traceText == "send of session 7, 18 bytes, with a key, again true")
        #expect(events[8].traceText == "completed request 3: appended 100-1")
        #expect(events[9].traceText == "completed request 3: notStored ERR")
        #expect(events[11].traceText == "completed request 3: appended 100-1 and published")
        #expect(actions[0].traceText.contains("append in epoch 100, ") && !actions[0].traceText.contains("others"))
        #expect(actions[1].traceText.contains("append in epoch 100, for others behind 4, base 3, "))
        #expect(actions[5].traceText.hasPrefix("deliver 100-1 of user ana, "))
        let append = RoomEvent.completed(serial: RoomRequests.appendBit | 5, .failure(.refused))
        #expect(append.traceText == "completed append of send 5: refused")
    }

    @Test func whoIsNotInTheRoomIsToldSoByEachMembersOnlyEvent() throws {
        var room = try RoomHarness()
        try room.goInside()
        let send = SendRequest(room: room.room, text: "hi")
        let membersOnly: [RoomEvent] = [
            .send(send, ref: .number("1"), from: session, at: 1),
            .signal(name: "typing", data: nil, ref: .number("1"), from: session),
            .roster(cursor: nil, ref: .number("1"), from: session),
        ]
        for event in membersOnly {
            let actions = room.on(event)
            #expect(actions.errors == [.notJoined], "\(event.traceText)")
            #expect(actions == event.refusalOfNonMember.map { [$0] })
        }
        #expect(RoomEvent.leave(session).refusalOfNonMember == nil)
        #expect(RoomEvent.timerFired.refusalOfNonMember == nil)
        let left = room.on(.leave(session))
        #expect(left.isEmpty)
    }

    /// An event is passed on the stack, a few for each message: what makes it larger makes the hot path slower.
    @Test func eventsAreSmall() {
        #expect(MemoryLayout<RoomEvent>.size <= 136)
    }
}
