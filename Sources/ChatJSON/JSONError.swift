/// Why bytes are not JSON (RFC 8259), and where.
public struct JSONError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Zero-based; the length of the input if it ended too early.
    public var offset: Int
    /// What was found or expected there, without repeating the input.
    public var problem: String

    public init(offset: Int, problem: String) {
        self.offset = offset
        self.problem = problem
    }

    public var description: String { "byte \(offset): \(problem)" }
}
