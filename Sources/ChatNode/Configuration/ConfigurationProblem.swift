/// One reason why the configuration cannot be used.
public struct ConfigurationProblem: Error, Hashable, Sendable, CustomStringConvertible {
    /// The variables concerned: one, or several that do not fit together.
    public var variables: [String]
    /// One line: the variable, the given value (never a secret), the expected value and, where it can be told, the
    /// likely mistake.
    public var message: String

    public var description: String { message }
}

/// A condition that does not keep the node from starting, but is probably not intended.
public struct ConfigurationWarning: Hashable, Sendable, CustomStringConvertible {
    public var variable: String
    /// One line.
    public var message: String

    public var description: String { message }
}

/// The reasons why a node does not start: all problems of its environment at once.
public struct ConfigurationError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Never empty. In the order of the settings, followed by problems that concern more than one variable.
    public var problems: [ConfigurationProblem]
    /// Warnings are shown too, because a misspelt name may be the cause of a problem.
    public var warnings: [ConfigurationWarning]

    /// For standard error: a headline, then one line for each problem and warning.
    public var description: String {
        let count = problems.count == 1 ? "1 problem" : "\(problems.count) problems"
        let lines = problems.map { "  - \($0.message)" } + warnings.map { "  - warning: \($0.message)" }
        return (["the configuration has \(count):"] + lines).joined(separator: "\n")
    }
}
