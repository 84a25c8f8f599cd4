import ChatCore
import ChatJSON

/// One connection that speaks STOMP: frames become requests, and events become frames.
///
/// - CONNECT identifies the client. What it sends before CONNECTED is read after it.
/// - Each room is joined once, whatever subscriptions the connection has to it. A SEND to a room without a subscription
///   joins it as well, because whoever speaks in a room is in it; the room is left when there are too many of these.
/// - A RECEIPT for a SEND says that the message is stored, one for a SUBSCRIBE that the room is joined. SENDs beyond
///   the rate wait here, in order, while the gateway does not read from the connection.
/// - Each subscription knows the last position that it was shown, so a room that is joined anew for one subscription
///   repeats nothing for another.
/// - ERROR ends the connection, as the specification demands. A connection that subscribes to `/user/queue/errors` is
///   told there why a SEND was refused, and goes on.
///
/// Confined to the connection's event loop. Passing an input on may lead back to ``write(_:viewer:_:)`` at once.
final class StompConnection: ClientWriter {
    enum State {
        /// Can transition to `authenticating`, `ended`.
        case awaitingConnect
        /// The client has identified itself. Can transition to `open`, `ended`.
        case authenticating
        /// Can transition to `leaving`, `ended`.
        case open
        /// DISCONNECT came, and answers are awaited. Can transition to `ended`.
        case leaving(receipt: String?)
        /// Nothing is read or sent any more. `isTold`: the gateway knows.
        case ended(isTold: Bool)
    }

    typealias Give = (ClientInput) -> Void

    let shared: StompProtocol
    var state = State.awaitingConnect
    var version = StompVersion.v10
    var parser: StompParser
    var rooms: [RoomName: StompRoom] = [:]
    /// The room of the last event: successive events are often of one room.
    var recent: StompRoom?
    /// Where refusals of SENDs are reported.
    var errors: StompSubscription?
    var sends = StompSends()
    var transactions: [String: StompTransaction] = [:]
    var heartBeats = StompHeartBeats()
    var asked = StompRequests()
    /// Something is to be done as soon as the gateway calls ``timePassed(now:lastWritten:_:)``.
    var hasWork = false
    /// When a request that was refused because of a rate is made again.
    private var retryAt: Moment?
    private var isRetryWanted = false
    var nextSubscription: UInt64 = 0
    /// Counts SENDs, for the order in which rooms were used.
    var uses: UInt64 = 0
    /// The name that the client gave, while it has no session.
    private var login: String?
    /// The name by which the node knows the client.
    var user: String?

    init(_ shared: StompProtocol) {
        self.shared = shared
        parser = StompParser(bounds: .init(shared.limits))
    }

    var limits: Limits { shared.limits }

    var isOver: Bool {
        if case .ended = state { return true }
        return false
    }

    // MARK: In

    func read(_ bytes: [UInt8], isText: Bool, _ body: (ClientInput) -> Void) {
        heartBeats.heard()
        parser.append(bytes)
        pump(body)
    }

    /// Handles the frames that were received, as far as the state permits.
    private func pump(_ give: Give) {
        while mayParse, let event = parser.next() {
            switch event {
            case .heartBeat: break
            case .frame(let frame):
                do throws(StompFault) {
                    try take(frame, give)
                } catch {
                    fail(error, receipt: frame["receipt"], give)
                }
            case .fault(let fault): fail(fault, receipt: nil, give)
            }
        }
    }

    private var mayParse: Bool {
        switch state {
        case .awaitingConnect, .open: true
        case .authenticating, .leaving, .ended: false
        }
    }

