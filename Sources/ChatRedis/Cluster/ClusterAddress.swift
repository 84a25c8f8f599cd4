/// Where a node of a Cluster says that it is.
struct ClusterAddress: Hashable, Sendable, CustomStringConvertible {
    var host: String
    var port: Int

    init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    /// `host:port`, also with an IPv6 address without brackets, as Redis writes it; nil if it is none.
    init?(_ text: some StringProtocol) {
        guard let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]),
            (1...65_535).contains(port)
        else { return nil }
        host = String(text[..<colon])
        self.port = port
    }

    var description: String { host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

/// An error with which a Cluster's node refuses what was asked before it touches anything (Redis Cluster specification, "Redirection
/// and resharding"; `src/cluster.c`, clusterRedirectClient).
enum ClusterRefusal: Equatable {
    /// The slot is another master's: there, if the node knows.
    case moved(ClusterAddress?)
    /// The slot is on its way to another master, key by key: what was asked for has left, or only a part of it has.
    case migrating
    /// The Cluster, or the slot, is not served at the moment.
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

    /// Where the error sends whoever asked for something that is on its way: `ASK <slot> <host>:<port>`.
    static func detour(_ error: String) -> ClusterAddress? {
        let words = error.split(separator: " ", maxSplits: 3)
        guard words.first == "ASK", words.count > 2, let address = ClusterAddress(words[2]), !address.host.isEmpty
        else { return nil }
        return address
    }
}
