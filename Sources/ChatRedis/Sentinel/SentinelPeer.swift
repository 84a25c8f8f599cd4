import ChatCore
import NIOCore

/// The user of a ``SentinelPeer``. All calls are made on its loop.
protocol SentinelPeerOwner: AnyObject {
    func sentinelConnected(_ index: Int)
    func sentinelSaid(_ index: Int, _ event: SentinelDialogue.Event)
    func sentinelFailed(_ index: Int, _ reason: String)
}

/// The connection to one sentinel, for as long as it lasts; the owner decides what to do next. Confined to its loop.
final class SentinelPeer: RedisChannelOwner {
    private enum State {
        /// Can transition to: connecting.
        case idle
        /// Can transition to: up, idle.
        case connecting(attempt: Int)
        /// Can transition to: idle.
        case up(RedisChannelHandler<SentinelPeer>, SentinelDialogue)
    }

    private let index: Int
    private let connector: RedisConnector
    private let masterName: String
    private let clientName: String
    private let eventLoop: any EventLoop
    weak var owner: (any SentinelPeerOwner)?
    private var state = State.idle
    private var attempts = 0

    init(_ index: Int, _ connector: RedisConnector, masterName: String, clientName: String, eventLoop: any EventLoop) {
        self.index = index
        self.connector = connector
        self.masterName = masterName
        self.clientName = clientName
        self.eventLoop = eventLoop
    }

    /// `host:port`
    var place: String { connector.url.place }

    func connect() {
        guard case .idle = state else { return }
        attempts += 1
        let attempt = attempts
        state = .connecting(attempt: attempt)
        connector.connect(self, attempt: attempt, on: eventLoop).assumeIsolatedUnsafeUnchecked().whenFailure {
            [weak self] error in
            guard let self, case .connecting(attempt) = self.state else { return }
            self.fail(self.connector.reason(error))
        }
    }

    func ask() {
        guard case .up(let handler, var dialogue) = state else { return }
        var writer = RESPWriter(capacity: 512)
        for command in dialogue.question() { writer.command(words: command) }
        state = .up(handler, dialogue)
        handler.write(writer.take())
    }

    /// Closes without notifying the owner.
    func close() {
        if case .up(let handler, _) = state { handler.close() }
        state = .idle
    }

    private func fail(_ reason: String) {
        close()
        owner?.sentinelFailed(index, reason)
    }

    // MARK: Channel events

    func channelActive(_ handler: RedisChannelHandler<SentinelPeer>) {
        guard case .connecting(handler.attempt) = state else { return handler.close() }
        let url = connector.url
        state = .up(
            handler,
            SentinelDialogue(
                masterName: masterName, user: url.user, password: url.password, clientName: clientName))
        owner?.sentinelConnected(index)
    }

    func readBegan() {}
    func readEnded() {}

    func replied(_ arena: RESPArena, from handler: RedisChannelHandler<SentinelPeer>) -> Bool {
        guard case .up(let current, var dialogue) = state, current === handler else {
            handler.close()
            return false
        }
        let event = dialogue.received(RESPReplies(arena: arena)[0])
        arena.removeAll()
        state = .up(handler, dialogue)
        if case .failed(let reason) = event {
            fail(reason)
            return false
        }
        if event != .none { owner?.sentinelSaid(index, event) }
        if case .up = state { return true }
        return false
    }

    func broke(_ error: RESPError, from handler: RedisChannelHandler<SentinelPeer>) {
        failIfCurrent(handler, error.description)
    }

    func channelFailed(_ error: any Error, from handler: RedisChannelHandler<SentinelPeer>) {
        failIfCurrent(handler, connector.reason(error))
    }

    func channelInactive(_ handler: RedisChannelHandler<SentinelPeer>) {
        failIfCurrent(handler, "closed the connection")
    }

    private func failIfCurrent(_ handler: RedisChannelHandler<SentinelPeer>, _ reason: String) {
        guard case .up(let current, _) = state, current === handler else { return handler.close() }
        fail(reason)
    }
}
