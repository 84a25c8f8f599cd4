import ChatCore
import ChatWire
import MartletClient

/// The items of a chat as text, for a terminal or a pipe. All text from other people is made harmless here.
struct ChatText {
    /// Whether colours are used (escape sequences).
    var colour = false
    /// The number of columns after which lines are wrapped; nil for never.
    var columns: Int?
    /// The user at the terminal, whose name has its own colour.
    var user = ""
    /// Formats a time as hours and minutes.
    var clock: @Sendable (UInt64) -> String
    /// Whether signals (typing) are shown.
    var showsSignals = false

    /// The lines; empty if the item is not shown here. `current`: the room that the user looks at; other rooms are
    /// named. `now`: for items without a time of their own.
    func lines(_ line: ChatLine, in current: RoomName, now: UInt64) -> [String] {
        switch line {
        case .message(let room, let message): return self.message(message, room == current ? nil : room)
        case .earlier(let room, let page): return earlier(page, room, current)
        case .connected(let welcome): return notice("connected to \(welcome.node)", now)
        case .disconnected(.closed, _): return []
        case .disconnected(let reason, let retryIn):
            let then = retryIn.map { "trying again in \(Self.seconds($0))" } ?? "not coming back"
            return notice("\(reason.text); \(then)", now, .bad)
        case .draining(let wait): return notice("the node is leaving; moving to another in \(Self.seconds(wait))", now)
        case .joined(let joined): return notice(Self.joined(joined), now)
        case .left(let room): return notice("left \(room)", now)
        case .presence(let room, let joined, let left, let count):
            return presence(room == current ? nil : room, joined, left, count, now)
        case .signal(_, let user, let name, _):
            return showsSignals ? notice("\(user): \(name)", now) : []
        case .gap(let room, let gap):
            let missing = Self.missing(gap)
            return notice("\(missing) gone from the log of \(room), between \(gap.after) and \(gap.before)", now, .bad)
        case .reset(let room, let reset):
            return notice(
                "Redis lost part of \(room)'s history: what was shown before this line may be gone; "
                    + "it goes on at \(reset.position)",
                now, .bad)
        case .sent: return []
        case .notSent(let room, let text, let error):
            let place = room == current ? "" : " to \(room)"
            return notice("NOT SENT\(place): \(TerminalText.cut(text, to: 200)) (\(error.text))", now, .bad)
        case .people(let room, let page): return people(room, page)
        case .fault(let fault): return notice("the node says: \(fault.name): \(fault.message)", now, .bad)
        case .changed(let room, let change, let now): return changed(room, change, now, current)
        case .unread(let room, let count):
            let place = room == current ? "" : " in \(room)"
            return notice("—— \(count) unread\(place) ——", nil, .bad)
        case .receipts: return []
        case .participants(let room, let changes): return notice(Self.text(changes, in: room), now)
        case .inbox(let page): return inbox(page)
        case .notice(let notice): return self.notice(Self.text(notice), now)
        case .seen(let users, let online): return users.flatMap { notice(Self.seen($0, online, now), nil) }
        case .note(let text): return wrapped(["  " + TerminalText.harmless(text)], indent: 4).map { style($0, .dim) }
        }
    }

    // MARK: Kinds

    private func message(_ message: Message, _ room: RoomName?) -> [String] {
        let content = message.content
        let name = TerminalText.cut(TerminalText.harmless(content.user.text), to: 32)
        let place = room.map { "[\(TerminalText.harmless($0.text))] " } ?? ""
        let deleted = content.deleted.map { $0.by == content.user.text ? "(deleted)" : "(deleted by \($0.by))" }
        let more = Self.marks(content).map { " \($0)" } ?? ""
        let said = TerminalText.harmlessLines((deleted ?? content.text ?? content.data ?? "") + more)
        let head = "\(clock(content.at)) \(place)\(name): "
        var lines = [head + (said.first ?? "")] + said.dropFirst().map { "      " + $0 }
        lines = wrapped(lines, indent: 6)
        guard colour else { return lines }
        // Only the head is coloured, and it is in the first line unless the terminal is very narrow.
        if lines[0].hasPrefix(head) {
            let shownName = style(name, content.user.text == user ? .me : .name(Self.colourNumber(content.user.text)))
            lines[0] =
                "\(style(clock(content.at), .dim)) \(style(place, .dim))\(shownName): \(lines[0].dropFirst(head.count))"
        }
        return lines
    }

