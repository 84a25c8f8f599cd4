/// Where another node can be reached.
public struct NodeAddress: Hashable, Sendable {
    public var host: String
    public var port: Int

    public init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    /// Reads what a node reports: `host:port`, with brackets around an IPv6 address. A node that listens to all
    /// addresses is reached by its `name`, which is its machine's unless another one is configured.
    public init?(reported text: String, name: String) {
        guard let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]),
            (1...65_535).contains(port)
        else { return nil }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        guard !host.isEmpty else { return nil }
        self.init(host: ["0.0.0.0", "::"].contains(host) ? name : String(host), port: port)
    }
}
