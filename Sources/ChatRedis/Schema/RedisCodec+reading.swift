import ChatCore
import ChatJSON
import RedisSchema

/// What users have read.
extension RedisCodec {
    func reading(_ request: ReadingRequest, _ writer: inout RESPWriter) throws(BrokerError) -> RedisEncoded {
        switch request {
        case .read(let room, let reads):
            call("martlet_read", [.log], room, arguments: 2 * reads.count + 1, &writer)
            for read in reads {
                writer.argument(read.user.text)
                position(read.position, &writer)
            }
            writer.argument(settings.receipts)
            return kept(.read)
        case .receipts(let room):
            call("martlet_receipts", [.log], room, arguments: 1, &writer)
            writer.argument(settings.receipts)
            return kept(.receipts)
        case .head(let room, let user):
            call("martlet_head", [.log], room, arguments: 1, &writer)
            writer.argument(user.text)
            return kept(.head)
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

    private func preview(_ reply: RESPReply) -> MessagePreview? {
        guard reply.count == 5, let position = place(of: reply[0], .entry) else { return nil }
        guard let user = reply[1].string.flatMap({ try? UserID(stored: $0) }) ?? LogEntry.stranger else { return nil }
        let text = reply[3].isNull ? nil : reply[3].withBytes { String(decoding: $0, as: UTF8.self) }
        return MessagePreview(
            position: position, user: user, at: min(bounded(reply[2]) ?? position.epoch, Timestamp.maximum),
            text: text.flatMap { MessagePreview.beginning(of: $0, isCut: reply[4].equals("1")) })
    }
}
