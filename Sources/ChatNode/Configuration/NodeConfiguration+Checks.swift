import ChatCore

extension NodeConfiguration {
    /// A rule that concerns two or more settings.
    struct Check: Sendable {
        /// The keys concerned. The check is skipped if one of them could not be read.
        var keys: [String]
        /// Whether the configuration meets the rule.
        var holds: @Sendable (NodeConfiguration) -> Bool
        /// The rule in words for operators. `%0`, `%1` stand for the names, which get their values added.
        var rule: String
    }

    static let checks: [Check] = accessChecks + screeningChecks + connectionChecks

    private static let connectionChecks: [Check] = [
        Check(
            keys: ["node.lease", "heartbeat.interval"],
            holds: { $0.node.lease >= $0.node.heartbeatInterval * 3 },
            rule: "%0 must be at least 3 × %1: two heartbeats that get lost must not make a living node look dead"),
        Check(
            keys: ["redis.deadline", "node.lease"],
            holds: { $0.redis.deadline < $0.node.lease },
            rule: "%0 must be shorter than %1: one command that hangs must not cost the node its lease"),
        Check(
            keys: ["redis.deadline", "limit.send.wait"],
            holds: { $0.redis.deadline < $0.limits.sendWait },
            rule: "%0 must be shorter than %1: a send whose answer is lost must have time for a second try"),
        Check(
            keys: ["presence.interval", "node.lease"],
            holds: { $0.rooms.presenceInterval < $0.node.lease },
            rule: "%0 must be shorter than %1: people must be announced before their node could be taken for dead"),
        Check(
            keys: ["room.ttl", "node.lease", "linger"],
            holds: { $0.rooms.timeToLive >= $0.node.lease + $0.rooms.linger },
            rule: "%0 must be at least %1 + %2: a room must not be forgotten while a node may still come back to it"),
        Check(
            keys: ["limit.outbound.bytes", "limit.frame.bytes"],
            holds: { $0.limits.outboundBytes / 2 >= $0.limits.frameBytes },
            rule: "%0 must be at least 2 × %1: one message of the largest size must not close its readers as slow"),
        Check(
            keys: ["limit.waiting.sends.per.room", "limit.waiting.sends.per.session"],
            holds: { $0.limits.waitingSendsPerRoom >= $0.limits.waitingSendsPerSession },
            rule: "%0 must be at least %1: or one session alone could keep all others of its room from sending"),
        Check(
            keys: ["redis.user", "redis.password", "redis.url"],
            holds: { $0.redis.user == nil || $0.redis.password != nil || $0.redis.address.holdsPassword },
            rule: "%0 needs %1 or a password in %2: Redis wants both (any password will do for a nopass user)"),
        Check(
            keys: ["redis.certificate", "redis.key"],
            holds: { ($0.redis.certificateFile == nil) == ($0.redis.keyFile == nil) },
            rule: "%0 and %1 go together: a certificate is of no use without its key"),
        Check(
            keys: ["tls.certificate", "tls.key"],
            holds: { ($0.listener.certificateFile == nil) == ($0.listener.keyFile == nil) },
            rule: "%0 and %1 go together: a certificate is of no use without its key"),
        Check(
            keys: ["redis.sentinel.user", "redis.sentinel.password"],
            holds: { $0.redis.sentinelUser == nil || $0.redis.sentinelPassword != nil },
            rule: "%0 needs %1: a sentinel wants both"),
        Check(
            keys: ["ack.replicas", "redis.url"],
            holds: { $0.redis.ackReplicas == 0 || !$0.redis.address.isMemory },
            rule: "%0 must be 0 with %1: nothing replicates a node's memory, so no send would ever be acknowledged"),
        Check(
            keys: ["ack.deadline", "limit.send.wait"],
            holds: { $0.redis.ackReplicas == 0 || $0.redis.ackDeadline < $0.limits.sendWait },
            rule: "%0 must be shorter than %1: a sender waits for both"),
    ]

    /// The rules that are broken, without those that concern a setting in `unread`, which has its own problem.
    func crossProblems(unread: Set<String>) -> [ConfigurationProblem] {
        Self.checks.compactMap { check in
            guard !check.keys.contains(where: unread.contains), !check.holds(self) else { return nil }
            var message = check.rule
            var variables: [String] = []
            for (index, key) in check.keys.enumerated() {
                guard let setting = Self.settings.first(where: { $0.key == key }) else { continue }
                let origin = given.contains(setting.variable) ? "" : ", the default"
                let shown = Printable.escaped(setting.show(self), limit: 80)
                message = message.replacing("%\(index)", with: "\(setting.variable) (\(shown)\(origin))")
                variables.append(setting.variable)
            }
            return ConfigurationProblem(variables: variables, message: message)
        }
    }
}
