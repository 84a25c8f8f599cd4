/// One reason why the configuration cannot be used.
public struct ConfigurationProblem: Hashable, Sendable, CustomStringConvertible {
    /// The variables that it is about: one, or more if they do not fit together.
    public var variables: [String]
    /// One line: variable, given value (never a secret), what is expected and, where it can be told, the likely
    /// mistake.
    public var message: String

    public var description: String { message }
}

/// Something that does not keep the node from starting, but is probably not meant.
public struct ConfigurationWarning: Hashable, Sendable, CustomStringConvertible {
    public var variable: String
    /// One line.
    public var message: String

    public var description: String { message }
}

/// Why a node does not start: everything that is wrong with its environment, at once.
public struct ConfigurationError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Never empty; in the order of the settings, then those about more than one variable.
    public var problems: [ConfigurationProblem]
    /// A misspelt name may be the reason of a problem.
    public var warnings: [ConfigurationWarning]

    /// For standard error: a headline, then one line for each problem and warning.
    public var description: String {
        let count = problems.count == 1 ? "1 problem" : "\(problems.count) problems"
        let lines = problems.map { "  - \($0.message)" } + warnings.map { "  - warning: \($0.message)" }
        return (["the configuration has \(count):"] + lines).joined(separator: "\n")
    }
}
