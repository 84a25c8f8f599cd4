import ChatCore
import ChatJSON

/// What the node does when a client emits an event.
struct ProfileOperation: Sendable, Hashable {
    enum Verb: String, Sendable, CaseIterable {
        /// Says who the client is, and joins the room. For clients that are not known when they connect.
        case enter
        case join, leave, send, signal, history, roster, token
        /// A request of `martlet.v1`, whose fields are those of the client's argument.
        case request
    }

    let verb: Verb
    private var fields: [Field: ProfileExpression] = [:]
    /// What an acknowledgement holds; nil: the default of the verb.
    private(set) var ack: ProfileTemplate?
    /// Whether a failure is acknowledged. If not, the client is left without an answer, and may try again.
    private(set) var acksFailure = true

    enum Field: String, Sendable, CaseIterable {
        case user, room, after, history, text, data, key, again, since, name, before, limit, cursor, token, type,
            fields,
            thread, mentions
    }

    private static func fields(of verb: Verb) -> [Field] {
        switch verb {
        case .enter: [.user, .room, .after, .history]
        case .join: [.room, .after, .history]
        case .leave: [.room]
        case .send: [.room, .text, .data, .key, .again, .since, .thread, .mentions]
        case .signal: [.room, .name, .data]
        case .history: [.room, .after, .before, .limit]
        case .roster: [.room, .cursor]
        case .token: [.token]
        case .request: [.type, .fields]
        }
    }

    /// The requests that `request` may make.
    private static let requests = [
        "amend", "conversation", "participants", "read", "inbox", "watch", "unwatch", "online", "lastSeen", "star",
        "unstar", "stars",
    ]

