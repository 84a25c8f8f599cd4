import MartletClient

/// The lower lines of a chat on a terminal: the user's messages in flight, the state, and the input line. Pure.
struct ChatFooter: Equatable {
    var lines: [String]
    /// The width of each line in columns, without colours.
    var widths: [Int]
    /// The cursor's column in the last line.
    var column: Int

    /// The number of messages in flight that are shown; the others are counted.
    static let maxPending = 5

    init(_ model: ChatModel, editor: LineEditor, text: ChatText, columns: Int, now: Moment) {
        lines = []
        widths = []
        column = 0
        let columns = max(20, columns)
        let waiting = model.pending
        if waiting.count > Self.maxPending {
            add("  … \(waiting.count - Self.maxPending) more on their way", .dim, text, columns)
        }
        for send in waiting.suffix(Self.maxPending) {
            let mark = send.state == .sending ? "…" : "✓"
            let said = TerminalText.harmless(send.text.replacing("\n", with: " ⏎ "))
            add("  \(mark) \(said)", .dim, text, columns)
        }
        let (state, style) = Self.state(model, now)
        add(state, style, text, columns)
        let prompt = "> "
        let (visible, place) = editor.visible(columns: columns - prompt.count - 1)
        lines.append(text.style(prompt, .me) + visible)
        widths.append(prompt.count + TerminalText.width(visible))
        column = prompt.count + place
    }

    private mutating func add(_ line: String, _ style: ChatText.Style, _ text: ChatText, _ columns: Int) {
        let cut = TerminalText.cut(line, to: columns - 1)
        lines.append(text.style(cut, style))
        widths.append(TerminalText.width(cut))
    }

    /// One line: connection, room, number of users, who is typing, and unread messages elsewhere.
    static func state(_ model: ChatModel, _ now: Moment) -> (String, ChatText.Style) {
        let room = model.rooms[model.current]
        var parts = [TerminalText.harmless(model.current.text)]
        var style = ChatText.Style.dim
        var mark = "●"
        switch model.connection {
        case .connected(let welcome):
            if let room, room.isIn {
                parts.append("\(room.count) here")
            } else {
                parts.append(room == nil ? "in no room: /join ROOM" : "joining")
            }
            parts.append(TerminalText.harmless(welcome.node))
        case .connecting:
            mark = "○"
            parts.append("connecting")
        case .waiting(let reason, let until):
            mark = "○"
            style = .bad
            let left = until > now ? "again in \(ChatText.seconds(until - now))" : "connecting"
            parts.append(TerminalText.harmless(TerminalText.cut(reason.text, to: 60)))
            parts.append(left)
        case .closed:
            mark = "○"
            parts.append("closed")
        }
        let typing = model.typing(now: now).map { TerminalText.cut(TerminalText.harmless($0.text), to: 20) }
        switch typing.count {
        case 0: break
        case 1: parts.append("\(typing[0]) is typing")
        case 2, 3:
            parts.append("\(typing.dropLast().joined(separator: ", ")) and \(typing[typing.count - 1]) are typing")
        default: parts.append("several people are typing")
        }
        let unread = model.order.compactMap { name -> String? in
            guard let count = model.rooms[name]?.unread, count > 0 else { return nil }
            return "\(TerminalText.harmless(name.text)) +\(count)"
        }
        if !unread.isEmpty { parts.append(unread.joined(separator: " ")) }
        return ("\(mark) " + parts.joined(separator: " · "), style)
    }
}

/// Keeps the footer at the bottom while lines appear above it and scroll away into the terminal's own buffer. Pure:
/// computes the bytes for the terminal.
struct ChatScreen {
    private var drawn: ChatFooter?

    /// Removes the footer, writes `lines` in its place, and the footer below them. Empty if nothing would change.
    mutating func draw(_ lines: [String], _ footer: ChatFooter, columns: Int) -> String {
        guard !lines.isEmpty || footer != drawn else { return "" }
        var output = erase(columns: columns)
        for line in lines { output += line + "\r\n" }
        output += footer.lines.joined(separator: "\r\n")
        output += "\r"
        if footer.column > 0 { output += "\u{1B}[\(footer.column)C" }
        drawn = footer
        return output
    }

    /// Removes the footer and leaves the cursor in its place. If the terminal has become narrower since, the lines may
    /// occupy several rows each.
    mutating func erase(columns: Int) -> String {
        guard let footer = drawn else { return "" }
        drawn = nil
        let columns = max(1, columns)
        var rows = 0
        for width in footer.widths.dropLast() { rows += max(1, (width + columns - 1) / columns) }
        rows += footer.column / columns
        return (rows > 0 ? "\u{1B}[\(rows)A" : "") + "\r\u{1B}[J"
    }
}
