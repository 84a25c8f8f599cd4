/// The rules for one session: the limits of promise 9, which rooms it is in, which answer belongs to which request, and
/// whether the client is still alive.
///
/// Every request that is passed to the service gets a reference of the machine's own (``Ref/own(serial:)``, which no
/// client can send), so that the answer finds its request whatever the client put into `ref`, even if it is missing or
/// used twice. Signals have no answer except an error; they keep the client's.
///
/// Decisions:
/// - `send`, `signal` and `leave` require that the room is joined, or that its `join` is under way: then they queue
///   behind it. For the client's requests a room is left as soon as `leave` is requested; events that were under way
///   may still arrive until `left`.
/// - A `join` of a room that is joined already is passed on: a fresh join with its `after`. If it fails, the session is
///   no longer in the room, because what it was shown now has a hole. Only a limit (2xx) refuses a join and leaves
///   everything as it was.
/// - `history`, `roster`, `moderate`, `amend` and `conversation` require no membership, as over HTTP.
/// - Requests beyond the rate are answered with `rateLimited`; a client that goes on at more than three times the rate
///   for a minute is closed as abuse, and so is one that sends more than `badFramesPerMinute` frames that cannot be
///   read.
public struct SessionStateMachine: Sendable {
    private enum State: Sendable, Equatable {
        /// The session is open. Can transition to `closed`.
        case open
        /// The node closes it, or its connection is gone: all events are ignored. Final.
        case closed
    }

    /// A room that the session is in, or is joining.
    private struct Membership: Sendable {
        /// Joins that wait for their answer. (There can be no more than `pending` holds, so 32 bits do.)
        var joining: Int32 = 0
        /// Leaves that wait for their answer: for the client the room is left already.
        var leaving: Int32 = 0
        var isJoined = false

        var isMember: Bool { leaving == 0 && (isJoined || joining > 0) }
        var isNothing: Bool { !isJoined && joining == 0 && leaving == 0 }
    }

    private enum Question: Sendable {
        case join(RoomName)
        case leave(RoomName)
        case send
        case other
    }

    private struct Pending: Sendable {
        var serial: UInt64
        var question: Question
        var ref: Ref?
    }

    /// Counts events within a minute from the first one.
    private struct MinuteCounter: Sendable {
        private var began: Moment?
        private var count = 0

        mutating func add(now: Moment) -> Int {
            if let began, now - began < .seconds(60) {
                count += 1
            } else {
                began = now
                count = 1
            }
            return count
        }
    }

    /// Counters that hardly any session needs.
    private struct Offences: Sendable {
        var badFrames = MinuteCounter()
        var refusals = MinuteCounter()
    }

    /// What all sessions of a node have in common, stored once because a node has many sessions.
    public final class Common: Sendable {
        let limits: Limits
        let heartbeat: Duration
        let rate: CellRate

        public init(limits: Limits, heartbeat: Duration) {
            self.limits = limits
            self.heartbeat = heartbeat
            rate = CellRate(perSecond: limits.requestsPerSecond, burst: limits.requestBurst)
        }
    }

    // Fields that are accessed at each write come first.
    private var state = State.open
    private var life: Heartbeat
    private let common: Common
    private var limits: Limits { common.limits }
    private var rooms = SmallDictionary<RoomName, Membership>()
    /// In the order of the requests, which is nearly that of the answers.
    private var pending: [Pending] = []
    private var waitingSends = 0
    private var nextSerial: UInt64 = 0
    private var taken: UInt64 = 0
    /// Empty or one element: an optional that takes heap memory only when it is needed.
    private var offences: [Offences] = []

    public init(common: Common, now: Moment) {
        self.common = common
        life = Heartbeat(interval: common.heartbeat, now: now)
    }

    public init(limits: Limits, heartbeat: Duration, now: Moment) {
        self.init(common: Common(limits: limits, heartbeat: heartbeat), now: now)
    }

    public var isOpen: Bool { state == .open }
    /// The number of sends that wait for their answer.
    public var sendsWaiting: Int { waitingSends }

