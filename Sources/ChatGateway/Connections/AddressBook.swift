import ChatCore
import NIOConcurrencyHelpers
import Synchronization

/// Limits per address, over all loops, for connections that are not sessions (yet): how many are open at once, how
/// many bytes a second they send, and how many of their handshakes and authentications may be refused. It is used
/// when such a connection opens, reads and closes, so a lock is cheap enough.
final class AddressBook: Sendable {
    private struct Entry {
        var connections = 0
        /// The state of the ``CostRate`` for bytes.
        var taken: UInt64 = 0
        /// The state of the ``CostRate`` for refusals.
        var failed: UInt64 = 0
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
    private let failures: CostRate
    private let refusals = Atomic<UInt64>(0)

    /// The parts of a refusal that are paid for one by one: ``CostRate`` counts whole units a second.
    private static let unitsPerFailure: UInt64 = 60

    /// `bytesPerSecond` is the sustained rate; four times as many are allowed at once after a quiet time. As many
    /// failures as in a minute are allowed at once.
    init(connections: Int, bytesPerSecond: Int, failuresPerMinute: Int) {
        self.connections = connections
        let (burst, overflow) = bytesPerSecond.multipliedReportingOverflow(by: 4)
        rate = CostRate(perSecond: bytesPerSecond, burst: overflow ? .max : burst)
        let most = min(max(1, failuresPerMinute), 1_000_000_000)
        failures = CostRate(perSecond: most, burst: (most - 1) * Int(Self.unitsPerFailure))
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

    /// The error for an address that must wait.
    static let tooManyFailures = WireError(
        .rateLimited, "handshakes and credentials of your address were refused too often of late")

    /// Counts a refused handshake or authentication.
    func failed(_ address: PeerAddress, now: Moment) {
        state.withLockedValue { state in
            var entry = state.entries[address] ?? Entry()
            entry.failed = failures.charge(entry.failed, Self.unitsPerFailure, now: now)
            state.entries[address] = entry
            if state.entries.count > state.sweepAt { Self.sweep(&state, now) }
        }
    }

    /// How long the address has to wait before it may authenticate again; zero if it need not wait. Counts how often
    /// it must.
    func penalty(of address: PeerAddress, now: Moment) -> Duration {
        let wait = state.withLockedValue { failures.debt($0.entries[address]?.failed ?? 0, now: now) }
        if wait > .zero { refusals.add(1, ordering: .relaxed) }
        return wait
    }

    /// How often an address had to wait because of failures.
    var refused: UInt64 { refusals.load(ordering: .relaxed) }

    /// The number of addresses on record.
    var count: Int { state.withLockedValue { $0.entries.count } }

    private static func sweep(_ state: inout State, _ now: Moment) {
        state.entries = state.entries.filter {
            $0.value.connections > 0 || $0.value.taken > now.nanoseconds || $0.value.failed > now.nanoseconds
        }
        // The cost per address is bounded, however many there are.
        state.sweepAt = max(enough, state.entries.count * 2)
    }
}
