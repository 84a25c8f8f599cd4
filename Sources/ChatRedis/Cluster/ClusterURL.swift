/// The addresses of some nodes of a Redis Cluster, and the credentials for it.
///
///     redis+cluster://[[user]:password@]host[:6379][,host[:6379] …]
///     rediss+cluster://…[?insecure=1][&ca=/path/to/ca.pem]
///
/// One address that answers is enough, as every node knows the others. Parts are percent-decoded as in a ``RedisURL``.
/// A Cluster has database 0 only.
public struct ClusterURL: Sendable, Hashable, CustomStringConvertible {
    /// More are of no use, as any of them knows all masters.
    static let mostSeeds = 64

    /// The nodes that the URL names.
    public internal(set) var seeds: [RedisURL]

    public init(_ text: String) throws(RedisURLError) {
        guard let scheme = Self.schemes.first(where: { text.lowercased().hasPrefix($0.prefix) }) else {
            throw RedisURLError("it begins with neither redis+cluster:// nor rediss+cluster://")
        }
        let rest = text.dropFirst(scheme.prefix.count)
        let list = RedisServerList(rest)
        guard list.path.isEmpty || list.path == "/" else {
            throw RedisURLError("after the hosts nothing may follow: a Cluster has database 0 only")
        }
        guard list.hosts.count <= Self.mostSeeds else {
            throw RedisURLError("it names more than \(Self.mostSeeds) nodes of the Cluster; a few are enough")
        }
        seeds = try list.servers(scheme.redis, defaultPort: RedisURL.defaultPort)
        guard let first = seeds.first else { throw RedisURLError("the host is missing") }
        guard first.database == 0 else { throw RedisURLError("a Cluster has database 0 only") }
    }

    private static let schemes: [(prefix: String, redis: String)] = [
        ("redis+cluster://", "redis://"), ("rediss+cluster://", "rediss://"),
    ]

    /// Whether the text is meant to be such a URL.
    public static func isOne(_ text: String) -> Bool {
        schemes.contains { text.lowercased().hasPrefix($0.prefix) }
    }

    /// Sets the credentials for every node.
    public mutating func authenticate(user: String?, password: String?) {
        for index in seeds.indices {
            if let user { seeds[index].user = user }
            if let password { seeds[index].password = password }
        }
    }

    /// Sets the TLS files for every node; without effect if the URL does not use TLS.
    public mutating func secure(with files: RedisURL.TLS) {
        for index in seeds.indices { seeds[index].tls?.take(filesOf: files) }
    }

    /// The URL of the Cluster's node at this address.
    func node(_ address: ClusterAddress) -> RedisURL {
        var url = seeds.first ?? RedisURL(address: .tcp(host: address.host, port: address.port))
        url.address = .tcp(host: address.host, port: address.port)
        return url
    }

    /// The URL without its password, for logs.
    public var description: String {
        let login = seeds.first?.password == nil ? "" : "\(seeds.first?.user ?? ""):***@"
        let scheme = seeds.first?.tls == nil ? "redis+cluster" : "rediss+cluster"
        return "\(scheme)://\(login)\(seeds.map(\.place).joined(separator: ","))"
    }
}
