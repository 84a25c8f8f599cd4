import ChatCore
import ChatJSON
import RedisSchema

extension RedisCodec {
    public func decode(_ pending: RedisPending, _ replies: RESPReplies) -> RedisDecoded {
        guard let operation = Operation(rawValue: pending.operation) else {
            return .completed(.failure(.malformed("a reply to the unknown operation \(pending.operation)")))
        }
        if operation == .append { return .completed(appended(replies[0])) }
        for place in 0..<replies.count {
            guard let text = replies[place].error else { continue }
            if text.hasPrefix(Self.functionNotFound) { return .libraryMissing }
            // The first error names the cause.
            return .completed(.failure(Self.failure(replies[place], text, operation)))
        }
        do throws(BrokerError) {
            return .completed(.success(try reply(operation, pending, replies)))
        } catch {
            return .completed(.failure(error))
        }
    }

    private func appended(_ reply: RESPReply) -> Result<BrokerReply, BrokerError> {
        switch reply.kind {
        case .string:
            guard let position = reply.withBytes({ Position(utf8: $0) }) else {
                return .failure(.malformed("XADD: an ID that is no <epoch>-<seq>"))
            }
            return .success(.appended(position))
        case .null:
            return .failure(.missing)
        case .error:
            let text = reply.error ?? ""
            if text.hasPrefix(Self.idTooSmall) { return .failure(.refused) }
            return .failure(Self.failure(reply, text, .append))
        case .status, .integer, .array:
            return .failure(.malformed("XADD: expected an ID, got a reply of kind \(reply.kind)"))
        }
    }

    /// `t_stream.c`: the first part of the ID is lower than that of the last ID, so the room has a newer epoch.
    private static let idTooSmall = "ERR The ID specified in XADD is equal or smaller"

    private static func failure(_ reply: RESPReply, _ text: String, _ operation: Operation) -> BrokerError {
        if text.hasPrefix("AGAIN ") { return .again }
        if text.hasPrefix("REFUSED ") || (operation == .announce && text.hasPrefix(idTooSmall)) { return .refused }
        // Redis (`script.c`) gives no error code if a function calls a command that the user may not use. A function
        // that only reads has changed nothing; another one may have stored something before, so its outcome is unknown.
        if text.contains("user executing the script can't"),
            [.history, .roster, .rules, .participants, .receipts, .head, .listeners].contains(operation)
        {
            return .notStored("NOPERM \(text)")
        }
        if operation == .conversation || operation == .user, let error = refusal(text, of: operation) {
            return .forbidden(error)
        }
        if operation == .say, let error = forbidden(text) { return .forbidden(error) }
        if operation == .amend, let error = forbidden(text) ?? amendError(text) { return .forbidden(error) }
        // Errors of the functions themselves, which they raise before they write anything.
        if text.hasPrefix("ERR martlet: ") { return .notStored(text) }
        guard let error = RedisErrors.brokerError(of: reply, context: "Redis") else {
            return .malformed("\(operation): \(text)")
        }
        if case .malformed = error { return .malformed("\(operation): \(text)") }
        return error
    }

