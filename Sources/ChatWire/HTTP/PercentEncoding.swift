import ChatJSON

/// Percent-encoding of URLs (RFC 3986 §2.1).
public enum PercentEncoding {
    /// Decodes strictly: nil for a `%` without two hexadecimal digits and for bytes that are not UTF-8. In a query `+`
    /// is a space, as browsers write it.
    public static func decode(_ text: some StringProtocol, isQuery: Bool = false) -> String? {
        decode(Array(text.utf8)[...], isQuery: isQuery)
    }

    private static func decode(_ bytes: ArraySlice<UInt8>, isQuery: Bool) -> String? {
        guard bytes.contains(where: { $0 == percent || $0 == plus && isQuery }) else {
            return String(validating: bytes, as: UTF8.self)
        }
        return percentDecoded(bytes, plusIsSpace: isQuery).flatMap { String(validating: $0, as: UTF8.self) }
    }

    private static let percent = UInt8(ascii: "%")
    private static let plus = UInt8(ascii: "+")

    /// The fields of a query string; of fields with the same name the first one counts. Nil if any is not properly
    /// encoded.
    public static func query(_ text: some StringProtocol) -> [String: String]? {
        var fields: [String: String] = [:]
        let bytes = Array(text.utf8)
        var start = 0
        while let (name, value) = pair(bytes, &start) {
            guard let name = decode(bytes[name], isQuery: true), let value = decode(bytes[value], isQuery: true) else {
                return nil
            }
            if fields[name] == nil { fields[name] = value }
        }
        return fields
    }

    /// All fields with one of these names, in order: other fields are ignored. Nil if any of them is not properly
    /// encoded.
    public static func fields(
        _ text: some StringProtocol, only names: [String]
    ) -> [(name: String, value: String)]? {
        var fields: [(name: String, value: String)] = []
        let bytes = Array(text.utf8)
        let longest = 3 * (names.map(\.utf8.count).max() ?? 0)
        var start = 0
        while let (nameRange, value) = pair(bytes, &start) {
            guard nameRange.count <= longest, let name = wanted(bytes, nameRange, names) else { continue }
            guard let value = decode(bytes[value], isQuery: true) else { return nil }
            fields.append((name, value))
        }
        return fields
    }

    /// Like ``query(_:)``, but only for these names: other fields are ignored, whatever they contain.
    public static func query(_ text: some StringProtocol, only names: [String]) -> [String: String]? {
        var fields: [String: String] = [:]
        let bytes = Array(text.utf8)
        let longest = 3 * (names.map(\.utf8.count).max() ?? 0)
        var start = 0
        while let (nameRange, value) = pair(bytes, &start) {
            // Clients may send a great many of them.
            guard nameRange.count <= longest, let name = wanted(bytes, nameRange, names), fields[name] == nil else {
                continue
            }
            guard let value = decode(bytes[value], isQuery: true) else { return nil }
            fields[name] = value
        }
        return fields
    }

    private static func wanted(_ bytes: [UInt8], _ range: Range<Int>, _ names: [String]) -> String? {
        if bytes[range].contains(percent) {
            return decode(bytes[range], isQuery: true).flatMap { names.contains($0) ? $0 : nil }
        }
        for name in names where name.utf8.count == range.count && bytes[range].elementsEqual(name.utf8) { return name }
        return nil
    }

    /// The next pair at or after `start`, which is advanced past it; nil if there is none.
    private static func pair(_ bytes: [UInt8], _ start: inout Int) -> (name: Range<Int>, value: Range<Int>)? {
        while start < bytes.count, bytes[start] == UInt8(ascii: "&") { start += 1 }
        guard start < bytes.count else { return nil }
        let begin = start
        var equals: Int?
        var end = start
        while end < bytes.count, bytes[end] != UInt8(ascii: "&") {
            if equals == nil, bytes[end] == UInt8(ascii: "=") { equals = end }
            end += 1
        }
        start = end
        return (begin..<(equals ?? end), (equals.map { $0 + 1 } ?? end)..<end)
    }
}
