import ChatCore
import ChatJSON

/// One socket: a client's connection to one namespace. It turns the events of the client into requests as the profile
/// says, and the node's events into events of Socket.IO, and knows which request an acknowledgement belongs to.
public final class SocketIOReader: ClientWriter {
    private struct Asked {
        var acknowledge: UInt64
        /// Nil if the profile does not know the event.
        var operation: ProfileOperation?
    }

    private struct Rejoin {
        var room: RoomName
        /// The client has asked to join or to leave the room since, so the answer concerns nobody.
        var isReplaced = false
    }

    public let handshake: SocketHandshake
    private let spoken: SocketIO
    private var profile: SocketIOProfile { spoken.profile }
    private let prefix: FramePrefix?
    // What each delivery asks of the profile.
    private let looksAtMessages: Bool
    private let tellsEachUser: Bool
    /// The event that the next ``read(_:isText:_:)`` is about.
    private var next: SocketStateMachine.Event?
    /// Requests whose answers are acknowledgements, by their `ref`.
    private var asked = SmallDictionary<UInt64, Asked>()
    private var lastRef: UInt64 = 0
    /// Sends with a key of the client that were not answered with success, the last ones.
    private var unanswered: [(ref: Ref?, key: String)] = []
    private var isIdentified = false
    /// The secret name under which the state is restored if the connection is lost; nil if it is not.
    public var privateID: String?
    /// The client was told that it is connected.
    public private(set) var isConnected = false
    /// Where the client is in its rooms, if its state is to be restored.
    private var recovery = SocketRecovery()
    /// The rooms that are joined at once, for a state that is restored.
    private var restored: [RoomName: Position]?
    /// Joins of those rooms that were not answered, by their `ref`.
    private var rejoins = SmallDictionary<UInt64, Rejoin>()
    /// A room could not be joined again, so the client does not have the state that it was told to have.
    private var hasLostState = false

    public init(_ spoken: SocketIO, _ handshake: SocketHandshake) {
        self.spoken = spoken
        self.handshake = handshake
        prefix = spoken.isMain ? nil : FramePrefix(Self.head(.event, handshake.namespace))
        looksAtMessages = spoken.profile.recovers || !spoken.profile.echoes
        tellsEachUser = spoken.profile.tellsEachUser
    }

    private static func head(_ kind: SocketPacket.Kind, _ namespace: String, id: UInt64? = nil) -> [UInt8] {
        [EnginePacket.Kind.message.rawValue] + SocketPacket.prefix(kind, namespace: namespace, id: id)
    }

    private func context(_ arguments: SocketArguments? = nil) -> ProfileExpression.Context {
        ProfileExpression.Context(
            arguments: arguments, auth: handshake.auth, query: handshake.query, namespace: handshake.namespace,
            id: handshake.firstID)
    }

    // MARK: Who the client is

    /// Who the client claims to be, if it says so by connecting: always if it has a token. Nil: an event will say it.
    /// `carried`: what the opening request said.
    public func hello(_ carried: Credentials) throws(WireError) -> ClientHello? {
        var credentials = carried
        if let token = handshake.auth?["token"]?.string {
            guard token.utf8.count <= MartletV1Codec.maxTokenBytes else {
                throw WireError(.badField, "token is longer than \(MartletV1Codec.maxTokenBytes) bytes")
            }
            credentials.token = token
            credentials.carrier = .field
        }
        if credentials.token != nil {
            // The token says who it is; a claim has to agree, so none is made up.
            credentials.user = handshake.auth?["user"]?.string ?? carried.user
        } else if let user = profile.user {
            credentials.user = user.string(context()) ?? credentials.user
        } else {
            return nil
        }
        return ClientHello(credentials: credentials, device: try device())
    }

    private func device() throws(WireError) -> DeviceName? {
        guard let name = profile.device?.string(context()) else { return nil }
        do {
            return try DeviceName(name)
        } catch {
            throw WireError(.badName, error.description)
        }
    }

    /// What follows from being connected: the rooms that are joined at once.
    public func opening() -> [ClientInput] {
        isIdentified = true
        if let restored {
            return restored.sorted { $0.key.text < $1.key.text }.map { room, position in
                lastRef += 1
                rejoins[lastRef] = Rejoin(room: room)
                return .request(
                    ClientRequest(ref: .number("\(lastRef)"), body: .join(room: room, after: position, history: nil)))
            }
        }
        return profile.joins.map { operation in
            do throws(WireError) {
                let body = try operation.request(context(), ownKey: nil, historyPage: spoken.historyPage)
                return .request(ClientRequest(ref: nil, body: body))
            } catch {
                return .failure(RequestFailure(ref: nil, error: error))
            }
        }
    }

