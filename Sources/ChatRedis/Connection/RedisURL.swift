import ChatJSON

/// Why a text is not a ``RedisURL``: which part is wrong and what is expected. It never quotes the text, which may
/// contain a password, in a mistyped URL at any place.
public struct RedisURLError: Error, Sendable, Equatable, CustomStringConvertible {
    public var description: String
}

/// The address of a Redis and the credentials for it.
///
///     redis://[[user]:password@]host[:6379][/db]
///     rediss://[[user]:password@]host[:6379][/db][?insecure=1][&ca=/path/to/ca.pem]
///     unix://[[user]:password@]/path/to/socket[?db=1]
///
/// User, password, path and option values are percent-decoded (RFC 3986 §2.1). An IPv6 address is written in brackets.
public struct RedisURL: Sendable, Hashable, CustomStringConvertible {
    public enum Address: Sendable, Hashable {
        case tcp(host: String, port: Int)
        case unix(path: String)
    }

    public struct TLS: Sendable, Hashable {
        /// Whether the server's certificate is not verified: for tests only. `insecure=1`
        public var insecure: Bool
        /// The PEM file of the authority to trust instead of the system's. `ca=…`
        public var authorityFile: String?
        /// The PEM files of our own certificate chain and its key, if Redis requires them.
        public var certificateFile: String?
        public var keyFile: String?

        public init(
            insecure: Bool = false, authorityFile: String? = nil, certificateFile: String? = nil, keyFile: String? = nil
        ) {
            self.insecure = insecure
            self.authorityFile = authorityFile
            self.certificateFile = certificateFile
            self.keyFile = keyFile
        }

        /// Replaces our files by those that `other` has.
        public mutating func take(filesOf other: TLS) {
            authorityFile = other.authorityFile ?? authorityFile
            certificateFile = other.certificateFile ?? certificateFile
            keyFile = other.keyFile ?? keyFile
        }
    }

    public static let defaultPort = 6_379

    public var address: Address
    public var tls: TLS?
    /// An ACL user (Redis 6); nil is `default`.
    public var user: String?
    public var password: String?
    public var database: Int

    public init(address: Address, tls: TLS? = nil, user: String? = nil, password: String? = nil, database: Int = 0) {
        self.address = address
        self.tls = tls
        self.user = user
        self.password = password
        self.database = database
    }

    public init(_ text: String) throws(RedisURLError) {
        let parts = try Parts(text)
        (user, password) = try Self.credentials(parts.userInfo)
        switch parts.scheme {
        case .redis, .rediss:
            address = try Self.tcp(parts.host)
            database = try Self.database(path: parts.path)
        case .unix:
            guard parts.host.isEmpty else {
                throw .init("unix: a path must follow at once, as in unix:///run/redis.sock")
            }
            let path = try Self.decoded(parts.path, "the socket's path")
            guard path.utf8.count > 1 else {
                throw .init("unix: the socket's path is missing, as in unix:///run/redis.sock")
            }
            guard path.utf8.count < 108 else {
                throw .init("unix: the socket's path is longer than the system's 107 bytes")
            }
            address = .unix(path: path)
            database = 0
        }
        tls = parts.scheme == .rediss ? TLS() : nil
        try read(options: parts.query, scheme: parts.scheme)
    }

