import ChatCore
import ChatJSON
import RedisSchema

/// Who belongs to a room, and what belongs to a user.
extension RedisCodec {
    func conversation(_ request: ConversationRequest, _ writer: inout RESPWriter) {
        let (operation, words) = Self.words(of: request.operation)
        guard !operation.isEmpty else { return call("martlet_conversation", [.log], request.room, arguments: 0, &writer) }
        call("martlet_participants", [.log], request.room, arguments: 5 + words.count, &writer)
        writer.argument(operation)
        writer.argument(request.by?.text ?? "")
        writer.argument(request.mayDoAll ? "any" : "")
        writer.argument(settings.participants)
        writer.argument(settings.conversationTTL.timeToLiveMilliseconds)
        for word in words { writer.argument(word) }
    }

    /// The operation's name is empty for one that changes nothing.
    private static func words(of operation: ConversationRequest.Operation) -> (operation: String, words: [String]) {
        switch operation {
        case .direct(let one, let other): ("direct", [one.text, other.text])
        case .create(let users): ("create", users.map(\.text))
        case .invite(let users): ("invite", users.map(\.text))
        case .leave: ("leave", [])
        case .remove(let user): ("remove", [user.text])
        case .role(let user, let role): ("role", [user.text, role.rawValue])
        case .notify(let level): ("notify", [level.rawValue])
        case .block(let blocks): (blocks ? "block" : "unblock", [])
        case .indexed(let versions): ("indexed", versions.flatMap { [$0.key.text, String($0.value)] })
        case .list: ("", [])
        }
    }

    func conversation(_ reply: RESPReply) throws(BrokerError) -> ConversationReply {
        guard reply.count == 5 else { throw .malformed("participants: expected 5 elements") }
        var changes: [UserID: ConversationReply.Change] = [:]
        for place in stride(from: 0, to: reply[3].count - 1, by: 2) {
            guard let user = reply[3][place].string.flatMap({ try? UserID(stored: $0) }),
                let change = reply[3][place + 1].string.flatMap({ ConversationReply.Change(rawValue: $0) })
            else {
                reply.leaveOut(.name)
                continue
            }
            changes[user] = change
        }
        return ConversationReply(
            version: try number(reply[0], "participants: version"), isChanged: reply[1].equals("changed"),
            kind: reply[2].string.flatMap { ConversationKind(rawValue: $0) }, changes: changes,
            pending: pending(reply[4]))
    }

    func participants(_ reply: RESPReply) throws(BrokerError) -> ParticipantList? {
        if reply.isNull { return nil }
        guard reply.count == 5 else { throw .malformed("conversation: expected 5 elements") }
        guard let kind = reply[1].string.flatMap({ ConversationKind(rawValue: $0) }) else {
            reply.leaveOut(.meta)
            return nil
        }
        var list = ParticipantList(version: try number(reply[0], "conversation: version"), kind: kind, participants: [:])
        for place in stride(from: 0, to: reply[2].count - 1, by: 2) {
            guard let user = reply[2][place].string.flatMap({ try? UserID(stored: $0) }) else {
                reply.leaveOut(.name)
                continue
            }
            list.participants[user] = Self.participant(reply[2][place + 1])
        }
        for place in stride(from: 0, to: reply[3].count - 1, by: 2) {
            guard let user = reply[3][place].string.flatMap({ try? UserID(stored: $0) }),
                let mark = reply[3][place + 1].string.flatMap({ ReadMark($0) })
            else {
                reply.leaveOut(.rules)
                continue
            }
            list.reads[user] = mark
        }
        list.pending = pending(reply[4])
        return list
    }

    private func pending(_ reply: RESPReply) -> [PendingIndex] {
        var all: [PendingIndex] = []
        for place in stride(from: 0, to: reply.count - 2, by: 3) {
            guard let user = reply[place].string.flatMap({ try? UserID(stored: $0) }),
                let version = bounded(reply[place + 1])
            else {
                reply.leaveOut(.name)
                continue
            }
            all.append(PendingIndex(user, version: version, since: bounded(reply[place + 2])))
        }
        return all.sorted { $0.user.text < $1.user.text }
    }

    /// `{"role":"…","since":"<ms>","notify":"…"}`. Whatever a field of the hash holds, its user is a participant.
    static func participant(_ reply: RESPReply) -> Participant {
        guard case .success(let json) = reply.withBytes({ JSONValue.parse(UnsafeRawBufferPointer($0)) }),
            let role = json["role"]?.string.flatMap({ ParticipantRole(rawValue: $0) }),
            let since = json["since"]?.string.flatMap({ UInt64($0) }), PositionBounds.holds(since),
            let notify = json["notify"]?.string.flatMap({ NotificationLevel(rawValue: $0) })
        else {
            reply.leaveOut(.rules)
            return Participant()
        }
        return Participant(role: role, since: since, notify: notify, blocks: json["blocks"]?.string == "1")
    }

