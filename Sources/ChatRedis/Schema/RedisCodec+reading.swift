import ChatCore
import ChatJSON
import RedisSchema

/// What users have read.
extension RedisCodec {
    /// The entries of a room's receipts that Redis keeps for relays.
    private static let mostReceipts = 1_000

    func reading(_ request: ReadingRequest, _ writer: inout RESPWriter) throws(BrokerError) -> RedisEncoded {
        switch request {
        case .read(let room, let reads, let isBooked):
            call("martlet_read", [.log], room, arguments: 2 * reads.count + 1, &writer)
            for read in reads {
                writer.argument(read.user.text)
                position(read.position, &writer)
            }
            writer.argument(isBooked ? "\(settings.receipts):\(Self.mostReceipts)" : String(settings.receipts))
            return kept(.read)
        case .receipts(let room):
            call("martlet_receipts", [.log], room, arguments: 1, &writer)
            writer.argument(settings.receipts)
            return kept(.receipts)
        case .head(let room, let user):
            call("martlet_head", [.log], room, arguments: 1, &writer)
            writer.argument(user.text)
            return kept(.head)
        case .brief(let room, let user, let kind):
            let participants = keys.key(.participants, of: room.text)
            writer.command(words: ["HMGET", keys.key(.meta, of: room.text), "kind", "ops", "history"])
            // A direct conversation has two, of whom the other one is told.
            writer.command(words: kind == .direct ? ["HGETALL", participants] : ["HGET", participants, user.text])
            writer.command(words: ["HGET", keys.key(.reads, of: room.text), user.text])
            writer.command(words: ["HEXISTS", keys.key(.sanctions, of: room.text), "ban:\(user.text)"])
            writer.command(words: ["XREVRANGE", keys.key(.log, of: room.text), "+", "-", "COUNT", "1"])
            return kept(.brief, commands: 5)
        case .people(let room, let cursor):
            let roster = keys.key(.roster, of: room.text)
            writer.command(words: ["HSCAN", roster, String(cursor), "COUNT", String(settings.rosterPart)])
            writer.command(words: ["HLEN", roster])
            return kept(.people, commands: 2)
        case .listeners(let user):
            writer.command(words: [
                "PUBSUB", keys.isClustered ? "SHARDNUMSUB" : "NUMSUB", keys.channel(of: .user(user)),
            ])
            return RedisEncoded(operation: Operation.listeners.rawValue)
        }
    }

    func reading(
        _ operation: Operation, _ pending: RedisPending, _ reply: RESPReply
    ) throws(BrokerError) -> ReadingReply {
        switch operation {
        case .read: return .read(try outcomes(reply))
        case .receipts: return .receipts(try receipts(reply))
        case .head: return .head(try head(reply))
        default:
            guard reply.count == 2, let count = reply[1].integer else {
                throw .malformed("PUBSUB: expected a channel and a number")
            }
            return .listeners(Int(clamping: max(0, count)))
        }
    }

    private func outcomes(_ reply: RESPReply) throws(BrokerError) -> [ReadOutcome] {
        guard reply.kind == .array else { throw .malformed("read: expected an array") }
        var outcomes: [ReadOutcome] = []
        outcomes.reserveCapacity(reply.count)
        for index in 0..<reply.count {
            let part = reply[index]
            guard part.count == 4, let result = part[3].string.flatMap({ ReadOutcome.Result(rawValue: $0) }) else {
                throw .malformed("read: an outcome that is none")
            }
            outcomes.append(
                ReadOutcome(result, mark: try mark(part[1], "read"), unread: try number(part[2], "read: unread")))
        }
        return outcomes
    }

    /// Nil for an empty text.
    private func mark(_ reply: RESPReply, _ place: StaticString) throws(BrokerError) -> ReadMark? {
        if reply.equals("") { return nil }
        guard let mark = reply.string.flatMap({ ReadMark($0) }) else {
            throw .malformed("\(place): expected <epoch>-<seq>.<number>")
        }
        return mark
    }

