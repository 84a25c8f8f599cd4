import ChatAccess
import ChatCore
import ChatGateway
import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix

/// Determines who clients are by their tokens and keys, and what they may do.
///
/// A token that was verified before, and one that is signed with a shared secret, is answered at once. Any other is
/// verified on a thread of its own, because a signature of a public key takes as long as ten deliveries: many clients
/// that come at once must not delay those who are talking.
final class TokenAuthenticator: Authenticator {
    private let access: NodeConfiguration.Access
    private let keys: NIOLockedValueBox<TokenVerifier>
    private let cache: VerifiedTokens
    private let fixed: TokenKeys
    private let rules: TokenRules
    private let source = NIOLockedValueBox<KeySetSource?>(nil)
    private let revocations: NodeRevocations
    private let tickets: Tickets
    private let anonymous: Permissions?
    private let servers: [String: Permissions]
    /// Whether all keys are shared secrets, so that verifying takes a few microseconds.
    private let isQuick: Bool
    private let metrics: NodeMetrics
    private let logger: Logger
    private let pool: NIOThreadPool
    private let clock: @Sendable () -> UInt64
    private let queryLines = NIOLockedValueBox(LineRate<TokenCarrier>(pause: .seconds(60)))

    /// Reads the keys. Throws if one of them cannot be used; the error names its variable or file.
    init(
        _ access: NodeConfiguration.Access, revocations: NodeRevocations, tickets: Tickets, metrics: NodeMetrics,
        logger: Logger, clock: @escaping @Sendable () -> UInt64
    ) throws {
        self.access = access
        self.revocations = revocations
        self.tickets = tickets
        self.metrics = metrics
        self.logger = logger
        self.clock = clock
        var rules = TokenRules()
        rules.algorithms = access.algorithms
        rules.issuer = access.issuer
        rules.audience = access.audience
        rules.leeway = access.leeway
        self.rules = rules
        let fixed = try Self.keys(of: access)
        self.fixed = fixed
        cache = VerifiedTokens(capacity: Self.cachedTokens)
        keys = NIOLockedValueBox(TokenVerifier(fixed, rules, cache: cache))
        isQuick = access.publicKeyFiles.isEmpty && access.keySet == nil
        anonymous = Self.permissions(of: access.anonymous)
        servers = Dictionary(
            uniqueKeysWithValues: access.apiKeys.keys.keys.map { ($0.name, Self.permissions(of: $0)) })
        pool = NIOThreadPool(numberOfThreads: 1)
        pool.start()
    }

    private static let cachedTokens = 100_000

    private static func keys(of access: NodeConfiguration.Access) throws -> TokenKeys {
        var keys = TokenKeys()
        do {
            if let secret = access.secret { try keys.add(secret: Array(secret.revealed.utf8)) }
        } catch {
            throw StartError("MARTLET_TOKEN_HMAC_SECRET cannot be used: \(error)")
        }
        for (index, entry) in access.previousSecrets.all.enumerated() {
            do {
                try keys.add(secret: Array(entry.secret.revealed.utf8), validUntil: entry.validUntil)
            } catch {
                throw StartError("MARTLET_TOKEN_HMAC_SECRET_PREVIOUS, secret \(index + 1), cannot be used: \(error)")
            }
        }
        for path in access.publicKeyFiles {
            do {
                try keys.add(pem: try TextFile.read(path))
            } catch {
                throw StartError("MARTLET_TOKEN_PUBLIC_KEYS: \(path) cannot be used: \(error)")
            }
        }
        return keys
    }

    private static func permissions(of anonymous: NodeConfiguration.Access.Anonymous) -> Permissions? {
        switch anonymous {
        case .off: nil
        case .read: Permissions(rules: [.init(.everywhere, [.read])])
        case .chat: Permissions(rules: [.init(.everywhere, [.read, .send, .signal])])
        }
    }

    private static func permissions(of key: APIKeys.Key) -> Permissions {
        let rules = key.permissions.map { permission in
            Permissions.Rule(permission.rooms ?? .everywhere, permission.scope.rights)
        }
        let isAdministrator = key.permissions.contains { $0.scope == .admin && $0.rooms == nil }
        return Permissions(rules: rules, roles: isAdministrator ? [Permissions.administrator] : [], actsForOthers: true)
    }

    // MARK: the key set

