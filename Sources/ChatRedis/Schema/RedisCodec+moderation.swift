import ChatCore
import ChatJSON
import RedisSchema

/// A room's rules and sanctions.
extension RedisCodec {
    func moderate(_ room: RoomName, _ moderation: Moderation, by: String, _ writer: inout RESPWriter) {
        call("martlet_moderate", [.log], room, arguments: 6, &writer)
        let (operation, user, value, reason) = Self.words(of: moderation)
        writer.argument(operation)
        writer.argument(user)
        writer.argument(value)
        writer.argument(reason)
        writer.argument(by)
        writer.argument(settings.roomTTL.timeToLiveMilliseconds)
    }

    func rules(_ room: RoomName, of user: UserID?, _ writer: inout RESPWriter) {
        call("martlet_rules", [.log, .rules, .sanctions], room, arguments: 1, &writer)
        writer.argument(user?.text ?? "")
    }

    private static func words(
        of moderation: Moderation
    ) -> (operation: String, user: String, value: String, reason: String) {
        switch moderation {
        case .impose(let kind, let user, let time, let reason):
            (kind.rawValue, user.text, time.map { String($0) } ?? "", reason)
        case .kick(let user, let time, let reason): ("kick", user.text, String(time), reason)
        case .lift(let kind, let user): ("un" + kind.rawValue, user.text, "", "")
        case .slowMode(let time): ("slow", "", String(time), "")
        case .uniqueFor(let time): ("unique", "", String(time), "")
        case .posting(let posting): ("posting", "", posting.rawValue, "")
        case .members(let members): ("members", "", members.rawValue, "")
        case .freeze(let isFrozen): (isFrozen ? "freeze" : "thaw", "", "", "")
        }
    }

    func moderated(_ reply: RESPReply) throws(BrokerError) -> ModerationReply {
        guard reply.count == 2 else { throw .malformed("moderate: expected a version and a word") }
        return ModerationReply(
            version: try number(reply[0], "moderate: version"), isChanged: reply[1].equals("changed"))
    }

    /// The last element of a view: the version of the rules and two hashes, or nil.
    func moderation(_ reply: RESPReply) throws(BrokerError) -> RoomModeration? {
        if reply.isNull { return nil }
        guard reply.count == 3 else { throw .malformed("view: expected rules of 3 elements") }
        let version = try number(reply[0], "view: version of the rules")
        var policy = RoomPolicy()
        for place in stride(from: 0, to: reply[1].count - 1, by: 2) {
            let value = reply[1][place + 1]
            switch reply[1][place].string {
            case "slow": policy.slowMode = bounded(value).map { min($0, RoomPolicy.longest) } ?? leftOut(reply, 0)
            case "unique": policy.uniqueFor = bounded(value).map { min($0, RoomPolicy.longest) } ?? leftOut(reply, 0)
            case "frozen": policy.isFrozen = value.equals("1")
            case "members": policy.members = value.string.flatMap { .init(rawValue: $0) } ?? leftOut(reply, .everybody)
            case "posting": policy.posting = value.string.flatMap { .init(rawValue: $0) } ?? leftOut(reply, .open)
            default: break
            }
        }
        var (bans, mutes): ([UserID: Sanction], [UserID: Sanction]) = ([:], [:])
        for place in stride(from: 0, to: reply[2].count - 1, by: 2) {
            guard let (kind, user) = Self.place(reply[2][place].string),
                let sanction = reply[2][place + 1].withBytes({ Self.sanction(UnsafeRawBufferPointer($0)) })
            else {
                reply.leaveOut(.rules)
                continue
            }
            if kind == .ban { bans[user] = sanction } else { mutes[user] = sanction }
        }
        return RoomModeration(
            version: version, policy: policy, bans: bans, mutes: mutes, conversation: conversation(among: reply[1]))
    }

    private func leftOut<Value>(_ reply: RESPReply, _ value: Value) -> Value {
        reply.leaveOut(.rules)
        return value
    }

    /// `ban:<user>` or `mute:<user>`.
    private static func place(_ field: String?) -> (Sanction.Kind, UserID)? {
        guard let field, let colon = field.firstIndex(of: ":"),
            let kind = Sanction.Kind(rawValue: String(field[..<colon])),
            let user = try? UserID(stored: String(field[field.index(after: colon)...]))
        else { return nil }
        return (kind, user)
    }

    /// `{"until":"<ms>" or "forever","at":"<ms>","by":"…","reason":"…"}`.
    private static func sanction(_ bytes: UnsafeRawBufferPointer) -> Sanction? {
        guard case .success(let json) = JSONValue.parse(bytes), let end = json["until"]?.string else { return nil }
        var until: UInt64?
        if end != "forever" {
            guard let number = UInt64(end), PositionBounds.holds(number) else { return nil }
            until = number
        }
        let at = json["at"]?.string.flatMap { UInt64($0) } ?? 0
        return Sanction(
            until: until, reason: json["reason"]?.string ?? "", by: json["by"]?.string ?? "",
            at: PositionBounds.holds(at) ? at : 0)
    }

    /// The error of `martlet_say` for a message that a rule forbids: `ERR martlet: banned <until or forever> <reason>`,
    /// `ERR martlet: frozen`. Nil for any other error.
    static func forbidden(_ text: String) -> WireError? {
        let prefix = "ERR martlet: "
        guard text.hasPrefix(prefix) else { return nil }
        let words = text.dropFirst(prefix.count).split(separator: " ", maxSplits: 2, omittingEmptySubsequences: false)
        switch words.first {
        case "banned" where words.count == 3: return sanctioned(.banned, words)
        case "muted" where words.count == 3: return sanctioned(.muted, words)
        case "frozen" where words.count == 1: return .forbidden(.frozen)
        case "notModerator" where words.count == 1: return .forbidden(.notModerator)
        case "notParticipant" where words.count == 1: return .forbidden(.forbidden)
        case "blocked" where words.count == 1: return .forbidden(.blocked)
        default: return nil
        }
    }

    private static func sanctioned(_ code: WireError.Code, _ words: [Substring]) -> WireError? {
        let until = UInt64(words[1]).flatMap { PositionBounds.holds($0) ? $0 : nil }
        return .forbidden(code, until: until, reason: String(words[2]))
    }
}