    private func take(_ frame: StompFrame, _ give: Give) throws(StompFault) {
        if case .awaitingConnect = state { return try connect(frame, give) }
        switch frame.command {
        case "SEND": try send(frame, give)
        case "SUBSCRIBE": try subscribe(frame, give)
        case "UNSUBSCRIBE": try unsubscribe(frame, give)
        case "ACK", "NACK": try acknowledge(frame, give)
        case "BEGIN", "COMMIT", "ABORT": try transact(frame, give)
        case "DISCONNECT":
            state = .leaving(receipt: frame["receipt"])
            leaveIfDone(give)
        case "CONNECT", "STOMP": throw StompFault("Illegal command", "The connection is open already.\n")
        default:
            throw StompFault("Bad command", "Could not interpret command \"\(frame.command.prefix(64))\"\n")
        }
    }

    /// The node is told about the client, and CONNECTED follows when it has answered.
    private func connect(_ frame: StompFrame, _ give: Give) throws(StompFault) {
        guard frame.command == "CONNECT" || frame.command == "STOMP" else {
            throw StompFault("Illegal command", "You must log in using CONNECT first")
        }
        guard let version = StompVersion.negotiate(frame["accept-version"]) else {
            throw StompFault("Version mismatch", "Supported versions are \(StompVersion.list)\n")
        }
        self.version = version
        parser.version = version
        // Only 1.0 trims headers, and the version was not known when the frame was read.
        let value = { (name: String) in version == .v10 ? frame[name]?.trimmingBlanks : frame[name] }
        heartBeats.agree(on: try StompHeartBeats.read(value("heart-beat")))
        var credentials = Credentials(user: value("login"), token: nil)
        if let token = value("Authorization").flatMap(BearerToken.read)
            ?? value("authorization").flatMap(BearerToken.read)
        {
            (credentials.token, credentials.carrier) = (token, .authorization)
        } else if let passcode = value("passcode"), !passcode.isEmpty {
            credentials.token = passcode
        }
        guard credentials.token?.utf8.count ?? 0 <= MartletV1Codec.maxTokenBytes else {
            throw StompFault("Bad CONNECT", "The token is too long.\n")
        }
        login = credentials.user
        if credentials.user?.isEmpty ?? true { credentials.user = nil }
        state = .authenticating
        // Where nobody is asked for a proof, the client still needs a name.
        give(.hello(ClientHello(credentials: credentials, guest: shared.newName("guest-"))))
    }

    func receipt(_ frame: StompFrame, _ give: Give) {
        if let id = frame["receipt"] { give(.say(StompAnswer.receipt(id, version), isText: true)) }
    }

    /// The client is told what was wrong, and the connection ends.
    func fail(_ fault: StompFault, receipt: String?, _ give: Give) {
        state = .ended(isTold: true)
        let bytes = StompAnswer.error(fault, receipt: receipt, version)
        give(.end(ProtocolFarewell(payload: bytes, code: .protocolError, text: "ERROR"), reason: "stomp"))
        forget()
    }

    /// All that was asked before DISCONNECT has its answer: the client gets its receipt, and the session ends.
    private func leaveIfDone(_ give: Give) {
        guard case .leaving(let id) = state, sends.isEmpty, !asked.hasSends,
            !rooms.values.contains(where: { $0.subscriptions.contains { $0.receipt != nil } })
        else { return }
        state = .ended(isTold: true)
        if let id { give(.say(StompAnswer.receipt(id, version), isText: true)) }
        give(.goodbye)
        forget()
    }

    /// A rate has refused a request: it is made again at a time that ``timePassed(now:lastWritten:_:)`` sets.
    func retrySoon() {
        guard retryAt == nil else { return }
        isRetryWanted = true
        hasWork = true
    }

    private func forget() {
        rooms = [:]
        recent = nil
        errors = nil
        sends = StompSends()
        transactions = [:]
    }

    // MARK: Requests

    /// Asks the node. False if a rate refused the request at once: it is to be made again later.
    func ask(_ body: ClientRequest.Body, _ question: StompRequests.Question, _ give: Give) -> Bool {
        let serial = asked.begin(question)
        give(.request(ClientRequest(ref: .number("\(serial)"), body: body)))
        return asked.wasAccepted(serial)
    }