    private func reply(
        _ operation: Operation, _ pending: RedisPending, _ replies: RESPReplies
    ) throws(BrokerError) -> BrokerReply {
        let reply = replies[0]
        switch operation {
        case .announce:
            return try appendedAndPublished(reply)
        case .append, .publish, .done:
            guard replies.count > 0 else { throw .malformed("\(operation): no reply") }
            // Only `forget` has a number, the cursor at which it continues.
            return pending.number > 0 ? .forgetting(cursor: pending.number) : .done
        case .view:
            if reply.kind == .array, reply[0][0].equals("bring") {
                return .bring(from: try position(reply[1], "enter: last entry"))
            }
            return .view(try view(reply))
        case .leave:
            if reply.kind == .array { return .leaving(cursor: try number(reply[0], "leave: cursor")) }
            guard reply.kind == .integer, let left = reply.integer else { throw .malformed("leave: expected 0 or 1") }
            return .left(left != 0)
        case .once:
            return .once(try once(reply))
        case .say:
            guard reply.count == 2 else { throw .malformed("say: expected an ID and a word") }
            return .said(try position(reply[0], "say"), repeated: reply[1].equals("repeated"))
        case .moderate:
            return .moderated(try moderated(reply))
        case .amend:
            return .amended(try amended(reply))
        case .audit:
            return .audit(try audit(reply))
        case .rules:
            guard let rules = try moderation(reply) else { throw .malformed("rules: expected 3 elements") }
            return .rules(rules.version == 0 ? .none : rules)
        case .presence:
            return .presence(try presence(reply))
        case .roster:
            return .roster(try roster(reply))
        case .history:
            guard case .history(_, let query)? = pending.request else { throw .malformed("history: request not kept") }
            return .history(try historyReply(query, reply))
        case .heartbeat:
            guard reply.isNull || reply.kind == .string else { throw .malformed("heartbeat: expected the old value") }
            return .heartbeat(known: !reply.isNull)
        case .nodes:
            return .nodes(try nodes(reply))
        case .rooms:
            // The answer to PEXPIRE comes first, if there is one.
            return try rooms(replies[max(0, replies.count - 1)], from: Holdings.Cursor(pending.number))
        case .holders:
            return .holders(try holders(reply, "holders"))
        case .command:
            return .commanded(try position(reply, "command"))
        case .commands:
            return .commands(try commands(reply))
        case .conversation: return .conversation(try conversation(reply))
        case .participants:
            guard replies.count > 0 else { throw .malformed("conversation: no reply") }
            return .participants(try participants(reply))
        case .user:
            guard case .user(let request)? = pending.request else { throw .malformed("user: request not kept") }
            return .user(try user(request.operation, replies))
        case .ticket:
            guard reply.isNull || reply.kind == .string else { throw .malformed("ticket: expected a string") }
            // What is no text was put there by another program, and allows nothing.
            return .ticket(reply.string)
        case .brief:
            guard case .reading(.brief(_, let user, let kind))? = pending.request else {
                throw .malformed("brief: request not kept")
            }
            return .reading(.brief(try brief(of: user, kind, replies)))
        case .people:
            guard replies.count == 2, replies[0].count == 2 else { throw .malformed("people: expected 2 replies") }
            return .reading(
                .people(
                    RosterSnapshot(
                        position: Position(epoch: 0, seq: 0), members: members(replies[0][1]),
                        count: Int(clamping: try number(replies[1], "people: members")),
                        cursor: try number(replies[0][0], "people: cursor"))))
        case .read, .receipts, .head, .listeners:
            return .reading(try reading(operation, pending, reply))
        case .relayed:
            return .relayed(try number(reply, "EXISTS") == 0 ? [] : try books(replies))
        case .memory:
            return try memory(reply)
        }
    }

    /// The books that relays read. The feeds of all sinks are in the second reply. What is in the first three books is
    /// written anyway, and noted in case a sink is new; receipts are written only if a sink reads them.
    private func books(_ replies: RESPReplies) throws(BrokerError) -> Set<RoomBook> {
        guard replies.count == 2, replies[1].kind == .array else { throw .malformed("HKEYS: expected names of feeds") }
        var books: Set<RoomBook> = [.log, .audit, .presence]
        for index in 0..<replies[1].count {
            guard let name = replies[1][index].string else { continue }
            books.insert(RoomBook(ofFeed: name))
        }
        return books
    }

    private func rooms(_ reply: RESPReply, from cursor: Holdings.Cursor) throws(BrokerError) -> BrokerReply {
        guard reply.count == 2, reply[1].kind == .array else {
            throw .malformed("rooms: expected a cursor and names")
        }
        let scan = try number(reply[0], "rooms: cursor")
        // A member that is not a valid room name was put there by another program.
        let names = (0..<reply[1].count).compactMap { (place) -> RoomName? in
            let room = reply[1][place].string.flatMap { try? RoomName(stored: $0) }
            if room == nil { reply.leaveOut(.name) }
            return room
        }
        if scan > 0 { return .someRooms(names, cursor: Holdings.Cursor(part: cursor.part, scan: scan).raw) }
        guard keys.isClustered, let next = cursor.nextPart else { return .rooms(names) }
        return .someRooms(names, cursor: next.raw)
    }

    /// The memory that is compared with `maxmemory`: without the buffers for replicas and the append-only file.
    private func memory(_ reply: RESPReply) throws(BrokerError) -> BrokerReply {
        // Read as bytes, because this runs every other second, and one of some fifty lines is of interest.
        let (used, most, uncounted) = reply.withBytes { info in
            var numbers: (used: UInt64?, most: UInt64?, uncounted: UInt64?)
            for line in info.split(whereSeparator: { $0 == UInt8(ascii: "\r") || $0 == UInt8(ascii: "\n") }) {
                if let used = Self.number("used_memory:", in: line) { numbers.used = used }
                if let most = Self.number("maxmemory:", in: line) { numbers.most = most }
                if let number = Self.number("mem_not_counted_for_evict:", in: line) { numbers.uncounted = number }
            }
            return numbers
        }
        guard let used, let most else { throw .malformed("INFO memory: no used_memory and maxmemory") }
        return .memory(used: used - min(used, uncounted ?? 0), most: most)
    }

