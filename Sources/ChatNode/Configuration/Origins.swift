extension NodeConfiguration {
    /// The origins of web pages that may open a WebSocket (RFC 6455 §10.2). Clients other than browsers send no origin
    /// and are not checked.
    public enum Origins: Hashable, Sendable, CustomStringConvertible {
        case any
        /// Origins as browsers write them, in lower case: `https://chat.example`, `http://localhost:3000`.
        case only([String])

        /// Reads `*`, or origins separated by commas. Nil if one of them is not an origin.
        init?(_ text: String) {
            if text == "*" {
                self = .any
                return
            }
            var origins: [String] = []
            for part in text.split(separator: ",", omittingEmptySubsequences: false) {
                let origin = part.drop { $0 == " " }.lowercased()
                let trimmed = String(origin.reversed().drop { $0 == " " }.reversed())
                guard Self.isOrigin(trimmed) else { return nil }
                if !origins.contains(trimmed) { origins.append(trimmed) }
            }
            self = .only(origins)
        }

        /// The most likely mistake in a text that is not a list of origins.
        static func hint(_ text: String) -> String? {
            if text.contains("*") {
                return "* stands for all origins and only alone: name each one, there are no patterns"
            }
            let parts = text.split(separator: ",").map { $0.drop { $0 == " " }.lowercased() }
            if let bare = parts.first(where: { !$0.hasPrefix("https://") && !$0.hasPrefix("http://") }) {
                return "\(Printable.quoted(bare)) lacks its scheme, as in https://\(Printable.escaped(bare, limit: 80))"
            }
            return parts.contains { $0.dropFirst(8).contains("/") } ? "an origin ends after host and port" : nil
        }

        /// Whether a page of `origin` may connect; nil stands for a client that sent none.
        public func allows(_ origin: String?) -> Bool {
            guard let origin else { return true }
            switch self {
            case .any: return true
            case .only(let origins): return origins.contains(origin.lowercased())
            }
        }

        public var description: String {
            switch self {
            case .any: "*"
            case .only(let origins): origins.joined(separator: ",")
            }
        }

        /// `scheme://host` with an optional port, and nothing after it (RFC 6454 §6.2).
        private static func isOrigin(_ text: String) -> Bool {
            guard let scheme = ["https://", "http://"].first(where: { text.hasPrefix($0) }) else { return false }
            let host = text.dropFirst(scheme.count)
            let allowed = host.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"),
                    UInt8(ascii: "."), UInt8(ascii: ":"), UInt8(ascii: "["), UInt8(ascii: "]"), UInt8(ascii: "_"):
                    true
                default: false
                }
            }
            return !host.isEmpty && !host.hasPrefix(":") && !host.hasSuffix(":") && allowed
        }
    }
}
