import ChatCore
import NIOConcurrencyHelpers

/// Limits per address, over all loops, for connections that are not sessions (yet): how many are open at once, and how
/// many bytes a second they send. It is used when such a connection opens, reads and closes, so a lock is cheap enough.
final class AddressBook: Sendable {
    private struct Entry {
        var connections = 0
        /// The state of the ``CostRate`` for bytes.
        var taken: UInt64 = 0
    }

    /// Above this many addresses, those without any open connection or debt are removed.
    private static let enough = 4_096

    private struct State {
        var entries: [PeerAddress: Entry] = [:]
        var sweepAt = AddressBook.enough
    }

    private let state = NIOLockedValueBox(State())
    private let connections: Int
    private let rate: CostRate

    /// `bytesPerSecond` is the sustained rate; four times as many are allowed at once after a quiet time.
    init(connections: Int, bytesPerSecond: Int) {
        self.connections = connections
        let (burst, overflow) = bytesPerSecond.multipliedReportingOverflow(by: 4)
        rate = CostRate(perSecond: bytesPerSecond, burst: overflow ? .max : burst)
    }

    /// Counts one more connection, until ``leave(_:)``. Returns false if there are too many; then it is not counted.
    func enter(_ address: PeerAddress, now: Moment) -> Bool {
        state.withLockedValue { state in
            var entry = state.entries[address] ?? Entry()
            guard entry.connections < connections else { return false }
            entry.connections += 1
            state.entries[address] = entry
            if state.entries.count > state.sweepAt { Self.sweep(&state, now) }
            return true
        }
    }

    /// The connection is closed, or is a session now. The bytes that it sent stay on record: otherwise reconnecting
    /// would reset the address's rate limit.
    func leave(_ address: PeerAddress) {
        state.withLockedValue { state in
            guard var entry = state.entries[address] else { return }
            entry.connections -= 1
            state.entries[address] = entry
        }
    }

    /// Records that a connection has read this many bytes. Returns how long it has to wait before it reads again.
    func take(_ bytes: Int, from address: PeerAddress, now: Moment) -> Duration {
        state.withLockedValue { state in
            var entry = state.entries[address] ?? Entry()
            entry.taken = rate.charge(entry.taken, UInt64(clamping: bytes), now: now)
            state.entries[address] = entry
            return rate.debt(entry.taken, now: now)
        }
    }

    /// The number of addresses on record.
    var count: Int { state.withLockedValue { $0.entries.count } }

    private static func sweep(_ state: inout State, _ now: Moment) {
        state.entries = state.entries.filter { $0.value.connections > 0 || $0.value.taken > now.nanoseconds }
        // The cost per address is bounded, however many there are.
        state.sweepAt = max(enough, state.entries.count * 2)
    }
}
