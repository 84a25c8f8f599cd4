/// The head of an HTTP/1 request (RFC 9112). Ambiguous heads are refused: if two parsers disagree about where a request
/// ends, requests can be smuggled past a proxy (§11.2). Heads that are merely unusual are accepted: values may hold
/// any bytes except control characters (obs-text, RFC 9110 §5.5), and a target may name the host.
public struct RequestHead: Hashable, Sendable {
    /// Where the request's body ends.
    public enum Framing: Hashable, Sendable {
        case none
        case length(Int)
        case chunked
    }

    /// The position of a field in `bytes`.
    struct Place: Hashable, Sendable {
        var name: Range<Int>
        var value: Range<Int>
    }

    public let method: String
    /// `*` for a request that concerns the whole server (§3.2.4).
    public let path: String
    public let query: String
    /// HTTP/1.0: the connection ends unless the client asks to keep it, and answers are not chunked.
    public let isOld: Bool
    public let framing: Framing
    let bytes: [UInt8]
    let places: [Place]

    /// Path and query, as received.
    public var target: String { query.isEmpty ? path : "\(path)?\(query)" }

    /// Whether another request may follow on the connection (§9.3).
    public var isPersistent: Bool {
        let options = list("connection").map { $0.lowercased() }
        return !options.contains("close") && (!isOld || options.contains("keep-alive"))
    }

    /// Whether the client waits for `100 Continue` before it sends the body (RFC 9110 §10.1.1).
    public var expectsContinue: Bool {
        !isOld && framing != .none && list("expect").contains { $0.lowercased() == "100-continue" }
    }

    // MARK: Fields

    /// All values of a field, in order; `name` in lower case. Bytes that are not UTF-8 are replaced.
    public func values(_ name: String) -> [String] {
        places.filter { isCalled($0, name) }.map { text($0.value) }
    }

    /// The first value of a field; `name` in lower case.
    public func first(_ name: String) -> String? {
        places.first { isCalled($0, name) }.map { text($0.value) }
    }

    /// The elements of a field that is a comma-separated list, over all its lines.
    public func list(_ name: String) -> [String] {
        values(name).flatMap { value in
            value.utf8.split(separator: UInt8(ascii: ",")).compactMap { part in
                let text = Self.trim(part)
                return text.isEmpty ? nil : text
            }
        }
    }

    /// The value of a field that occurs once; nil if it is absent or occurs more than once.
    public func only(_ name: String) -> String? {
        let all = values(name)
        return all.count == 1 ? all[0] : nil
    }

    /// Calls `body` for all fields in order, as received.
    public func forEachField(_ body: (_ name: ArraySlice<UInt8>, _ value: ArraySlice<UInt8>) -> Void) {
        for place in places { body(bytes[place.name], bytes[place.value]) }
    }

    private func isCalled(_ place: Place, _ name: String) -> Bool { Self.isCalled(bytes, place, name) }

    private static func isCalled(_ bytes: [UInt8], _ place: Place, _ name: String) -> Bool {
        guard place.name.count == name.utf8.count else { return false }
        var index = place.name.lowerBound
        for expected in name.utf8 {
            guard HTTPBytes.lower(bytes[index]) == expected else { return false }
            index += 1
        }
        return true
    }

    private func text(_ range: Range<Int>) -> String { String(decoding: bytes[range], as: UTF8.self) }

    private static func trim(_ part: Substring.UTF8View) -> String {
        let isBlank = { (byte: UInt8) in byte == HTTPBytes.space || byte == HTTPBytes.tab }
        var rest = part.drop(while: isBlank)
        while let last = rest.last, isBlank(last) { rest.removeLast() }
        return String(Substring(rest))
    }

    // MARK: Making one

    /// Parses a whole head, including its empty line.
    public init(_ bytes: [UInt8]) throws(RequestProblem) {
        var scan = HeadScan(maxBytes: .max, maxFields: .max)
        guard let end = try scan.scan(bytes, from: 0) else { throw RequestProblem(400, "the request has no end") }
        guard end == bytes.count else { throw RequestProblem(400, "byte \(end): the head ends here") }
        self = try scan.head(of: bytes)
    }