    // MARK: In

    /// Sets the event that the next ``read(_:isText:_:)`` is about.
    public func prepare(_ event: SocketStateMachine.Event) { next = event }

    public func read(_ bytes: [UInt8], isText: Bool, _ body: (ClientInput) -> Void) {
        guard let event = next else { return }
        next = nil
        guard let operation = profile.operation(event.name) else {
            let known = profile.events.joined(separator: ", ")
            let ref = ref(event.id, nil)
            return body(
                .failure(
                    RequestFailure(
                        ref: ref, error: WireError(.unknownType, "the event is not known; known are \(known)"))))
        }
        let context = context(event.arguments)
        let ref = ref(event.id, operation)
        do throws(WireError) {
            if operation.verb == .enter, !isIdentified {
                guard let user = operation.user(context) else {
                    throw WireError(.missingField, "the event does not say who the client is")
                }
                _ = try operation.room(context)
                isIdentified = true
                body(.hello(ClientHello(credentials: Credentials(user: user, token: nil), device: try device())))
            }
            var request = try operation.request(
                context, ownKey: profile.echoes ? nil : ownKey(), historyPage: spoken.historyPage)
            note(&request, ref)
            replaceRejoin(request)
            body(.request(ClientRequest(ref: ref, body: request)))
            if operation.verb == .signal { acknowledgeSignal(ref, body) }
        } catch {
            body(.failure(RequestFailure(ref: ref, error: error)))
        }
    }

    /// A client may repeat a send with its key, by itself or because it wants an acknowledgement in time. The node has
    /// to know that it is a repetition, and few clients say so: so the keys of sends that were not answered are kept.
    private func note(_ request: inout ClientRequest.Body, _ ref: Ref?) {
        guard case .send(var send) = request, let key = send.key, send.again == nil else { return }
        if unanswered.contains(where: { $0.key == key }) {
            send.again = true
            request = .send(send)
        } else {
            unanswered.append((ref, key))
            if unanswered.count > Self.mostUnanswered { unanswered.removeFirst() }
        }
    }

    private static let mostUnanswered = 64

    private func replaceRejoin(_ request: ClientRequest.Body) {
        guard !rejoins.isEmpty else { return }
        switch request {
        case .join(let room, _, _), .leave(let room):
            let replaced = rejoins.filter { $0.value.room == room }
            for entry in replaced { rejoins[entry.key]?.isReplaced = true }
        default: break
        }
    }

    /// The answer to a join that the node made for the client. Returns nil for any other answer.
    private func takeRejoin(_ ref: Ref?) -> Rejoin? {
        guard !rejoins.isEmpty, let number = Self.number(of: ref) else { return nil }
        return rejoins.removeValue(forKey: number)
    }

    /// The client could not be identified, and may try again.
    public func identificationFailed() { isIdentified = false }

    /// Only a signal that fails is answered by the node.
    private func acknowledgeSignal(_ ref: Ref?, _ body: (ClientInput) -> Void) {
        guard let asked = take(ref) else { return }
        body(.say(Self.head(.ack, handshake.namespace, id: asked.acknowledge) + Array("[]".utf8), isText: true))
    }

    private func ref(_ acknowledge: UInt64?, _ operation: ProfileOperation?) -> Ref? {
        guard let acknowledge else { return nil }
        lastRef += 1
        asked[lastRef] = Asked(acknowledge: acknowledge, operation: operation)
        return .number("\(lastRef)")
    }

    private func take(_ ref: Ref?) -> Asked? { Self.number(of: ref).flatMap { asked.removeValue(forKey: $0) } }

    /// The number of a `ref` that ``lastRef`` has given.
    private static func number(of ref: Ref?) -> UInt64? {
        if case .number(let text) = ref { UInt64(text) } else { nil }
    }

    /// A key by which this socket recognises its own messages.
    private func ownKey() -> String {
        lastRef += 1
        return "\(handshake.id).\(lastRef)"
    }

    private func isOwn(_ message: Message) -> Bool {
        guard let key = message.content.clientKey else { return false }
        return key.hasPrefix(handshake.id) && key.dropFirst(handshake.id.count).first == "."
    }

    // MARK: Out

    public func form(of event: ServerEvent) -> SharedForm {
        switch event {
        case .message(let room, let message, _) where !message.content.isPlain && message.content.amendment != nil:
            // The position is reached whether the profile has an event for it or not.
            if profile.recovers { recovery.wrote(room, message.position) }
            if profile.template(.changed) == nil { return .nothing }
        case .message:
            if looksAtMessages, case .message(let room, let message, let showKey) = event {
                if profile.recovers { recovery.wrote(room, message.position) }
                if showKey, !profile.echoes, isOwn(message) { return .nothing }
            }
        case .presence: if tellsEachUser { return .own }
        case .welcome, .joined, .left, .sent, .signal, .gap, .reset, .draining, .history, .roster, .pong, .renewed,
            .expiring, .removed, .moderated, .conversation, .amended, .inbox, .rules, .sanction, .participants, .error:
            break
        }
        return prefix.map { .prefixed($0) } ?? .whole
    }

