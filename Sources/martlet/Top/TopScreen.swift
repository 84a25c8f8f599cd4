import ChatCore

/// Lays out a view for people: a table of nodes, the problems, and a table of rooms. Pure.
struct TopScreen {
    /// The address of Redis without its password.
    var address: String
    var columns: Int
    /// The number of lines that may be used; nil for as many as necessary (`--once`).
    var rows: Int?
    var colour = false
    /// Formats the time of Redis.
    var clock: @Sendable (UInt64) -> String

    func lines(_ view: TopView) -> [String] {
        var lines = head(view)
        lines.append("")
        lines += nodes(view)
        if !view.behind.isEmpty {
            lines.append("")
            lines.append(bold("BEHIND"))
            let shown = view.behind.prefix(max(3, (rows ?? 1_000) / 4))
            for line in shown { lines.append(red(cut("  " + TerminalText.harmless(line)))) }
            if view.behind.count > shown.count { lines.append(cut("  … and \(view.behind.count - shown.count) more")) }
        }
        lines.append("")
        let left = rows.map { max(2, $0 - lines.count - 1) }
        lines += rooms(view, left)
        let looked =
            "looked at \(view.rooms.count) of \(view.roomsKnown) rooms: \(view.commands) commands, "
            + "\(Self.milliseconds(view.duration)) ms"
        if let rows {
            lines = Array(lines.prefix(rows - 1))
            lines += Array(repeating: "", count: max(0, rows - 1 - lines.count))
        }
        lines.append(dim(cut(looked + (rows == nil ? "" : " · q quits"))))
        return lines
    }

    private func head(_ view: TopView) -> [String] {
        let server = view.server
        let cpu = view.redisCPU.map { " · \(TopText.tenths($0 * 100)) % of a core" } ?? ""
        let masters = server.masters.map { $0 == 1 ? ", 1 master" : ", \($0) masters" } ?? ""
        let redis =
            "Redis \(TerminalText.harmless(server.version))\(masters) at \(address) · "
            + "up \(TopText.span(UInt64(max(0, server.uptime)) * 1_000)) · "
            + "\(TopText.bytes(server.memory)) · \(server.clients) clients · "
            + "\(TopText.number(server.operationsPerSecond)) commands/s\(cpu)"
        let dead = view.nodes.count { $0.state == .dead }
        let nodes = "\(view.present) nodes" + (dead > 0 ? " and \(dead) dead" : "")
        let talk =
            "\(nodes) · \(TopText.number(view.sessions)) sessions\(protocols(view)) · "
            + "\(rate(view.messagesPerSecond)) messages/s · "
            + "\(rate(view.deliveriesPerSecond)) deliveries/s"
        let time = clock(view.time)
        return [
            bold(TerminalText.fit(cut(talk, columns - 10), columns - 10)) + TerminalText.fit(time, 10, right: true),
            dim(cut(redis)),
        ] + (view.events.map { [dim(cut(Self.text($0)))] } ?? [])
    }

    /// `Events  2 relays · archive 0 rooms behind · streams 12 rooms behind (3s)`
    private static func text(_ events: TopEvents) -> String {
        let sinks = events.sinks.map { sink in
            "\(TerminalText.harmless(sink.name)) \(TopText.number(sink.rooms)) rooms behind"
                + (sink.lag > 0 ? " (\(TopText.span(sink.lag)))" : "")
                + (sink.dead > 0 ? ", \(TopText.number(sink.dead)) dead letters" : "")
        }
        return (["Events \(events.relays.count) relays"] + sinks).joined(separator: " · ")
    }

    /// Who speaks what, where there is more than one protocol.
    private func protocols(_ view: TopView) -> String {
        let spoken = view.protocols
        guard spoken.count > 1 else { return "" }
        let words = spoken.map { "\(TopText.number($0.sessions)) \(TerminalText.harmless($0.name))" }
        return " (\(words.joined(separator: ", ")))"
    }

