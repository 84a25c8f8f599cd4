import ChatCore
import Testing

@testable import ChatWire

struct EngineStateMachineTests {
    private static let settings: EngineSettings = {
        var settings = EngineSettings(pingInterval: .milliseconds(300), pingTimeout: .milliseconds(200))
        settings.upgradeTimeout = .seconds(1)
        return settings
    }()

    private func at(_ milliseconds: UInt64) -> Moment { Moment(nanoseconds: 1_000_000_000 + milliseconds * 1_000_000) }

    private func machine(isPolling: Bool = true) -> EngineStateMachine {
        EngineStateMachine(common: .init(Self.settings), isPolling: isPolling, now: at(0))
    }

    // MARK: Polling

    @Test func aPollWaitsUntilThereIsSomethingToSend() {
        var machine = machine()
        #expect(machine.polled(hasQueued: true, now: at(1)) == [.answerRequest(.queued)])
        #expect(machine.polled(hasQueued: false, now: at(2)) == [.holdRequest])
        #expect(machine.hasPoll)
        #expect(machine.queued() == [.answerWaiting(.queued)])
        #expect(machine.queued() == [])
    }

    @Test func twoPollsAtOnceEndTheSession() {
        var machine = machine()
        _ = machine.polled(hasQueued: false, now: at(1))
        #expect(
            machine.polled(hasQueued: false, now: at(2)) == [
                .answerWaiting(.close), .end(.protocolError), .refuseRequest,
            ])
        #expect(machine.isOver)
        #expect(machine.polled(hasQueued: false, now: at(3)) == [.refuseRequest])
        #expect(machine.deadline == nil)
    }

    @Test func twoPostsAtOnceEndTheSession() {
        var machine = machine()
        #expect(machine.postBegan(now: at(1)) == [])
        #expect(machine.postBegan(now: at(2)) == [.end(.protocolError), .refuseRequest])
        #expect(!machine.isOpen)
    }

    @Test func postsFollowEachOther() {
        var machine = machine()
        for time in 1...3 {
            #expect(machine.postBegan(now: at(UInt64(time))) == [])
            #expect(machine.received(.message([1]), now: at(1)) == [.deliver([1], isText: true)])
            machine.postEnded()
        }
    }

    @Test func aPollThatIsGivenUpEndsTheSession() {
        var machine = machine()
        _ = machine.polled(hasQueued: false, now: at(1))
        #expect(machine.pollAborted() == [.end(.gone)])
        #expect(machine.pollAborted() == [])
    }

    @Test func aClientThatClosesEndsItsPollWithANoop() {
        var machine = machine()
        _ = machine.polled(hasQueued: false, now: at(1))
        _ = machine.postBegan(now: at(2))
        #expect(machine.received(.close, now: at(2)) == [.answerWaiting(.noop), .end(.peer)])
        #expect(machine.polled(hasQueued: false, now: at(3)) == [.refuseRequest])
        #expect(machine.postBegan(now: at(3)) == [.refuseRequest])
    }

    @Test func whatIsNoPacketEndsTheSession() {
        var machine = machine()
        _ = machine.polled(hasQueued: false, now: at(1))
        #expect(machine.receivedNoPacket() == [.answerWaiting(.close), .end(.protocolError), .refuseRequest])
        var webSocket = self.machine(isPolling: false)
        #expect(webSocket.receivedNoPacket() == [.closeWebSocket, .end(.protocolError)])
    }

    // MARK: Heartbeat

    @Test func pingsAreAnsweredOrTheSessionIsOver() {
        var machine = machine(isPolling: false)
        #expect(machine.deadline == at(300))
        #expect(machine.timePassed(now: at(299)) == [])
        #expect(machine.timePassed(now: at(300)) == [.send(.ping([]))])
        #expect(machine.timePassed(now: at(310)) == [])
        #expect(machine.received(.pong([]), now: at(320)) == [])
        #expect(machine.deadline == at(620))
        #expect(machine.timePassed(now: at(620)) == [.send(.ping([]))])
        #expect(machine.deadline == at(820))
        #expect(machine.received(.message([]), now: at(700)) == [.deliver([], isText: true)])
        #expect(machine.timePassed(now: at(820)) == [.closeWebSocket, .end(.pingTimeout)])
        #expect(machine.timePassed(now: at(900)) == [])
    }

    @Test func aPollThatComesWhenThePingIsDueGetsIt() {
        var machine = machine()
        #expect(machine.polled(hasQueued: false, now: at(300)) == [.send(.ping([])), .answerRequest(.queued)])
        #expect(machine.polled(hasQueued: false, now: at(500)) == [.end(.pingTimeout), .refuseRequest])
    }

    @Test func aPingEndsAWaitingPoll() {
        var machine = machine()
        _ = machine.polled(hasQueued: false, now: at(1))
        #expect(machine.timePassed(now: at(301)) == [.send(.ping([]))])
        #expect(machine.queued() == [.answerWaiting(.queued)])
        _ = machine.polled(hasQueued: false, now: at(400))
        #expect(machine.timePassed(now: at(501)) == [.answerWaiting(.close), .end(.pingTimeout)])
    }

    @Test func aLoopThatWasHeldUpGivesTheClientItsWholeTime() {
        var machine = machine()
        #expect(machine.timePassed(now: at(2_000)) == [.send(.ping([]))])
        #expect(machine.deadline == at(2_200))
    }

    @Test func onlyTheServerPings() {
        var machine = machine(isPolling: false)
        #expect(machine.received(.ping([]), now: at(1)) == [.closeWebSocket, .end(.protocolError)])
    }

    // MARK: Upgrade

    @Test func aProbedWebSocketReplacesPolling() {
        var machine = machine()
        _ = machine.polled(hasQueued: false, now: at(1))
        #expect(machine.webSocketOpened(now: at(2)) == true)
        #expect(
            machine.receivedOnProbe(.ping(Array("probe".utf8)), now: at(3)) == [
                .sendOnProbe(.pong(Array("probe".utf8))), .answerWaiting(.noop),
            ])
        // What is queued meanwhile goes over polling.
        #expect(machine.polled(hasQueued: true, now: at(4)) == [.answerRequest(.queued)])
        #expect(machine.polled(hasQueued: false, now: at(5)) == [.answerRequest(.noop)])
        #expect(machine.postBegan(now: at(5)) == [])
        machine.postEnded()
        #expect(machine.receivedOnProbe(.upgrade, now: at(6)) == [.useWebSocket])
        #expect(machine.isOverWebSocket)
        #expect(machine.polled(hasQueued: true, now: at(7)) == [.refuseRequest])
        #expect(machine.postBegan(now: at(7)) == [.refuseRequest])
        #expect(machine.isOpen)
        #expect(machine.received(.binary([7]), now: at(8)) == [.deliver([7], isText: false)])
        #expect(machine.webSocketClosed() == [.end(.gone)])
    }

    @Test func aSecondWebSocketIsNotAccepted() {
        var machine = machine()
        #expect(machine.webSocketOpened(now: at(1)) == true)
        #expect(machine.webSocketOpened(now: at(2)) == false)
        _ = machine.receivedOnProbe(.upgrade, now: at(3))
        #expect(machine.webSocketOpened(now: at(4)) == false)
        var other = self.machine(isPolling: false)
        #expect(other.webSocketOpened(now: at(1)) == false)
    }

    @Test func aProbeThatFailsChangesNothing() {
        for failure in 0..<3 {
            var machine = machine()
            #expect(machine.webSocketOpened(now: at(1)) == true)
            switch failure {
            case 0: #expect(machine.webSocketClosed() == [])
            case 1: #expect(machine.receivedOnProbe(.message([]), now: at(2)) == [.closeProbe])
            default: #expect(machine.receivedOnProbe(nil, now: at(2)) == [.closeProbe])
            }
            #expect(machine.polled(hasQueued: false, now: at(3)) == [.holdRequest])
            #expect(machine.webSocketOpened(now: at(4)) == true)
        }
    }

    @Test func anUpgradeThatNeverEndsIsGivenUp() {
        var settings = Self.settings
        settings.upgradeTimeout = .milliseconds(100)
        var machine = EngineStateMachine(common: .init(settings), isPolling: true, now: at(0))
        #expect(machine.webSocketOpened(now: at(1)) == true)
        #expect(machine.deadline == at(101))
        #expect(machine.timePassed(now: at(101)) == [.closeProbe])
        #expect(machine.polled(hasQueued: false, now: at(102)) == [.holdRequest])
    }

    // MARK: Requests that are sent again

    private let first = EngineMark("a")
    private let second = EngineMark("b")

    /// Nobody has the answer any more, so the client has to say from where it goes on.
    @Test func aPollWhoseAnswerWasLostEndsTheSession() {
        var machine = machine()
        #expect(machine.polled(hasQueued: true, mark: first, now: at(1)) == [.answerRequest(.queued)])
        #expect(machine.polled(hasQueued: true, mark: second, now: at(2)) == [.answerRequest(.queued)])
        #expect(machine.polled(hasQueued: false, mark: second, now: at(3)) == [.end(.gone), .refuseRequest])
        #expect(machine.isOver)
        var closing = self.machine()
        _ = closing.close(hasQueued: true, now: at(1))
        #expect(closing.polled(hasQueued: true, mark: first, now: at(2)) == [.answerRequest(.queued)])
        #expect(closing.polled(hasQueued: false, mark: first, now: at(3)) == [.refuseRequest])
        #expect(closing.isOver)
    }

    @Test func aPollThatWaitsMayBeSentAgain() {
        var machine = machine()
        #expect(machine.polled(hasQueued: false, mark: first, now: at(1)) == [.holdRequest])
        #expect(machine.polled(hasQueued: false, mark: first, now: at(2)) == [.answerWaiting(.noop), .holdRequest])
        #expect(machine.queued() == [.answerWaiting(.queued)])
        #expect(machine.isOpen)
    }

    @Test func aPostThatIsSentAgainIsReadOnce() {
        var machine = machine()
        #expect(machine.postBegan(mark: first, now: at(1)) == [])
        #expect(machine.postBegan(mark: first, now: at(2)) == [.acceptRequest])
        machine.postEnded()
        #expect(machine.postBegan(mark: first, now: at(3)) == [.acceptRequest])
        #expect(machine.postBegan(mark: second, now: at(4)) == [])
        // A GET of the same mark is another request.
        #expect(machine.polled(hasQueued: true, mark: second, now: at(5)) == [.answerRequest(.queued)])
    }

    @Test func aClientWhoseMarkIsAlwaysTheSameSaysNothingByIt() {
        var machine = EngineStateMachine(common: .init(Self.settings), isPolling: true, mark: first, now: at(0))
        for time in 1...3 {
            #expect(machine.polled(hasQueued: true, mark: first, now: at(UInt64(time))) == [.answerRequest(.queued)])
            #expect(machine.postBegan(mark: first, now: at(UInt64(time))) == [])
            machine.postEnded()
        }
    }

    // MARK: The end

    @Test func aSessionThatTheServerEndsIsPolledOnceMore() {
        var machine = machine()
        #expect(machine.close(hasQueued: false, now: at(1)) == [.end(.server)])
        #expect(!machine.isOpen && !machine.isOver)
        #expect(machine.close(hasQueued: false, now: at(1)) == [])
        #expect(machine.postBegan(now: at(2)) == [.refuseRequest])
        #expect(machine.polled(hasQueued: false, now: at(2)) == [.answerRequest(.close)])
        #expect(machine.isOver)
        var waiting = self.machine()
        _ = waiting.polled(hasQueued: false, now: at(1))
        #expect(waiting.close(hasQueued: false, now: at(2)) == [.answerWaiting(.close), .end(.server)])
        #expect(waiting.isOver)
        var webSocket = self.machine(isPolling: false)
        #expect(webSocket.close(hasQueued: true, now: at(1)) == [.closeWebSocket, .end(.server)])
    }

    /// socket.io-client takes events that stand beside a close packet for events of its next connection.
    @Test func aCloseIsNeverSentBesideMessages() {
        var machine = machine()
        #expect(machine.close(hasQueued: true, now: at(1)) == [.end(.server)])
        #expect(machine.polled(hasQueued: true, now: at(2)) == [.answerRequest(.queued)])
        #expect(!machine.isOver)
        #expect(machine.polled(hasQueued: false, now: at(3)) == [.answerRequest(.close)])
        #expect(machine.isOver)
        var waiting = self.machine()
        _ = waiting.polled(hasQueued: false, now: at(1))
        #expect(waiting.close(hasQueued: true, now: at(2)) == [.answerWaiting(.queued), .end(.server)])
        #expect(!waiting.isOver)
        #expect(waiting.polled(hasQueued: false, now: at(3)) == [.answerRequest(.close)])
        #expect(waiting.isOver)
    }

    @Test func aSessionThatIsNotPolledAgainIsForgotten() {
        var machine = machine()
        _ = machine.close(hasQueued: false, now: at(1))
        #expect(machine.deadline == at(5_001))
        #expect(machine.timePassed(now: at(5_001)) == [])
        #expect(machine.isOver)
    }

    private func mark(_ generator: inout SplitMix64) -> EngineMark? {
        [nil, first, second][Int(generator.next() % 3)]
    }

    /// Random events: whatever happens, a session that is over says so once and asks for nothing more.
    @Test func everySequenceEndsAtMostOnce() {
        var generator = SplitMix64(seed: 20)
        for _ in 0..<3_000 {
            var machine = machine(isPolling: generator.next() % 4 != 0)
            var time: UInt64 = 0
            var ends = 0
            var holds = 0
            for _ in 0..<40 {
                time += generator.next() % 120
                let now = at(time)
                let wasOver = machine.isOver
                let actions: [EngineStateMachine.Action]
                switch generator.next() % 14 {
                case 0, 1:
                    let hasQueued = generator.next() % 2 == 0
                    actions = machine.polled(hasQueued: hasQueued, mark: mark(&generator), now: now)
                case 2: actions = machine.pollAborted()
                case 3: actions = machine.queued()
                case 4: actions = machine.postBegan(mark: mark(&generator), now: now)
                case 5:
                    machine.postEnded()
                    actions = []
                case 6: actions = machine.received(.pong([]), now: now)
                case 7: actions = machine.received(.message([]), now: now)
                case 8:
                    _ = machine.webSocketOpened(now: now)
                    actions = []
                case 9: actions = machine.receivedOnProbe(.ping(Array("probe".utf8)), now: now)
                case 10: actions = machine.receivedOnProbe(.upgrade, now: now)
                case 11: actions = machine.webSocketClosed()
                case 12:
                    actions =
                        generator.next() % 8 == 0 ? machine.close(hasQueued: generator.next() % 2 == 0, now: now) : []
                default: actions = machine.timePassed(now: now)
                }
                for action in actions {
                    switch action {
                    case .end: ends += 1
                    case .holdRequest: holds += 1
                    case .answerWaiting: holds -= 1
                    case .deliver, .send: #expect(!wasOver)
                    default: break
                    }
                }
                if machine.hasPoll { #expect(holds == 1) }
                #expect(machine.isOver == (machine.deadline == nil))
            }
            #expect(ends <= 1)
            if machine.isOver { #expect(ends == 1) }
        }
    }
}
