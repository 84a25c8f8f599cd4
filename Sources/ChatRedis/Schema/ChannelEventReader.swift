import ChatCore
import ChatJSON
import Glibc

/// Reads payloads of channels, by whoever they were published: members in any order, unknown ones ignored, epochs and
/// positions as strings or numbers.
///
/// Strict about what decides something (positions and epochs within ``PositionBounds``), lenient about the content of
/// messages (``LogEntry``). A node or a change of presence that cannot be read is left out, and the others are kept.
struct ChannelEventReader {
    /// A slice for each member that an event of any type has.
    private struct Members {
        var type, position, base, entry, epoch, nodes, by, node, value, last, after, count, changes, run,
            rules: JSONSlice?
        var session, user, name, data: JSONSlice?
        var reads, room, kind, unread: JSONSlice?

        mutating func note(_ key: JSONSlice, _ value: JSONSlice, _ scanner: JSONScanner) {
            // Most payloads are messages, so their members are compared first.
            if scanner.string(key, equals: "type") {
                type = value
            } else if scanner.string(key, equals: "position") {
                position = value
            } else if scanner.string(key, equals: "base") {
                base = value
            } else if scanner.string(key, equals: "entry") {
                entry = value
            } else {
                noteRare(key, value, scanner)
            }
        }

        private mutating func noteRare(_ key: JSONSlice, _ slice: JSONSlice, _ scanner: JSONScanner) {
            switch scanner.string(key) {
            case "epoch": epoch = slice
            case "nodes": nodes = slice
            case "by": by = slice
            case "node": node = slice
            case "value": value = slice
            case "last": last = slice
            case "after": after = slice
            case "count": count = slice
            case "changes": changes = slice
            case "run": run = slice
            case "rules": rules = slice
            case "session": session = slice
            case "user": user = slice
            case "name": name = slice
            case "data": data = slice
            case "reads": reads = slice
            case "room": room = slice
            case "kind": kind = slice
            case "unread": unread = slice
            default: break
            }
        }
    }

    /// The most entries of the presence stream in one notice: far more than the devices of a node that is swept.
    private static let mostChanges: UInt64 = 10_000_000

    private let scanner: JSONScanner
    private var members = Members()

    /// A payload is one event, or several that are separated by line feeds. An event that spans lines is still one: no
    /// JSON object has a single line feed between `}` and `{`.
    static func forEachEvent(
        in payload: UnsafeBufferPointer<UInt8>, _ body: (UnsafeBufferPointer<UInt8>) -> Void
    ) {
        guard let start = payload.baseAddress else { return body(payload) }
        var first = 0
        var next = 0
        while let found = memchr(start + next, 0x0A, payload.count - next) {
            let feed = start.distance(to: UnsafePointer(found.assumingMemoryBound(to: UInt8.self)))
            next = feed + 1
            guard feed > first, next < payload.count, payload[feed - 1] == UInt8(ascii: "}"),
                payload[next] == UInt8(ascii: "{")
            else { continue }
            body(UnsafeBufferPointer(rebasing: payload[first..<feed]))
            first = next
        }
        body(UnsafeBufferPointer(rebasing: payload[first...]))
    }

    static func event(of payload: UnsafeRawBufferPointer) throws(ChannelPayloadError) -> ChannelEvent {
        if let message = ownMessage(payload) { return message }
        do throws(JSONError) {
            return try ChannelEventReader(payload).event()
        } catch {
            throw ChannelPayloadError(error.description)
        }
    }

    /// Reads the usual beginning of a payload, `{"type":"message","position":"<epoch>-<seq>","base":"<seq>",`. Nil for
    /// any other beginning; then the event has to be read as a whole.
    static func place(of payload: UnsafeBufferPointer<UInt8>) -> (Position, base: UInt64)? {
        head(of: UnsafeRawBufferPointer(payload)).map { ($0.position, $0.base) }
    }

