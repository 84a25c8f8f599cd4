/// When a delivery that failed is tried again. Pure: the random number is an argument.
public struct RetrySchedule: Hashable, Sendable {
    /// The pauses after the first, second, … failure. After the last one, the event is a dead letter.
    public let pauses: [Duration]

    /// No longer pause is waited for, whatever a server asks for.
    static let longest: Duration = .seconds(86_400)

    public init(pauses: [Duration]) {
        self.pauses = pauses
    }

    /// The pause after that many failures in a row; nil if there is no further attempt. `random`: in 0..<1; the pause
    /// is varied by a tenth, so that endpoints do not get everything at once. `atLeast`: what the server asked for.
    func pause(afterFailures count: Int, random: Double, atLeast: Duration?) -> Duration? {
        guard count >= 1, count <= pauses.count else { return nil }
        let varied = pauses[count - 1] * (0.9 + 0.2 * random)
        return min(max(varied, atLeast ?? .zero), Self.longest)
    }
}
