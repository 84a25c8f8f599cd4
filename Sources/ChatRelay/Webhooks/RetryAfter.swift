import Glibc

/// For how long a server asks to be left alone (RFC 9110 §10.2.3): a number of seconds, or a date.
enum RetryAfter {
    /// A longer time is taken for this one.
    private static let longest: Int64 = 86_400

    /// Nil for what is neither, and for a time that has passed. `now`: ms since 1970.
    static func pause(_ field: String, now: UInt64) -> Duration? {
        // No date is as long, and no number of seconds either that makes a difference.
        guard !field.isEmpty, field.utf8.count <= 64 else { return nil }
        if field.utf8.allSatisfy({ (0x30...0x39).contains($0) }) {
            return positive(Int64(field).map { min($0, longest) } ?? longest)
        }
        return time(field, now: now).flatMap { positive(min($0 - Int64(clamping: now / 1_000), longest)) }
    }

    private static func positive(_ seconds: Int64) -> Duration? { seconds > 0 ? .seconds(seconds) : nil }

    private static let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

    /// Seconds since 1970 of a date in one of the three forms of RFC 9110 §5.6.7, all of them in GMT:
    /// `Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT` and `Sun Nov  6 08:49:37 1994`.
    private static func time(_ text: String, now: UInt64) -> Int64? {
        var words = text.split { " ,-:".contains($0) }.dropFirst()
        if words.count == 7, words.last == "GMT" {
            words = words.dropLast()
        } else if words.count == 6, let year = words.popLast(), let month = words.popFirst() {
            words.insert(contentsOf: [month, year], at: words.startIndex + 1)
        }
        guard words.count == 6 else { return nil }
        let parts = Array(words)
        let numbers = [0, 2, 3, 4, 5].compactMap { Int32(parts[$0]) }
        guard let month = months.firstIndex(of: String(parts[1])), numbers.count == 5,
            (1...31).contains(numbers[0]), (0...9_999).contains(numbers[1]), (0...23).contains(numbers[2]),
            (0...59).contains(numbers[3]), (0...60).contains(numbers[4])
        else { return nil }
        var time = tm()
        (time.tm_mday, time.tm_mon, time.tm_year) = (numbers[0], Int32(month), numbers[1] - 1_900)
        (time.tm_hour, time.tm_min, time.tm_sec) = (numbers[2], numbers[3], numbers[4])
        if parts[2].utf8.count == 2 {
            // Of two digits the year is the next one that is at most 50 years ahead.
            let this = Int32(1_970 + now / 31_556_952_000)
            let year = this - this % 100 + numbers[1]
            time.tm_year = (year > this + 50 ? year - 100 : year) - 1_900
        }
        return Int64(timegm(&time))
    }
}
