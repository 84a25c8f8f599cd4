import ChatCore
import NIOConcurrencyHelpers

/// A rate limit per address. It is used once per HTTP request or handshake, never per message, so a lock is cheap
/// enough.
final class AddressRates: Sendable {
    /// The maximum number of addresses on record. Beyond it, addresses without debt are removed, and if that does not
    /// suffice, all of them.
    private static let most = 32_768

    private let rate: CostRate
    private let paid = NIOLockedValueBox<[PeerAddress: UInt64]>([:])

    init(_ rate: CostRate) {
        self.rate = rate
    }

    /// Takes the cost from the address's budget and returns zero. If the budget does not suffice, takes nothing and
    /// returns the time after which it does.
    func take(_ cost: UInt64, from address: PeerAddress, now: Moment) -> Duration {
        paid.withLockedValue { paid in
            let before = paid[address] ?? 0
            guard let after = rate.take(before, cost, now: now) else { return rate.debt(before, now: now) }
            Self.remember(after, of: address, now: now, &paid)
            return .zero
        }
    }

    /// Charges for work that was done already.
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

    /// The number of addresses on record.
    var count: Int { paid.withLockedValue { $0.count } }
}
