import ChatCore
import ChatJSON
import RedisSchema

extension RedisCodec {
    /// Decides the form of an append, which is decided nowhere else: `martlet_append`, which also publishes, if others
    /// have to hear of the message and the link is not busy; otherwise a plain `XADD`. What a busy link stores for
    /// others is published later by the room, together with what else it says in that tick.
    func append(
        _ room: RoomName, _ epoch: UInt64, _ content: MessageContent, _ others: OtherNodes?, isHeld: Bool,
        isBusy: Bool, _ writer: inout RESPWriter
    ) -> RedisEncoded {
        let most = isHeld ? max(settings.historyLength, settings.heldLength) : settings.historyLength
        if !content.isPlain, content.extra?.thread != nil {
            // It has to be counted in its thread, even if nobody has to hear of it.
            appendAndPublish("martlet_reply", room, epoch, content, others, most: most, &writer)
            return kept(.announce)
        }
        if let others, !isBusy {
            appendAndPublish("martlet_append", room, epoch, content, others, most: most, &writer)
            return kept(.announce)
        }
        append(room, epoch, content, most: most, &writer)
        return RedisEncoded(operation: Operation.append.rawValue)
    }

    /// `XADD log NOMKSTREAM [MAXLEN ~ n] <epoch>-* …`: the hot path. Every argument is written directly into the
    /// buffer.
    private func append(
        _ room: RoomName, _ epoch: UInt64, _ content: MessageContent, most: Int, _ writer: inout RESPWriter
    ) {
        let trims = trims(to: most, at: content.at)
        writer.command((trims ? 7 : 4) + Self.words(of: content))
        writer.argument("XADD")
        key(.log, room, &writer)
        writer.argument("NOMKSTREAM")
        if trims {
            writer.argument("MAXLEN")
            writer.argument("~")
            writer.argument(most)
        }
        writer.beginArgument()
        writer.append(epoch)
        writer.append("-*" as StaticString)
        writer.endArgument()
        fields(content, &writer)
    }

    /// Trimming reads the old end of the log, which is cold memory, even if there is nothing to trim: a twentieth of
    /// the cost of a message. So only one in sixteen appends to a long log trims, selected by a hash of its time (the
    /// mixing function of SplitMix64), as messages may arrive in any rhythm.
    private func trims(to most: Int, at time: UInt64) -> Bool {
        guard most >= Self.longHistory else { return true }
        var hash = time &* 0x9E37_79B9_7F4A_7C15
        hash = (hash ^ hash >> 30) &* 0xBF58_476D_1CE4_E5B9
        return hash >> 60 == 0
    }

    /// From this length on, a few dozen extra messages do not matter.
    private static let longHistory = 256

    /// Appends by a function that also publishes. It gets the rest of the payload already encoded.
    private func appendAndPublish(
        _ function: StaticString, _ room: RoomName, _ epoch: UInt64, _ content: MessageContent, _ others: OtherNodes?,
        most: Int, _ writer: inout RESPWriter
    ) {
        call(function, [.log], room, arguments: 4 + Self.words(of: content), &writer)
        writer.argument(epoch)
        writer.argument(most)
        writer.argument(others?.known ?? 0)
        var rest = ByteWriter()
        if let others { rest.appendRest(ofMessage: content, base: others.base) }
        rest.withBytes { writer.argument(bytes: $0) }
        fields(content, &writer)
    }

    func publish(_ entity: Entity, _ events: [ChannelEvent], _ writer: inout RESPWriter) {
        writer.command(3)
        writer.argument(keys.isClustered ? "SPUBLISH" as StaticString : "PUBLISH")
        if case .room(let room) = entity {
            writer.beginArgument()
            writer.append(keys.prefix)
            writer.append("{" as StaticString)
            writer.append(room.text)
            writer.append("}" as StaticString)
            writer.endArgument()
        } else {
            writer.argument(keys.channel(of: entity))
        }
        // One event after the other, as the allocator is slow with blocks above a kilobyte.
        var json = ByteWriter()
        writer.beginArgument()
        for (index, event) in events.enumerated() {
            json.removeAll()
            if index > 0 { json.append(UInt8(ascii: "\n")) }
            json.append(event)
            json.withBytes { writer.append(bytes: $0) }
        }
        writer.endArgument()
    }

