import ChatCore
import Testing

struct SessionStateMachineTests {
    private let now = Moment(nanoseconds: 1_000_000_000)

    private func machine(_ change: (inout Limits) -> Void = { _ in }) -> SessionStateMachine {
        var limits = Limits()
        change(&limits)
        return SessionStateMachine(limits: limits, heartbeat: .seconds(25), now: now)
    }

    private func room(_ text: String = "lobby") -> RoomName {
        do {
            return try RoomName(text)
        } catch {
            fatalError("\(error)")
        }
    }

    private func join(_ name: String = "lobby", ref: Ref? = nil) -> ClientRequest {
        ClientRequest(ref: ref, body: .join(room: room(name), after: nil, history: nil))
    }

    private func send(_ name: String = "lobby", ref: Ref? = nil) -> ClientRequest {
        ClientRequest(ref: ref, body: .send(SendRequest(room: room(name), text: "hi")))
    }

    private func leave(_ name: String = "lobby", ref: Ref? = nil) -> ClientRequest {
        ClientRequest(ref: ref, body: .leave(room: room(name)))
    }

    private func joined(_ name: String = "lobby", ref: Ref?) -> ServerEvent {
        .joined(
            Joined(
                ref: ref, room: room(name), position: Position(epoch: 1, seq: 0), messages: [], members: nil, count: 0,
                resumption: .fresh))
    }

    /// The reference of the request to the service; records an issue if there was none.
    private func reference(_ action: SessionStateMachine.RequestAction) -> Ref? {
        guard case .perform(_, let ref) = action else {
            Issue.record("not passed on: \(action)")
            return nil
        }
        return ref
    }

    private func code(_ action: SessionStateMachine.RequestAction) -> WireError.Code? {
        switch action {
        case .reply(.error(_, let error)), .replyAndClose(.error(_, let error), _): error.code
        case .reply, .replyAndClose, .perform, .doNothing: nil
        }
    }

    @Test func answersFindTheirRequestWhateverTheClientPutIntoRef() {
        var machine = machine()
        let first = reference(machine.received(join("a", ref: .string("same")), now: now))
        let second = reference(machine.received(join("b", ref: .string("same")), now: now))
        let third = reference(machine.received(join("c"), now: now))
        #expect(Set([first, second, third]).count == 3)
        #expect(machine.outgoing(joined("b", ref: second)) == joined("b", ref: .string("same")))
        #expect(machine.outgoing(joined("c", ref: third)) == joined("c", ref: nil))
        #expect(code(machine.received(leave("b"), now: now)) == nil)
    }

