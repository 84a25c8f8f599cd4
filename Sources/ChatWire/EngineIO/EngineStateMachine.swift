import ChatCore

/// The rules of one session of Engine.IO 4: which requests may poll and post, when to ping, how polling becomes a
/// WebSocket, and when the session is over. It holds no packets; what is queued, and the sockets, are the caller's.
///
/// A session is opened by polling or by a WebSocket. While it polls, one GET may wait for packets. A WebSocket with the
/// name of a polling session is a probe, until the client ends the upgrade; then it carries everything, and polls are
/// refused. Rules that the protocol's description leaves open are those of the reference implementation.
public struct EngineStateMachine: Sendable {
    private enum State: Sendable, Equatable {
        /// → `probing`, `closing`, `closed`
        case polling
        /// A WebSocket is open that may replace polling; polling goes on. → `polling`, `webSocket`, `closing`, `closed`
        case probing(until: Moment)
        /// → `closed`
        case webSocket
        /// The server has ended the session; what is queued, and the close packet, wait for polls. → `closed`
        case closing(until: Moment)
        /// Final.
        case closed
    }

    /// What a GET is answered with.
    public enum PollAnswer: Sendable, Equatable {
        /// Everything that is queued.
        case queued
        /// A packet that says nothing.
        case noop
        /// A packet that says that the session is over.
        case close
    }

    /// Why a session is over.
    public enum End: String, Sendable, Equatable {
        /// The client closed it.
        case peer
        /// Its connection was lost, or the client gave up a poll.
        case gone
        /// The client did not answer a ping in time.
        case pingTimeout
        /// The client broke the protocol.
        case protocolError
        /// The server closed it.
        case server
    }

    public enum Action: Sendable, Equatable {
        /// Answer the request that was passed in.
        case answerRequest(PollAnswer)
        /// Refuse the request that was passed in (400).
        case refuseRequest
        /// Accept the POST that was passed in without reading it, because it was read before.
        case acceptRequest
        /// Keep the GET that was passed in until there is something to send.
        case holdRequest
        /// Answer the GET that waits.
        case answerWaiting(PollAnswer)
        /// A message of the client.
        case deliver([UInt8], isText: Bool)
        /// Send a packet after what is queued.
        case send(EnginePacket)
        /// Send a packet on the WebSocket that is being probed.
        case sendOnProbe(EnginePacket)
        case closeProbe
        /// From now on everything is sent on the WebSocket that was probed.
        case useWebSocket
        /// Close the WebSocket after what is queued.
        case closeWebSocket
        /// The session is over.
        case end(End)
    }

    private static let heldUp: Duration = .milliseconds(100)

    /// What all sessions of an endpoint have in common, stored once because a node has many sessions.
    public final class Common: Sendable {
        let settings: EngineSettings

        public init(_ settings: EngineSettings) { self.settings = settings }
    }

    private let common: Common
    private var settings: EngineSettings { common.settings }
    private var state: State
    private var isPollWaiting = false
    private var isPosting = false
    /// Of the request that opened the session, and of the last GET and POST since.
    private let opening: EngineMark?
    private var lastPoll: EngineMark?
    private var lastPost: EngineMark?
    private var pingDue: Moment
    /// Set while a ping waits for its answer.
    private var pongDue: Moment?

    /// `isPolling`: the session was opened by polling. `mark`: of the request that opened it.
    public init(common: Common, isPolling: Bool, mark: EngineMark? = nil, now: Moment) {
        self.common = common
        opening = mark
        state = isPolling ? .polling : .webSocket
        pingDue = now + common.settings.pingInterval
    }

    /// Whether the client may send messages, and may be sent some.
    public var isOpen: Bool {
        switch state {
        case .polling, .probing, .webSocket: true
        case .closing, .closed: false
        }
    }

    public var isOverWebSocket: Bool {
        if case .webSocket = state { true } else { false }
    }

    public var isOver: Bool {
        if case .closed = state { true } else { false }
    }

    /// Whether a GET waits.
    public var hasPoll: Bool { isPollWaiting }

