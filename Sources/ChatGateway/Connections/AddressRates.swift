import ChatCore
import NIOConcurrencyHelpers

/// What each address may still cost the node. Asked once for an HTTP request or a handshake, never for a message, so a lock is fair.
final class AddressRates: Sendable {
    /// Addresses that are remembered; beyond it those that owe nothing are forgotten, and if that is not enough all of them.
    private static let most = 32_768

    private let rate: CostRate
    private let paid = NIOLockedValueBox<[PeerAddress: UInt64]>([:])

    init(_ rate: CostRate) {
        self.rate = rate
    }

    /// Takes that much; zero: taken. Else nothing was taken, and there is something to take again after that time.
    func take(_ cost: UInt64, from address: PeerAddress, now: Moment) -> Duration {
        paid.withLockedValue { paid in
            let before = paid[address] ?? 0
            guard let after = rate.take(before, cost, now: now) else { return rate.debt(before, now: now) }
            Self.remember(after, of: address, now: now, &paid)
            return .zero
        }
    }

    /// Charges for what was done already.
    func charge(_ cost: UInt64, to address: PeerAddress, now: Moment) {
        guard cost > 0 else { return }
        paid.withLockedValue { paid in
            Self.remember(rate.charge(paid[address] ?? 0, cost, now: now), of: address, now: now, &paid)
        }
    }

    private static func remember(
        _ state: UInt64, of address: PeerAddress, now: Moment, _ paid: inout [PeerAddress: UInt64]
    ) {
        if paid[address] == nil, paid.count >= most {
            paid = paid.filter { $0.value > now.nanoseconds }
            if paid.count >= most { paid = [:] }
        }
        paid[address] = state
    }

    /// How many are remembered.
    var count: Int { paid.withLockedValue { $0.count } }
}