    /// Begins to fetch the key set, if one is configured.
    func start(on loop: any EventLoop) throws {
        guard let url = access.keySet else { return }
        let fetcher: KeySetFetcher
        do {
            fetcher = try KeySetFetcher(url)
        } catch {
            throw StartError("MARTLET_TOKEN_JWKS_URL cannot be used: \(error)")
        }
        let source = KeySetSource(
            on: loop, fetch: { fetcher.fetch(on: $0) }, onOutcome: { [self] in took($0) })
        self.source.withLockedValue { $0 = source }
        source.start()
    }

    /// Ends the work of the authenticator.
    func stop() {
        source.withLockedValue { $0 }?.stop()
        pool.shutdownGracefully { _ in }
    }

    private func took(_ outcome: KeySetSource.Outcome) {
        switch outcome {
        case .failed(let problem):
            metrics.keySetFetches[.failed].increment()
            logger.warning(
                "the key set cannot be fetched; its last keys, if any, are used on",
                metadata: [LogKey.error: "\(problem)", LogKey.remedy: "see MARTLET_TOKEN_JWKS_URL"])
        case .keys(let set, let skipped):
            metrics.keySetFetches[.fetched].increment()
            for problem in skipped {
                logger.warning("a key of the key set cannot be used", metadata: [LogKey.error: "\(problem)"])
            }
            var all = fixed
            all.add(set)
            let verifier = TokenVerifier(all, rules, cache: cache)
            keys.withLockedValue { $0 = verifier }
            logger.info("the key set was fetched", metadata: [LogKey.count: "\(set.count)"])
        }
    }

    /// What operators should know about the key set; nil if all is well. `isFatal`: no token can be verified.
    var keySetTrouble: (text: String, isFatal: Bool)? {
        guard let state = source.withLockedValue({ $0 })?.state, let warning = state.warning else { return nil }
        return (warning, keys.withLockedValue { $0.keys.isEmpty })
    }

    /// Whether the node has read which tokens are revoked.
    var knowsRevocations: Bool { revocations.isKnown }

    // MARK: answers

    func authenticateAtOnce(_ credentials: Credentials) -> Result<Identity, WireError>? {
        guard let token = credentials.token else { return withoutToken(credentials) }
        guard credentials.carrier != .ticket else {
            return TicketSecret.name(of: token) == nil ? refusedTicket : nil
        }
        guard Self.isJWT(token) else { return withKey(token, credentials) }
        let verifier = keys.withLockedValue { $0 }
        let now = clock()
        if let grant = verifier.known(token, now: now) { return accepted(grant, credentials, now: now) }
        guard isQuick else { return nil }
        return answer(verifier.verify(token, now: now), credentials, now: now)
    }

    func authenticate(_ credentials: Credentials) async -> Result<Identity, WireError> {
        if let answer = authenticateAtOnce(credentials) { return answer }
        guard let token = credentials.token else { return withoutToken(credentials) }
        if credentials.carrier == .ticket { return await redeem(token, credentials) }
        var result = await verify(token)
        if case .failure(.unknownKey) = result, let source = source.withLockedValue({ $0 }) {
            // The issuer may have a new key since the set was fetched.
            if (try? await source.unknownKey().get()) ?? false { result = await verify(token) }
        }
        return answer(result, credentials, now: clock())
    }

    func ticket(for grant: Grant) async -> Result<Ticket, WireError> {
        let now = clock()
        if let error = tooLongLived(grant, now: now) { return .failure(error) }
        let result = await tickets.issue(grant, now: now)
        if case .success = result { metrics.tickets.increment() }
        return result
    }

    /// A ticket stands for the grant of the token with which it was taken, so what ends the token ends the ticket too.
    private func redeem(_ ticket: String, _ credentials: Credentials) async -> Result<Identity, WireError> {
        switch await tickets.redeem(ticket) {
        case .success(nil): return refusedTicket
        case .success(let grant?):
            let now = clock()
            guard !grant.isExpired(at: now) else { return refused(.expired) }
            return accepted(grant, credentials, now: now)
        case .failure(let error): return .failure(error)
        }
    }

    private var refusedTicket: Result<Identity, WireError> {
        metrics.tokenRefusals[.unknownTicket].increment()
        return .failure(WireError(.unauthenticated, "the ticket was used, has expired, or never was one"))
    }

