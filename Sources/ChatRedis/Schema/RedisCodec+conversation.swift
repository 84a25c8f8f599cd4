import ChatCore
import ChatJSON
import RedisSchema

/// Who belongs to a room, and what belongs to a user.
extension RedisCodec {
    func conversation(_ request: ConversationRequest, _ writer: inout RESPWriter) {
        let (operation, words) = Self.words(of: request.operation)
        guard !operation.isEmpty else {
            return call("martlet_conversation", [.log], request.room, arguments: 0, &writer)
        }
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
        var list = ParticipantList(
            version: try number(reply[0], "conversation: version"), kind: kind, participants: [:])
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

    /// The participants among the rules that `enter`, `view` and `rules` bring: `kind`, `amendments`,
    /// `participant:<user>`, `pending:<user>` and `read:<user>`.
    func conversation(among rules: RESPReply) -> Conversation? {
        var conversation: Conversation?
        var (participants, pending): ([UserID: Participant], [UserID: UInt64]) = ([:], [:])
        var (reads, amendments): ([UserID: ReadMark], UInt64) = ([:], 0)
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
            } else if field.hasPrefix("read:"), let user = try? UserID(stored: String(field.dropFirst(5))) {
                reads[user] = rules[place + 1].string.flatMap { ReadMark($0) }
            } else if field == "amendments" {
                amendments = bounded(rules[place + 1]) ?? 0
            }
        }
        conversation?.participants = participants
        conversation?.pending = pending
        conversation?.reads = reads
        conversation?.amendments = amendments
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
        case .star(let star):
            let place = "\(star.room.text)\n\(star.position)"
            writer.command(words: [
                "FCALL", "martlet_user", "1", rooms, "star", place, String(settings.stars), Self.text(of: star),
            ])
        case .unstar(let room, let position):
            let place = "\(room.text)\n\(position)"
            writer.command(words: ["HGET", keys.stars(ofUser: tag), place])
            writer.command(words: ["FCALL", "martlet_user", "1", rooms, "unstar", place])
            return kept(.user, commands: 2)
        case .note(let starrer): writer.command(words: ["ZADD", keys.starrers(ofUser: tag), "0", starrer.text])
        case .strike(let some): writer.command(words: ["ZREM", keys.starrers(ofUser: tag)] + some.map(\.text))
        case .starrers(let room, let position, let after, let count):
            let prefix = (room?.text).map { "\($0)\n" + (position.map { "\($0)\n" } ?? "") }
            writer.command(words: [
                "ZRANGE", keys.starrers(ofUser: tag), after.map { "(" + $0.text } ?? prefix.map { "[" + $0 } ?? "-",
                // The prefix ends in a line feed, and this is the character after that.
                prefix.map { "(" + $0.dropLast() + "\u{B}" } ?? "+", "BYLEX", "LIMIT", "0", String(max(1, count) + 1),
            ])
        case .stars(let before, let page):
            writer.command(words: [
                "FCALL", "martlet_stars", "1", rooms, before.map { String($0) } ?? "",
                "\(max(1, page.count)):\(min(page.bytes, 1 << 40))",
            ])
        case .showLastSeen(nil): writer.command(words: ["EXISTS", keys.lastSeen(ofUser: tag)])
        case .showLastSeen(true): writer.command(words: ["SET", keys.lastSeen(ofUser: tag), "0", "NX"])
        case .showLastSeen(false): writer.command(words: ["DEL", keys.lastSeen(ofUser: tag)])
        case .left(let at): writer.command(words: ["SET", keys.lastSeen(ofUser: tag), String(at), "XX"])
        case .lastSeen(let other):
            writer.command(words: ["GET", keys.lastSeen(ofUser: tag)])
            guard let other else { break }
            writer.command(words: ["SISMEMBER", keys.blocked(byUser: tag), other.text])
            return kept(.user, commands: 2)
        case .forget:
            writer.command(words: [
                "DEL", rooms, keys.blocked(byUser: tag), keys.stars(ofUser: tag), keys.starred(byUser: tag),
                keys.starrers(ofUser: tag), keys.lastSeen(ofUser: tag),
            ])
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
        case .drop, .forget, .note, .strike, .left: return .done
        case .showLastSeen(let isShown): return .shown(isShown ?? (reply.integer == 1))
        case .lastSeen:
            let isBlocked = replies.count > 1 && replies[1].integer == 1
            guard !isBlocked, let at = bounded(reply), at > 0 else { return .lastSeen(nil) }
            return .lastSeen(min(at, Timestamp.maximum))
        case .block, .unblock, .star:
            guard reply.count == 2 else { throw .malformed("user: expected a word and a number") }
            return .changed(reply[0].equals("changed"))
        case .standing:
            guard replies.count == 2, let rooms = replies[0].integer else { throw .malformed("HLEN: no number") }
            return .standing(rooms: Int(clamping: rooms), isBlocked: replies[1].integer == 1)
        case .unstar:
            guard replies.count == 2, replies[1].count == 2 else {
                throw .malformed("user: expected a word and a number")
            }
            let copy = reply.string.flatMap { try? JSONValue(parsing: $0) }
            let author = copy?["user"]?.string.flatMap { try? UserID(stored: $0) }
            return .unstarred(isChanged: replies[1][0].equals("changed"), author: author)
        case .starrers(_, _, _, let count):
            guard reply.kind == .array else { throw .malformed("ZRANGE: expected members") }
            let found = (0..<min(reply.count, max(1, count))).compactMap { (place) -> Starrer? in
                let starrer = reply[place].string.flatMap { Starrer($0) }
                if starrer == nil { reply.leaveOut(.name) }
                return starrer
            }
            return .starrers(found, hasMore: reply.count > max(1, count))
        case .stars: return try stars(reply)
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

