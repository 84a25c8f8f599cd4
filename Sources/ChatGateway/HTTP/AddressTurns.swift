import ChatCore
import NIOConcurrencyHelpers
import NIOCore

/// Lets the requests of an address take turns, so that an address cannot spend its whole budget in the same moment on
/// many connections: others would wait until the node, and Redis, have worked it off. Requests of different addresses
/// do not wait for each other.
final class AddressTurns: Sendable {
    private struct Line {
        var running = 0
        var waiting = CircularBuffer<CheckedContinuation<Void, Never>>(initialCapacity: 1)
    }

    /// The requests of one address that are answered at once.
    private let atOnce: Int
    private let lines = NIOLockedValueBox<[PeerAddress: Line]>([:])

    init(atOnce: Int) {
        self.atOnce = atOnce
    }

    /// Calls `body` when it is the caller's turn: first come, first served. The number of those who wait is bounded by
    /// the number of connections.
    func inTurn<Answer>(
        of address: PeerAddress, _ body: () async throws -> Answer
    ) async rethrows -> Answer {
        await withCheckedContinuation { continuation in
            let isFree = lines.withLockedValue { lines in
                if lines[address, default: Line()].running < atOnce {
                    lines[address, default: Line()].running += 1
                    return true
                }
                lines[address]?.waiting.append(continuation)
                return false
            }
            if isFree { continuation.resume() }
        }
        defer { end(of: address) }
        return try await body()
    }

    /// Gives the turn to the next one.
    private func end(of address: PeerAddress) {
        let next = lines.withLockedValue { lines -> CheckedContinuation<Void, Never>? in
            if let next = lines[address]?.waiting.popFirst() { return next }
            lines[address]?.running -= 1
            if lines[address]?.running == 0 { lines[address] = nil }
            return nil
        }
        next?.resume()
    }

    /// The addresses on record.
    var count: Int { lines.withLockedValue { $0.count } }
}