    private func nodes(_ view: TopView) -> [String] {
        guard !view.nodes.isEmpty else { return ["no node is registered"] }
        let name = max(12, min(40, (view.nodes.map { TerminalText.width($0.id) }.max() ?? 0)))
        let address = max(7, min(24, view.nodes.map { TerminalText.width($0.address) }.max() ?? 0))
        let cells: [(String, Int)] = [
            ("STATE", -8), ("ADDRESS", -address), ("VERSION", -7), ("SESSIONS", 8), ("ROOMS", 7), ("MSG/S", 7),
            ("DLV/S", 7),
            ("LEASE", 7), ("CLOCK", 8), ("UP", 7),
        ]
        var lines = [bold(cut(row("NODE", name, cells)))]
        for node in view.nodes.prefix(rows.map { max(3, $0 / 2) } ?? 10_000) {
            let line = cut(
                row(
                    TerminalText.harmless(node.id), name,
                    [
                        (node.state.rawValue, -8), (TerminalText.harmless(node.address), -address),
                        (TerminalText.harmless(node.version), -7), (TopText.number(node.sessions), 8),
                        (TopText.number(node.rooms), 7), (rate(node.messagesPerSecond), 7),
                        (rate(node.deliveriesPerSecond), 7),
                        (node.leaseLeft.map { TopText.span(UInt64(max(0, $0))) } ?? "–", 7),
                        (node.skew.map(Self.skew) ?? "–", 8), (node.uptime.map(TopText.span) ?? "–", 7),
                    ]))
            switch node.state {
            case .ok: lines.append(line)
            case .draining: lines.append(dim(line))
            case .late, .dead, .gone: lines.append(red(line))
            }
        }
        return lines
    }

    private func rooms(_ view: TopView, _ limit: Int?) -> [String] {
        guard !view.rooms.isEmpty else { return ["no room is held by a node"] }
        let name = max(12, min(40, columns - 60))
        let head = row(
            "ROOM", name,
            [("MSG/S", 7), ("LAST SEQ", 11), ("IN LOG", 8), ("PEOPLE", 8), ("NODES", 6), ("LAST SAID", 12)])
        let shown = view.rooms.prefix(limit.map { max(1, $0 - 1) } ?? 50)
        return [bold(cut(head))]
            + shown.map { room in
                cut(
                    row(
                        TerminalText.harmless(room.name), name,
                        [
                            (rate(room.messagesPerSecond), 7), (room.last.map { "\($0.seq)" } ?? "–", 11),
                            (TopText.number(room.length), 8), (Self.people(room), 8), ("\(room.nodes)", 6),
                            (room.quietFor.map { TopText.span($0) + " ago" } ?? "–", 12),
                        ]))
            }
    }

    /// Who is present; of a conversation also how many belong to it: `2/12`.
    private static func people(_ room: TopView.Room) -> String {
        let present = TopText.number(room.people)
        return room.participants > 0 ? "\(present)/\(TopText.number(room.participants))" : present
    }

    // MARK: Parts

    /// A negative width is a column of text, a positive one a column of numbers.
    private func row(_ name: String, _ width: Int, _ cells: [(String, Int)]) -> String {
        cells.reduce(TerminalText.fit(name, width)) { line, cell in
            line + " " + TerminalText.fit(cell.0, abs(cell.1), right: cell.1 > 0)
        }
    }

    private func cut(_ line: String, _ width: Int? = nil) -> String { TerminalText.cut(line, to: width ?? columns) }
    private func rate(_ value: Double?) -> String { value.map(TopText.number) ?? "–" }
    private func bold(_ line: String) -> String { colour ? "\u{1B}[1m\(line)\u{1B}[0m" : line }
    private func dim(_ line: String) -> String { colour ? "\u{1B}[2m\(line)\u{1B}[0m" : line }
    private func red(_ line: String) -> String { colour ? "\u{1B}[31m\(line)\u{1B}[0m" : line }

    static func skew(_ milliseconds: Int) -> String {
        abs(milliseconds) <= TopWatch.tolerableSkew
            ? "ok" : (milliseconds > 0 ? "+" : "-") + TopText.span(UInt64(abs(milliseconds)))
    }

    static func milliseconds(_ duration: Duration) -> String { TopText.tenths(duration / .milliseconds(1)) }
}