    /// The URL without its password, for logs.
    public var description: String {
        let credentials = password == nil ? "" : "\(user ?? ""):***@"
        switch address {
        case .tcp(let host, let port):
            let host = host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]" : host
            return "\(tls == nil ? "redis" : "rediss")://\(credentials)\(host):\(port)/\(database)"
                + (tls?.insecure == true ? "?insecure=1" : "")
        case .unix(let path):
            return "unix://\(credentials)\(path)?db=\(database)"
        }
    }

    // MARK: Parts

    private enum Scheme { case redis, rediss, unix }

    private struct Parts {
        var scheme: Scheme
        /// Nil without `@`.
        var userInfo: Substring?
        var host: Substring
        /// Including its slash.
        var path: Substring
        var query: Substring

        init(_ text: String) throws(RedisURLError) {
            guard !text.isEmpty else {
                throw .init("it is empty; expected redis://host:6379, rediss://… or unix:///path")
            }
            let lower = text.lowercased()
            let known: [(String, Scheme)] = [("redis://", .redis), ("rediss://", .rediss), ("unix://", .unix)]
            guard let (prefix, scheme) = known.first(where: { lower.hasPrefix($0.0) }) else {
                throw .init("it begins with none of redis://, rediss:// and unix://")
            }
            if text.unicodeScalars.contains(where: { $0.value <= 0x20 || $0.value == 0x7F }) {
                throw .init("it holds a space or control character; write it percent-encoded")
            }
            self.scheme = scheme
            let rest = text.dropFirst(prefix.count)
            let authority = rest.prefix { !"/?#".contains($0) }
            if rest.contains("#") { throw .init("it holds a #; in a password write it as %23") }
            if let at = authority.lastIndex(of: "@") {
                userInfo = authority[..<at]
                host = authority[authority.index(after: at)...]
                if userInfo?.contains("@") == true {
                    throw .init("it holds more than one @; in a password write it as %40")
                }
            } else {
                userInfo = nil
                host = authority
            }
            let tail = rest[authority.endIndex...]
            path = tail.prefix { $0 != "?" }
            query = tail.dropFirst(path.count).dropFirst()
        }
    }

    private static func credentials(_ text: Substring?) throws(RedisURLError) -> (user: String?, password: String?) {
        guard let text else { return (nil, nil) }
        guard let colon = text.firstIndex(of: ":") else {
            throw .init("before the @ there is a user without a password; expected user:password@ or :password@")
        }
        let user = try decoded(text[..<colon], "the user")
        let password = try decoded(text[text.index(after: colon)...], "the password")
        guard !password.isEmpty else { throw .init("the password before the @ is empty") }
        return (user.isEmpty ? nil : user, password)
    }

    private static func tcp(_ text: Substring) throws(RedisURLError) -> Address {
        let hint = "; if the password holds / ? # or @, write it percent-encoded"
        var host = text
        var port: Substring?
        if text.first == "[" {
            guard let end = text.firstIndex(of: "]") else { throw .init("the IPv6 address lacks its closing bracket") }
            host = text[text.index(after: text.startIndex)..<end]
            let rest = text[text.index(after: end)...]
            guard rest.isEmpty || rest.first == ":" else { throw .init("after the IPv6 address only :port may follow") }
            port = rest.isEmpty ? nil : rest.dropFirst()
        } else if let colon = text.firstIndex(of: ":") {
            host = text[..<colon]
            port = text[text.index(after: colon)...]
        }
        guard !host.isEmpty else { throw .init("the host is missing" + hint) }
        guard let port else { return .tcp(host: String(host), port: defaultPort) }
        guard let number = Int(port), (1...65_535).contains(number), port.utf8.first != UInt8(ascii: "+") else {
            throw .init("the port is no number from 1 to 65535" + hint)
        }
        return .tcp(host: String(host), port: number)
    }

    private static func database(path: Substring) throws(RedisURLError) -> Int {
        let text = path.dropFirst()
        return text.isEmpty ? 0 : try number(database: text)
    }

    private static func number(database text: some StringProtocol) throws(RedisURLError) -> Int {
        guard let number = Int(text), (0...1_000_000).contains(number), text.utf8.first != UInt8(ascii: "+") else {
            throw .init("the database is no number from 0 up, as in redis://host:6379/1")
        }
        return number
    }

    private mutating func read(options: Substring, scheme: Scheme) throws(RedisURLError) {
        for (place, option) in options.split(separator: "&", omittingEmptySubsequences: true).enumerated() {
            let name = option.prefix { $0 != "=" }
            let value = try Self.decoded(option.dropFirst(name.count + 1), "option \(place + 1)")
            switch (name, scheme) {
            case ("db", .redis), ("db", .rediss), ("db", .unix):
                database = try Self.number(database: value)
            case ("insecure", .rediss):
                guard ["0", "1"].contains(value) else { throw .init("the option insecure is neither 0 nor 1") }
                tls?.insecure = value == "1"
            case ("ca", .rediss):
                guard !value.isEmpty else { throw .init("the option ca lacks the path of a PEM file") }
                tls?.authorityFile = value
            case ("insecure", .redis), ("insecure", .unix), ("ca", .redis), ("ca", .unix):
                throw .init("the option \(name) is for rediss:// only")
            default:
                throw .init("option \(place + 1) is unknown; known are db, and for rediss:// insecure and ca")
            }
        }
    }

    static func decoded(_ text: some StringProtocol, _ noun: String) throws(RedisURLError) -> String {
        guard let bytes = percentDecoded(text.utf8) else {
            throw .init("\(noun) holds a % that two hexadecimal digits do not follow; write % itself as %25")
        }
        guard let decoded = String(validating: bytes, as: UTF8.self), !bytes.contains(0) else {
            throw .init("\(noun) is not UTF-8 text when percent-decoded")
        }
        return decoded
    }
}

extension RedisURLError {
    init(_ description: String) {
        self.description = description
    }
}
