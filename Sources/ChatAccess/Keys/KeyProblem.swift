/// Why a key cannot be used, for operators. The text names the key by its place and its ID, and holds no part of the
/// key itself.
public struct KeyProblem: Error, Hashable, Sendable, CustomStringConvertible {
    public let description: String

    init(_ description: String) {
        self.description = description
    }

    /// The same, of the key with this name.
    func of(_ name: String) -> KeyProblem { KeyProblem("\(name): \(description)") }
}