    /// When ``timePassed(now:)`` is due; nil if never.
    public var deadline: Moment? {
        switch state {
        case .polling, .webSocket: pongDue ?? pingDue
        case .probing(let until): min(until, pongDue ?? pingDue)
        case .closing(let until): until
        case .closed: nil
        }
    }

    // MARK: Polling

    /// A GET came. `hasQueued`: something waits to be sent.
    ///
    /// If the client repeats a GET that was answered, the answer was lost, and nobody has it any more. So the session
    /// ends as if its connection was lost, and the client goes on from the last message that it has seen.
    public mutating func polled(hasQueued: Bool, mark: EngineMark? = nil, now: Moment) -> [Action] {
        var late = timePassed(now: now)
        guard state != .closed else { return late + [.refuseRequest] }
        let isRepeated = isRepeated(mark, of: lastPoll)
        lastPoll = mark
        if isRepeated, isPollWaiting {
            late += answer(.noop)
        } else if isRepeated {
            return late + answerIsLost() + [.refuseRequest]
        }
        switch state {
        case .polling:
            if isPollWaiting {
                return late + finish(.protocolError, poll: .close) + [.refuseRequest]
            }
            // A ping that was due just now is queued by the caller.
            if hasQueued || late.contains(.send(.ping([]))) { return late + [.answerRequest(.queued)] }
            isPollWaiting = true
            return late + [.holdRequest]
        case .probing: return late + [.answerRequest(hasQueued ? .queued : .noop)]
        case .closing: return late + [.answerRequest(closing(hasQueued: hasQueued))]
        case .webSocket, .closed: return late + [.refuseRequest]
        }
    }

    /// A client that gives all its requests the same mark says nothing by it.
    private func isRepeated(_ mark: EngineMark?, of last: EngineMark?) -> Bool {
        mark != nil && mark == last && mark != opening
    }

    private mutating func answerIsLost() -> [Action] {
        switch state {
        case .polling, .probing: return finish(.gone, poll: nil)
        case .closing: state = .closed
        case .webSocket, .closed: break
        }
        return []
    }

    /// The connection of the GET that waits was lost.
    public mutating func pollAborted() -> [Action] {
        guard isPollWaiting else { return [] }
        isPollWaiting = false
        return finish(.gone, poll: nil)
    }

    /// Something was queued, and a GET may take it.
    public mutating func queued() -> [Action] {
        guard isPollWaiting else { return [] }
        isPollWaiting = false
        return [.answerWaiting(.queued)]
    }

    /// A POST came. Unless it is refused or accepted at once, its packets are passed to ``received(_:now:)``, and then
    /// ``postEnded()`` is called.
    public mutating func postBegan(mark: EngineMark? = nil, now: Moment) -> [Action] {
        let late = timePassed(now: now)
        switch state {
        case .polling, .probing:
            guard !isRepeated(mark, of: lastPost) else { return late + [.acceptRequest] }
            lastPost = mark
            guard !isPosting else { return late + finish(.protocolError, poll: .close) + [.refuseRequest] }
            isPosting = true
            return late
        case .webSocket, .closing, .closed: return late + [.refuseRequest]
        }
    }

    /// The POST is answered.
    public mutating func postEnded() { isPosting = false }

    /// A POST held something that is no packet.
    public mutating func receivedNoPacket() -> [Action] {
        switch state {
        case .polling, .probing: finish(.protocolError, poll: .close) + [.refuseRequest]
        case .webSocket: finish(.protocolError, poll: nil)
        case .closing, .closed: [.refuseRequest]
        }
    }

    // MARK: Packets

    /// A packet of the session came, by a POST or on the session's WebSocket.
    public mutating func received(_ packet: EnginePacket, now: Moment) -> [Action] {
        guard isOpen else { return [] }
        switch packet {
        case .message(let bytes): return [.deliver(bytes, isText: true)]
        case .binary(let bytes): return [.deliver(bytes, isText: false)]
        case .pong:
            pongDue = nil
            pingDue = now + settings.pingInterval
            return []
        case .close: return finish(.peer, poll: .noop)
        // In this version only the server pings.
        case .ping: return finish(.protocolError, poll: .close)
        case .open, .upgrade, .noop: return []
        }
    }