    // MARK: Time

    var deadline: Moment? {
        if hasWork { return Moment(nanoseconds: 0) }
        var first = heartBeats.deadline
        if let retryAt { first = min(first ?? retryAt, retryAt) }
        return first
    }

    func timePassed(now: Moment, lastWritten: Moment, _ body: (ClientInput) -> Void) {
        if case .ended(isTold: false) = state {
            state = .ended(isTold: true)
            hasWork = false
            return body(.end(ProtocolFarewell(code: .normal, text: "ERROR"), reason: "refusal"))
        }
        guard !isOver else {
            hasWork = false
            return
        }
        hasWork = false
        if let due = retryAt, due <= now { retryAt = nil }
        if isRetryWanted {
            isRetryWanted = false
            retryAt = now + Self.pause
        }
        if retryAt == nil { work(body) }
        if asked.takeRefused() { retryAt = now + Self.pause }
        pump(body)
        leaveIfDone(body)
        guard !isOver else { return }
        switch heartBeats.timePassed(now: now, lastWritten: lastWritten) {
        case .doNothing: break
        case .beat: body(.say(StompAnswer.heartBeat, isText: true))
        case .isDead(let time):
            fail(
                StompFault("No heart-beat", "Nothing came for \(time) ms, although the client promised more.\n"),
                receipt: nil, body)
        }
    }

    /// Requests beyond a rate are made again after this time.
    private static let pause: Duration = .milliseconds(100)

    /// Makes the requests that had to wait.
    private func work(_ give: Give) {
        for room in Array(rooms.values) where room.hasWork { tend(room, give) }
        flushSends(give)
        for room in Array(rooms.values) where room.isIdle && room.membership == .none { forget(room) }
    }

    // MARK: Out

    func form(of event: ServerEvent) -> SharedForm {
        switch event {
        case .message(let name, let message, _):
            guard let room = room(name), case .open = state else { return .nothing }
            return room.form(of: message, version, isTextOnly: shared.isTextOnly)
        case .gap(let name, _), .reset(let name, _): return room(name) == nil ? .nothing : .own
        case .welcome, .joined, .left, .sent, .history, .error, .removed: return .own
        case .presence, .signal, .draining, .roster, .pong, .renewed, .expiring, .moderated, .conversation, .amended,
            .inbox,
            .rules, .sanction, .participants:
            return .nothing
        }
    }

    func room(_ name: RoomName) -> StompRoom? {
        if let recent, recent.name == name { return recent }
        guard let room = rooms[name] else { return nil }
        recent = room
        return room
    }

    func refusal(_ error: WireError) -> [UInt8]? {
        guard [.unauthenticated, .forbidden, .banned].contains(error.code) else {
            return StompAnswer.error(
                StompFault("Bad CONNECT", error.message + "\n"), receipt: nil, code: error.code.name, version)
        }
        let who = login.map { " for user '\($0)'" } ?? ""
        let fault = StompFault("Bad CONNECT", "Access refused\(who)\n")
        return StompAnswer.error(fault, receipt: nil, code: error.code.name, why: error.message, version)
    }

    func farewell(_ reason: CloseReason) -> ProtocolFarewell? {
        var payload: [UInt8] = []
        switch (state, reason) {
        // The ERROR was sent before.
        case (.ended, _), (.authenticating, .unauthenticated), (.authenticating, .forbidden),
            (.authenticating, .banned), (.authenticating, .badName), (.authenticating, .internalError):
            break
        case (.awaitingConnect, _), (.authenticating, _), (.open, _), (.leaving, _):
            payload = StompProtocol.goodbye(reason, version)
        }
        state = .ended(isTold: true)
        return ProtocolFarewell(
            payload: payload, code: WebSocketCloseCode(rawValue: reason.rawValue), text: reason.name)
    }
}