    public enum RequestAction: Equatable, Sendable {
        /// Pass it to the service with this `ref`.
        case perform(ClientRequest.Body, ref: Ref?)
        case reply(ServerEvent)
        case replyAndClose(ServerEvent, CloseReason)
        case doNothing
    }

    /// A request came in.
    public mutating func received(_ request: ClientRequest, now: Moment) -> RequestAction {
        guard state == .open else { return .doNothing }
        guard let taken = common.rate.take(taken, now: now) else { return refuse(request.ref, now: now) }
        self.taken = taken
        switch request.body {
        case .ping: return .reply(.pong(ref: request.ref))
        case .join(let room, _, _):
            if rooms[room] == nil, rooms.count >= limits.roomsPerSession {
                return error(
                    request, .tooManyRooms, "the session is in \(limits.roomsPerSession) rooms, the most there may be")
            }
            return ask(request, .join(room))
        case .leave(let room):
            guard isMember(room) else { return notJoined(request) }
            return ask(request, .leave(room))
        case .send(let send):
            guard isMember(send.room) else { return notJoined(request) }
            guard waitingSends < limits.waitingSendsPerSession else {
                return error(
                    request, .tooManyWaiting,
                    "\(limits.waitingSendsPerSession) sends of the session wait for their answer")
            }
            return ask(request, .send)
        case .signal(let room, _, _):
            guard isMember(room) else { return notJoined(request) }
            return .perform(request.body, ref: request.ref)
        case .history, .roster, .moderate, .conversation, .amend, .inbox, .token: return ask(request, .other)
        }
    }

    /// A frame came in that is not a request.
    public mutating func receivedBadFrame(ref: Ref?, _ error: WireError, now: Moment) -> RequestAction {
        guard state == .open else { return .doNothing }
        let reply = ServerEvent.error(ref: ref, error)
        guard count(\.badFrames, now: now) <= limits.badFramesPerMinute else {
            state = .closed
            return .replyAndClose(reply, .abuse)
        }
        return .reply(reply)
    }

    /// Returns the event as the client is to see it (with its own `ref` in place of the machine's); nil if the session
    /// is closed. Updates the session's rooms and waiting sends.
    public mutating func outgoing(_ event: ServerEvent) -> ServerEvent? {
        guard state == .open else { return nil }
        switch event {
        case .joined(var joined):
            joined.ref = settle(joined.ref, succeeded: true)
            return .joined(joined)
        case .left(let ref, let room): return .left(ref: settle(ref, succeeded: true), room: room)
        case .sent(let ref, let room, let position, let at, let repeated):
            return .sent(ref: settle(ref, succeeded: true), room: room, position: position, at: at, repeated: repeated)
        case .history(let ref, let room, let page):
            return .history(ref: settle(ref, succeeded: true), room: room, page)
        case .roster(let ref, let room, let page):
            return .roster(ref: settle(ref, succeeded: true), room: room, page)
        case .error(let ref, let error):
            return .error(ref: settle(ref, succeeded: false, isLimit: (200..<300).contains(error.code.rawValue)), error)
        case .pong(let ref): return .pong(ref: settle(ref, succeeded: true))
        case .renewed(let ref, let expiresIn):
            return .renewed(ref: settle(ref, succeeded: true), expiresIn: expiresIn)
        case .moderated(let ref, let room, let reply):
            return .moderated(ref: settle(ref, succeeded: true), room: room, reply)
        case .conversation(let ref, let answer):
            return .conversation(ref: settle(ref, succeeded: true), answer)
        case .amended(let ref, let room, let reply):
            return .amended(ref: settle(ref, succeeded: true), room: room, reply)
        case .inbox(let answer) where answer.isAnswer:
            let ref = settle(answer.ref, succeeded: true)
            // Who did not ask for an answer to what was read gets none.
            if case .read = answer, ref == nil { return nil }
            return .inbox(answer.answering(ref))
        case .removed(let room, _):
            update(room) { $0.isJoined = false }
            return event
        case .welcome, .message, .presence, .signal, .gap, .reset, .draining, .expiring, .rules, .sanction,
            .participants, .inbox:
            return event
        }
    }

