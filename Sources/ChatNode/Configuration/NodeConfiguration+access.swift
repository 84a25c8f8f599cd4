import ChatAccess
import ChatCore

extension NodeConfiguration {
    /// Who clients are, and what they may do.
    public struct Access: Sendable, Hashable {
        public enum Mode: String, Sendable, CaseIterable {
            /// Tokens, if keys for them are configured; otherwise development mode, for clients of this machine only.
            case automatic = "auto"
            /// Development mode: every client is whom it says to be, and may do everything.
            case none
        }

        /// What a client without a token may do.
        public enum Anonymous: String, Sendable, CaseIterable {
            /// It is refused.
            case off
            /// It reads all rooms.
            case read
            /// It also sends messages and signals.
            case chat
        }

        /// Whether tokens are required (word, default: auto).
        public var mode = Mode.automatic
        /// What a client without a token may do (word, default: off).
        public var anonymous = Anonymous.off
        /// The secret that signs tokens with HS256, HS384 or HS512 (string, secret, default: none).
        public var secret: Secret?
        /// Secrets that were in use before (list, secret, default: none).
        public var previousSecrets = PreviousSecrets()
        /// PEM files with public keys (list of paths, default: none).
        public var publicKeyFiles: [String] = []
        /// The URL of a key set (URL, default: none).
        public var keySet: KeySetURL?
        /// The value that `iss` and `aud` must have (string, default: none, which means any).
        public var issuer: String?
        public var audience: String?
        /// The difference between clocks that is tolerated (duration, default: 30s, range: 0s to 10m).
        public var leeway: Duration = .seconds(30)
        /// How long a session may stay after its token has expired (duration, default: 25s, range: 0s to 10m).
        public var grace: Duration = .seconds(25)
        /// How long a token may live (duration, default: 30d, range: 1m to 3650d). Revocations are kept for that time.
        public var longestLife: Duration = .seconds(30 * 86_400)
        /// The algorithms of signatures that are accepted (list, default: all).
        public var algorithms = Set(TokenAlgorithm.allCases)
        /// The cookie that may carry a token (string, default: none).
        public var cookie: String?
        /// The keys of servers (list, secret, default: none).
        public var apiKeys = ServerKeys()

        public init() {}

        /// Whether there is a key with which a token can be verified.
        public var hasTokenKeys: Bool {
            secret != nil || !previousSecrets.all.isEmpty || !publicKeyFiles.isEmpty || keySet != nil
        }

        /// Whether clients need tokens or keys.
        public var isOn: Bool { mode == .automatic && (hasTokenKeys || !apiKeys.keys.keys.isEmpty) }
    }

    /// Secrets that are being replaced, each with the time until which tokens that it signed are accepted.
    public struct PreviousSecrets: Sendable, Hashable {
        public struct Entry: Sendable, Hashable {
            var secret: Secret
            /// Milliseconds since 1970; nil means as long as it is configured.
            var validUntil: UInt64?
        }

        public var all: [Entry] = []

        public init() {}
    }

    /// The keys of servers. They are compared by their text.
    public struct ServerKeys: Sendable, Hashable {
        public let text: String
        public let keys: APIKeys

        /// No keys.
        public init() {
            text = ""
            keys = APIKeys()
        }

        init(_ text: String) throws(APIKeys.Problem) {
            self.text = text
            keys = try APIKeys(text)
        }

        public static func == (left: ServerKeys, right: ServerKeys) -> Bool { left.text == right.text }
        public func hash(into hasher: inout Hasher) { hasher.combine(text) }
    }