    /// Reads, in one pass, a message exactly as nodes and functions write it. Nil for anything else.
    private static func ownMessage(_ payload: UnsafeRawBufferPointer) -> ChannelEvent? {
        guard case (let position, let base, var scanner)? = head(of: payload) else { return nil }
        var entry = LogEntry()
        guard scanner.skip(#","entry":{"user":"#), let user = string(&scanner), scanner.skip(#","at":"#),
            let at = string(&scanner)
        else { return nil }
        entry.user = try? UserID(user)
        entry.at = UInt64(at)
        if scanner.skip(#","text":"#) {
            guard let text = string(&scanner) else { return nil }
            entry.text = text
        }
        if scanner.skip(#","data":"#) {
            guard let data = string(&scanner) else { return nil }
            entry.data = data
        }
        if scanner.skip(#","key":"#) {
            guard let key = string(&scanner) else { return nil }
            entry.key = key
        }
        guard scanner.skip("}}"), scanner.offset == payload.count, let content = entry.content(at: position) else {
            return nil
        }
        return .message(Message(position: position, content: content), base: base)
    }

    private static func string(_ scanner: inout JSONScanner) -> String? {
        guard let slice = try? scanner.value(), case .string = slice.kind else { return nil }
        return scanner.string(slice)
    }

    /// Does the same with a scanner, and leaves the scanner after that beginning.
    private static func head(of payload: UnsafeRawBufferPointer) -> (position: Position, base: UInt64, JSONScanner)? {
        var scanner = JSONScanner(payload)
        guard scanner.skip(#"{"type":"message","position":"#), let place = try? scanner.value(),
            case .string = place.kind, let position = Position(utf8: scanner.inside(place)),
            scanner.skip(#","base":"#), let base = string(&scanner), let base = bounded(UInt64(base))
        else { return nil }
        return (position, base, scanner)
    }

    private init(_ payload: UnsafeRawBufferPointer) throws(JSONError) {
        var walker = JSONScanner(payload)
        let still = walker
        var found = Members()
        walker.skipSpace()
        guard walker.offset < payload.count, payload[walker.offset] == UInt8(ascii: "{") else {
            throw JSONError(offset: walker.offset, problem: "expected an object")
        }
        try walker.members { key, value in found.note(key, value, still) }
        try walker.end()
        scanner = still
        members = found
    }

    private func event() throws(JSONError) -> ChannelEvent {
        guard let type = members.type, case .string = type.kind else {
            throw Self.wrong("type", "a string", members.type)
        }
        if scanner.string(type, equals: "message") { return try message() }
        switch scanner.string(type) {
        case "epoch":
            return .epoch(
                try number(members.epoch, "epoch"), base: try number(members.base, "base"), nodes: try nodes(),
                by: try node(members.by, "by"),
                rules: members.rules == nil ? 0 : try number(members.rules, "rules"))
        case "gone":
            return .gone(
                try node(members.node, "node"), value: try number(members.value, "value"), nodes: try nodes(),
                last: try position(members.last, "last"))
        case "presence":
            return .presence(try presence())
        case "signal":
            return .signal(try signal())
        case "reads":
            return .reads(try reads())
        case "read", "invited", "removed", "mentioned":
            return .notice(try notice(scanner.string(type)))
        default:
            throw JSONError(offset: type.range.lowerBound, problem: "an event type that we do not know")
        }
    }

    private func message() throws(JSONError) -> ChannelEvent {
        let position = try position(members.position, "position")
        guard let slice = members.entry, slice.kind == .object else {
            throw Self.wrong("entry", "an object", members.entry)
        }
        var entry = LogEntry()
        try object(slice) { key, value, scanner throws(JSONError) in
            guard case .string = value.kind else { return }
            if scanner.string(key, equals: "text") {
                entry.text = scanner.string(value)
            } else if scanner.string(key, equals: "user") {
                entry.user = try? UserID(scanner.string(value))
            } else if scanner.string(key, equals: "at") {
                entry.at = UInt64(scanner.string(value))
            } else if scanner.string(key, equals: "key") {
                entry.key = scanner.string(value)
            } else if scanner.string(key, equals: "data") {
                entry.data = scanner.string(value)
            } else {
                entry.take(scanner.string(key), scanner.string(value))
            }
        }
        guard let content = entry.content(at: position) else { throw Self.wrong("entry", "a message", members.entry) }
        let base: UInt64? = if members.base == nil { nil } else { try number(members.base, "base") }
        return .message(Message(position: position, content: content), base: base)
    }

    private func presence() throws(JSONError) -> PresenceNotice {
        guard let slice = members.changes, slice.kind == .array else {
            throw Self.wrong("changes", "an array", members.changes)
        }
        var changes: [PresenceNotice.Change] = []
        var walker = inner(slice)
        try walker.elements { element throws(JSONError) in
            let place = JSONSlice(kind: element.kind, range: shift(element.range, slice))
            if place.kind == .object, let change = try change(place) { changes.append(change) }
        }
        let count = try number(members.count, "count")
        let after = try position(members.after, "after")
        let position = try position(members.position, "position")
        // Both positions belong to one stream, and are at most that far apart. Otherwise the node would wait for
        // positions that do not exist.
        guard position.epoch == after.epoch, position.seq > after.seq, position.seq - after.seq <= Self.mostChanges
        else {
            throw Self.wrong("position", "a few behind 'after'", members.position)
        }
        return PresenceNotice(
            after: after, position: position, changes: changes, count: Int(clamping: count),
            run: members.run == nil ? nil : try string(members.run, "run"))
    }

    /// Nil if there is no name, or one that breaks the rules of names.
    private func change(_ slice: JSONSlice) throws(JSONError) -> PresenceNotice.Change? {
        var user: UserID?
        var device: DeviceName?
        var node: NodeID?
        var joined: Bool?
        try object(slice) { key, value, scanner throws(JSONError) in
            switch (scanner.string(key), value.kind) {
            case ("user", .string): user = try? UserID(scanner.string(value))
            case ("device", .string): device = try? DeviceName(scanner.string(value))
            case ("node", .string): node = try? NodeID(scanner.string(value))
            case ("joined", .bool(let flag)): joined = flag
            default: break
            }
        }
        guard let user, let device, let node, let joined else { return nil }
        return PresenceNotice.Change(user: user, device: device, node: node, joined: joined)
    }

    private func signal() throws(JSONError) -> Signal {
        guard let user = try? UserID(try string(members.user, "user")) else {
            throw Self.wrong("user", "a user's name", members.user)
        }
        // It identifies a session of its node and is not used for calculations, so it has no bounds.
        guard let session = members.session, let session = Self.anyNumber(session, scanner) else {
            throw Self.wrong("session", "a whole number", members.session)
        }
        let name = try string(members.name, "name")
        guard name.utf8.count <= ClientRequest.maxSignalNameBytes,
            !name.unicodeScalars.contains(where: { $0.properties.generalCategory == .control })
        else { throw Self.wrong("name", "a signal's name", members.name) }
        return Signal(
            node: try node(members.node, "node"), session: SessionID(raw: session), user: user, name: name,
            data: try members.data.map { (slice) throws(JSONError) in try data(slice) })
    }

    /// Marks that cannot be read are left out.
    private func reads() throws(JSONError) -> [UserID: ReadMark] {
        guard let slice = members.reads, slice.kind == .object else {
            throw Self.wrong("reads", "an object", members.reads)
        }
        var marks: [UserID: ReadMark] = [:]
        try object(slice) { key, value, scanner throws(JSONError) in
            guard case .string = value.kind, let user = try? UserID(scanner.string(key)),
                let mark = ReadMark(scanner.string(value))
            else { return }
            marks[user] = mark
        }
        return marks
    }

    private func notice(_ type: String) throws(JSONError) -> UserNotice {
        guard let kind = UserNotice.Kind(rawValue: type) else {
            throw Self.wrong("type", "that of a notice", members.type)
        }
        guard let room = try? RoomName(stored: try string(members.room, "room")) else {
            throw Self.wrong("room", "a room's name", members.room)
        }
        var notice = UserNotice(kind, room)
        notice.conversation = members.kind == nil ? nil : ConversationKind(rawValue: try string(members.kind, "kind"))
        if members.position != nil { notice.position = try position(members.position, "position") }
        if members.unread != nil { notice.unread = try number(members.unread, "unread") }
        if members.by != nil { notice.by = String(try string(members.by, "by").prefix(UserID.maxBytes)) }
        return notice
    }

    // MARK: Parts

    private func data(_ slice: JSONSlice) throws(JSONError) -> String {
        if let problem = JSONData.problem(UnsafeRawBufferPointer(rebasing: scanner.bytes[slice.range])) {
            throw JSONError(offset: slice.range.lowerBound + problem.offset, problem: problem.problem)
        }
        return scanner.text(slice)
    }

    private func nodes() throws(JSONError) -> [NodeID: UInt64] {
        // cjson encodes an empty Lua table as an array.
        if let slice = members.nodes, slice.kind == .array, slice.range.count == 2 { return [:] }
        guard let slice = members.nodes, slice.kind == .object else {
            throw Self.wrong("nodes", "an object", members.nodes)
        }
        var nodes: [NodeID: UInt64] = [:]
        try object(slice) { key, value, scanner throws(JSONError) in
            guard let node = try? NodeID(scanner.string(key)), let epoch = Self.number(value, scanner) else { return }
            nodes[node] = epoch
        }
        return nodes
    }

    /// Calls `body` for each member of an object inside the payload, with a scanner to which the slices belong.
    private func object(
        _ slice: JSONSlice, _ body: (JSONSlice, JSONSlice, JSONScanner) throws(JSONError) -> Void
    ) throws(JSONError) {
        var walker = inner(slice)
        let still = walker
        try walker.members { key, value throws(JSONError) in try body(key, value, still) }
    }

    private func inner(_ slice: JSONSlice) -> JSONScanner {
        JSONScanner(UnsafeRawBufferPointer(rebasing: scanner.bytes[slice.range]))
    }

    private func shift(_ range: Range<Int>, _ outer: JSONSlice) -> Range<Int> {
        range.lowerBound + outer.range.lowerBound..<range.upperBound + outer.range.lowerBound
    }

    private func string(_ slice: JSONSlice?, _ name: String) throws(JSONError) -> String {
        guard let slice, case .string = slice.kind else { throw Self.wrong(name, "a string", slice) }
        return scanner.string(slice)
    }

    private func node(_ slice: JSONSlice?, _ name: String) throws(JSONError) -> NodeID {
        guard let slice, case .string = slice.kind, let node = try? NodeID(scanner.string(slice)) else {
            throw Self.wrong(name, "a node's name", slice)
        }
        return node
    }

    private func position(_ slice: JSONSlice?, _ name: String) throws(JSONError) -> Position {
        guard let slice, case .string = slice.kind,
            let position = Position(utf8: scanner.inside(slice))
        else { throw Self.wrong(name, "<epoch>-<seq>", slice) }
        return position
    }

    private func number(_ slice: JSONSlice?, _ name: String) throws(JSONError) -> UInt64 {
        guard let slice, let number = Self.number(slice, scanner) else {
            throw Self.wrong(name, "a whole number up to 2^53", slice)
        }
        return number
    }

    private static func number(_ slice: JSONSlice, _ scanner: JSONScanner) -> UInt64? {
        bounded(anyNumber(slice, scanner))
    }

    private static func bounded(_ number: UInt64?) -> UInt64? {
        guard let number, PositionBounds.holds(number) else { return nil }
        return number
    }

    private static func anyNumber(_ slice: JSONSlice, _ scanner: JSONScanner) -> UInt64? {
        switch slice.kind {
        case .string: UInt64(scanner.string(slice))
        case .number: UInt64(scanner.text(slice))
        case .null, .bool, .array, .object: nil
        }
    }

    private static func wrong(_ name: String, _ expected: String, _ slice: JSONSlice?) -> JSONError {
        guard let slice else { return JSONError(offset: 0, problem: "'\(name)' is missing") }
        return JSONError(offset: slice.range.lowerBound, problem: "'\(name)' must be \(expected)")
    }
}