    /// The participants among the rules that `enter`, `view` and `rules` bring: `kind`, `participant:<user>` and
    /// `pending:<user>`.
    func conversation(among rules: RESPReply) -> Conversation? {
        var conversation: Conversation?
        var (participants, pending): ([UserID: Participant], [UserID: UInt64]) = ([:], [:])
        for place in stride(from: 0, to: rules.count - 1, by: 2) {
            guard let field = rules[place].string else { continue }
            if field == "kind" {
                conversation = rules[place + 1].string.flatMap { ConversationKind(rawValue: $0) }.map { .init($0) }
            } else if field.hasPrefix("participant:") {
                guard let user = try? UserID(stored: String(field.dropFirst(12))) else {
                    rules.leaveOut(.name)
                    continue
                }
                participants[user] = Self.participant(rules[place + 1])
            } else if field.hasPrefix("pending:"), let user = try? UserID(stored: String(field.dropFirst(8))) {
                pending[user] = bounded(rules[place + 1])
            }
        }
        conversation?.participants = participants
        conversation?.pending = pending
        return conversation
    }

    // MARK: users

    func user(_ request: UserRequest, _ writer: inout RESPWriter) -> RedisEncoded {
        let tag = Entity.user(request.user).keyTag ?? ""
        let rooms = keys.rooms(ofUser: tag)
        switch request.operation {
        case .index(let room, let kind, let version, let since, let partner):
            let words = ["index", room.text, String(version), kind.rawValue, since.map { String($0) } ?? ""]
            writer.command(words: ["FCALL", "martlet_user", "1", rooms] + words + (partner.map { [$0.text] } ?? []))
        case .drop(let room, let version):
            writer.command(words: ["FCALL", "martlet_user", "1", rooms, "drop", room.text, String(version)])
        case .block(let user):
            writer.command(words: [
                "FCALL", "martlet_user", "1", rooms, "block", user.text, String(settings.blockedUsers),
            ])
        case .unblock(let user):
            writer.command(words: ["FCALL", "martlet_user", "1", rooms, "unblock", user.text])
        case .standing(let other):
            writer.command(words: ["HLEN", rooms])
            writer.command(words: ["SISMEMBER", keys.blocked(byUser: tag), other.text])
            return kept(.user, commands: 2)
        case .rooms(let cursor, let count):
            writer.command(words: ["HSCAN", rooms, String(cursor), "COUNT", String(max(1, count))])
        case .blocked:
            writer.command(words: ["SSCAN", keys.blocked(byUser: tag), "0", "COUNT", "1000"])
        }
        return kept(.user)
    }

    func user(_ operation: UserRequest.Operation, _ replies: RESPReplies) throws(BrokerError) -> UserReply {
        let reply = replies[0]
        switch operation {
        case .index:
            guard reply.count == 2 else { throw .malformed("user: expected a word and a number") }
            return .indexed(isChanged: reply[0].equals("changed"), blocksPartner: reply[1].integer == 1)
        case .drop: return .done
        case .block, .unblock:
            guard reply.count == 2 else { throw .malformed("user: expected a word and a number") }
            return .changed(reply[0].equals("changed"))
        case .standing:
            guard replies.count == 2, let rooms = replies[0].integer else { throw .malformed("HLEN: no number") }
            return .standing(rooms: Int(clamping: rooms), isBlocked: replies[1].integer == 1)
        case .rooms:
            guard reply.count == 2 else { throw .malformed("HSCAN: expected a cursor and fields") }
            return .rooms(indexedRooms(reply[1]), cursor: try number(reply[0], "HSCAN: cursor"))
        case .blocked:
            guard reply.count == 2 else { throw .malformed("SSCAN: expected a cursor and names") }
            let users = (0..<reply[1].count).compactMap { (place) -> UserID? in
                let user = reply[1][place].string.flatMap { try? UserID(stored: $0) }
                if user == nil { reply.leaveOut(.name) }
                return user
            }
            return .blocked(users.sorted { $0.text < $1.text })
        }
    }

    private func indexedRooms(_ reply: RESPReply) -> [IndexedRoom] {
        var rooms: [IndexedRoom] = []
        for place in stride(from: 0, to: reply.count - 1, by: 2) {
            guard let room = reply[place].string.flatMap({ try? RoomName(stored: $0) }),
                case .success(let json) = reply[place + 1].withBytes({ JSONValue.parse(UnsafeRawBufferPointer($0)) })
            else {
                reply.leaveOut(.name)
                continue
            }
            func number(_ name: String) -> UInt64 {
                let number = json[name]?.string.flatMap { UInt64($0) } ?? 0
                return PositionBounds.holds(number) ? number : 0
            }
            let kind = json["kind"]?.string.flatMap { ConversationKind(rawValue: $0) } ?? .group
            rooms.append(IndexedRoom(room, kind: kind, since: number("since"), version: number("version")))
        }
        return rooms
    }

    /// The error of `martlet_participants` or `martlet_user` for what it refuses: `ERR martlet: <word>`. Nil for any
    /// other error.
    static func refusal(_ text: String, of operation: Operation) -> WireError? {
        let prefix = "ERR martlet: "
        guard text.hasPrefix(prefix) else { return nil }
        let word = text.dropFirst(prefix.count).prefix { $0.isLetter }
        guard text.dropFirst(prefix.count + word.count).first.map({ $0 == " " || $0 == "," }) ?? true else { return nil }
        if operation == .user { return word == "full" ? .tooManyEntries : nil }
        return ConversationRefusal(rawValue: String(word))?.error
    }
}
