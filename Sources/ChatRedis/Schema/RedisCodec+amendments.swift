import ChatCore
import ChatJSON
import RedisSchema

/// Amendments, and the states of messages that they lead to.
extension RedisCodec {
    func amend(_ order: AmendOrder, _ writer: inout RESPWriter) {
        let request = order.request
        call("martlet_amend", [.log], request.room, arguments: 12, &writer)
        writer.argument(request.operation.name)
        writer.argument(order.user.text)
        position(request.operation.of, &writer)
        let (text, data) = Self.words(of: request.operation)
        writer.argument(text)
        writer.argument(data)
        writer.argument(request.key ?? "")
        writer.argument(order.at)
        writer.argument(order.window)
        writer.argument(order.mayAmendAny ? "any" : "" as StaticString)
        writer.argument(order.obeysRules ? "user" : "" as StaticString)
        logBounds(&writer)
        writer.argument(settings.roomTTL.timeToLiveMilliseconds)
    }

    private static func words(of operation: AmendRequest.Operation) -> (text: String, data: String) {
        switch operation {
        case .edit(_, let text, let data): (text ?? "", data ?? "")
        case .react(_, let emoji), .unreact(_, let emoji): (emoji, "")
        case .deleteUser(let user, _): (user.text, "")
        case .deleteRange(_, let to): (to.description, "")
        case .report(_, let reason): (reason, "")
        case .delete, .pin, .unpin: ("", "")
        }
    }

    func amended(_ reply: RESPReply) throws(BrokerError) -> AmendReply {
        guard reply.count == 2 || reply.count == 4 else { throw .malformed("amend: expected an ID and a word") }
        let outcome: AmendReply.Outcome =
            reply[1].equals("repeated") ? .repeated : reply[1].equals("unchanged") ? .unchanged : .stored
        var amended = AmendReply(try position(reply[0], "amend"), outcome)
        if reply.count == 4 {
            amended.erased = Int(clamping: try number(reply[2], "amend: number of messages"))
            if !reply[3].equals("") { amended.next = try position(reply[3], "amend: where to go on") }
        }
        return amended
    }

    /// The newest entries of the room's audit, or those before a position of it.
    func audit(_ room: RoomName, before: Position?, count: Int, _ writer: inout RESPWriter) {
        // Redis refuses an exclusive end beyond which there can be nothing.
        let end = before.map { $0 == Position(epoch: 0, seq: 0) ? "0-0" : "(\($0)" } ?? "+"
        writer.command(words: [
            "XREVRANGE", keys.key(.audit, of: room.text), end, "-", "COUNT",
            String(max(1, count)),
        ])
    }

    func audit(_ reply: RESPReply) throws(BrokerError) -> [AuditEntry] {
        guard reply.kind == .array else { throw .malformed("audit: expected an array") }
        var entries: [AuditEntry] = []
        for place in 0..<reply.count {
            guard let position = self.place(of: reply[place][0], .entry) else { continue }
            var fields: [String: String] = [:]
            let flat = reply[place][1]
            for field in stride(from: 0, to: flat.count - 1, by: 2) {
                if let name = flat[field].string, let value = flat[field + 1].string { fields[name] = value }
            }
            entries.append(
                AuditEntry(
                    position: position, operation: fields["operation"] ?? "", user: fields["user"] ?? "",
                    value: fields["value"] ?? "", reason: fields["reason"] ?? "", by: fields["by"] ?? "",
                    version: fields["version"].flatMap { UInt64($0) } ?? 0))
        }
        return entries
    }

    /// The error of `martlet_amend` for a message that cannot be amended so: `ERR martlet: tooLate: …`.
    static func amendError(_ text: String) -> WireError? {
        let prefix = "ERR martlet: "
        guard text.hasPrefix(prefix) else { return nil }
        return AmendProblem(rawValue: String(text.dropFirst(prefix.count).prefix { $0 != ":" }))?.error
    }

    /// Takes over the states, {seq, JSON, …}, of messages in a page. `edits`: what the newest edits said, {seq, text or
    /// null, data or null, …}; what versions before 23 of the library stored is in the JSON.
    func fold(_ reply: RESPReply, edits: RESPReply?, into messages: inout [Message]) {
        guard reply.count > 1 else { return }
        var states: [UInt64: (MessageState, text: String?, data: String?)] = [:]
        for place in stride(from: 0, to: reply.count - 1, by: 2) {
            guard let seq = bounded(reply[place]),
                let state = reply[place + 1].withBytes({ Self.state(UnsafeRawBufferPointer($0)) })
            else {
                reply.leaveOut(.entry)
                continue
            }
            states[seq] = state
        }
        if let edits {
            for place in stride(from: 0, to: edits.count - 2, by: 3) {
                guard let seq = bounded(edits[place]) else { continue }
                states[seq]?.text = Self.text(edits[place + 1])
                states[seq]?.data = Self.text(edits[place + 2]).map { LogEntry.json($0) }
            }
        }
        for place in messages.indices {
            guard let (state, text, data) = states[messages[place].position.seq] else { continue }
            messages[place].content.take(state, text: text, data: data)
        }
    }

    /// What a message says, whatever its bytes; nil for null.
    static func text(_ reply: RESPReply) -> String? {
        reply.isNull ? nil : reply.withBytes { String(decoding: $0, as: UTF8.self) }
    }

    private static func state(_ bytes: UnsafeRawBufferPointer) -> (MessageState, text: String?, data: String?)? {
        guard case .success(let json) = JSONValue.parse(bytes), case .object = json else { return nil }
        var state = MessageState()
        state.version = count(json["v"])
        if state.version > 0 {
            state.edited = Deed(by: json["by"]?.string ?? "", at: json["at"]?.string.flatMap { UInt64($0) } ?? 0)
        }
        state.pinned = json["pinned"].flatMap { pinned in
            guard let by = pinned["by"]?.string else { return nil }
            return Deed(by: by, at: pinned["at"]?.string.flatMap { UInt64($0) } ?? 0)
        }
        if case .object(let reactions)? = json["reactions"] {
            for (emoji, reaction) in reactions {
                let number = count(reaction["n"])
                guard number > 0 else { continue }
                var users: [UserID] = []
                if case .array(let names)? = reaction["users"] {
                    users = names.prefix(MessageState.Reaction.mostNames).compactMap { name in
                        name.string.flatMap { try? UserID($0) }
                    }
                }
                state.reactions[emoji] = MessageState.Reaction(count: number, users: users)
            }
        }
        state.replies = count(json["replies"])
        state.lastReply = json["last"]?.string.flatMap { Position($0) }
        let data = json["data"]?.string.map { LogEntry.json($0) }
        return (state, json["text"]?.string, data)
    }

    private static func count(_ value: JSONValue?) -> UInt64 {
        guard let number = value?.double, number >= 1, number <= 9_007_199_254_740_992 else { return 0 }
        return UInt64(number)
    }
}
