import ChatCore
import ChatWire
import NIOCore

/// The two registrations of Socket.IO: for sockets in the main namespace, and for all others.
final class SocketProtocols: Sendable {
    let profile: SocketIOProfile
    let main: SpokenProtocol
    let other: SpokenProtocol

    init(profile: SocketIOProfile, main: SpokenProtocol, other: SpokenProtocol) {
        self.profile = profile
        self.main = main
        self.other = other
    }

    func spoken(_ namespace: String) -> SpokenProtocol { namespace == SocketPacket.mainNamespace ? main : other }
}

/// Socket.IO over one connection of Engine.IO. Each namespace that the client connects to is a session of its own, as
/// each has credentials and rooms of its own.
final class SocketIOApplication: EngineApplication {
    private enum Socket {
        /// The state of an earlier connection was asked for.
        case restoring
        /// The authenticator was asked.
        case authenticating(SocketIOReader)
        /// Connected, and not identified yet.
        case anonymous(SocketIOReader)
        case session(SocketSession, SocketIOReader)
    }

    let connection: EngineSession
    private let gateway: GatewayLoop
    private let kinds: SocketProtocols
    private let query: [(name: String, value: String)]
    private let credentials: Credentials
    private let address: PeerAddress?
    private var machine: SocketStateMachine
    private var sockets = SmallDictionary<String, Socket>()
    /// A session waits until its client has caught up.
    private var hasWishes = false
    /// Sessions that have ended, and of which the service has not been told.
    private var ended: [SocketSession] = []

    init(_ connection: EngineSession, _ kinds: SocketProtocols, _ opening: EngineOpening) {
        self.connection = connection
        self.kinds = kinds
        gateway = connection.gateway
        let fields = PercentEncoding.query(opening.query, only: kinds.profile.queryFields) ?? [:]
        query = fields.map { ($0.key, $0.value) }
        credentials = opening.credentials
        address = opening.address
        var limits = SocketStateMachine.Limits()
        limits.connectTimeout = gateway.options.handshakeTimeout
        limits.packetBytes = gateway.options.limits.frameBytes
        limits.namespaces = min(limits.namespaces, gateway.options.limits.roomsPerSession)
        machine = SocketStateMachine(limits: limits, now: .now)
    }

    var deadline: Moment? { machine.deadline }

    func timePassed(now: Moment) { run(machine.timePassed(now: now)) }

    // MARK: In

    func received(_ bytes: [UInt8], isText: Bool) { run(machine.received(bytes, isText: isText)) }

    private func run(_ action: SocketStateMachine.Action) {
        switch action {
        case .doNothing, .acknowledged: break
        case .connect(let namespace, let auth): connect(namespace, auth)
        case .refuse(let namespace):
            send(SocketIOReader.refusal(namespace, WireError(.tooManyRooms, "the connection has too many namespaces")))
        case .disconnect(let namespace): disconnect(namespace)
        case .event(let event): received(event)
        case .end:
            gateway.counters.badFrames["socketio", default: 0] += 1
            connection.close()
        }
    }

    private func received(_ event: SocketStateMachine.Event) {
        switch sockets[event.namespace] {
        case .session(let session, let reader):
            reader.prepare(event)
            session.received(event.text, isText: true)
        case .anonymous(let reader): identify(event, reader)
        case .restoring, .authenticating, nil: break
        }
    }

    private func disconnect(_ namespace: String) {
        guard let socket = sockets.removeValue(forKey: namespace) else { return }
        if case .session(let session, _) = socket { session.leave("peer") }
    }

    // MARK: Connecting

    private func connect(_ namespace: String, _ auth: SocketValue?) {
        let handshake = SocketHandshake(
            namespace: namespace, id: gateway.engines.makeToken(), auth: auth, query: query)
        guard kinds.profile.recovers, let pid = auth?["pid"]?.string, let (first, secret) = Self.parts(of: pid) else {
            return connect(handshake, nil)
        }
        // A client that comes back keeps the name that was made for it, even if its state is gone.
        var again = handshake
        again.firstID = first
        sockets[namespace] = .restoring
        let promise = gateway.eventLoop.makePromise(of: String?.self)
        let (service, known) = (gateway.service, again)
        promise.completeWithTask { await service.takeRecord(under: secret) }
        promise.futureResult.assumeIsolated().whenComplete { [weak self] result in
            guard let self, case .restoring = sockets[namespace], connection.isOpen else { return }
            let record = (try? result.get()) ?? nil
            connect(known, record.map { ($0, pid) })
        }
    }

