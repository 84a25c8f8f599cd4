import ChatCore
import ChatHub
import Logging
import NIOConcurrencyHelpers

/// Reads the stream of commands and applies them on all loops of the node.
///
/// It asks twice a second instead of waiting for a notice: that costs Redis a few microseconds for each node, no notice
/// can be lost, and a node that was frozen or cut off knows by itself where to continue. Commands are applied within a
/// second, each at least once; applying one twice changes nothing.
final class CommandReader: Sendable {
    /// The time between two readings.
    static let interval: Duration = .milliseconds(500)
    private static let page = 500

    private let keeper: Keeper
    private let hub: Hub
    private let revocations: NodeRevocations
    private let logger: Logger
    /// Where the reading continues, and at which Redis.
    private let place = NIOLockedValueBox(Place())

    private struct Place {
        var last: Position?
        var server: BrokerIdentity?
    }

    init(keeper: Keeper, hub: Hub, revocations: NodeRevocations, logger: Logger) {
        self.keeper = keeper
        self.hub = hub
        self.revocations = revocations
        self.logger = logger
    }

    /// Reads the commands that there are, before the node accepts sessions. Stops waiting for Redis after `patience`.
    func begin(within patience: Duration) async {
        let end = ContinuousClock.now + patience
        while !revocations.isKnown, ContinuousClock.now < end, !Task.isCancelled {
            await read()
            if !revocations.isKnown { try? await Task.sleep(for: .milliseconds(50)) }
        }
    }

    /// Reads until the node is asked to leave.
    func run() async {
        while !Task.isCancelled {
            await read()
            let now = keeper.loop.settings.wallClock()
            revocations.update { $0.forget(now: now) }
            hub.sanctions.update { $0.forget(now: now) }
            do { try await Task.sleep(for: Self.interval) } catch { return }
        }
    }

    /// Reads and applies everything that was not read yet.
    private func read() async {
        // Another Redis may have lost the newest commands, so that later ones have lower positions.
        let server = await keeper.loop.call { $0.rooms.commands.identity(of: .nodes) }
        place.withLockedValue { if $0.server != server { $0 = Place(last: nil, server: server) } }
        while !Task.isCancelled {
            let request = BrokerRequest.commands(after: place.withLockedValue { $0.last }, count: Self.page)
            guard case .success(.commands(let entries)) = await keeper.loop.ask(request) else { return }
            await apply(entries)
            if let newest = entries.last?.position { place.withLockedValue { $0.last = newest } }
            guard entries.count == Self.page else { break }
        }
        revocations.hasRead()
    }

    private func apply(_ entries: [CommandEntry]) async {
        var (revokes, sanctions) = (false, false)
        for entry in entries {
            switch entry.command {
            case .revoke(let subject, let before, let until):
                revokes = true
                revoke(subject, before: before, until: until)
            case .impose(let kind, let user, _, _):
                sanctions = true
                if let sanction = entry.sanction { impose(kind, on: user, sanction) }
            case .lift(let kind, let user):
                sanctions = true
                hub.sanctions.update { $0.lift(kind, from: user) }
            case nil:
                logger.warning(
                    "a command is not known to this version; it is ignored",
                    metadata: [LogKey.position: "\(entry.position)"])
            }
        }
        if revokes {
            let ended = await onAllLoops { [revocations] in $0.endRevoked(revocations.isRevoked) }
            if ended > 0 {
                logger.notice("sessions with revoked tokens are closed", metadata: [LogKey.count: "\(ended)"])
            }
        }
        if sanctions {
            let all = hub.sanctions.all
            let ended = await onAllLoops { $0.apply(all) }
            if ended > 0 { logger.notice("sessions of banned users are closed", metadata: [LogKey.count: "\(ended)"]) }
        }
    }

    /// The sum of what the body returns on each loop.
    private func onAllLoops(_ body: @escaping @Sendable (SessionHost) -> Int) async -> Int {
        var sum = 0
        for loop in hub.loops { sum += await loop.call { body($0.sessions) } }
        return sum
    }

    private func revoke(_ subject: Revocations.Subject, before: UInt64?, until: UInt64?) {
        let now = keeper.loop.settings.wallClock()
        let isWhole = revocations.update {
            $0.revoke(
                subject, issuedBefore: before ?? now, until: until ?? now + NodeCommand.revocationLife, now: now)
        }
        guard !isWhole else { return }
        logger.warning(
            "there are more revocations than a node remembers; the first to end is forgotten",
            metadata: [LogKey.count: "\(Revocations.most)"])
    }

    private func impose(_ kind: Sanction.Kind, on user: UserID, _ sanction: Sanction) {
        let now = keeper.loop.settings.wallClock()
        guard !hub.sanctions.update({ $0.impose(kind, on: user, sanction, now: now) }) else { return }
        logger.warning(
            "there are more sanctions of users than a node remembers; the first to end is forgotten",
            metadata: [LogKey.count: "\(UserSanctions.most)"])
    }
}