    func enter(_ request: EnterRequest, _ writer: inout RESPWriter) {
        let tail = request.tail.reduce(0) { $0 + 2 + Self.words(of: $1.content) }
        call("martlet_enter", RoomKey.allInOrder + [.rules, .sanctions], request.room, arguments: 7 + tail, &writer)
        writer.argument(request.node.text)
        position(request.after, &writer)
        writer.argument(request.seen)
        writer.argument(request.clock)
        let identity: StaticString = request.identityChanged ? (request.offersTail ? "2" : "1") : "0"
        writer.argument(identity)
        bounds(request.page, &writer)
        writer.argument(request.tailHistory)
        for message in request.tail {
            position(message.position, &writer)
            writer.argument(Self.words(of: message.content))
            fields(message.content, &writer)
        }
    }

    func view(
        _ room: RoomName, _ after: Position?, _ page: PageBounds, knows: UInt64, _ writer: inout RESPWriter
    ) {
        call("martlet_view", [.log, .nodes, .epochs, .meta, .rules, .sanctions], room, arguments: 3, &writer)
        position(after, &writer)
        bounds(page, &writer)
        writer.argument(knows)
    }

    /// `<count>:<bytes>:<count>:<bytes>`: the bounds of a log, and those of one that a participant has not read; the
    /// names of sinks behind them: or one of these has not got.
    func logBounds(_ writer: inout RESPWriter) {
        let pages = [
            PageBounds(count: settings.historyLength, bytes: settings.historyBytes),
            PageBounds(count: settings.heldLength, bytes: settings.heldBytes),
        ]
        let sinks = settings.heldFor.isEmpty ? [] : [settings.heldFor.joined(separator: ",")]
        writer.argument((pages.map { "\($0.count):\($0.bytes)" } + sinks).joined(separator: ":"))
    }

    /// `<count>:<bytes>`: the bounds of a page.
    func bounds(_ page: PageBounds, _ writer: inout RESPWriter) {
        writer.beginArgument()
        writer.append(UInt64(clamping: page.count))
        writer.append(":" as StaticString)
        writer.append(min(UInt64(clamping: page.bytes), 1 << 50))
        writer.endArgument()
    }

    func trim(_ room: RoomName, _ writer: inout RESPWriter) {
        call("martlet_trim", [.log], room, arguments: 1, &writer)
        logBounds(&writer)
    }

    func leave(
        _ room: RoomName, _ node: NodeID, _ value: UInt64, _ cursor: UInt64, isOwn: Bool, _ writer: inout RESPWriter
    ) {
        call("martlet_leave", RoomKey.allInOrder, room, arguments: 6, &writer)
        writer.argument(node.text)
        writer.argument(value)
        writer.argument(settings.roomTTL.timeToLiveMilliseconds)
        writer.argument(settings.presenceLength)
        writer.argument(cursor)
        writer.argument(isOwn ? "1" : "0" as StaticString)
    }

    func once(_ request: OnceRequest, _ writer: inout RESPWriter) {
        let sends = request.sends.reduce(0) { $0 + 3 + Self.words(of: $1.content) }
        call("martlet_once", [.log, .nodes, .epochs, .meta], request.room, arguments: 4 + sends, &writer)
        writer.argument(request.node.text)
        writer.argument(request.epoch)
        writer.beginArgument()
        writer.append(request.knownFrom)
        writer.append("-" as StaticString)
        writer.append(request.known)
        writer.endArgument()
        logBounds(&writer)
        for send in request.sends {
            writer.argument(send.again ? "1" : "0" as StaticString)
            position(send.since, &writer)
            writer.argument(Self.words(of: send.content))
            fields(send.content, &writer)
        }
    }

