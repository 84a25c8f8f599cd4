import Configuration
import FoundationEssentials

extension NodeConfiguration {
    /// One line of ``effectiveValues()``.
    public struct EffectiveValue: Hashable, Sendable {
        public var variable: String
        /// The value, with secrets hidden and control characters escaped.
        public var value: String
        /// Whether the value is the default because the environment gave none.
        public var isDefault: Bool
    }

    /// Reads the environment. A variable that is missing has its default; a given value that cannot be used is a
    /// problem, even if the default would do. Throws all problems at once. Misspelt names become ``warnings``.
    public static func load(
        environment: [String: String] = ProcessInfo.processInfo.environment
    ) throws(ConfigurationError) -> NodeConfiguration {
        let secrets = Set(settings.filter { $0.isSecret || $0.key == "redis.url" }.map(\.variable))
        let provider = EnvironmentVariablesProvider(
            environmentVariables: environment, secretsSpecifier: .specific(secrets))
        let reader = ConfigReader(provider: provider).scoped(to: "martlet")
        var configuration = NodeConfiguration()
        var problems: [ConfigurationProblem] = []
        var unread: Set<String> = []
        for setting in settings {
            // Everything is read as text, because the reader's typed methods treat a value that they cannot convert
            // like a missing one.
            guard let raw = reader.string(forKey: setting.configKey, isSecret: secrets.contains(setting.variable))
            else { continue }
            configuration.given.insert(setting.variable)
            if let problem = setting.apply(raw, &configuration) {
                problems.append(problem)
                unread.insert(setting.key)
            }
        }
        problems += configuration.crossProblems(unread: unread)
        configuration.warnings =
            unknownNames(in: environment) + configuration.listenerValuesWithoutEffect()
            + configuration.valuesWithoutEffect() + configuration.weakAccess() + configuration.idleScreening()
            + configuration.idleSocketIO()
        guard problems.isEmpty else {
            throw ConfigurationError(problems: problems, warnings: configuration.warnings)
        }
        return configuration
    }

    /// All settings with their values, in order. A node logs them once when it starts.
    public func effectiveValues() -> [EffectiveValue] {
        Self.settings.map { setting in
            EffectiveValue(
                variable: setting.variable, value: Printable.escaped(setting.show(self), limit: 200),
                isDefault: !given.contains(setting.variable))
        }
    }

    /// The names of all variables, in order.
    public static var variables: [String] { settings.map(\.variable) }

    /// The table of all variables for the documentation.
    public static func markdownTable() -> String {
        let defaults = NodeConfiguration()
        let rows = settings.map { setting in
            let value = setting.defaultText ?? code(setting.show(defaults))
            return
                "| `\(setting.variable)` | \(setting.type) | \(value) | \(cell(setting.range)) | \(setting.summary) |"
        }
        return (["| Variable | Type | Default | Range | Meaning |", "| --- | --- | --- | --- | --- |"] + rows)
            .joined(separator: "\n") + "\n"
    }

    private static func code(_ text: String) -> String {
        text == "none" ? text : "`\(text)`"
    }

    /// Markdown would read a lone asterisk as emphasis.
    private static func cell(_ text: String) -> String {
        text.replacing("*", with: "`*`")
    }

    /// Warns about unknown names that begin with our prefix (in any case), and about names that differ from one of ours
    /// by one or two typing errors, with whatever prefix.
    private static func unknownNames(in environment: [String: String]) -> [ConfigurationWarning] {
        let known = settings.map(\.variable)
        let endings = known.map { String($0.dropFirst(Setting.prefix.count)) }
        return environment.keys.sorted().compactMap { name in
            guard !known.contains(name) else { return nil }
            guard !name.uppercased().hasPrefix(Setting.prefix) else {
                let ending = String(name.uppercased().dropFirst(Setting.prefix.count))
                return unknown(name, suggestion: NearestName.of(ending, among: endings).map { Setting.prefix + $0 })
            }
            guard let nearest = NearestName.of(name, among: known), NearestName.distance(name, nearest) <= 2 else {
                return nil
            }
            return unknown(name, suggestion: nearest)
        }
    }

    /// Settings of earlier versions, and what became of them.
    private static let removed = [
        "MARTLET_GATHER_TIME": "loops no longer wait for further messages",
        "MARTLET_BUSY_POLL": "loops no longer poll before they sleep",
    ]

    private static func unknown(_ name: String, suggestion: String?) -> ConfigurationWarning {
        let shown = Printable.escaped(name, limit: 80)
        if let why = removed[name] {
            return ConfigurationWarning(variable: shown, message: "\(shown) was removed and has no effect: \(why)")
        }
        let hint = suggestion.map { "did you mean \($0)?" } ?? "no setting has a similar name"
        return ConfigurationWarning(variable: shown, message: "\(shown) is not a setting and has no effect: \(hint)")
    }

    private func valuesWithoutEffect() -> [ConfigurationWarning] {
        guard redis.address.isMemory else { return sentinelSettingsWithoutEffect() + tlsSettingsWithoutEffect() }
        return Self.settings.filter {
            ($0.key.hasPrefix("redis.") && $0.key != "redis.url" || $0.key == "history.held.for")
                && given.contains($0.variable)
        }.map {
            ConfigurationWarning(
                variable: $0.variable, message: "\($0.variable) has no effect, because MARTLET_REDIS_URL is memory:")
        }
    }

    private func listenerValuesWithoutEffect() -> [ConfigurationWarning] {
        var warnings: [ConfigurationWarning] = []
        func warn(_ variable: String, _ why: String) {
            guard given.contains(variable) else { return }
            warnings.append(
                ConfigurationWarning(variable: variable, message: "\(variable) has no effect, because \(why)"))
        }
        if listener.adminPort == nil { warn("MARTLET_ADMIN_HOST", "MARTLET_ADMIN_PORT is not set") }
        if !listener.speaksStomp { warn("MARTLET_STOMP_PORT", "MARTLET_STOMP is off") }
        if listener.proxyProtocol == .accept, listener.trustedAddresses.ranges.isEmpty {
            warn("MARTLET_PROXY_PROTOCOL", "MARTLET_TRUSTED_ADDRESSES is none")
        }
        return warnings
    }

    private func tlsSettingsWithoutEffect() -> [ConfigurationWarning] {
        guard !redis.address.isTLS else { return [] }
        return Self.settings.filter {
            ["redis.ca", "redis.certificate", "redis.key"].contains($0.key) && given.contains($0.variable)
        }.map {
            ConfigurationWarning(
                variable: $0.variable,
                message: "\($0.variable) has no effect, because MARTLET_REDIS_URL does not begin with rediss")
        }
    }

    private func sentinelSettingsWithoutEffect() -> [ConfigurationWarning] {
        guard !redis.address.isSentinel else { return [] }
        return Self.settings.filter { $0.key.hasPrefix("redis.sentinel.") && given.contains($0.variable) }.map {
            ConfigurationWarning(
                variable: $0.variable,
                message: "\($0.variable) has no effect, because MARTLET_REDIS_URL is not redis+sentinel://")
        }
    }
}
