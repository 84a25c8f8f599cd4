import ChatCore
import ChatJSON

extension MartletV1Codec {
    /// The maximum length of a token, in bytes.
    public static let maxTokenBytes = 16_384

    /// The client's first frame, `{"type":"hello","token":…}`.
    func hello(_ fields: RequestFields) throws(WireError) -> ClientHello {
        let token = try fields.needString(.token, maxBytes: Self.maxTokenBytes)
        var hello = ClientHello(credentials: Credentials(user: try fields.string(.user), token: token))
        if let device = try fields.string(.device) {
            do throws(NameError) {
                hello.device = try DeviceName(device)
            } catch {
                throw WireError(.badName, error.description)
            }
        }
        if fields.has(.room) { hello.room = try fields.room() }
        return hello
    }

    func body(_ type: String, _ fields: RequestFields) throws(WireError) -> ClientRequest.Body {
        switch type {
        case "join":
            return .join(
                room: try fields.room(), after: try fields.position(.after),
                history: try fields.integer(.history, in: 0...historyPage))
        case "leave": return .leave(room: try fields.room())
        case "send": return .send(try send(fields))
        case "signal":
            return .signal(room: try fields.room(), name: try signalName(fields), data: try fields.data())
        case "history": return .history(room: try fields.room(), query: try query(fields))
        case "roster":
            return .roster(room: try fields.room(), cursor: try fields.string(.cursor, maxBytes: Self.maxCursorBytes))
        case "moderate": return .moderate(room: try fields.room(), try moderation(fields))
        case "conversation": return .conversation(try conversation(fields))
        case "participants": return .conversation(.participants(try fields.room()))
        case "amend": return .amend(try fields.amendment(of: try fields.room()))
        case "read", "inbox", "watch", "unwatch", "online", "lastSeen": return .inbox(try inbox(type, fields))
        case "star": return .conversation(.star(try fields.room(), try fields.needPosition(.position)))
        case "unstar": return .conversation(.unstar(try fields.room(), try fields.needPosition(.position)))
        case "stars": return .conversation(try stars(fields))
        case "ping": return .ping
        case "token": return .token(try fields.needString(.token, maxBytes: Self.maxTokenBytes))
        default: throw WireError(.unknownType, "type \(Self.shown(type)) is not known; the types are \(Self.types)")
        }
    }

    private static let types =
        "join, leave, send, amend, signal, history, roster, moderate, conversation, participants, star, unstar, stars, "
        + "read, inbox, watch, unwatch, online, lastSeen, token and ping"

    /// A single word of the client may be quoted in an error; anything longer or unusual is only described.
    private static func shown(_ text: String) -> String {
        let plain = text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "'") }
        return plain && (1...32).contains(text.utf8.count) ? "'\(text)'" : "(\(text.utf8.count) bytes)"
    }

    private func send(_ fields: RequestFields) throws(WireError) -> SendRequest {
        let room = try fields.room()
        let request = SendRequest(
            room: room, text: try fields.string(.text), data: try fields.data(), key: try fields.key(),
            again: try fields.bool(.again), since: try fields.position(.since), extra: try fields.extra())
        try fields.needContent(text: request.text)
        if request.again == true, request.key == nil {
            throw WireError(.missingField, "key is missing: without it nobody can tell what is sent again")
        }
        return request
    }

    private func moderation(_ fields: RequestFields) throws(WireError) -> Moderation {
        var order = ModerationOrder(try fields.needString(.operation))
        order.user = try fields.string(.user)
        order.value = try fields.string(.value)
        order.time = try fields.integer(.time, in: 0...Int(PositionBounds.largest)).map { UInt64($0) }
        order.reason = try fields.string(.reason)
        return try order.moderation()
    }

    private func signalName(_ fields: RequestFields) throws(WireError) -> String {
        let name = try fields.needString(.name, maxBytes: ClientRequest.maxSignalNameBytes)
        if name.isEmpty { throw WireError(.badField, "name is empty") }
        if name.unicodeScalars.contains(where: { $0.value < 0x20 || (0x7F..<0xA0).contains($0.value) }) {
            throw WireError(.badField, "name holds a control character")
        }
        return name
    }

    private func query(_ fields: RequestFields) throws(WireError) -> HistoryQuery {
        let given = [RequestFields.Name.before, .after, .around, .time].filter { fields.has($0) }
        if given.count > 1 {
            throw WireError(.badField, "\(given[0].text) and \(given[1].text) are both there, at most one is allowed")
        }
        var anchor = HistoryQuery.Anchor.newest
        if let position = try fields.position(.before) { anchor = .before(position) }
        if let position = try fields.position(.after) { anchor = .after(position) }
        if let position = try fields.position(.around) { anchor = .around(position) }
        if let time = try fields.integer(.time, in: 0...Int(PositionBounds.largest)) { anchor = .time(UInt64(time)) }
        return HistoryQuery(anchor: anchor, limit: try fields.integer(.limit, in: 1...historyPage) ?? historyPage)
    }
}