    /// `{"user":…,"at":"<ms>","text":…,"data":…}`, all strings.
    private static func text(of star: Star) -> String {
        var members: [String: JSONValue] = ["user": .string(star.user.text), "at": .string(String(star.at))]
        members["text"] = star.text.map { .string($0) }
        members["data"] = star.data.map { .string($0) }
        return JSONValue.object(members).text
    }

    private func stars(_ reply: RESPReply) throws(BrokerError) -> UserReply {
        guard reply.kind == .array, reply.count > 0 else { throw .malformed("stars: expected a page") }
        var stars: [Star] = []
        for place in 0..<reply.count - 1 {
            let entry = reply[place]
            let parts = entry[1].string?.split(separator: "\n", maxSplits: 1)
            guard entry.count == 3, let starred = bounded(entry[0]), let parts, parts.count == 2,
                let room = try? RoomName(stored: String(parts[0])), let position = Position(parts[1]),
                position.isWithinBounds,
                case .success(let json) = entry[2].withBytes({ JSONValue.parse(UnsafeRawBufferPointer($0)) }),
                let user = json["user"]?.string.flatMap({ try? UserID(stored: $0) })
            else {
                reply.leaveOut(.entry)
                continue
            }
            let at = json["at"]?.string.flatMap { UInt64($0) } ?? 0
            let data = json["data"]?.string.flatMap { text in
                Array(text.utf8).withUnsafeBytes { JSONData.problem($0) } == nil ? text : nil
            }
            stars.append(
                Star(
                    room, position, user: user, at: PositionBounds.holds(at) ? at : 0, text: json["text"]?.string,
                    data: data, starred: starred))
        }
        return .stars(stars, hasMore: reply[reply.count - 1].equals("1"))
    }

    /// The error of `martlet_participants` or `martlet_user` for what it refuses: `ERR martlet: <word>`. Nil for any
    /// other error.
    static func refusal(_ text: String, of operation: Operation) -> WireError? {
        let prefix = "ERR martlet: "
        guard text.hasPrefix(prefix) else { return nil }
        let word = text.dropFirst(prefix.count).prefix { $0.isLetter }
        guard text.dropFirst(prefix.count + word.count).first.map({ $0 == " " || $0 == "," }) ?? true else {
            return nil
        }
        if operation == .user { return word == "full" ? .tooManyEntries : nil }
        return ConversationRefusal(rawValue: String(word))?.error
    }
}
