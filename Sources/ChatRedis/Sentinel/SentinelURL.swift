/// The addresses of the sentinels that know the master, and the credentials for the master.
///
///     redis+sentinel://[[user]:password@]host[:26379][,host[:26379] …]/master-name[/db]
///     rediss+sentinel://…[?insecure=1][&ca=/path/to/ca.pem]
///
/// User and password are the master's; sentinels may have their own (``sentinelUser``, ``sentinelPassword``). With
/// `rediss+sentinel` both use TLS. Parts are percent-decoded as in a ``RedisURL``.
public struct SentinelURL: Sendable, Hashable, CustomStringConvertible {
    public static let defaultPort = 26_379
    /// More are a mistake: each has two or three connections to each of the others.
    static let mostSentinels = 32

    /// The sentinels, each with its own user and password.
    public internal(set) var sentinels: [RedisURL]
    /// The sentinels' name for the master (`sentinel monitor <name> …`).
    public internal(set) var masterName: String
    /// The settings for the master, except for its address: the one here is the first sentinel's, and has no meaning.
    private(set) var template: RedisURL

    public init(_ text: String) throws(RedisURLError) {
        guard let scheme = Self.schemes.first(where: { text.lowercased().hasPrefix($0.prefix) }) else {
            throw RedisURLError("it begins with neither redis+sentinel:// nor rediss+sentinel://")
        }
        let rest = text.dropFirst(scheme.prefix.count)
        let list = RedisServerList(rest)
        let words = list.path.split(separator: "/", omittingEmptySubsequences: false).dropFirst()
        guard let name = words.first, !name.isEmpty else {
            throw RedisURLError("the master's name is missing, as in redis+sentinel://host:26379,host2:26379/mymaster")
        }
        guard words.count <= 2 else {
            throw RedisURLError("after the master's name only a database number may follow, as in …/mymaster/1")
        }
        let database = words.dropFirst().first.map { "/" + $0 } ?? ""
        guard list.hosts.count <= Self.mostSentinels else {
            throw RedisURLError("it names more than \(Self.mostSentinels) sentinels")
        }
        let servers = try list.servers(scheme.redis, defaultPort: Self.defaultPort, path: database)
        guard let first = servers.first else { throw RedisURLError("the host is missing") }
        masterName = try RedisURL.decoded(name, "the master's name")
        template = first
        sentinels = servers.map { server in
            var server = server
            (server.user, server.password, server.database) = (nil, nil, 0)
            return server
        }
    }

    private static let schemes: [(prefix: String, redis: String)] = [
        ("redis+sentinel://", "redis://"), ("rediss+sentinel://", "rediss://"),
    ]

    /// Whether the text is meant to be such a URL.
    public static func isOne(_ text: String) -> Bool {
        schemes.contains { text.lowercased().hasPrefix($0.prefix) }
    }

    /// The user at the master.
    public var user: String? {
        get { template.user }
        set { template.user = newValue }
    }
    public var password: String? {
        get { template.password }
        set { template.password = newValue }
    }

    /// Sets the credentials for the sentinels, which are the same at all of them.
    public mutating func authenticate(user: String?, password: String?) {
        for index in sentinels.indices { (sentinels[index].user, sentinels[index].password) = (user, password) }
    }

    /// Sets the TLS files for the sentinels and for the master; without effect if none of them uses TLS.
    public mutating func secure(with files: RedisURL.TLS) {
        template.tls?.take(filesOf: files)
        for index in sentinels.indices { sentinels[index].tls?.take(filesOf: files) }
    }

    /// The URL of the master at this address.
    public func master(host: String, port: Int) -> RedisURL {
        var url = template
        url.address = .tcp(host: host, port: port)
        return url
    }

    /// The URL without its password, for logs.
    public var description: String {
        let login = password == nil ? "" : "\(user ?? ""):***@"
        let hosts = sentinels.map(\.place).joined(separator: ",")
        let scheme = template.tls == nil ? "redis+sentinel" : "rediss+sentinel"
        return "\(scheme)://\(login)\(hosts)/\(masterName)/\(template.database)"
    }
}

extension RedisURL {
    /// `host:port`, or the socket's path.
    var place: String {
        switch address {
        case .tcp(let host, let port): host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]:\(port)" : "\(host):\(port)"
        case .unix(let path): path
        }
    }
}