    public func write(_ event: ServerEvent, viewer: UserID, _ body: ([UInt8], Bool) -> Void) {
        switch event {
        case .welcome: connect(body)
        case .error(let ref, _) where !rejoins.isEmpty:
            guard let rejoin = takeRejoin(ref) else { return answer(event, ref, viewer, body) }
            // The client could neither tell which room it has lost nor join it again, as it believes to be in it.
            if !rejoin.isReplaced { hasLostState = true }
        case .joined(let joined):
            if takeRejoin(joined.ref) != nil {
                var joined = joined
                joined.ref = nil
                emit(.joined(joined), viewer, body)
            } else {
                answer(event, joined.ref, viewer, body)
            }
            if profile.recovers {
                recovery.joined(joined.room, at: joined.messages.first?.position.previous ?? joined.position)
            }
            switch joined.resumption {
            case .fresh, .complete: break
            case .gap(let gap): emit(.gap(room: joined.room, gap), viewer, body)
            case .reset(var reset):
                // A client goes on from there, so it is the position before the first message that follows.
                if let first = joined.messages.first?.position { reset.position = first.previous }
                emit(.reset(room: joined.room, reset), viewer, body)
            }
            for message in joined.messages {
                let isSender = message.content.user == viewer
                if profile.recovers { recovery.wrote(joined.room, message.position) }
                emit(.message(room: joined.room, message, showKey: isSender), viewer, body)
            }
        case .sent(let ref, _, _, _, _), .history(let ref, _, _), .roster(let ref, _, _), .left(let ref, _),
            .error(let ref, _), .renewed(let ref, _), .amended(let ref, _, _), .conversation(let ref, _):
            if let room = event.roomLeft { recovery.left(room) }
            if case .sent = event, let ref { unanswered.removeAll { $0.ref == ref } }
            answer(event, ref, viewer, body)
        case .presence(_, let joined, let left, _):
            guard profile.tellsEachUser else { return emit(event, viewer, body) }
            for user in joined where user != viewer { emit(event, member: user, .userJoined, viewer, body) }
            for user in left where user != viewer { emit(event, member: user, .userLeft, viewer, body) }
        case .message(let room, let message, _):
            if profile.recovers { recovery.wrote(room, message.position) }
            emit(event, viewer, body)
        case .removed(let room, _):
            recovery.left(room)
            emit(event, viewer, body)
        case .signal, .gap, .reset, .draining, .rules, .sanction, .participants, .expiring: emit(event, viewer, body)
        case .inbox(let inbox):
            if inbox.isAnswer { answer(event, inbox.ref, viewer, body) } else { emit(event, viewer, body) }
        case .pong, .moderated: break
        }
    }

    /// Tells the client that it is connected to the namespace.
    public func connect(_ body: ([UInt8], Bool) -> Void) {
        guard !isConnected else { return }
        isConnected = true
        var bytes = ByteWriter(capacity: 128)
        bytes.field("{\"sid\":", handshake.id)
        if let privateID { bytes.field(",\"pid\":", privateID) }
        bytes.append(UInt8(ascii: "}"))
        body(Self.head(.connect, handshake.namespace) + bytes.array, true)
    }

    /// Answers a request: with an acknowledgement if the client wants one, or else with an event if the profile has
    /// one.
    private func answer(_ event: ServerEvent, _ ref: Ref?, _ viewer: UserID, _ body: ([UInt8], Bool) -> Void) {
        guard let asked = take(ref) else { return emit(event, viewer, body) }
        var bytes = ByteWriter()
        Self.head(.ack, handshake.namespace, id: asked.acknowledge).withUnsafeBytes { bytes.append(contentsOf: $0) }
        let values = ProfileValues(event: event, viewer: viewer)
        if case .error = event {
            guard asked.operation?.acksFailure ?? true else { return emit(event, viewer, body) }
            bytes.appendText("[{\"error\":")
            values.write([.code, .error, .message, .retry, .until], to: &bytes)
            bytes.appendText("}]")
        } else if let template = asked.operation?.ack {
            template.write(values, to: &bytes)
        } else if asked.operation?.verb == .request {
            bytes.append(UInt8(ascii: "["))
            _ = values[.event].write(to: &bytes)
            bytes.append(UInt8(ascii: "]"))
        } else {
            bytes.append(UInt8(ascii: "["))
            values.write(Self.acknowledged(event), to: &bytes)
            bytes.append(UInt8(ascii: "]"))
        }
        body(bytes.array, true)
    }