    func say(_ room: RoomName, _ content: MessageContent, obeysRules: Bool, _ writer: inout RESPWriter) {
        call("martlet_say", [.log], room, arguments: content.isPlain ? 8 : 10, &writer)
        writer.argument(content.user.text)
        writer.argument(content.text ?? "")
        writer.argument(content.data ?? "")
        writer.argument(content.key ?? "")
        writer.argument(content.at)
        logBounds(&writer)
        writer.argument(settings.roomTTL.timeToLiveMilliseconds)
        writer.argument(obeysRules ? "user" : "" as StaticString)
        guard !content.isPlain, let extra = content.extra else { return }
        position(extra.thread, &writer)
        writer.argument(extra.mentions.isEmpty ? "" : StringList.write(extra.mentions.map(\.text)))
    }

    func presence(_ request: PresenceRequest, _ writer: inout RESPWriter) {
        call(
            "martlet_presence", [.log, .nodes, .presence, .roster], request.room,
            arguments: 4 + 3 * request.changes.count,
            &writer)
        writer.argument(request.node.text)
        writer.argument(request.value)
        writer.argument("delta")
        writer.argument(settings.presenceLength)
        for change in request.changes {
            writer.argument(change.joined ? "+" : "-" as StaticString)
            writer.argument(change.user.text)
            writer.argument(change.device.text)
        }
    }

    func roster(_ room: RoomName, _ cursor: UInt64, _ writer: inout RESPWriter) {
        call("martlet_roster", [.presence, .roster], room, arguments: 2, &writer)
        writer.argument(cursor)
        writer.argument(settings.rosterPart)
    }

    func heartbeat(_ report: NodeReport, _ lease: Duration, _ writer: inout RESPWriter) {
        let node = report.node.text
        var json = ByteWriter()
        json.append(report)
        writer.command(6)
        writer.argument("SET")
        writer.argument(keys.node(node))
        json.withBytes { writer.argument(bytes: $0) }
        writer.argument("PX")
        writer.argument(lease.timeToLiveMilliseconds)
        // The old value tells whether Redis still knew the node.
        writer.argument("GET")
        writer.command(words: ["ZADD", keys.nodes, String(report.clock), node])
        writer.command(words: [
            "PEXPIRE", keys.rooms(ofNode: node), String(settings.nodeRoomsTTL.timeToLiveMilliseconds),
        ])
    }

    // MARK: A node's list of rooms

    /// Continues reading from the cursor. The reader of a part in a slot of its own also extends its TTL, because the
    /// heartbeat, which does so for the list in a single Redis, goes to another master.
    func rooms(of node: NodeID, _ cursor: Holdings.Cursor, _ writer: inout RESPWriter) -> RedisEncoded {
        let key = keys.rooms(of: node, cursor)
        let isPart = keys.isClustered && cursor.part < Holdings.parts
        if isPart { writer.command(words: ["PEXPIRE", key, String(settings.nodeRoomsTTL.wholeMilliseconds)]) }
        writer.command(words: ["SSCAN", key, String(cursor.scan), "COUNT", String(settings.roomsPart)])
        return RedisEncoded(commands: isPart ? 2 : 1, operation: Operation.rooms.rawValue, number: cursor.raw)
    }

    /// Deletes the part of the list to which the cursor points; the last call deletes the node too. A node that was
    /// wrongly taken for dead therefore finds itself forgotten only when no more of its list will be deleted, and
    /// writes it anew.
    func forget(_ node: NodeID, _ cursor: Holdings.Cursor, _ writer: inout RESPWriter) -> RedisEncoded {
        if keys.isClustered, cursor.part < Holdings.parts {
            writer.command(words: ["DEL", keys.rooms(of: node, cursor)])
            return RedisEncoded(operation: Operation.done.rawValue, number: cursor.nextPart?.raw ?? 0)
        }
        writer.command(words: ["ZREM", keys.nodes, node.text])
        writer.command(words: ["DEL", keys.node(node.text)])
        writer.command(words: ["DEL", keys.rooms(ofNode: node.text)])
        return RedisEncoded(commands: 3, operation: Operation.done.rawValue)
    }

