import ChatCore
import NIOConcurrencyHelpers

/// What the connections of one address that are no sessions (yet) may cost, over all loops: how many there are at once, and how many
/// bytes a second they bring. Touched when a connection comes, reads before it is a session, and goes, so a lock is fair.
final class AddressBook: Sendable {
    private struct Entry {
        var connections = 0
        /// Of the ``CostRate`` of bytes.
        var taken: UInt64 = 0
    }

    /// Up to this many addresses are remembered before those are forgotten that nothing is known against.
    private static let enough = 4_096

    private struct State {
        var entries: [PeerAddress: Entry] = [:]
        var sweepAt = AddressBook.enough
    }

    private let state = NIOLockedValueBox(State())
    private let connections: Int
    private let rate: CostRate

    /// `bytesPerSecond` in the long run, and four times as many at once after a quiet time.
    init(connections: Int, bytesPerSecond: Int) {
        self.connections = connections
        let (burst, overflow) = bytesPerSecond.multipliedReportingOverflow(by: 4)
        rate = CostRate(perSecond: bytesPerSecond, burst: overflow ? .max : burst)
    }

    /// One more connection, until ``leave(_:)``. False: there are too many, and it is not counted.
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

    /// The connection has gone, or is a session now. What it has brought stays known: coming back is no way to a fresh budget.
    func leave(_ address: PeerAddress) {
        state.withLockedValue { state in
            guard var entry = state.entries[address] else { return }
            entry.connections -= 1
            state.entries[address] = entry
        }
    }

    /// A connection has read so many bytes. Returns how long it has to wait before it reads on.
    func take(_ bytes: Int, from address: PeerAddress, now: Moment) -> Duration {
        state.withLockedValue { state in
            var entry = state.entries[address] ?? Entry()
            entry.taken = rate.charge(entry.taken, UInt64(clamping: bytes), now: now)
            state.entries[address] = entry
            return rate.debt(entry.taken, now: now)
        }
    }

    /// How many addresses are remembered.
    var count: Int { state.withLockedValue { $0.entries.count } }

    private static func sweep(_ state: inout State, _ now: Moment) {
        state.entries = state.entries.filter { $0.value.connections > 0 || $0.value.taken > now.nanoseconds }
        // Each address is looked at a bounded number of times, however many there are.
        state.sweepAt = max(enough, state.entries.count * 2)
    }
}