    /// What became of a message; nil: nothing.
    private static func marks(_ content: MessageContent) -> String? {
        guard let state = content.extra?.state else { return nil }
        var marks: [String] = []
        if state.edited != nil { marks.append("(edited)") }
        marks += state.reactions.sorted { $0.key < $1.key }.map { "\($0.key)\($0.value.count)" }
        if state.replies > 0 { marks.append("(\(state.replies) replies)") }
        return marks.isEmpty ? nil : marks.joined(separator: " ")
    }

    private func earlier(_ page: HistoryPage, _ room: RoomName, _ current: RoomName) -> [String] {
        guard !page.messages.isEmpty else { return notice("nothing earlier is in the log of \(room)", nil) }
        let more = page.hasOlder ? "; /history shows more" : "; this is the beginning of the log"
        return notice("\(page.messages.count) earlier messages of \(room)\(more)", nil)
            + page.messages.flatMap { message($0, room == current ? nil : room) }
            + notice("end of the earlier messages", nil)
    }

    /// What somebody did about an earlier message.
    private func changed(_ room: RoomName, _ change: Message, _ now: Message?, _ current: RoomName) -> [String] {
        guard let amendment = change.content.amendment else { return [] }
        let who = TerminalText.cut(change.content.user.text, to: 32)
        let place = room == current ? "" : "[\(room)] "
        // A message that was not shown here is named by its position.
        let about =
            now.map { "a message of \(TerminalText.cut($0.content.user.text, to: 32)), \(clock($0.content.at))" }
            ?? "\(amendment.of)"
        let text = TerminalText.cut(
            (now?.content.text ?? change.content.text ?? "").replacing("\n", with: " ⏎ "), to: 200)
        let what =
            switch amendment.operation {
            case .edit: "edited \(about): \(text)"
            case .delete:
                change.content.erased.count > 1 ? "deleted \(change.content.erased.count) messages" : "deleted \(about)"
            case .react: "reacted \(change.content.text ?? "") to \(about)"
            case .unreact: "took back \(change.content.text ?? "") of \(about)"
            case .pin: "pinned \(about)"
            case .unpin: "unpinned \(about)"
            }
        return notice("\(place)\(who) \(what)", change.content.at)
    }

    private func inbox(_ page: InboxPage) -> [String] {
        guard !page.conversations.isEmpty else {
            return notice("you have no conversations; /direct USER begins one", nil)
        }
        let lines = page.conversations.flatMap { entry -> [String] in
            let title = entry.head.other.map { "\($0)" } ?? "\(entry.room)"
            let unread = entry.head.unread > 0 ? "\(entry.head.unread) unread" : "read"
            let last = entry.head.last.map { last in
                let said = TerminalText.cut((last.text ?? "").replacing("\n", with: " ⏎ "), to: 80)
                return ": \(clock(last.at)) \(last.user): \(said)"
            }
            let line = "\(title) (\(unread))\(last ?? "")  /join \(entry.room)"
            return wrapped(["  " + TerminalText.harmless(line)], indent: 6)
        }
        return page.hasMore ? lines + notice("there are more, which are older", nil) : lines
    }

    private static func seen(_ user: UserID, _ online: OnlineUsers, _ now: UInt64) -> String {
        let name = TerminalText.cut(user.text, to: 32)
        if online.online.contains(user) { return "\(name) is online" }
        guard let at = online.seen[user] else { return "\(name) is offline" }
        return "\(name) was last here \(ago(now - min(now, at)))"
    }

    private static func ago(_ milliseconds: UInt64) -> String {
        let minutes = milliseconds / 60_000
        let (count, unit) =
            switch minutes {
            case 0: (UInt64(0), "")
            case 1..<60: (minutes, "minute")
            case 60..<1_440: (minutes / 60, "hour")
            default: (minutes / 1_440, "day")
            }
        return count == 0 ? "just now" : "\(count) \(unit)\(count == 1 ? "" : "s") ago"
    }

    private static func text(_ notice: UserNotice) -> String {
        let by = TerminalText.cut(notice.by ?? "somebody", to: 32)
        return switch notice.kind {
        case .read: "\(notice.room) was read on another device"
        case .invited: "\(by) invited you: /join \(notice.room)"
        case .removed: "you do not belong to \(notice.room) any more"
        case .mentioned: "\(by) mentioned you in \(notice.room)"
        }
    }