    static let accessSettings: [Setting] = [
        Setting(
            "auth", \.access.mode, .word(Access.Mode.allCases.map { ($0.rawValue, $0) }),
            "`auto`: clients need tokens if any key for them is configured; without one this is development mode, in "
                + "which everybody may claim to be any user, and the node listens to this machine only. `none`: "
                + "development mode on any address."),
        Setting(
            "anonymous", \.access.anonymous, .word(Access.Anonymous.allCases.map { ($0.rawValue, $0) }),
            "What a client without a token may do, under a name that the node makes: nothing, `read` all rooms, or "
                + "also `chat` in them."),
        Setting(
            "token.hmac.secret", \.access.secret, ValueRule.tokenSecret.optional(), secret: true,
            "Secret of tokens that are signed with HS256, HS384 or HS512, at least 32 bytes."),
        Setting(
            "token.hmac.secret.previous", \.access.previousSecrets, .previousSecrets, secret: true,
            "Secrets that are being replaced, separated by commas, each with an optional end: `<secret>@<seconds since "
                + "1970>`."),
        Setting(
            "token.public.keys", \.access.publicKeyFiles, .files,
            "PEM files with public keys or certificates (RSA, EC, Ed25519), separated by commas."),
        Setting(
            "token.jwks.url", \.access.keySet, ValueRule.keySet.orNone(),
            "URL of a key set (JWKS). It is read at start, every hour, and when a token names a key that it does not "
                + "hold, at most once in 10 seconds."),
        Setting(
            "token.issuer", \.access.issuer, ValueRule.claim.optional(), "Value that the claim `iss` must have."),
        Setting(
            "token.audience", \.access.audience, ValueRule.claim.optional(),
            "Value that the claim `aud` must contain. Set it if the issuer also makes tokens for others."),
        Setting(
            "token.leeway", \.access.leeway, .duration(.zero...(.seconds(600))),
            "Difference between the clocks of issuer and node that is tolerated."),
        Setting(
            "token.grace", \.access.grace, .duration(.zero...(.seconds(600))),
            "Time after the end of its token within which a session must send a new one; then it is closed as "
                + "`expired`."),
        Setting(
            "token.max.lifetime", \.access.longestLife, .duration(.seconds(60)...(.seconds(3_650 * 86_400))),
            "Longest time until a token's end. Longer-lived ones are refused. Revocations are kept for this time."),
        Setting(
            "token.algorithms", \.access.algorithms, .algorithms,
            "Signature algorithms that are accepted, if there is a key of their kind."),
        Setting(
            "token.cookie", \.access.cookie,
            ValueRule.string(
                "1 to 64 letters, digits, - and _", expected: "the name of a cookie, such as __Host-martlet",
                isValid: isCookieName
            ).optional(),
            "Name of a cookie that may carry the token. Browsers send cookies for every page, so "
                + "`MARTLET_ALLOWED_ORIGINS` must name the pages that are allowed."),
        Setting(
            "api.keys", \.access.apiKeys, .apiKeys, secret: true,
            "Keys of servers, separated by commas: `name:<SHA-256 of the key>:scopes`. The scopes are `read`, `send`, "
                + "`moderate` and `admin`, joined by `+`, each with an optional `@` and a pattern of rooms."),
    ]

    /// Settings of access that are probably not intended, although a node can run with them.
    func weakAccess() -> [ConfigurationWarning] {
        var warnings: [ConfigurationWarning] = []
        func warn(_ key: String, _ text: String) {
            guard let setting = Self.settings.first(where: { $0.key == key }) else { return }
            warnings.append(ConfigurationWarning(variable: setting.variable, message: "\(setting.variable) \(text)"))
        }
        if access.mode == .none {
            if access.hasTokenKeys || !access.apiKeys.keys.keys.isEmpty {
                warn("auth", "is none, so keys of tokens and of servers have no effect")
            }
            if !HostName.isLoopback(listener.host) {
                warn("auth", "is none, so whoever reaches this node may claim to be any user and do everything")
            }
            return warnings
        }
        if access.keySet != nil, access.audience == nil {
            warn("token.jwks.url", "without MARTLET_TOKEN_AUDIENCE accepts tokens that the issuer made for others")
        }
        let secrets = [access.secret].compactMap { $0 } + access.previousSecrets.all.map(\.secret)
        if secrets.contains(where: { Set($0.revealed.utf8).count < 8 }) {
            warn(
                "token.hmac.secret",
                "is easy to guess: it has few different characters (openssl rand -hex 32 has more)")
        }
        return warnings
    }

    private static func isCookieName(_ text: String) -> Bool {
        (1...64).contains(text.utf8.count)
            && text.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
                    true
                default: false
                }
            }
    }

    static let accessChecks: [Check] = [
        Check(
            keys: ["auth", "host"],
            holds: {
                $0.access.mode == .none || $0.access.isOn || HostName.isLoopback($0.listener.host)
            },
            rule: "%1 is not of this machine only, and without tokens anybody may claim to be any user: set "
                + "MARTLET_TOKEN_HMAC_SECRET or another key of tokens; or, if that is what you want, set %0 to none"),
        Check(
            keys: ["token.cookie", "allowed.origins"],
            holds: { $0.access.cookie == nil || $0.listener.allowedOrigins != .any },
            rule: "%0 needs names of origins in %1: with cookies, pages of any origin could act for their visitors"),
        Check(
            keys: ["anonymous", "auth"],
            holds: { $0.access.anonymous == .off || $0.access.isOn },
            rule: "%0 needs keys of tokens, and %1 must not be none: in development mode everybody may do everything"),
    ]
}

