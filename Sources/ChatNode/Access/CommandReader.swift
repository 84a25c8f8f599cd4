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
            revocations.update { $0.forget(now: keeper.loop.settings.wallClock()) }
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
        var isChanged = false
        for entry in entries {
            switch entry.command {
            case .revoke(let subject, let before, let until):
                isChanged = true
                revoke(subject, before: before, until: until, entry)
            case nil:
                logger.warning(
                    "a command is not known to this version; it is ignored",
                    metadata: [LogKey.position: "\(entry.position)"])
            }
        }
        guard isChanged else { return }
        var ended = 0
        for loop in hub.loops {
            ended += await loop.call { [revocations] in $0.sessions.endRevoked(revocations.isRevoked) }
        }
        guard ended > 0 else { return }
        logger.notice("sessions with revoked tokens are closed", metadata: [LogKey.count: "\(ended)"])
    }

    private func revoke(_ subject: Revocations.Subject, before: UInt64?, until: UInt64?, _ entry: CommandEntry) {
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
}
