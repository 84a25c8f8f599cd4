/// Why a client's bytes are not a request that can be served; the connection ends with it.
public struct RequestProblem: Error, Hashable, Sendable {
    /// The corresponding HTTP status.
    public var status: Int
    /// The details, for a developer.
    public var text: String

    public init(_ status: Int, _ text: String) {
        self.status = status
        self.text = text
    }
}