    private static func text(_ changes: ParticipantChanges, in room: RoomName) -> String {
        let came = changes.changes.filter(\.isNew).map(\.user)
        let left = changes.changes.filter { $0.role == nil }.map(\.user)
        var parts: [String] = []
        if !came.isEmpty { parts.append("\(names(came)) joined the conversation") }
        for change in changes.changes where !change.isNew {
            guard let role = change.role else { continue }
            parts.append("\(TerminalText.cut(change.user.text, to: 32)) is \(role.rawValue) now")
        }
        if !left.isEmpty { parts.append("\(names(left)) left the conversation") }
        if changes.hasMore { parts.append("and others came, left or have another role") }
        return "[\(room)] \(parts.joined(separator: ", "))"
    }

    private static func joined(_ joined: JoinedRoom) -> String {
        let who = "\(joined.room), \(joined.count) here"
        return switch joined.resumption {
        case .fresh: "in \(who)"
        case .complete: "back in \(who); what was missed follows"
        case .gap: "back in \(who); something was missed that is not in the log any more"
        case .reset: "back in \(who)"
        }
    }

    private func presence(
        _ room: RoomName?, _ joined: [UserID], _ left: [UserID], _ count: Int, _ now: UInt64
    ) -> [String] {
        var parts: [String] = []
        // The user's own arrival is shown by the line of the join.
        let others = joined.filter { $0.text != user }
        if !others.isEmpty { parts.append("\(Self.names(others)) came") }
        if !left.isEmpty { parts.append("\(Self.names(left)) left") }
        guard !parts.isEmpty else { return [] }
        let place = room.map { "[\($0)] " } ?? ""
        return notice("\(place)\(parts.joined(separator: ", ")) (\(count) here)", now)
    }

    private func people(_ room: RoomName, _ page: RosterPage) -> [String] {
        let head = notice("\(page.count) in \(room)", nil)
        return head
            + page.members.flatMap { member in
                let devices = member.devices.map { TerminalText.harmless($0.text) }.sorted().joined(separator: ", ")
                return wrapped(["    \(TerminalText.harmless(member.user.text)) (\(devices))"], indent: 8)
            }
    }

    private static func names(_ users: [UserID]) -> String {
        let shown = users.prefix(10).map { TerminalText.cut($0.text, to: 32) }.joined(separator: ", ")
        return users.count > 10 ? shown + " and \(users.count - 10) more" : shown
    }

    /// The number of messages in a gap, as far as its positions tell.
    static func missing(_ gap: Gap) -> String {
        guard gap.before.seq > gap.after.seq + 1 else { return "messages are" }
        let count = gap.before.seq - gap.after.seq - 1
        return count == 1 ? "1 message is" : "\(count) messages are"
    }

    static func seconds(_ duration: Duration) -> String {
        let tenths = Int((duration / .milliseconds(100)).rounded())
        return "\(tenths / 10).\(tenths % 10) s"
    }

    // MARK: Form

    enum Style: Equatable {
        case dim, bad, me
        case name(Int)
    }

    /// `text` in colour. It must be harmless already.
    func style(_ text: String, _ style: Style) -> String {
        guard colour, !text.isEmpty else { return text }
        let code =
            switch style {
            case .dim: "2"
            case .bad: "1;31"
            case .me: "1"
            case .name(let number): "38;5;\(number)"
            }
        return "\u{1B}[\(code)m\(text)\u{1B}[0m"
    }

    private func notice(_ text: String, _ now: UInt64?, _ style: Style = .dim) -> [String] {
        let time = now.map { clock($0) + " " } ?? ""
        return wrapped([time + "* " + TerminalText.harmless(text)], indent: 8).map { self.style($0, style) }
    }

    private func wrapped(_ lines: [String], indent: Int) -> [String] {
        guard let columns else { return lines }
        let margin = String(repeating: " ", count: min(indent, columns / 4))
        return lines.flatMap { line -> [String] in
            guard TerminalText.width(line) > columns else { return [line] }
            let pieces = TerminalText.wrapped(line, to: columns - TerminalText.width(margin))
            return [pieces[0]] + pieces.dropFirst().map { margin + $0 }
        }
    }

    /// One of the 256 colours that can be read both on black and on white. The same name always has the same colour.
    static func colourNumber(_ name: String) -> Int {
        let palette = [25, 28, 61, 66, 88, 94, 97, 125, 130, 133, 136, 161, 166, 172, 31, 35]
        return palette[Int(StableHash(name).value % UInt64(palette.count))]
    }
}
