import ChatCore
import NIOConcurrencyHelpers

/// A rate limit per address.
typealias AddressRates = KeyedRates<PeerAddress>

/// A rate limit per address, or per user. It is used once per HTTP request or handshake, never per message, so a lock
/// is cheap enough.
final class KeyedRates<Key: Hashable & Sendable>: Sendable {
    /// The maximum number of keys on record. Beyond it, those without debt are removed, and if that does not suffice,
    /// all of them.
    private static var most: Int { 32_768 }

    private let rate: CostRate
    private let paid = NIOLockedValueBox<[Key: UInt64]>([:])

    init(_ rate: CostRate) {
        self.rate = rate
    }

    /// Takes the cost from the key's budget and returns zero. If the budget does not suffice, takes nothing and
    /// returns the time after which it does.
    func take(_ cost: UInt64, from key: Key, now: Moment) -> Duration {
        paid.withLockedValue { paid in
            let before = paid[key] ?? 0
            guard let after = rate.take(before, cost, now: now) else { return rate.debt(before, now: now) }
            Self.remember(after, of: key, now: now, &paid)
            return .zero
        }
    }

    /// Charges for work that was done already.
    func charge(_ cost: UInt64, to key: Key, now: Moment) {
        guard cost > 0 else { return }
        paid.withLockedValue { paid in
            Self.remember(rate.charge(paid[key] ?? 0, cost, now: now), of: key, now: now, &paid)
        }
    }

    private static func remember(
        _ state: UInt64, of key: Key, now: Moment, _ paid: inout [Key: UInt64]
    ) {
        if paid[key] == nil, paid.count >= most {
            paid = paid.filter { $0.value > now.nanoseconds }
            if paid.count >= most { paid = [:] }
        }
        paid[key] = state
    }

    /// The number of keys on record.
    var count: Int { paid.withLockedValue { $0.count } }
}