extension ValueRule where Value == NodeConfiguration.Secret {
    /// A secret that signs tokens: text that no person types.
    static let tokenSecret = ValueRule(
        type: "string, secret", range: "at least 32 bytes",
        expected: "at least 32 bytes without control characters, such as the output of openssl rand -hex 32",
        parse: { raw throws(Misfit) in
            let secret = try ValueRule.secret.parse(raw)
            guard raw.utf8.count >= 32 else { throw Misfit("it has \(raw.utf8.count) bytes") }
            return secret
        },
        show: { "\($0)" },
        quote: { _ in "***" }
    )
}

extension ValueRule where Value == NodeConfiguration.PreviousSecrets {
    static let previousSecrets = ValueRule(
        type: "list, secret", range: "",
        expected: "secrets of at least 32 bytes, separated by commas, each with an optional @<seconds since 1970>",
        parse: { raw throws(Misfit) in
            var secrets = NodeConfiguration.PreviousSecrets()
            secrets.all = try CommaList.parse(raw) { part throws(Misfit) in
                let at = part.lastIndex(of: "@")
                var until: UInt64?
                if let at {
                    guard let seconds = UInt64(part[part.index(after: at)...]), seconds < 1 << 40 else {
                        throw Misfit("after @ there must be seconds since 1970")
                    }
                    until = seconds * 1_000
                }
                let text = String(part[..<(at ?? part.endIndex)])
                return .init(secret: try ValueRule<_>.tokenSecret.parse(text), validUntil: until)
            }
            return secrets
        },
        show: { $0.all.isEmpty ? "none" : "***" },
        quote: { _ in "***" }
    )
}

extension ValueRule where Value == [String] {
    /// Files that can be read now.
    static let files = ValueRule(
        type: "list of paths", range: "",
        expected: "paths of files that can be read, separated by commas, such as /etc/martlet/issuer.pem",
        parse: { raw throws(Misfit) in
            try CommaList.parse(raw, ValueRule<String>.file.parse)
        },
        show: { CommaList.show($0, none: "none") }
    )
}

extension ValueRule where Value == KeySetURL {
    static let keySet = ValueRule(
        type: "URL", range: "https://, or http:// of this machine",
        expected: "a URL such as https://issuer.example/.well-known/jwks.json",
        parse: { raw throws(Misfit) in
            do throws(KeySetURL.Problem) {
                return try KeySetURL(raw)
            } catch {
                throw Misfit(error.description)
            }
        },
        show: { "\($0)" }
    )
}

extension ValueRule where Value == String {
    /// The value of a claim.
    static let claim = ValueRule.string(
        "1 to 256 bytes", expected: "1 to 256 bytes without control characters",
        isValid: {
            (1...256).contains($0.utf8.count) && !$0.unicodeScalars.contains(where: Printable.isTreacherous)
        })
}

extension ValueRule where Value == Set<TokenAlgorithm> {
    static let algorithms = ValueRule(
        type: "list", range: "",
        expected: "names out of \(TokenAlgorithm.allCases.map(\.rawValue).joined(separator: ",")), with commas between",
        parse: { raw throws(Misfit) in
            let algorithms = try CommaList.parse(raw) { part throws(Misfit) in
                guard let algorithm = TokenAlgorithm(part) else {
                    throw Misfit(part.lowercased() == "none" ? "tokens without a signature are never accepted" : nil)
                }
                return algorithm
            }
            return Set(algorithms)
        },
        show: { $0.map(\.rawValue).sorted().joined(separator: ",") }
    )
}

extension ValueRule where Value == NodeConfiguration.ServerKeys {
    static let apiKeys = ValueRule(
        type: "list, secret", range: "",
        expected: "name:sha256:scopes, separated by commas",
        parse: { raw throws(Misfit) in
            do throws(APIKeys.Problem) {
                return try NodeConfiguration.ServerKeys(raw)
            } catch {
                throw Misfit(error.description)
            }
        },
        show: { $0.keys.keys.isEmpty ? "none" : $0.keys.keys.map(\.name).joined(separator: ",") },
        quote: { _ in "***" }
    )
}