    @Test func sendAndSignalNeedTheRoomToBeJoinedOrJoining() {
        var machine = machine()
        #expect(code(machine.received(send(ref: .number("1")), now: now)) == .notJoined)
        #expect(
            code(machine.received(ClientRequest(ref: nil, body: .signal(room: room(), name: "t", data: nil)), now: now))
                == .notJoined)
        #expect(code(machine.received(leave(), now: now)) == .notJoined)
        let ref = reference(machine.received(join(), now: now))
        #expect(reference(machine.received(send(), now: now)) != nil, "queues behind the join")
        _ = machine.outgoing(joined(ref: ref))
        #expect(reference(machine.received(send(), now: now)) != nil)
    }

    @Test func aFailedJoinLeavesNothing() {
        var machine = machine()
        let ref = reference(machine.received(join(ref: .string("j")), now: now))
        let error = WireError(.unavailable, "no")
        #expect(machine.outgoing(.error(ref: ref, error)) == .error(ref: .string("j"), error))
        #expect(code(machine.received(send(), now: now)) == .notJoined)
    }

    @Test func aFailedRejoinHasLeftTheRoom() {
        var machine = machine()
        _ = machine.outgoing(joined(ref: reference(machine.received(join(), now: now))))
        _ = machine.outgoing(.error(ref: reference(machine.received(join(), now: now)), WireError(.unavailable, "no")))
        #expect(code(machine.received(send(), now: now)) == .notJoined)
        #expect(code(machine.received(leave(), now: now)) == .notJoined)
        _ = machine.outgoing(joined(ref: reference(machine.received(join(), now: now))))
        #expect(reference(machine.received(send(), now: now)) != nil)
    }

    @Test func aRejoinThatALimitRefusesChangesNothing() {
        var machine = machine()
        _ = machine.outgoing(joined(ref: reference(machine.received(join(), now: now))))
        _ = machine.outgoing(.error(ref: reference(machine.received(join(), now: now)), WireError(.rateLimited, "no")))
        #expect(reference(machine.received(send(), now: now)) != nil)
    }

    @Test func aFailedRejoinFreesItsPlaceAmongTheRooms() {
        var machine = machine { $0.roomsPerSession = 1 }
        _ = machine.outgoing(joined("a", ref: reference(machine.received(join("a"), now: now))))
        let again = reference(machine.received(join("a"), now: now))
        let third = reference(machine.received(join("a"), now: now))
        _ = machine.outgoing(.error(ref: again, WireError(.unavailable, "no")))
        #expect(code(machine.received(join("b"), now: now)) == .tooManyRooms, "the third join may still succeed")
        #expect(reference(machine.received(send("a"), now: now)) != nil)
        _ = machine.outgoing(.error(ref: third, WireError(.unavailable, "no")))
        #expect(reference(machine.received(join("b"), now: now)) != nil)
    }

    @Test func aRoomIsLeftForTheClientAsSoonAsItAsks() {
        var machine = machine()
        _ = machine.outgoing(joined(ref: reference(machine.received(join(), now: now))))
        let ref = reference(machine.received(leave(ref: .number("7")), now: now))
        #expect(code(machine.received(send(), now: now)) == .notJoined)
        #expect(code(machine.received(leave(), now: now)) == .notJoined)
        #expect(machine.outgoing(.left(ref: ref, room: room())) == .left(ref: .number("7"), room: room()))
        #expect(code(machine.received(send(), now: now)) == .notJoined)
    }

    @Test func joiningAgainWhileLeavingIsAMemberOnceLeft() {
        var machine = machine()
        _ = machine.outgoing(joined(ref: reference(machine.received(join(), now: now))))
        let left = reference(machine.received(leave(), now: now))
        let again = reference(machine.received(join(), now: now))
        _ = machine.outgoing(.left(ref: left, room: room()))
        #expect(reference(machine.received(send(), now: now)) != nil)
        _ = machine.outgoing(joined(ref: again))
        #expect(reference(machine.received(send(), now: now)) != nil)
    }

    @Test func roomsAreLimitedAndFreedByLeaving() {
        var machine = machine { $0.roomsPerSession = 2 }
        _ = machine.outgoing(joined("a", ref: reference(machine.received(join("a"), now: now))))
        let b = reference(machine.received(join("b"), now: now))
        #expect(code(machine.received(join("c"), now: now)) == .tooManyRooms)
        #expect(reference(machine.received(join("a"), now: now)) != nil, "a room that is joined already needs no place")
        _ = machine.outgoing(.error(ref: b, WireError(.unavailable, "no")))
        #expect(reference(machine.received(join("c"), now: now)) != nil)
    }

    @Test func waitingSendsAreLimitedAndFreedByAnyAnswer() {
        var machine = machine { $0.waitingSendsPerSession = 2 }
        _ = machine.outgoing(joined(ref: reference(machine.received(join(), now: now))))
        let first = reference(machine.received(send(), now: now))
        let second = reference(machine.received(send(), now: now))
        #expect(code(machine.received(send(ref: .number("3")), now: now)) == .tooManyWaiting)
        #expect(machine.sendsWaiting == 2)
        _ = machine.outgoing(
            .sent(ref: first, room: room(), position: Position(epoch: 1, seq: 1), at: 0, repeated: false))
        _ = machine.outgoing(.error(ref: second, WireError(.unavailable, "no")))
        #expect(machine.sendsWaiting == 0)
        #expect(reference(machine.received(send(), now: now)) != nil)
    }

    @Test func aSecondAnswerToTheSameRequestChangesNothing() {
        var machine = machine()
        _ = machine.outgoing(joined(ref: reference(machine.received(join(), now: now))))
        let ref = reference(machine.received(send(ref: .string("s")), now: now))
        let sent = ServerEvent.error(ref: ref, WireError(.unavailable, "no"))
        _ = machine.outgoing(sent)
        #expect(machine.outgoing(sent) == .error(ref: nil, WireError(.unavailable, "no")))
        #expect(machine.sendsWaiting == 0)
    }

    @Test func requestsBeyondTheRateAreRefusedThenTimeGivesTokens() {
        var machine = machine {
            $0.requestsPerSecond = 10
            $0.requestBurst = 3
        }
        let ping = ClientRequest(ref: .number("1"), body: .ping)
        for _ in 0..<3 { #expect(machine.received(ping, now: now) == .reply(.pong(ref: .number("1")))) }
        #expect(code(machine.received(ping, now: now)) == .rateLimited)
        #expect(code(machine.received(ping, now: now + .milliseconds(99))) == .rateLimited)
        #expect(machine.received(ping, now: now + .milliseconds(100)) == .reply(.pong(ref: .number("1"))))
        #expect(code(machine.received(ping, now: now + .milliseconds(101))) == .rateLimited)
        for _ in 0..<3 { #expect(code(machine.received(ping, now: now + .seconds(1_000_000))) == nil) }
        #expect(code(machine.received(ping, now: now + .seconds(1_000_000))) == .rateLimited)
    }

    @Test func farBeyondTheRateIsAbuse() {
        var machine = machine {
            $0.requestsPerSecond = 1
            $0.requestBurst = 1
        }
        let ping = ClientRequest(ref: nil, body: .ping)
        _ = machine.received(ping, now: now)
        for _ in 0..<120 { #expect(code(machine.received(ping, now: now)) == .rateLimited) }
        guard case .replyAndClose(_, .abuse) = machine.received(ping, now: now) else {
            Issue.record("not closed")
            return
        }
        #expect(machine.received(ping, now: now + .seconds(100)) == .doNothing)
        #expect(!machine.isOpen)
    }

    @Test func aFewBadFramesAMinuteAreAnsweredManyAreAbuse() {
        var machine = machine { $0.badFramesPerMinute = 2 }
        let error = WireError(.badFrame, "byte 0")
        func bad(_ seconds: Int) -> SessionStateMachine.RequestAction {
            machine.receivedBadFrame(ref: .string("r"), error, now: now + .seconds(seconds))
        }
        for seconds in [0, 59, 60, 119, 121] { #expect(bad(seconds) == .reply(.error(ref: .string("r"), error))) }
        #expect(bad(122) == .reply(.error(ref: .string("r"), error)))
        #expect(bad(123) == .replyAndClose(.error(ref: .string("r"), error), .abuse))
        #expect(bad(124) == .doNothing)
    }

    @Test func aQuietSessionIsPingedAndClosedIfItDoesNotAnswer() {
        var machine = machine()
        #expect(machine.timerFired(now: now + .seconds(24)) == .doNothing)
        #expect(machine.timerFired(now: now + .seconds(25)) == .ping)
        #expect(machine.timerFired(now: now + .seconds(26)) == .doNothing)
        machine.heard()
        #expect(machine.timerFired(now: now + .seconds(50)) == .ping, "it was heard, but nothing was said to it")
        #expect(machine.timerFired(now: now + .seconds(75)) == .close(.heartbeatMissed))
        #expect(machine.timerFired(now: now + .seconds(100)) == .doNothing)
    }

    @Test func aBusySessionIsNotPinged() {
        var machine = machine()
        machine.heard()
        machine.spoke()
        #expect(machine.timerFired(now: now + .seconds(25)) == .doNothing)
        #expect(machine.timerFired(now: now + .seconds(50)) == .ping)
    }

    @Test func aClosedSessionSaysAndDoesNothing() {
        var machine = machine()
        machine.closed()
        #expect(machine.received(join(), now: now) == .doNothing)
        #expect(machine.receivedBadFrame(ref: nil, WireError(.badFrame, ""), now: now) == .doNothing)
        #expect(machine.outgoing(.pong(ref: nil)) == nil)
        #expect(machine.timerFired(now: now + .seconds(100)) == .doNothing)
    }
}
