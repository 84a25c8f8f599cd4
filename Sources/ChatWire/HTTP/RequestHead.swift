/// The head of an HTTP/1.1 request (RFC 9112), read strictly: what is ambiguous is refused, because two readers that
/// differ about where a request ends are how requests are smuggled past a proxy (§11.2).
public struct RequestHead: Hashable, Sendable {
    public struct Field: Hashable, Sendable {
        /// In lower case.
        public var name: String
        /// Without white space around it.
        public var value: String
    }

    /// Why it is no request; the text says where.
    public struct Problem: Error, Hashable, Sendable {
        public var text: String
    }

    public var method: String
    public var path: String
    public var query: String
    public var fields: [Field]

    /// All values of a field; `name` in lower case.
    public func values(_ name: String) -> [String] {
        fields.filter { $0.name == name }.map(\.value)
    }

    /// The elements of a field that is a comma-separated list, over all its lines.
    public func list(_ name: String) -> [String] {
        values(name).flatMap { $0.split(separator: ",") }.map { Self.trim($0) }.filter { !$0.isEmpty }
    }

    /// The one value of a field; nil if it is not there or there more than once.
    public func only(_ name: String) -> String? {
        let all = values(name)
        return all.count == 1 ? all[0] : nil
    }

    /// How many bytes of the input the head takes, its empty line included; nil if that has not come yet.
    public static func length(_ bytes: some Collection<UInt8>) -> Int? {
        var matched = 0
        let end: [UInt8] = [0x0D, 0x0A, 0x0D, 0x0A]
        for (index, byte) in bytes.enumerated() {
            matched = byte == end[matched] ? matched + 1 : byte == end[0] ? 1 : 0
            if matched == end.count { return index + 1 }
        }
        return nil
    }

    /// Reads a head that ends with its empty line.
    public init(_ bytes: [UInt8]) throws(Problem) {
        var lines: [ArraySlice<UInt8>] = []
        var start = 0
        var index = 0
        while index < bytes.count {
            switch bytes[index] {
            case 0x0D:
                guard index + 1 < bytes.count, bytes[index + 1] == 0x0A else {
                    throw Problem(text: "byte \(index): a carriage return without a line feed")
                }
                lines.append(bytes[start..<index])
                index += 2
                start = index
            case 0x0A: throw Problem(text: "byte \(index): a line feed without a carriage return")
            case 0..<0x09, 0x0B..<0x20, 0x7F: throw Problem(text: "byte \(index): a control character")
            default: index += 1
            }
        }
        guard let first = lines.first, start == bytes.count else { throw Problem(text: "the request has no end") }
        let parts = first.split(separator: 0x20, omittingEmptySubsequences: false)
        guard parts.count == 3, Self.isToken(parts[0]) else {
            throw Problem(text: "the first line must be a method, a target and a version, with one space between")
        }
        guard parts[2].elementsEqual("HTTP/1.1".utf8) else { throw Problem(text: "the version must be HTTP/1.1") }
        let target = parts[1].split(separator: UInt8(ascii: "?"), maxSplits: 1, omittingEmptySubsequences: false)
        guard let path = target.first, path.first == UInt8(ascii: "/"), parts[1].allSatisfy({ $0 > 0x20 && $0 < 0x7F })
        else {
            throw Problem(text: "the target must be a path in printable ASCII")
        }
        method = String(decoding: parts[0], as: UTF8.self)
        self.path = String(decoding: path, as: UTF8.self)
        query = target.count > 1 ? String(decoding: target[1], as: UTF8.self) : ""
        fields = []
        for line in lines.dropFirst() where !line.isEmpty { fields.append(try Self.field(line)) }
        guard values("host").count == 1 else { throw Problem(text: "there must be exactly one Host field") }
    }

    private static func field(_ line: ArraySlice<UInt8>) throws(Problem) -> Field {
        guard let colon = line.firstIndex(of: UInt8(ascii: ":")), isToken(line[..<colon]) else {
            throw Problem(
                text: "byte \(line.startIndex): a field must be a name and a colon, with no white space before it")
        }
        guard let value = String(validating: line[(colon + 1)...], as: UTF8.self) else {
            throw Problem(text: "byte \(colon + 1): a field's value is not UTF-8")
        }
        return Field(name: String(decoding: line[..<colon], as: UTF8.self).lowercased(), value: trim(Substring(value)))
    }

    /// RFC 9110 §5.6.2.
    private static func isToken(_ bytes: ArraySlice<UInt8>) -> Bool {
        !bytes.isEmpty
            && bytes.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"):
                    true
                default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
                }
            }
    }

    private static func trim(_ text: Substring) -> String {
        var text = text
        while let first = text.first, first == " " || first == "\t" { text.removeFirst() }
        while let last = text.last, last == " " || last == "\t" { text.removeLast() }
        return String(text)
    }
}
