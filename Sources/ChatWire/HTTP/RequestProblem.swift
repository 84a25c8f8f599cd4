/// Why a client's bytes are no request that is served; the connection ends with it.
public struct RequestProblem: Error, Hashable, Sendable {
    /// The HTTP status that says so.
    public var status: Int
    /// Says where, for a developer.
    public var text: String

    public init(_ status: Int, _ text: String) {
        self.status = status
        self.text = text
    }
}