    private func receipts(_ reply: RESPReply) throws(BrokerError) -> ReceiptsView? {
        if reply.isNull { return nil }
        guard reply.count == 5 else { throw .malformed("receipts: expected 5 elements") }
        let tally = LogTally(
            last: try number(reply[2], "receipts: last seq"), amendments: try number(reply[1], "receipts: amendments"))
        var marks: [UserID: ReadMark] = [:]
        for place in stride(from: 0, to: reply[4].count - 1, by: 2) {
            guard let user = reply[4][place].string.flatMap({ try? UserID(stored: $0) }) else {
                reply.leaveOut(.name)
                continue
            }
            marks[user] = try mark(reply[4][place + 1], "receipts")
        }
        return ReceiptsView(
            count: Int(clamping: try number(reply[0], "receipts: participants")), tally: tally,
            kept: try number(reply[3], "receipts: entries"), marks: marks)
    }

    private func head(_ reply: RESPReply) throws(BrokerError) -> RoomHead? {
        if reply.isNull { return nil }
        guard reply.count == 7 else { throw .malformed("head: expected 7 elements") }
        let newest = try position(reply[2], "head: newest entry")
        return RoomHead(
            kind: reply[0].string.flatMap { ConversationKind(rawValue: $0) } ?? .group,
            participant: Self.participant(reply[1]), newest: newest.seq == 0 ? nil : newest,
            mark: try mark(reply[3], "head"), unread: try number(reply[4], "head: unread"), last: preview(reply[5]),
            other: reply[6].string.flatMap { try? UserID(stored: $0) })
    }

    func brief(of user: UserID, _ kind: ConversationKind, _ replies: RESPReplies) throws(BrokerError) -> BriefHead {
        guard replies.count == 5, replies[0].count == 3 else { throw .malformed("brief: expected 5 replies") }
        var participants: [UserID: Participant] = [:]
        if kind == .direct {
            for place in stride(from: 0, to: replies[1].count - 1, by: 2) {
                guard let name = replies[1][place].string.flatMap({ try? UserID(stored: $0) }) else { return .unknown }
                participants[name] = Self.participant(replies[1][place + 1])
            }
        } else if !replies[1].isNull {
            participants[user] = Self.participant(replies[1])
        }
        guard participants[user] != nil else { return .stranger }
        guard replies[0][0].string == kind.rawValue, replies[3].integer == 0,
            let message = try entries(replies[4], "brief").first, message.content.isMessage
        else { return .unknown }
        let last = message.position.seq
        let amendments = min(bounded(replies[0][1]) ?? 0, last)
        // A mark of a history that ended, or that is no mark, counts for nothing.
        let mark = replies[2].string.flatMap { ReadMark($0) }.flatMap { mark in
            mark.amendments <= mark.position.seq && mark.position.seq <= last
                && mark.position.epoch >= bounded(replies[0][2]) ?? 0 ? mark : nil
        }
        // What there is to read for whoever has read nothing depends on the length of the log.
        guard mark != nil || message.content.user == user else { return .unknown }
        let head = RoomHead(
            of: user, in: Conversation(kind, participants: participants), newest: message.position,
            LogTally(last: last, amendments: amendments), kept: 0, readUpTo: mark, message)
        return head.map { .head($0, bytes: message.content.cost) } ?? .stranger
    }

    private func preview(_ reply: RESPReply) -> MessagePreview? {
        guard reply.count == 5, let position = place(of: reply[0], .entry) else { return nil }
        guard let user = reply[1].string.flatMap({ try? UserID(stored: $0) }) ?? LogEntry.stranger else { return nil }
        return MessagePreview(
            position: position, user: user, at: min(bounded(reply[2]) ?? position.epoch, Timestamp.maximum),
            text: Self.text(reply[3]).flatMap { MessagePreview.beginning(of: $0, isCut: reply[4].equals("1")) })
    }
}
