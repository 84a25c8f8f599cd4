/// The address that a node of a Cluster announces.
struct ClusterAddress: Hashable, Sendable, CustomStringConvertible {
    var host: String
    var port: Int

    init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    /// Parses `host:port`, also with an IPv6 address without brackets, as Redis writes it; nil if it is not an address.
    init?(_ text: some StringProtocol) {
        guard let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]),
            (1...65_535).contains(port)
        else { return nil }
        host = String(text[..<colon])
        self.port = port
    }

    var description: String { host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

/// An error with which a node of a Cluster refuses a request before it changes anything (Redis Cluster specification,
/// "Redirection and resharding"; `src/cluster.c`, clusterRedirectClient).
enum ClusterRefusal: Equatable {
    /// Another master serves the slot, at this address if the node knows it.
    case moved(ClusterAddress?)
    /// The slot is being migrated to another master, key by key: all or some of the requested keys have been moved.
    case migrating
    /// The Cluster or the slot is not served at the moment.
    case down

    init?(_ error: String) {
        let words = error.split(separator: " ", maxSplits: 3)
        switch words.first {
        case "MOVED":
            let address = words.count > 2 ? ClusterAddress(words[2]) : nil
            self = .moved(address.flatMap { $0.host.isEmpty ? nil : $0 })
        case "ASK", "TRYAGAIN": self = .migrating
        case "CLUSTERDOWN": self = .down
        default: return nil
        }
    }

    /// The address to which the error redirects a request for keys that are being moved: `ASK <slot> <host>:<port>`.
    static func detour(_ error: String) -> ClusterAddress? {
        let words = error.split(separator: " ", maxSplits: 3)
        guard words.first == "ASK", words.count > 2, let address = ClusterAddress(words[2]), !address.host.isEmpty
        else { return nil }
        return address
    }
}
