import ChatWire

/// Short forms of numbers and times for `martlet top` and `doctor`.
enum TopText {
    /// `0`, `4.2`, `120`, `12.3k`, `4.5M`
    static func number(_ value: Double) -> String {
        switch value {
        case ..<0.05: "0"
        case ..<9.95: tenths(value)
        case ..<999.5: "\(Int(value.rounded()))"
        case ..<999_950: tenths(value / 1_000) + "k"
        case ..<999_950_000: tenths(value / 1_000_000) + "M"
        default: tenths(min(value, 1e15) / 1_000_000_000) + "G"
        }
    }

    /// A count, which is a whole number below a thousand.
    static func number(_ value: Int) -> String { (0..<1_000).contains(value) ? "\(value)" : number(Double(value)) }

    /// `512 B`, `1.5 KB`, `2.1 MB`
    static func bytes(_ value: Int) -> String {
        let value = Double(max(0, value))
        return switch value {
        case ..<1_024: "\(Int(value)) B"
        case ..<1_048_576: tenths(value / 1_024) + " KB"
        case ..<1_073_741_824: tenths(value / 1_048_576) + " MB"
        default: tenths(value / 1_073_741_824) + " GB"
        }
    }

    /// Milliseconds as `340 ms`, `8.2 s`, `5 min`, `3 h`, `12 d`.
    static func span(_ milliseconds: UInt64) -> String {
        switch milliseconds {
        case ..<1_000: "\(milliseconds) ms"
        case ..<60_000: tenths(Double(milliseconds) / 1_000) + " s"
        case ..<3_600_000: "\(milliseconds / 60_000) min"
        case ..<172_800_000: "\(milliseconds / 3_600_000) h"
        default: "\(milliseconds / 86_400_000) d"
        }
    }

    static func tenths(_ value: Double) -> String {
        let tenths = Int((value * 10).rounded())
        return tenths % 10 == 0 && tenths >= 1_000 ? "\(tenths / 10)" : "\(tenths / 10).\(tenths % 10)"
    }
}
