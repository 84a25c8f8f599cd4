/// Times on the wire: RFC 3339 in UTC with milliseconds, `2026-11-21T03:04:05.678Z`, computed from ms since 1970.
public enum Timestamp {
    /// 9999-12-31T23:59:59.999Z: RFC 3339 has four digits for the year. Later times are written as this one.
    public static let maximum: UInt64 = 253_402_300_799_999

    /// Appends the 24 characters of a time.
    public static func append(_ milliseconds: UInt64, to bytes: inout ByteWriter) {
        let time = min(milliseconds, maximum)
        let day = time / 86_400_000
        let inDay = time % 86_400_000
        let date = civil(day: day)
        digits(date.year, 4, &bytes)
        bytes.append(UInt8(ascii: "-"))
        digits(date.month, 2, &bytes)
        bytes.append(UInt8(ascii: "-"))
        digits(date.day, 2, &bytes)
        bytes.append(UInt8(ascii: "T"))
        digits(inDay / 3_600_000, 2, &bytes)
        bytes.append(UInt8(ascii: ":"))
        digits(inDay / 60_000 % 60, 2, &bytes)
        bytes.append(UInt8(ascii: ":"))
        digits(inDay / 1_000 % 60, 2, &bytes)
        bytes.append(UInt8(ascii: "."))
        digits(inDay % 1_000, 3, &bytes)
        bytes.append(UInt8(ascii: "Z"))
    }

    /// The text of a time.
    public static func text(_ milliseconds: UInt64) -> String {
        var bytes = ByteWriter(capacity: 24)
        append(milliseconds, to: &bytes)
        return bytes.withBytes { String(decoding: $0, as: UTF8.self) }
    }

    /// Parses exactly the format that ``append(_:to:)`` writes; nil for anything else.
    public static func milliseconds(_ text: String) -> UInt64? {
        let bytes = Array(text.utf8)
        let form = Array("dddd-dd-ddTdd:dd:dd.dddZ".utf8)
        guard bytes.count == form.count else { return nil }
        for (byte, expected) in zip(bytes, form) {
            let isDigit = byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9")
            guard expected == UInt8(ascii: "d") ? isDigit : byte == expected else { return nil }
        }
        func number(_ range: Range<Int>) -> UInt64 {
            bytes[range].reduce(0) { $0 * 10 + UInt64($1 - UInt8(ascii: "0")) }
        }
        let (hour, minute, second) = (number(11..<13), number(14..<16), number(17..<19))
        guard hour < 24, minute < 60, second < 60,
            let days = day(year: number(0..<4), month: number(5..<7), day: number(8..<10))
        else { return nil }
        return ((days * 24 + hour) * 60 + minute) * 60_000 + second * 1_000 + number(20..<23)
    }

    @inline(__always)
    private static func digits(_ number: UInt64, _ count: Int, _ bytes: inout ByteWriter) {
        if count >= 4 { bytes.append(digit(number / 1_000)) }
        if count >= 3 { bytes.append(digit(number / 100)) }
        bytes.append(digit(number / 10))
        bytes.append(digit(number))
    }

    @inline(__always)
    private static func digit(_ number: UInt64) -> UInt8 { UInt8(ascii: "0") &+ UInt8(truncatingIfNeeded: number % 10) }

    /// The date that is this many days after 1970-01-01 in the Gregorian calendar: Howard Hinnant, "chrono-Compatible
    /// Low-Level Date Algorithms", `civil_from_days`, for days that are not negative.
    private static func civil(day: UInt64) -> (year: UInt64, month: UInt64, day: UInt64) {
        let shifted = day + 719_468
        let era = shifted / 146_097
        let dayOfEra = shifted % 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * shiftedMonth + 2) / 5 + 1)
    }

    /// The inverse, `days_from_civil`; nil before 1970 and for a day that the calendar does not have.
    private static func day(year: UInt64, month: UInt64, day: UInt64) -> UInt64? {
        guard year >= 1970, (1...12).contains(month), (1...31).contains(day) else { return nil }
        let shiftedYear = month <= 2 ? year - 1 : year
        let yearOfEra = shiftedYear % 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        let days = shiftedYear / 400 * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
        return civil(day: days) == (year, month, day) ? days : nil
    }
}
