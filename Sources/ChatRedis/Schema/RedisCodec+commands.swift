import ChatCore
import RedisSchema

/// The stream of commands. Each entry has the fields `type`, `subject`, `name` and `by`; a revocation also `before` and
/// `until`, and a sanction `time` and `reason`.
extension RedisCodec {
    func command(_ command: NodeCommand, by: String, _ writer: inout RESPWriter) {
        switch command {
        case .revoke(let subject, let before, let until):
            let (word, name) = Self.words(of: subject)
            writer.command(words: [
                "FCALL", "martlet_command", "1", keys.commands, "revoke", word, name,
                before.map { String($0) } ?? "", until.map { String($0) } ?? "", by,
            ])
        case .impose(let kind, let user, let time, let reason):
            writer.command(words: [
                "FCALL", "martlet_command", "1", keys.commands, kind.rawValue, user.text,
                time.map { String($0) } ?? "", reason, by,
            ])
        case .lift(let kind, let user):
            writer.command(words: [
                "FCALL", "martlet_command", "1", keys.commands, "un" + kind.rawValue, user.text, "", "", by,
            ])
        }
    }

    func commands(after: Position?, count: Int, _ writer: inout RESPWriter) {
        writer.command(words: [
            "XRANGE", keys.commands, after.map { "(\($0)" } ?? "-", "+", "COUNT", String(count),
        ])
    }

    func commands(_ reply: RESPReply) throws(BrokerError) -> [CommandEntry] {
        guard reply.kind == .array else { throw .malformed("commands: expected an array") }
        var entries: [CommandEntry] = []
        for place in 0..<reply.count {
            // A place that is none ends the reading: the reader would not know where to continue.
            let position = try position(reply[place][0], "commands: ID")
            var fields: [String: String] = [:]
            let flat = reply[place][1]
            for field in stride(from: 0, to: flat.count - 1, by: 2) {
                if let name = flat[field].string, let value = flat[field + 1].string { fields[name] = value }
            }
            entries.append(
                CommandEntry(position: position, command: Self.command(fields), by: fields["by"] ?? ""))
        }
        return entries
    }

    private static func words(of subject: Revocations.Subject) -> (word: String, name: String) {
        switch subject {
        case .token(let id): ("token", id)
        case .user(let user): ("user", user.text)
        case .everybody: ("everybody", "")
        }
    }

    private static func command(_ fields: [String: String]) -> NodeCommand? {
        switch fields["type"] {
        case "revoke": revocation(fields)
        case "ban": sanction(.ban, fields)
        case "mute": sanction(.mute, fields)
        case "unban": user(fields).map { .lift(.ban, from: $0) }
        case "unmute": user(fields).map { .lift(.mute, from: $0) }
        default: nil
        }
    }

    private static func user(_ fields: [String: String]) -> UserID? {
        guard fields["subject"] == "user" else { return nil }
        return try? UserID(stored: fields["name"] ?? "")
    }

    private static func sanction(_ kind: Sanction.Kind, _ fields: [String: String]) -> NodeCommand? {
        guard let user = user(fields) else { return nil }
        let time = fields["time"] ?? ""
        let reason = fields["reason"] ?? ""
        guard reason.utf8.count <= Sanction.maxReasonBytes, !Moderation.hasControls(reason) else { return nil }
        if time.isEmpty { return .impose(kind, on: user, for: nil, reason: reason) }
        guard let time = self.time(time), time > 0 else { return nil }
        return .impose(kind, on: user, for: time, reason: reason)
    }

    private static func revocation(_ fields: [String: String]) -> NodeCommand? {
        guard let before = time(fields["before"]), let until = time(fields["until"]) else {
            return nil
        }
        let name = fields["name"] ?? ""
        switch fields["subject"] {
        case "token" where !name.isEmpty: return .revoke(.token(id: name), issuedBefore: before, until: until)
        case "user":
            guard let user = try? UserID(stored: name) else { return nil }
            return .revoke(.user(user), issuedBefore: before, until: until)
        case "everybody": return .revoke(.everybody, issuedBefore: before, until: until)
        default: return nil
        }
    }

    /// Milliseconds since 1970, within the bounds of all numbers.
    private static func time(_ text: String?) -> UInt64? {
        guard let number = text.flatMap({ UInt64($0) }), PositionBounds.holds(number) else { return nil }
        return number
    }
}