    /// `room`: of the profile, for operations that name none.
    init(_ node: ProfileNode, _ what: String, room: ProfileExpression?) throws(ProfileProblem) {
        let names = ["do", "ack", "failure"] + Field.allCases.map(\.rawValue)
        let members = try node.members(of: what, known: names)
        guard let word = members.first(where: { $0.name == "do" })?.value else {
            throw node.problem("\(what) has no \"do\"")
        }
        let verbs = Verb.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: ", ")
        guard let verb = Verb(rawValue: try word.string("\"do\"")) else {
            throw word.problem("\"do\" must be one of \(verbs)")
        }
        self.verb = verb
        let known = Self.fields(of: verb)
        for (name, value) in members {
            if name == "ack" {
                ack = try ProfileTemplate(arguments: value, "\"ack\"")
            } else if name == "failure" {
                acksFailure = try value.bool("\"failure\"")
            } else if let field = Field(rawValue: name) {
                guard known.contains(field) else {
                    throw value.problem("\"\(verb.rawValue)\" has no \"\(name)\"")
                }
                fields[field] = try ProfileExpression(value, "\"\(name)\"")
            }
        }
        if known.contains(.room), fields[.room] == nil {
            guard let room else { throw node.problem("\(what) names no room, and neither does the profile") }
            fields[.room] = room
        }
        for needed in [Field.user, .name, .token, .type, .fields] where known.contains(needed) && fields[needed] == nil
        {
            throw node.problem("\"\(verb.rawValue)\" needs \"\(needed.rawValue)\"")
        }
        if verb == .request, let type = members.first(where: { $0.name == "type" })?.value {
            guard Self.requests.contains(try type.string("\"type\"")) else {
                throw type.problem("\"type\" must be one of \(Self.requests.joined(separator: ", "))")
            }
        }
        if verb == .send, fields[.text] == nil, fields[.data] == nil {
            throw node.problem("\"send\" needs \"text\" or \"data\"")
        }
    }

    var queryFields: [String] { fields.values.flatMap(\.queryFields) }

    /// The user whom the client claims to be.
    func user(_ context: ProfileExpression.Context) -> String? { fields[.user]?.string(context) }

    func room(_ context: ProfileExpression.Context) throws(WireError) -> RoomName {
        guard let name = fields[.room]?.string(context) else { throw WireError(.missingField, "room is missing") }
        do {
            return try RoomName(name)
        } catch {
            throw WireError(.badName, error.description)
        }
    }

    /// The request. `ownKey`: for a send without a key. `historyPage`: the most messages of one page.
    func request(
        _ context: ProfileExpression.Context, ownKey: String?, historyPage: Int
    ) throws(WireError) -> ClientRequest.Body {
        switch verb {
        case .enter, .join:
            let after = try position(.after, context)
            let history = after == nil ? try count(.history, context, in: 0...historyPage) : nil
            return .join(room: try room(context), after: after, history: history)
        case .leave: return .leave(room: try room(context))
        case .send: return .send(try send(context, ownKey))
        case .signal: return try signal(context)
        case .history: return .history(room: try room(context), query: try query(context, historyPage))
        case .roster:
            let cursor = fields[.cursor]?.string(context)
            guard (cursor?.utf8.count ?? 0) <= MartletV1Codec.maxCursorBytes else {
                throw WireError(.badField, "cursor is longer than \(MartletV1Codec.maxCursorBytes) bytes")
            }
            return .roster(room: try room(context), cursor: cursor)
        case .token:
            guard let token = fields[.token]?.string(context) else {
                throw WireError(.missingField, "token is missing")
            }
            guard token.utf8.count <= MartletV1Codec.maxTokenBytes else {
                throw WireError(.badField, "token is longer than \(MartletV1Codec.maxTokenBytes) bytes")
            }
            return .token(token)
        case .request: return try wire(context, historyPage)
        }
    }

    /// A request of `martlet.v1`: the type is the profile's, everything else the client's.
    private func wire(
        _ context: ProfileExpression.Context, _ historyPage: Int
    ) throws(WireError) -> ClientRequest.Body {
        guard let type = fields[.type]?.string(context) else { throw WireError(.missingField, "type is missing") }
        var object: JSONValue = .object([:])
        if let value = fields[.fields]?.json(context) {
            guard !value.holdsPlaceholder else {
                throw WireError(.binaryFrame, "binary attachments are not stored; encode them as text")
            }
            guard case .success(let parsed) = value.text.withUnsafeBytes({ JSONValue.parse($0) }), parsed.object != nil
            else { throw WireError(.badField, "the argument must be an object") }
            object = parsed
        }
        guard case .object(var members) = object else { throw WireError(.badField, "the argument must be an object") }
        members["type"] = .string(type)
        members["ref"] = nil
        let text = Array(JSONValue.object(members).text.utf8)
        var limits = Limits()
        limits.historyPage = historyPage
        switch text.withUnsafeBytes({ MartletV1Codec(limits: limits).decode($0) }) {
        case .success(let request): return request.body
        case .failure(let failure): throw failure.error
        }
    }

    private func send(_ context: ProfileExpression.Context, _ ownKey: String?) throws(WireError) -> SendRequest {
        let text = fields[.text]?.string(context)
        let data = try data(context)
        guard data != nil || !(text ?? "").isEmpty else {
            throw WireError(.missingField, "text and data are missing, one of them is needed")
        }
        let room = try room(context)
        if let given = fields[.key]?.string(context, orNumber: true) {
            let key = try PostedMessage.checked(key: given, called: "key")
            let again: Bool? = if case .bool(let flag)? = fields[.again]?.json(context)?.kind { flag } else { nil }
            return SendRequest(
                room: room, text: text, data: data, key: key, again: again, since: try position(.since, context),
                extra: try extra(context))
        }
        // A key that was made just now cannot have been used before.
        return SendRequest(
            room: room, text: text, data: data, key: ownKey, again: ownKey == nil ? nil : false,
            extra: try extra(context))
    }

    /// The message to which it replies, and the users whom it mentions.
    private func extra(_ context: ProfileExpression.Context) throws(WireError) -> MessageExtra? {
        var mentions: [UserID] = []
        if let value = fields[.mentions]?.json(context) {
            let most = MessageExtra.mostMentions
            let names = value.text.withUnsafeBytes { (try? JSONValue.parse($0).get())?.array?.compactMap(\.string) }
            guard let names, names.count <= most else {
                throw WireError(.badField, "mentions must be an array of at most \(most) names")
            }
            for name in names {
                do { mentions.append(try UserID(name)) } catch { throw WireError(.badName, error.description) }
            }
        }
        let extra = MessageExtra(thread: try position(.thread, context), mentions: mentions)
        return extra.isEmpty ? nil : extra
    }

    private func signal(_ context: ProfileExpression.Context) throws(WireError) -> ClientRequest.Body {
        guard let name = fields[.name]?.string(context), !name.isEmpty else {
            throw WireError(.missingField, "name is missing")
        }
        guard name.utf8.count <= ClientRequest.maxSignalNameBytes else {
            throw WireError(.badField, "name is longer than \(ClientRequest.maxSignalNameBytes) bytes")
        }
        if name.unicodeScalars.contains(where: { $0.value < 0x20 || (0x7F..<0xA0).contains($0.value) }) {
            throw WireError(.badField, "name holds a control character")
        }
        return .signal(room: try room(context), name: name, data: try data(context))
    }

    private func data(_ context: ProfileExpression.Context) throws(WireError) -> String? {
        guard let value = fields[.data]?.json(context) else { return nil }
        guard !value.holdsPlaceholder else {
            throw WireError(.binaryFrame, "binary attachments are not stored; encode them as text")
        }
        if let problem = value.text.withUnsafeBytes({ JSONData.problem($0) }) {
            throw WireError(.badField, "data contains JSON that not every parser accepts: \(problem)")
        }
        return value.json
    }

    private func query(_ context: ProfileExpression.Context, _ historyPage: Int) throws(WireError) -> HistoryQuery {
        let after = try position(.after, context)
        let before = try position(.before, context)
        let limit = try count(.limit, context, in: 1...historyPage) ?? historyPage
        switch (after, before) {
        case (nil, nil): return HistoryQuery(anchor: .newest, limit: limit)
        case (let after?, nil): return HistoryQuery(anchor: .after(after), limit: limit)
        case (nil, let before?): return HistoryQuery(anchor: .before(before), limit: limit)
        case (_?, _?): throw WireError(.badField, "after and before exclude each other")
        }
    }

    /// A text that is no position is an error. Anything else counts as absent: a client that has no position yet may
    /// send a 0.
    private func position(_ field: Field, _ context: ProfileExpression.Context) throws(WireError) -> Position? {
        guard let text = fields[field]?.string(context) else { return nil }
        guard let position = Position(text) else {
            throw WireError(.badField, "\(field.rawValue) must be a position: two decimal numbers, <epoch>-<seq>")
        }
        return position
    }

    private func count(
        _ field: Field, _ context: ProfileExpression.Context, in range: ClosedRange<Int>
    ) throws(WireError) -> Int? {
        guard let number = fields[field]?.integer(context) else { return nil }
        guard range.contains(number) else {
            throw WireError(
                .badField,
                "\(field.rawValue) must be a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }
}