    /// An append and a function call, on a key that never exists.
    func tryStoring(_ entity: Entity, _ writer: inout RESPWriter) {
        let key = keys.rehearsal(of: entity)
        writer.command(words: ["XADD", key, "NOMKSTREAM", "1-*", "text", "probe"])
        writer.command(words: ["FCALL", "martlet_view", "4", key, key, key, key, "", "1:1"])
    }

    // MARK: Parts

    /// `FCALL name <keys> …`, up to the function's own arguments.
    func call(
        _ name: StaticString, _ roomKeys: [RoomKey], _ room: RoomName, arguments: Int, _ writer: inout RESPWriter
    ) {
        writer.command(3 + roomKeys.count + arguments)
        writer.argument("FCALL")
        writer.argument(name)
        writer.argument(roomKeys.count)
        for name in roomKeys { key(name, room, &writer) }
    }

    func key(_ name: RoomKey, _ room: RoomName, _ writer: inout RESPWriter) {
        writer.beginArgument()
        writer.append(keys.prefix)
        writer.append("{" as StaticString)
        writer.append(room.text)
        switch name {
        case .log: writer.append("}:log" as StaticString)
        case .nodes: writer.append("}:nodes" as StaticString)
        case .epochs: writer.append("}:epochs" as StaticString)
        case .meta: writer.append("}:meta" as StaticString)
        case .presence: writer.append("}:presence" as StaticString)
        case .roster: writer.append("}:roster" as StaticString)
        case .keys: writer.append("}:keys" as StaticString)
        case .rules: writer.append("}:rules" as StaticString)
        case .sanctions: writer.append("}:sanctions" as StaticString)
        case .audit: writer.append("}:audit" as StaticString)
        case .participants: writer.append("}:participants" as StaticString)
        case .reads: writer.append("}:reads" as StaticString)
        case .pending: writer.append("}:pending" as StaticString)
        case .overlay: writer.append("}:overlay" as StaticString)
        case .amendments: writer.append("}:amendments" as StaticString)
        case .cursors: writer.append("}:cursors" as StaticString)
        case .receipts: writer.append("}:receipts" as StaticString)
        }
        writer.endArgument()
    }

    func position(_ position: Position?, _ writer: inout RESPWriter) {
        writer.beginArgument()
        if let position {
            writer.append(position.epoch)
            writer.append("-" as StaticString)
            writer.append(position.seq)
        }
        writer.endArgument()
    }

    /// The number of arguments that ``fields(_:_:)`` writes.
    static func words(of content: MessageContent) -> Int {
        4 + (content.text == nil ? 0 : 2) + (content.data == nil ? 0 : 2) + (content.key == nil ? 0 : 2)
            + (content.isPlain ? 0 : 2 * LogField.all(of: content).count)
    }

    func fields(_ content: MessageContent, _ writer: inout RESPWriter) {
        writer.argument("user")
        writer.argument(content.user.text)
        writer.argument("at")
        writer.argument(content.at)
        if let text = content.text {
            writer.argument("text")
            writer.argument(text)
        }
        if let data = content.data {
            writer.argument("data")
            writer.argument(data)
        }
        if !content.isPlain {
            for field in LogField.all(of: content) {
                writer.argument(field.name)
                writer.argument(field.value)
            }
        }
        if let key = content.key {
            writer.argument("key")
            writer.argument(key)
        }
    }
}

extension RoomKey {
    /// The order in which functions take a room's keys.
    static let allInOrder: [RoomKey] = [.log, .nodes, .epochs, .meta, .presence, .roster]
}