    /// `places` and the ranges of the request line refer to `bytes`.
    init(bytes: [UInt8], line: HeadScan.RequestLine, places: [Place]) throws(RequestProblem) {
        self.bytes = bytes
        self.places = places
        isOld = line.isOld
        method = String(decoding: bytes[line.method], as: UTF8.self)
        let target = try Self.target(bytes, line.target, method)
        path = target.path
        query = target.query
        let hosts = places.filter { Self.isCalled(bytes, $0, "host") }
        guard hosts.count == 1 || hosts.isEmpty && line.isOld else {
            throw RequestProblem(400, "there must be exactly one Host field")
        }
        guard hosts.allSatisfy({ bytes[$0.value].allSatisfy(HTTPBytes.isAuthority) }) else {
            throw RequestProblem(400, "the Host field names no host")
        }
        framing = try Self.framing(bytes, places, isOld: line.isOld)
    }

    /// The target forms of §3.2. A host in the target replaces the Host field; the node does not distinguish hosts.
    private static func target(
        _ bytes: [UInt8], _ range: Range<Int>, _ method: String
    ) throws(RequestProblem) -> (path: String, query: String) {
        guard let text = String(validating: bytes[range], as: UTF8.self), !text.isEmpty else {
            throw RequestProblem(400, "the target is not UTF-8")
        }
        if text == "*" {
            guard method == "OPTIONS" else { throw RequestProblem(400, "only OPTIONS may have the target *") }
            return ("*", "")
        }
        guard method != "CONNECT" else { throw RequestProblem(501, "this is no proxy") }
        var rest = Substring(text)
        if rest.utf8.first != UInt8(ascii: "/") { rest = try afterAuthority(rest) }
        if let hash = rest.utf8.firstIndex(of: UInt8(ascii: "#")) { rest = rest[..<hash] }
        guard let mark = rest.utf8.firstIndex(of: UInt8(ascii: "?")) else {
            return (rest.isEmpty ? "/" : String(rest), "")
        }
        let path = rest[..<mark]
        return (path.isEmpty ? "/" : String(path), String(rest[rest.utf8.index(after: mark)...]))
    }

    /// The part after `http://host:port`.
    private static func afterAuthority(_ text: Substring) throws(RequestProblem) -> Substring {
        for scheme in ["http://", "https://", "ws://", "wss://"] where text.utf8.count > scheme.utf8.count {
            let start = text.utf8.index(text.startIndex, offsetBy: scheme.utf8.count)
            guard zip(text.utf8, scheme.utf8).allSatisfy({ HTTPBytes.lower($0) == $1 }) else { continue }
            let rest = text.utf8[start...]
            let host = rest.prefix { $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: "?") }
            guard !host.isEmpty, host.allSatisfy(HTTPBytes.isAuthority) else { break }
            return text[host.endIndex...]
        }
        throw RequestProblem(400, "the target must be a path, or a URL with a host")
    }

    private static func framing(_ bytes: [UInt8], _ places: [Place], isOld: Bool) throws(RequestProblem) -> Framing {
        let lengths = places.filter { isCalled(bytes, $0, "content-length") }
        let codings = places.filter { isCalled(bytes, $0, "transfer-encoding") }
        guard let coding = codings.first else {
            guard let length = lengths.first else { return .none }
            guard lengths.count == 1 else { throw RequestProblem(400, "there is more than one Content-Length") }
            let digits = bytes[length.value]
            guard !digits.isEmpty, digits.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) else {
                throw RequestProblem(400, "Content-Length must be a number")
            }
            // A number with more digits than any limit is too large in any case.
            let number = Int(String(decoding: digits, as: UTF8.self)) ?? .max
            return number == 0 ? .none : .length(number)
        }
        guard lengths.isEmpty else {
            throw RequestProblem(400, "Content-Length and Transfer-Encoding contradict each other")
        }
        guard !isOld else { throw RequestProblem(400, "HTTP/1.0 has no Transfer-Encoding") }
        guard codings.count == 1, String(decoding: bytes[coding.value], as: UTF8.self).lowercased() == "chunked" else {
            throw RequestProblem(501, "the only supported transfer coding is chunked")
        }
        return .chunked
    }
}