    /// The first ID and the secret of the name of a state.
    private static func parts(of pid: String) -> (first: String, secret: String)? {
        let parts = pid.split(separator: SocketHandshake.privateIDMark, omittingEmptySubsequences: false)
        guard parts.count == 2, parts[0].utf8.count == 20, parts[1].utf8.count == 40 else { return nil }
        return (String(parts[0]), String(parts[1]))
    }

    private func makePrivateID(_ first: String) -> String {
        "\(first)\(SocketHandshake.privateIDMark)\(gateway.engines.makeToken())\(gateway.engines.makeToken())"
    }

    /// `state`: that of an earlier connection, and its name.
    private func connect(_ handshake: SocketHandshake, _ state: (record: String, pid: String)?) {
        let namespace = handshake.namespace
        let spoken = kinds.spoken(namespace)
        guard let protocolValue = spoken.implementation as? SocketIO else { return connection.close() }
        let reader = SocketIOReader(protocolValue, handshake)
        do throws(WireError) {
            guard let hello = try reader.hello(credentials) else {
                guard machine.connected(namespace) else { return }
                sockets[namespace] = .anonymous(reader)
                if kinds.profile.recovers { reader.privateID = makePrivateID(handshake.firstID) }
                return reader.connect { bytes, _ in send(bytes) }
            }
            sockets[namespace] = .authenticating(reader)
            // (A weak reference would take 48 bytes for as long as the connection lasts.)
            authenticate(hello) { [self] in authenticated($0, hello, reader, state) }
        } catch {
            refuse(namespace, error)
        }
    }

    private func authenticate(_ hello: ClientHello, _ body: @escaping (Result<Identity, WireError>) -> Void) {
        if let address {
            let wait = gateway.shared.addresses.penalty(of: address, now: .now)
            guard wait <= .zero else { return body(.failure(AddressBook.tooManyFailures)) }
        }
        if let result = gateway.authenticator.authenticateAtOnce(hello.credentials) { return body(result) }
        let promise = gateway.eventLoop.makePromise(of: Result<Identity, WireError>.self)
        let authenticator = gateway.authenticator
        promise.completeWithTask { await authenticator.authenticate(hello.credentials) }
        promise.futureResult.assumeIsolated().whenSuccess(body)
    }

    private func authenticated(
        _ result: Result<Identity, WireError>, _ hello: ClientHello, _ reader: SocketIOReader,
        _ state: (record: String, pid: String)?
    ) {
        let namespace = reader.handshake.namespace
        guard case .authenticating(let waiting) = sockets[namespace], waiting === reader, connection.isOpen else {
            return
        }
        switch checked(result, hello) {
        case .success(let identity):
            guard machine.connected(namespace) else { return }
            if kinds.profile.recovers {
                let isRestored = state.map { reader.restore($0.record, for: identity.user) } ?? false
                reader.privateID = isRestored ? state?.pid : makePrivateID(reader.handshake.firstID)
            }
            open(identity, reader, then: reader.opening())
        case .failure(let error): refuse(namespace, error)
        }
        connection.keepTime()
    }

    private func checked(
        _ result: Result<Identity, WireError>, _ hello: ClientHello
    ) -> Result<SessionIdentity, WireError> {
        switch result {
        case .success(let identity):
            if let device = identity.grant?.device, hello.device.map({ $0 != device }) ?? false {
                return .failure(WireError(.forbidden, "the token is for another device"))
            }
            let device = hello.device ?? identity.grant?.device ?? ConnectionHandler.inventedDevice()
            return .success(SessionIdentity(identity, device: device))
        case .failure(let error):
            countFailure(error)
            return .failure(error)
        }
    }

    private func countFailure(_ error: WireError) {
        let reason: GatewayCounters.Refusal =
            error.code == .rateLimited ? .addressFailures : .init(ConnectionHandler.closeReason(error.code))
        gateway.refused(reason, from: address)
        guard let address, reason != .banned, reason != .internalError, reason != .addressFailures else { return }
        gateway.shared.addresses.failed(address, now: .now)
    }

    private func refuse(_ namespace: String, _ error: WireError) {
        sockets[namespace] = nil
        machine.refused(namespace, now: .now)
        send(SocketIOReader.refusal(namespace, error))
        connection.keepTime()
    }

    private func open(_ identity: SessionIdentity, _ reader: SocketIOReader, then inputs: [ClientInput]) {
        let namespace = reader.handshake.namespace
        let session = SocketSession(
            gateway: gateway, application: self, identity: identity, speaking: kinds.spoken(namespace), reader: reader)
        sockets[namespace] = .session(session, reader)
        session.begin(joining: nil, by: nil, then: inputs)
    }

