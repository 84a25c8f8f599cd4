import ChatCore
import NIOConcurrencyHelpers

/// What was imposed on users in all rooms, as this node knows it, for its handshakes and its HTTP API. The sessions of
/// each loop have a copy (`SessionHost.apply`).
final class NodeSanctions: Sendable {
    private let sanctions = NIOLockedValueBox(UserSanctions())

    /// A copy of all of them.
    var all: UserSanctions { sanctions.withLockedValue { $0 } }

    /// Why the user may not have a session, read or send anything here; nil if the user may. `now`: in milliseconds
    /// since 1970.
    func refusalOfPresence(of user: UserID, now: UInt64) -> WireError? {
        sanctions.withLockedValue { $0.refusalOfPresence(of: user, now: now) }
    }

    /// Why the user may not send messages; nil if the user may.
    func refusalOfSending(by user: UserID, now: UInt64) -> WireError? {
        sanctions.withLockedValue { $0.refusalOfSending(by: user, now: now) }
    }

    /// The user's sanctions that are in force.
    func sanctions(of user: UserID, now: UInt64) -> [Sanction.Kind: Sanction] {
        sanctions.withLockedValue { all in
            Dictionary(
                uniqueKeysWithValues: Sanction.Kind.allCases.compactMap { kind in
                    all.sanction(kind, of: user, now: now).map { (kind, $0) }
                })
        }
    }

    /// Changes them. Returns what the body returns.
    func update<Result>(_ body: (inout UserSanctions) -> Result) -> Result {
        sanctions.withLockedValue { body(&$0) }
    }
}