    /// The number behind the name that the line of INFO begins with; nil if it begins with another name.
    private static func number(_ name: StaticString, in line: Slice<UnsafeBufferPointer<UInt8>>) -> UInt64? {
        let size = name.utf8CodeUnitCount
        let bytes = UnsafeRawBufferPointer(UnsafeBufferPointer(rebasing: line))
        let wanted = UnsafeRawBufferPointer(start: name.utf8Start, count: size)
        guard bytes.count > size, UnsafeRawBufferPointer(rebasing: bytes[..<size]).isSame(as: wanted) else {
            return nil
        }
        return RESPReply.unsigned(UnsafeBufferPointer(rebasing: line.dropFirst(size)))
    }

    // MARK: Replies of functions

    private func appendedAndPublished(_ reply: RESPReply) throws(BrokerError) -> BrokerReply {
        if reply.isNull { throw .missing }
        // A list of one element: stored, but not published.
        let isPublished = reply.kind != .array
        return .appended(try position(isPublished ? reply : reply[0], "append"), isPublished: isPublished)
    }

    private func view(_ reply: RESPReply) throws(BrokerError) -> RoomView {
        if reply.isNull { throw .missing }
        // An older library, which somebody has loaded by hand, knows no rules and answers with 9.
        guard reply.count == 10 || reply.count == 9 else {
            throw .malformed("view: expected 10 elements, got \(reply.count)")
        }
        let last = try position(reply[1], "view: last ID")
        let base = try number(reply[2], "view: base")
        return RoomView(
            verdict: try verdict(reply[0]), epoch: last.epoch, last: last.seq, base: base,
            chain: chain(reply[4], history: reply[3], last, base: base), nodes: try holders(reply[5], "view: nodes"),
            branch: branch(reply[7]), entries: try entries(reply[6], "view: entries"), hasMore: reply[8].equals("1"),
            moderation: reply.count == 10 ? try moderation(reply[9]) : nil)
    }

    private func verdict(_ reply: RESPReply) throws(BrokerError) -> Verdict {
        if reply[0].equals("ok") { return .ok }
        if reply[0].equals("rewound") { return .rewound }
        guard reply[0].equals("gap") else { throw .malformed("view: a verdict that is none") }
        return .gap(first: try number(reply[1], "view: gap"), last: try number(reply[2], "view: gap"))
    }

    private func once(_ reply: RESPReply) throws(BrokerError) -> OnceReply {
        if reply.isNull { throw .missing }
        guard reply.count == 3, reply[2].kind == .array else { throw .malformed("once: expected 3 elements") }
        var outcomes: [OnceOutcome] = []
        outcomes.reserveCapacity(reply[2].count)
        for place in 0..<reply[2].count {
            let outcome = reply[2][place]
            if outcome[0].equals("stored") {
                outcomes.append(.stored(try position(outcome[1], "once")))
            } else if outcome[0].equals("repeated") {
                let position = try position(outcome[1], "once")
                outcomes.append(.repeated(position, at: outcome[2].unsigned ?? position.epoch))
            } else if outcome[0].equals("unknown") {
                outcomes.append(.outcomeUnknown)
            } else {
                throw .malformed("once: an outcome that is none")
            }
        }
        return OnceReply(
            epoch: try number(reply[0], "once: epoch"), base: try number(reply[1], "once: base"), outcomes: outcomes)
    }