    // MARK: Clients that say later who they are

    private func identify(_ event: SocketStateMachine.Event, _ reader: SocketIOReader) {
        var hello: ClientHello?
        var behind: [ClientInput] = []
        reader.prepare(event)
        reader.read(event.text, isText: true) { input in
            switch input {
            case .hello(let said): hello = said
            case .say(let bytes, _): if hello == nil { send(bytes) } else { behind.append(input) }
            case .request(let request):
                guard hello == nil else { return behind.append(input) }
                tell(reader, request.ref, WireError(.unauthenticated, "the client has not said who it is"))
            case .failure(let failure): tell(reader, failure.ref, failure.error)
            case .goodbye, .end, .restart: break
            }
        }
        guard let hello else { return }
        let namespace = reader.handshake.namespace
        sockets[namespace] = .authenticating(reader)
        authenticate(hello) { [self] result in
            guard case .authenticating(let waiting) = sockets[namespace], waiting === reader else { return }
            guard connection.isOpen else { return }
            switch checked(result, hello) {
            case .success(let identity): open(identity, reader, then: behind)
            case .failure(let error):
                reader.identificationFailed()
                sockets[namespace] = .anonymous(reader)
                var ref: Ref?
                if case .request(let request) = behind.first { ref = request.ref }
                tell(reader, ref, error)
            }
        }
    }

    /// Sends an error to a client that has no session.
    private func tell(_ reader: SocketIOReader, _ ref: Ref?, _ error: WireError) {
        gateway.counters.badFrames[error.code.name, default: 0] += 1
        guard let nobody = Self.nobody else { return }
        reader.write(.error(ref: ref, error), viewer: nobody) { bytes, _ in send(bytes) }
    }

    private static let nobody = try? UserID("nobody")

    private func send(_ bytes: [UInt8]) { connection.enqueue(SharedFrame(bytes, as: .webSocket(.text))) }

    // MARK: The end

    /// A session has ended. `comesBack`: the client is to reconnect, which it does if its connection ends.
    func sessionEnded(_ session: SocketSession, comesBack: Bool) {
        let namespace = session.namespace
        guard case .session(let current, let reader) = sockets[namespace], current === session else { return }
        if comesBack { keep(reader, of: session) }
        sockets[namespace] = nil
        machine.disconnected(namespace)
        ended.append(session)
        if comesBack { connection.close() }
        connection.asksForTick()
    }

    func closed(_ end: EngineStateMachine.End) {
        let reason =
            switch end {
            case .peer: "peer"
            case .gone: "gone"
            case .pingTimeout: CloseReason.heartbeatMissed.name
            case .protocolError: "protocolError"
            case .server: "closed"
            }
        for socket in allSockets {
            guard case .session(let session, let reader) = socket else { continue }
            // A client that has closed the connection does not come back for its state.
            if end != .peer { keep(reader, of: session) }
            session.leave(reason)
        }
        sockets = SmallDictionary()
    }

    /// The session's transport is gone, or its client has left.
    func sessionLeft(_ session: SocketSession) {
        ended.append(session)
        connection.asksForTick()
    }

    /// A session waits until its client has caught up.
    func wishes() {
        hasWishes = true
        connection.asksForTick()
    }

    func fellBehind() {
        for socket in allSockets { if case .session(let session, _) = socket { session.leave(CloseReason.slow.name) } }
    }

    func nodeLeaves() {
        for socket in allSockets {
            guard case .session(let session, _) = socket else { continue }
            session.send(.draining(reconnectAfter: 0))
            session.close(.draining)
        }
    }

    /// Keeps the state of a socket whose connection is lost, for whatever node its client comes to.
    private func keep(_ reader: SocketIOReader, of session: SocketSession) {
        guard let record = reader.record(of: session.user), let pid = reader.privateID,
            let secret = Self.parts(of: pid)?.secret
        else { return }
        reader.privateID = nil
        let service = gateway.service
        Task { await service.keep(record, under: secret, for: .seconds(120)) }
    }

    private var allSockets: [Socket] {
        var all: [Socket] = []
        for entry in sockets { all.append(entry.value) }
        return all
    }

    func tickEnded() {
        if hasWishes {
            hasWishes = false
            for socket in allSockets { if case .session(let session, _) = socket { session.tickEnded() } }
        }
        guard !ended.isEmpty else { return }
        let gone = ended
        ended = []
        for session in gone { session.tickEnded() }
    }
}
