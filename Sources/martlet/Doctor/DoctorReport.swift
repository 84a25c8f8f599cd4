import ChatJSON

/// One result of `martlet doctor`.
struct Finding: Equatable, Sendable {
    enum Level: Int, Equatable, Sendable, Comparable {
        case ok, warning, must

        static func < (left: Level, right: Level) -> Bool { left.rawValue < right.rawValue }

        var word: String {
            switch self {
            case .ok: "ok"
            case .warning: "warning"
            case .must: "MUST"
            }
        }
    }

    /// The part of the examination; each part without problems is reported as ok.
    enum Area: String, CaseIterable, Sendable {
        case configuration, redis, settings, library, rights, nodes, clocks, events, keys, rooms
    }

    var level: Level
    var area: Area
    /// The setting, key, node or room that it is about; nil for the whole area.
    var place: String?
    var problem: String
    /// What to do; nil if nothing is to be done.
    var remedy: String?

    init(_ level: Level, _ area: Area, _ place: String? = nil, _ problem: String, do remedy: String? = nil) {
        self.level = level
        self.area = area
        self.place = place
        self.problem = problem
        self.remedy = remedy
    }

    /// Identifies the same finding in a second pass, even if its figures have changed.
    var identity: String { "\(area.rawValue) \(level.rawValue) \(place ?? "")" }
}

/// All findings, and whether something could not be examined.
struct DoctorReport: Equatable, Sendable {
    var findings: [Finding] = []
    /// What could not be examined, and why.
    var unseen: [String] = []

    mutating func add(_ more: [Finding]) { findings += more }

    /// Adds the ok line of an area without findings.
    mutating func fine(_ area: Finding.Area, _ summary: String) {
        guard !findings.contains(where: { $0.area == area && $0.level > .ok }) else { return }
        findings.append(Finding(.ok, area, nil, summary))
    }

    func count(_ level: Finding.Level) -> Int { findings.count { $0.level == level } }

    /// 0: no finding must be acted on; 1: some must; 2: something could not be examined (and no finding must be acted
    /// on).
    var exitCode: Int32 { count(.must) > 0 ? 1 : unseen.isEmpty ? 0 : 2 }

    // MARK: Form

    /// The report for people. At most `limit` findings of one kind are listed; the others are counted.
    func lines(columns: Int?, colour: Bool, limit: Int = 20) -> [String] {
        var lines: [String] = []
        for area in Finding.Area.allCases {
            for level in [Finding.Level.must, .warning, .ok] {
                let all = findings.filter { $0.area == area && $0.level == level }
                for finding in all.prefix(limit) { lines += Self.lines(finding, columns, colour) }
                if all.count > limit {
                    lines.append("         \(all.count - limit) more of this kind; --json names all")
                }
            }
        }
        for text in unseen { lines += Self.block("NOT SEEN ", text, columns, colour ? "1;33" : nil) }
        let must = count(.must)
        let warnings = count(.warning)
        let summary =
            (must == 0
                ? (unseen.isEmpty ? "nothing must be done" : "nothing of what was seen must be done")
                : must == 1 ? "1 thing must be done" : "\(must) things must be done")
            + ", \(warnings == 1 ? "1 warning" : "\(warnings) warnings")"
            + (unseen.isEmpty ? "" : ", \(unseen.count) not looked at")
        return lines + ["", summary]
    }

    private static func lines(_ finding: Finding, _ columns: Int?, _ colour: Bool) -> [String] {
        let code: String? =
            switch finding.level {
            case .ok: colour ? "32" : nil
            case .warning: colour ? "33" : nil
            case .must: colour ? "1;31" : nil
            }
        // Configuration problems begin with the variable's name.
        let named = finding.place.flatMap { finding.problem.hasPrefix($0.prefix { $0 != "," }) ? nil : $0 }
        let place = named.map { TerminalText.harmless($0) + ": " } ?? ""
        var lines = block(
            TerminalText.fit(finding.level.word, 9),
            "\(finding.area.rawValue): \(place)\(TerminalText.harmless(finding.problem))",
            columns, code)
        if let remedy = finding.remedy {
            lines += block("         ", "→ " + TerminalText.harmless(remedy), columns, nil)
        }
        return lines
    }

    private static func block(_ head: String, _ text: String, _ columns: Int?, _ code: String?) -> [String] {
        let pieces = columns.map { TerminalText.wrapped(text, to: max(20, $0 - 10)) } ?? [text]
        let shown = code.map { "\u{1B}[\($0)m\(head)\u{1B}[0m" } ?? head
        return pieces.enumerated().map { ($0.offset == 0 ? shown : "         ") + $0.element }
    }

    /// The report for programs: one object with all findings.
    var json: String {
        func number(_ value: Int) -> JSONValue { .number("\(value)") }
        let all = findings.map { finding in
            JSONValue.object([
                "level": .string(finding.level.word.lowercased()), "area": .string(finding.area.rawValue),
                "place": finding.place.map { .string($0) } ?? .null, "problem": .string(finding.problem),
                "do": finding.remedy.map { .string($0) } ?? .null,
            ])
        }
        return JSONValue.object([
            "findings": .array(all), "must": number(count(.must)), "warnings": number(count(.warning)),
            "notSeen": .array(unseen.map { .string($0) }), "exitCode": number(Int(exitCode)),
        ]).text
    }
}
