import Configuration

/// One environment variable: its name, its place in ``NodeConfiguration``, its rule and its description. Loading, the
/// log lines at the start, the problems and the table in the documentation all use this one declaration.
struct Setting: Sendable {
    /// `redis.url`
    let key: String
    let summary: String
    let type: String
    let range: String
    /// The default as the table shows it, where it differs from machine to machine.
    let defaultText: String?
    let isSecret: Bool
    /// The value in a configuration as text, with secrets hidden.
    let show: @Sendable (NodeConfiguration) -> String
    /// Stores a given value in a configuration, or returns what is wrong with it.
    let apply: @Sendable (String, inout NodeConfiguration) -> ConfigurationProblem?

    /// `redis.url` → `MARTLET_REDIS_URL`
    var variable: String { Self.prefix + key.uppercased().split(separator: ".").joined(separator: "_") }
    var configKey: ConfigKey { ConfigKey(key.split(separator: ".").map(String.init)) }

    static let prefix = "MARTLET_"

    init<Value: Sendable>(
        _ key: String, _ path: any WritableKeyPath<NodeConfiguration, Value> & Sendable, _ rule: ValueRule<Value>,
        default defaultText: String? = nil, secret: Bool = false, _ summary: String,
        show: (@Sendable (NodeConfiguration) -> String)? = nil
    ) {
        self.key = key
        self.summary = summary
        self.type = rule.type
        self.range = rule.range
        self.defaultText = defaultText
        self.isSecret = secret
        self.show = show ?? { rule.show($0[keyPath: path]) }
        let variable = Self.prefix + key.uppercased().split(separator: ".").joined(separator: "_")
        self.apply = { raw, configuration in
            do throws(Misfit) {
                guard !raw.isEmpty else { throw Misfit("unset the variable to use the default") }
                configuration[keyPath: path] = try rule.parse(raw)
                return nil
            } catch {
                let hint = error.hint.map { " (\($0))" } ?? ""
                return ConfigurationProblem(
                    variables: [variable],
                    message:
                        "\(variable) is \(raw.isEmpty ? "empty" : rule.quote(raw)): expected \(rule.expected)\(hint)"
                )
            }
        }
    }
}