    private func presence(_ reply: RESPReply) throws(BrokerError) -> PresenceReply {
        if reply.isNull { throw .missing }
        let position = try position(reply[0], "presence")
        guard reply.count > 1 else { return PresenceReply(position: position, notice: nil) }
        guard reply.count == 4, reply[3].count.isMultiple(of: 4) else {
            throw .malformed("presence: expected 4 elements")
        }
        let after = try self.position(reply[1], "presence: position before")
        let count = try number(reply[2], "presence: members")
        var changes: [PresenceNotice.Change] = []
        changes.reserveCapacity(reply[3].count / 4)
        for place in stride(from: 0, to: reply[3].count, by: 4) {
            guard let user = reply[3][place].string.flatMap({ try? UserID($0) }),
                let device = reply[3][place + 1].string.flatMap({ try? DeviceName($0) }),
                let node = reply[3][place + 2].string.flatMap({ try? NodeID($0) })
            else {
                reply.leaveOut(.roster)
                continue
            }
            let joined = reply[3][place + 3].equals("1")
            changes.append(PresenceNotice.Change(user: user, device: device, node: node, joined: joined))
        }
        let notice = PresenceNotice(after: after, position: position, changes: changes, count: Int(clamping: count))
        return PresenceReply(position: position, notice: notice)
    }

    private func roster(_ reply: RESPReply) throws(BrokerError) -> RosterSnapshot {
        guard reply.count == 4 else { throw .malformed("roster: expected 4 elements, got \(reply.count)") }
        // A stream whose last ID is not a position starts anew with the next change.
        let position = place(of: reply[0], .roster) ?? Position(epoch: 0, seq: 0)
        let cursor = try number(reply[1], "roster: cursor")
        let count = Int(clamping: try number(reply[2], "roster: members"))
        return RosterSnapshot(position: position, members: members(reply[3]), count: count, cursor: cursor)
    }

    /// User, JSON, user, JSON …
    private func members(_ users: RESPReply) -> [UserID: Set<RosterSnapshot.Device>] {
        var members: [UserID: Set<RosterSnapshot.Device>] = [:]
        for place in stride(from: 0, to: users.count - 1, by: 2) {
            guard let user = users[place].string.flatMap({ try? UserID($0) }),
                let devices = users[place + 1].withBytes({ RosterReader.devices(of: UnsafeRawBufferPointer($0)) })
            else {
                users.leaveOut(.roster)
                continue
            }
            if !devices.isEmpty { members[user] = devices }
        }
        return members
    }

    private func nodes(_ reply: RESPReply) throws(BrokerError) -> [NodeRecord] {
        guard reply.kind == .array else { throw .malformed("nodes: expected an array") }
        var records: [NodeRecord] = []
        for place in stride(from: 0, to: reply.count - 1, by: 2) {
            guard let node = reply[place].string.flatMap({ try? NodeID($0) }) else {
                reply.leaveOut(.name)
                continue
            }
            let report = reply[place + 1].withBytes { bytes in
                bytes.isEmpty ? nil : NodeReportReader.report(of: node, UnsafeRawBufferPointer(bytes))
            }
            records.append(NodeRecord(node: node, report: report))
        }
        return records
    }

    // MARK: Parts

    private func holders(_ reply: RESPReply, _ place: StaticString) throws(BrokerError) -> [NodeID: UInt64] {
        guard reply.kind == .array, reply.count.isMultiple(of: 2) else { throw .malformed("\(place): expected a hash") }
        var holders: [NodeID: UInt64] = [:]
        for index in stride(from: 0, to: reply.count, by: 2) {
            guard let node = reply[index].string.flatMap({ try? NodeID($0) }), let value = bounded(reply[index + 1])
            else {
                reply.leaveOut(.node)
                continue
            }
            holders[node] = value
        }
        return holders
    }

    func entries(_ reply: RESPReply, _ place: StaticString) throws(BrokerError) -> [Message] {
        guard reply.kind == .array else { throw .malformed("\(place): expected entries") }
        var messages: [Message] = []
        messages.reserveCapacity(reply.count)
        for index in 0..<reply.count {
            let entry = reply[index]
            // An entry whose ID is not a position is no part of the room's order, but its neighbours are.
            guard let position = self.place(of: entry[0], .entry) else { continue }
            guard entry.count == 2, let content = LogEntry.content(of: entry[1], at: position) else {
                reply.leaveOut(.entry)
                continue
            }
            messages.append(Message(position: position, content: content))
        }
        return messages
    }

    func position(_ reply: RESPReply, _ place: StaticString) throws(BrokerError) -> Position {
        guard reply.kind == .string || reply.kind == .status, let position = reply.withBytes({ Position(utf8: $0) })
        else {
            throw .malformed("\(place): expected <epoch>-<seq>")
        }
        return position
    }

    func number(_ reply: RESPReply, _ place: StaticString) throws(BrokerError) -> UInt64 {
        guard let number = bounded(reply) else { throw .malformed("\(place): expected a number up to 2^53") }
        return number
    }
}