    /// Bytes came in from the client, whatever they are.
    public mutating func heard() { life.heard() }

    /// Something was written to the client, so it knows that the node is alive.
    public mutating func spoke() { life.spoke() }

    public enum TimerAction: Equatable, Sendable {
        /// Send a WebSocket ping.
        case ping
        case close(CloseReason)
        case doNothing
    }

    /// To be called about once a heartbeat interval; more often does no harm.
    public mutating func timerFired(now: Moment) -> TimerAction {
        guard state == .open else { return .doNothing }
        switch life.timerFired(now: now) {
        case .ping: return .ping
        case .isDead:
            state = .closed
            return .close(.heartbeatMissed)
        case .doNothing: return .doNothing
        }
    }

    /// The node closes the session, or the connection has gone.
    public mutating func closed() {
        state = .closed
        rooms = SmallDictionary()
        pending = []
    }

    private func isMember(_ room: RoomName) -> Bool { rooms[room]?.isMember ?? false }

    private mutating func ask(_ request: ClientRequest, _ question: Question) -> RequestAction {
        let limit = limits.waitingSendsPerSession + limits.roomsPerSession + limits.requestBurst
        guard pending.count < limit else {
            return error(request, .tooManyWaiting, "\(limit) requests of the session wait for their answer")
        }
        switch question {
        case .join(let room): rooms[room, default: Membership()].joining += 1
        case .leave(let room): rooms[room, default: Membership()].leaving += 1
        case .send: waitingSends += 1
        case .other: break
        }
        nextSerial += 1
        pending.append(Pending(serial: nextSerial, question: question, ref: request.ref))
        return .perform(request.body, ref: .own(serial: nextSerial))
    }

    private mutating func settle(_ ref: Ref?, succeeded: Bool, isLimit: Bool = false) -> Ref? {
        guard case .own(let serial) = ref else { return ref }
        guard let index = pending.firstIndex(where: { $0.serial == serial }) else { return nil }
        let asked = pending.remove(at: index)
        // An empty array keeps its capacity, and most sessions are quiet most of the time.
        if pending.isEmpty { pending = [] }
        switch asked.question {
        case .join(let room):
            update(room) { membership in
                membership.joining -= 1
                if !isLimit { membership.isJoined = succeeded }
            }
        case .leave(let room):
            update(room) { membership in
                membership.leaving -= 1
                if !isLimit { membership.isJoined = false }
            }
        case .send: waitingSends -= 1
        case .other: break
        }
        return asked.ref
    }

    private mutating func update(_ room: RoomName, _ change: (inout Membership) -> Void) {
        guard var membership = rooms[room] else { return }
        change(&membership)
        rooms[room] = membership.isNothing ? nil : membership
    }

    private mutating func count(_ kind: WritableKeyPath<Offences, MinuteCounter>, now: Moment) -> Int {
        if offences.isEmpty { offences = [Offences()] }
        return offences[0][keyPath: kind].add(now: now)
    }

    /// The only place on the session's side that refuses a request because the session is not in the room. The room
    /// refuses in another one, ``RoomEvent/refusalOfNonMember``, and neither can do without the other: only the session
    /// knows a `leave` as soon as it is requested, and only the room knows whether the join before a `send` succeeded.
    private func notJoined(_ request: ClientRequest) -> RequestAction {
        error(request, .notJoined, "the session has not joined this room")
    }

    private func error(_ request: ClientRequest, _ code: WireError.Code, _ message: String) -> RequestAction {
        .reply(.error(ref: request.ref, WireError(code, message)))
    }

    private mutating func refuse(_ ref: Ref?, now: Moment) -> RequestAction {
        let reply = ServerEvent.error(
            ref: ref,
            WireError(
                .rateLimited, "more than \(limits.requestsPerSecond) requests a second (\(limits.requestBurst) at once)"
            ))
        guard count(\.refusals, now: now) <= 120 * limits.requestsPerSecond else {
            state = .closed
            return .replyAndClose(reply, .abuse)
        }
        return .reply(reply)
    }
}