    // MARK: WebSocket

    /// A WebSocket was opened with the session's name. Returns false if it cannot become the session's: then its
    /// handshake is completed, and it is closed.
    public mutating func webSocketOpened(now: Moment) -> Bool {
        guard state == .polling else { return false }
        state = .probing(until: now + settings.upgradeTimeout)
        return true
    }

    /// The WebSocket that is probed received something; nil if that is no packet.
    public mutating func receivedOnProbe(_ packet: EnginePacket?, now: Moment) -> [Action] {
        guard case .probing = state else { return [] }
        switch packet {
        case .ping(let content) where content == EnginePacket.probe:
            // The poll that waits ends, so that the client can end the upgrade.
            return [.sendOnProbe(.pong(content))] + answer(.noop)
        case .upgrade:
            state = .webSocket
            return answer(.noop) + [.useWebSocket]
        default:
            state = .polling
            return [.closeProbe]
        }
    }

    /// The connection of the WebSocket was lost: of the one that is probed, or of the session.
    public mutating func webSocketClosed() -> [Action] {
        switch state {
        case .probing:
            state = .polling
            return []
        case .webSocket:
            state = .closed
            return [.end(.gone)]
        case .polling, .closing, .closed: return []
        }
    }

    // MARK: The end

    /// The server ends the session, after what is queued. `hasQueued`: something waits to be sent.
    public mutating func close(hasQueued: Bool, now: Moment) -> [Action] {
        switch state {
        case .polling, .probing:
            let isProbed = state != .polling
            let probe: [Action] = isProbed ? [.closeProbe] : []
            state = .closing(until: now + settings.closeTimeout)
            guard isPollWaiting else { return probe + [.end(.server)] }
            isPollWaiting = false
            return [.answerWaiting(closing(hasQueued: hasQueued))] + probe + [.end(.server)]
        case .webSocket:
            state = .closed
            return [.closeWebSocket, .end(.server)]
        case .closing, .closed: return []
        }
    }

    /// Does what is due.
    public mutating func timePassed(now: Moment) -> [Action] {
        if case .closing(let until) = state, now >= until { state = .closed }
        guard isOpen else { return [] }
        var actions: [Action] = []
        if case .probing(let until) = state, now >= until {
            state = .polling
            actions.append(.closeProbe)
        }
        if let pongDue, now >= pongDue { return actions + finish(.pingTimeout, poll: .close) }
        if pongDue == nil, now >= pingDue {
            // A client must not pay for a loop that was held up: it cannot answer a ping that was not sent.
            pongDue = (now - pingDue < Self.heldUp ? pingDue : now) + settings.pingTimeout
            actions.append(.send(.ping([])))
        }
        return actions
    }

    /// What a poll of a session is answered with that the server has ended.
    ///
    /// What is queued goes first, and the close packet alone with the poll after it, as in the reference
    /// implementation. socket.io-client handles a close packet at once, but the events of a payload after the whole
    /// payload: events beside a close packet would reach a socket that is no longer connected. It keeps them for its
    /// next connection, and the offset that it then sends does not count them, so they would come twice.
    private mutating func closing(hasQueued: Bool) -> PollAnswer {
        guard !hasQueued else { return .queued }
        state = .closed
        return .close
    }

    private mutating func answer(_ poll: PollAnswer) -> [Action] {
        guard isPollWaiting else { return [] }
        isPollWaiting = false
        return [.answerWaiting(poll)]
    }

    private mutating func finish(_ end: End, poll: PollAnswer?) -> [Action] {
        let answered = poll.map { answer($0) } ?? []
        isPollWaiting = false
        let sockets: [Action] =
            switch state {
            case .probing: [.closeProbe]
            case .webSocket: [.closeWebSocket]
            case .polling, .closing, .closed: []
            }
        state = .closed
        return answered + sockets + [.end(end)]
    }
}