    private func tooLongLived(_ grant: Grant, now: UInt64) -> WireError? {
        guard let expiresAt = grant.expiresAt else { return nil }
        let longest = UInt64(clamping: (access.longestLife + access.leeway).wholeMilliseconds)
        guard expiresAt > now + longest else { return nil }
        metrics.tokenRefusals[.tooLongLived].increment()
        let life = DurationText.show(access.longestLife)
        return WireError(.unauthenticated, "the token's exp is more than \(life) ahead")
    }

    private func verify(_ token: String) async -> Result<Grant, TokenProblem> {
        let verifier = keys.withLockedValue { $0 }
        let now = clock()
        let result = try? await pool.runIfActive { verifier.verify(token, now: now) }
        return result ?? .failure(.malformed("the node is leaving"))
    }

    /// A JWT has two dots, and a key has none.
    private static func isJWT(_ token: String) -> Bool { token.utf8.contains(UInt8(ascii: ".")) }

    private func withoutToken(_ credentials: Credentials) -> Result<Identity, WireError> {
        guard let anonymous else {
            return .failure(WireError(.unauthenticated, "a token is missing"))
        }
        do throws(NameError) {
            // Nobody may take the name of somebody else, so the node makes one.
            let user = try UserID("guest-" + String(UInt64.random(in: 0 ... .max), radix: 36))
            return .success(Identity(user: user, grant: Grant(user: user, permissions: anonymous)))
        } catch {
            return .failure(WireError(.internalError, "no name for a guest: \(error)"))
        }
    }

    private func withKey(_ key: String, _ credentials: Credentials) -> Result<Identity, WireError> {
        guard let known = access.apiKeys.keys.key(key), let permissions = servers[known.name] else {
            metrics.tokenRefusals[.unknownAPIKey].increment()
            return .failure(WireError(.unauthenticated, "neither a token nor a key that is known here"))
        }
        do throws(NameError) {
            let user = try UserID(credentials.user ?? known.name)
            return .success(Identity(user: user, grant: Grant(user: user, permissions: permissions)))
        } catch {
            return .failure(WireError(.badName, error.description))
        }
    }

    private func answer(
        _ result: Result<Grant, TokenProblem>, _ credentials: Credentials, now: UInt64
    ) -> Result<Identity, WireError> {
        switch result {
        case .success(let grant): return accepted(grant, credentials, now: now)
        case .failure(let problem): return refused(problem)
        }
    }

    private func refused(_ problem: TokenProblem) -> Result<Identity, WireError> {
        metrics.tokenRefusals[TokenRefusal(problem)].increment()
        return .failure(WireError(.unauthenticated, problem.description))
    }

    /// The token is valid; what remains is whether it lives too long, is revoked, or is of another user than the client
    /// says.
    private func accepted(
        _ grant: Grant, _ credentials: Credentials, now: UInt64
    ) -> Result<Identity, WireError> {
        if let error = tooLongLived(grant, now: now) { return .failure(error) }
        guard revocations.isKnown else {
            return .failure(WireError(.unavailable, "the node has not read from redis yet which tokens are revoked"))
        }
        guard !revocations.isRevoked(grant) else { return refused(.revoked) }
        if let claimed = credentials.user, !claimed.utf8.elementsEqual(grant.user.text.utf8) {
            metrics.tokenRefusals[.otherUser].increment()
            return .failure(WireError(.forbidden, "the token is of another user than the one that is named"))
        }
        metrics.tokens[CarrierLabel(credentials.carrier)].increment()
        if credentials.carrier == .query { warnOfQuery() }
        return .success(Identity(user: grant.user, grant: grant))
    }

    /// Why a grant that was accepted no longer holds.
    func refusal(of grant: Grant, now: UInt64) -> WireError? {
        if let expiresAt = grant.expiresAt, expiresAt <= now {
            return WireError(.unauthenticated, "the token has expired")
        }
        return revocations.isRevoked(grant) ? WireError(.unauthenticated, TokenProblem.revoked.description) : nil
    }

    private func warnOfQuery() {
        guard let count = queryLines.withLockedValue({ $0.happened(.query, now: .now) }) else { return }
        logger.warning(
            "tokens come in URLs, where logs of proxies show them",
            metadata: [
                LogKey.count: "\(count)",
                LogKey.remedy: "send them as Authorization, as subprotocol bearer.<token>, or in the first frame",
            ])
    }
}

extension APIKeys.Scope {
    /// What the scope allows in a room.
    var rights: Rights {
        switch self {
        case .read: .read
        case .send: [.send, .signal]
        case .moderate: [.read, .amend, .amendAny, .moderate]
        case .admin: .all
        }
    }
}