    /// What an acknowledgement holds if the profile does not say it.
    private static func acknowledged(_ event: ServerEvent) -> [ProfileTemplate.Variable] {
        switch event {
        case .sent: [.position, .at, .repeated]
        case .joined: [.room, .position, .resumed, .members, .count]
        case .left: [.room]
        case .history: [.messages, .newest, .older, .newer]
        case .roster: [.members, .count, .cursor]
        case .renewed: [.expires]
        default: []
        }
    }

    private func emit(_ event: ServerEvent, _ viewer: UserID, _ body: ([UInt8], Bool) -> Void) {
        guard let template = profile.template(for: event) else { return }
        emit(template, ProfileValues(event: event, viewer: viewer), body)
    }

    private func emit(
        _ event: ServerEvent, member: UserID, _ occasion: SocketIOProfile.Occasion, _ viewer: UserID,
        _ body: ([UInt8], Bool) -> Void
    ) {
        guard let template = profile.template(occasion) else { return }
        emit(template, ProfileValues(event: event, viewer: viewer, member: member), body)
    }

    private func emit(_ template: ProfileTemplate, _ values: ProfileValues, _ body: ([UInt8], Bool) -> Void) {
        var bytes = ByteWriter()
        Self.head(.event, handshake.namespace).withUnsafeBytes { bytes.append(contentsOf: $0) }
        template.write(values, to: &bytes)
        body(bytes.array, true)
    }

    // MARK: Recovery

    /// Takes over the state of a connection that was lost. Returns false if it cannot: then the client starts anew.
    /// `record`: as ``record(of:)`` made it.
    public func restore(_ record: String, for user: UserID) -> Bool {
        guard let recovery = SocketRecovery(record) else { return false }
        restored = recovery.positions(of: user, after: handshake.auth?["offset"]?.string)
        // A connection that is lost before the rooms are joined has the same state.
        for (room, position) in restored ?? [:] { self.recovery.joined(room, at: position) }
        return restored != nil
    }

    /// The state to restore if this connection is lost; nil if there is none.
    public func record(of user: UserID) -> String? {
        guard profile.recovers, isConnected, privateID != nil, !hasLostState else { return nil }
        return recovery.record(of: user)
    }

    // MARK: The end

    /// At once, if the client has to begin anew.
    public var deadline: Moment? { hasLostState ? Moment(nanoseconds: 0) : nil }

    public func timePassed(now: Moment, lastWritten: Moment, _ body: (ClientInput) -> Void) {
        if hasLostState { body(.restart(reason: "notRestored")) }
    }

    /// The packet that tells the client that its socket ends: that it is refused, or disconnected for good. Empty if
    /// the client is to come back: then the end of its connection says so.
    public func farewell(_ reason: CloseReason) -> ProtocolFarewell? {
        var payload: [UInt8] = []
        if !isConnected {
            payload = Self.refusal(
                handshake.namespace, message: reason.name, code: Int(reason.rawValue), retry: reason.reconnect)
        } else if !reason.reconnect {
            payload = Self.head(.disconnect, handshake.namespace)
        }
        return ProtocolFarewell(payload: payload, code: .normal, text: reason.name)
    }

    /// A refusal to connect to a namespace: `44{"message":…,"data":{…}}`. A client does not come back by itself.
    public static func refusal(_ namespace: String, message: String, code: Int, retry: Bool) -> [UInt8] {
        var bytes = ByteWriter(capacity: 128)
        bytes.field("{\"message\":", message)
        bytes.field(",\"data\":{\"code\":", code)
        bytes.appendText(retry ? ",\"retry\":true}}" : ",\"retry\":false}}")
        return head(.connectError, namespace) + bytes.array
    }

    public static func refusal(_ namespace: String, _ error: WireError) -> [UInt8] {
        refusal(namespace, message: error.message, code: error.code.rawValue, retry: error.code.retry)
    }
}

extension ProfileValues {
    /// Appends an object of these values, without those that are missing.
    func write(_ variables: [ProfileTemplate.Variable], to bytes: inout ByteWriter) {
        bytes.append(UInt8(ascii: "{"))
        var isFirst = true
        for variable in variables {
            let value = self[variable]
            if case .absent = value { continue }
            if !isFirst { bytes.append(UInt8(ascii: ",")) }
            isFirst = false
            bytes.appendJSON(variable == .error ? "name" : variable.rawValue)
            bytes.append(UInt8(ascii: ":"))
            _ = value.write(to: &bytes)
        }
        bytes.append(UInt8(ascii: "}"))
    }
}
