/// The reason why a value was not accepted. `hint` names the likely mistake, in addition to what is expected anyway.
package struct Misfit: Error, Equatable {
    package var hint: String?

    init(_ hint: String? = nil) {
        self.hint = hint
    }
}

/// Splits a text of decimal digits followed by letters into a number and its unit.
private func split(_ text: String) throws(Misfit) -> (number: Int64, unit: String) {
    let digits = text.utf8.prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
    let unit = String(text.utf8.dropFirst(digits.count)) ?? ""
    guard !digits.isEmpty else { throw Misfit() }
    guard let number = Int64(String(digits) ?? "") else { throw Misfit("it is too large") }
    return (number, unit)
}

/// Durations as they are written in the environment: `500us`, `250ms`, `10s`, `2m`, `1h`, `7d`.
package enum DurationText {
    private static let units: [(name: String, microseconds: Int64)] = [
        ("us", 1), ("ms", 1_000), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000), ("d", 86_400_000_000),
    ]

    /// Reads a whole number with its unit. A number alone is refused, because it might mean seconds or milliseconds.
    package static func parse(_ text: String) throws(Misfit) -> Duration {
        let (number, unit) = try split(text)
        guard !unit.isEmpty else { throw Misfit("it has no unit: write \(text)s or \(text)ms") }
        guard let factor = units.first(where: { $0.name == unit })?.microseconds else {
            if unit.hasPrefix(".") { throw Misfit("only whole numbers: write 1500ms for 1.5s") }
            throw Misfit("the units are us, ms, s, m, h and d")
        }
        let (microseconds, overflow) = number.multipliedReportingOverflow(by: factor)
        guard !overflow else { throw Misfit("it is too large") }
        return .microseconds(microseconds)
    }

    /// The shortest text that ``parse(_:)`` reads as `duration`, without parts of a microsecond.
    package static func show(_ duration: Duration) -> String {
        let value = Int64(clamping: duration.attoseconds / 1_000_000_000_000)
        guard value != 0 else { return "0s" }
        let unit = units.last { value % $0.microseconds == 0 } ?? units[0]
        return "\(value / unit.microseconds)\(unit.name)"
    }
}

/// Numbers of bytes as they are written in the environment: `65536`, `64KiB`, `1MiB`, `1GiB`.
enum ByteText {
    private static let units: [(name: String, bytes: Int64)] = [
        ("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30),
    ]

    /// Reads a whole number of bytes, or of a binary unit. `KB` and `K` are refused, because they may mean 1000 or
    /// 1024.
    static func parse(_ text: String) throws(Misfit) -> Int {
        let (number, unit) = try split(text)
        guard !unit.isEmpty else { return Int(number) }
        guard let factor = units.first(where: { $0.name == unit })?.bytes else {
            throw Misfit("the units are B, KiB, MiB and GiB")
        }
        let (bytes, overflow) = number.multipliedReportingOverflow(by: factor)
        guard !overflow else { throw Misfit("it is too large") }
        return Int(bytes)
    }

    /// The shortest text that ``parse(_:)`` reads as `bytes`.
    static func show(_ bytes: Int) -> String {
        guard bytes != 0, let unit = units.last(where: { bytes % Int($0.bytes) == 0 }), unit.bytes > 1 else {
            return "\(bytes)"
        }
        return "\(bytes / Int(unit.bytes))\(unit.name)"
    }
}
