import ChatRedis

extension NodeConfiguration {
    /// A value that must not be shown. Printing it in any way shows `***`.
    public struct Secret: Hashable, Sendable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
        /// The secret value itself.
        public let revealed: String

        public init(_ text: String) {
            revealed = text
        }

        public var description: String { "***" }
        public var debugDescription: String { description }
        public var customMirror: Mirror { Mirror(self, children: [:]) }
    }

    /// The address of the broker: a ``RedisURL``, a ``SentinelURL``, a ``ClusterURL``, or `memory:`. Printing it hides
    /// the password.
    public struct BrokerAddress: Hashable, Sendable, CustomStringConvertible, CustomDebugStringConvertible,
        CustomReflectable
    {
        static let standard = BrokerAddress(unchecked: "redis://127.0.0.1:6379")

        /// The address as it was given, including its password. Not for printing.
        public let text: String

        /// Throws an error that says what is wrong with `text` without quoting it.
        public init(_ text: String) throws(RedisURLError) {
            if SentinelURL.isOne(text) {
                _ = try SentinelURL(text)
            } else if ClusterURL.isOne(text) {
                _ = try ClusterURL(text)
            } else if text.lowercased() != "memory:" {
                _ = try RedisURL(text)
            }
            self.text = text
        }

        private init(unchecked text: String) {
            self.text = text
        }

        /// Whether the node runs alone, with its own memory as the broker.
        public var isMemory: Bool { text.lowercased() == "memory:" }

        /// Whether the address names sentinels, which know the address of Redis.
        public var isSentinel: Bool { SentinelURL.isOne(text) }

        /// Whether the address names a Redis Cluster, whose masters share the rooms.
        public var isCluster: Bool { ClusterURL.isOne(text) }

        /// Whether the connection uses TLS.
        var isTLS: Bool { text.lowercased().hasPrefix("rediss") }

        /// Whether the address holds a password.
        var holdsPassword: Bool {
            let rest = text[text.index(text.startIndex, offsetBy: Self.schemeLength(text))...]
            guard let at = rest.lastIndex(of: "@") else { return false }
            return rest[..<at].contains(":")
        }

        public var description: String { Self.redacted(text) }
        public var debugDescription: String { description }
        public var customMirror: Mirror { Mirror(self, children: ["text": description]) }

        /// `text` without anything that is or might be a password, in whatever form it is written. A user name stays if
        /// a colon ends it, a query keeps its names, and the text at the place of the port stays only if it is a
        /// number.
        static func redacted(_ text: String) -> String {
            let (head, query) = splitQuery(text)
            let start = head.index(head.startIndex, offsetBy: schemeLength(head))
            let scheme = head[..<start]
            let rest = head[start...]
            let shownQuery = query.map { "?" + redactedQuery($0) } ?? ""
            guard let at = rest.lastIndex(of: "@") else {
                let path = rest.firstIndex(of: "/") ?? rest.endIndex
                let hosts = rest[..<path].split(separator: ",", omittingEmptySubsequences: false)
                guard hosts.count > 1, path != rest.startIndex else { return scheme + redactedPort(rest) + shownQuery }
                return scheme + hosts.map(redactedPort).joined(separator: ",") + rest[path...] + shownQuery
            }
            let login = rest[..<at]
            let user = login.firstIndex(of: ":").map { login[...$0] } ?? ""
            return scheme + user + "***" + rest[at...] + shownQuery
        }

        /// Splits at the last `?` after the last `@`, because a password may contain either.
        private static func splitQuery(_ text: String) -> (head: String, query: String?) {
            let host = text.lastIndex(of: "@") ?? text.startIndex
            guard let mark = text[host...].firstIndex(of: "?") else { return (text, nil) }
            return (String(text[..<mark]), String(text[text.index(after: mark)...]))
        }

        private static func redactedQuery(_ query: String) -> String {
            query.split(separator: "&", omittingEmptySubsequences: false).map { field in
                guard let equals = field.firstIndex(of: "="), field[..<equals] != "db" else {
                    return field.allSatisfy { $0.isNumber } || field.hasPrefix("db=") ? String(field) : "***"
                }
                return field[...equals] + "***"
            }.joined(separator: "&")
        }

        /// In `redis://:secret`, a password without a host, the password stands where a port would be.
        private static func redactedPort(_ rest: Substring) -> String {
            guard !rest.hasPrefix("/"), let colon = rest.lastIndex(of: ":") else { return String(rest) }
            let port = rest[rest.index(after: colon)...].prefix { $0 != "/" }
            let isNumber =
                port.utf8.count <= 5 && port.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
            return isNumber || rest.hasPrefix("[") ? String(rest) : rest[...colon] + "***"
        }

        private static func schemeLength(_ text: String) -> Int {
            guard let mark = text.firstRange(of: "://") else { return 0 }
            return text.distance(from: text.startIndex, to: mark.upperBound)
        }
    }
}
