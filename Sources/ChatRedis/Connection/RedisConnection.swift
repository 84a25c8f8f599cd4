import ChatCore
import NIOCore

/// The user of a ``RedisConnection``. All calls are made on its loop.
protocol RedisConnectionOwner: AnyObject {
    /// The connection is set up: commands may be written.
    func connectionUp(_ role: RedisConnectionRole, _ info: RedisServerInfo)
    /// The connection was lost, or could not be set up. Called once for each failure; the next attempt follows
    /// automatically.
    func connectionDown(_ role: RedisConnectionRole, _ error: RedisSetupError, wasUp: Bool)
    /// One more complete reply is in the arena, which the owner empties. Returns false if the connection was dropped
    /// and reading must stop.
    func connectionReplied(_ role: RedisConnectionRole, _ arena: RESPArena, readAt: Moment) -> Bool
    /// All replies that were received together have been delivered.
    func connectionReadEnded(_ role: RedisConnectionRole)
}

/// A connection to Redis that reconnects by itself: it connects, performs the set-up of ``RedisHandshakeStateMachine``,
/// delivers replies, and after a failure waits and starts again. Confined to its loop.
///
/// Its target may change (``lead(to:)``): then the connection is closed and set up again at the new target at once.
final class RedisConnection: RedisChannelOwner {
    typealias Handler = RedisChannelHandler<RedisConnection>

    private enum State {
        /// Can transition to: connecting, waiting, stopped.
        case idle
        /// Can transition to: settingUp, waiting, stopped.
        case connecting(attempt: Int)
        /// Can transition to: up, waiting, stopped.
        case settingUp(Handler, RedisHandshakeStateMachine)
        /// Can transition to: waiting, stopped.
        case up(Handler, since: Moment)
        /// Waits for the next attempt, or for the address of Redis. Can transition to: connecting, stopped.
        case waiting
        /// Final.
        case stopped
    }

    let role: RedisConnectionRole
    private let settings: RedisLinkSettings
    private let eventLoop: any EventLoop
    /// Nil while the address of Redis is not known.
    private var connector: RedisConnector?
    /// Nil if the function library is not checked.
    private let codec: (any RedisCodecProtocol)?
    /// False for a probe, which ends at the first failure.
    private let retries: Bool
    weak var owner: (any RedisConnectionOwner)?

    private var state = State.idle
    /// `attempt` counts since the last successful set-up, `tries` since the start.
    private var attempt = 0
    private var tries = 0
    private var backoff: ReconnectBackoff
    private var generator = SystemRandomNumberGenerator()
    private var timer: Scheduled<Void>?
    private var readAt = Moment(nanoseconds: 0)

    init(
        role: RedisConnectionRole, settings: RedisLinkSettings, connector: RedisConnector?, eventLoop: any EventLoop,
        codec: (any RedisCodecProtocol)?, retries: Bool = true
    ) {
        self.role = role
        self.settings = settings
        self.connector = connector
        self.eventLoop = eventLoop
        self.codec = codec
        self.retries = retries
        backoff = ReconnectBackoff(first: settings.backoffFirst, longest: settings.backoffLongest)
    }

    static func now() -> Moment { Moment(nanoseconds: NIODeadline.now().uptimeNanoseconds) }

    var isUp: Bool {
        if case .up = state { true } else { false }
    }

    /// The number of attempts since the last successful set-up.
    var attempts: Int { attempt }

    /// The target's address, for messages.
    var place: String {
        connector.map { "redis at \($0.url)" } ?? "the redis that sentinel names"
    }

    // MARK: Requests

    /// Sets the target. Nothing happens if it is the same as before.
    func lead(to target: RedisConnector) {
        guard target.url != connector?.url else { return }
        let error = RedisSetupError(.moved, "\(place) is no longer the master; sentinel names \(target.url)")
        connector = target
        switch state {
        case .connecting:
            failed(error, again: .zero)
        case .settingUp(let handler, _), .up(let handler, _):
            handler.close()
            failed(error, again: .zero)
        case .waiting:
            timer?.cancel()
            connect()
        case .idle, .stopped:
            break
        }
    }

    func start() {
        guard case .idle = state else { return }
        connect()
    }

    /// Sends the buffer in one write; does nothing if the connection is not up.
    func write(_ buffer: ByteBuffer) {
        if case .up(let handler, _) = state { handler.write(buffer) }
    }

    /// Whether bytes from Redis wait to be read.
    var hasUnread: Bool {
        if case .up(let handler, _) = state { handler.hasUnread } else { false }
    }

    /// Whether Redis is answering: bytes from it wait to be read, or arrived within the last `time`. A node that was
    /// blocked itself must not take that for silence.
    func isAnswering(within time: Duration, now: Moment) -> Bool {
        guard case .up(let handler, let since) = state else { return false }
        return handler.hasUnread || (readAt > since && now - readAt < time)
    }

    /// Closes the connection as if it had failed.
    func drop(_ error: RedisSetupError) {
        switch state {
        case .settingUp(let handler, _), .up(let handler, _):
            handler.close()
            failed(error)
        case .connecting:
            failed(error)
        case .idle, .waiting, .stopped:
            break
        }
    }

    /// Closes it for good, without telling the owner.
    func stop() {
        switch state {
        case .settingUp(let handler, _), .up(let handler, _): handler.close()
        case .idle, .connecting, .waiting, .stopped: break
        }
        timer?.cancel()
        state = .stopped
    }

    // MARK: Connecting

    private func connect() {
        guard let connector else {
            state = .waiting
            return
        }
        attempt += 1
        tries += 1
        state = .connecting(attempt: tries)
        let attempt = tries
        connector.connect(self, attempt: attempt, on: eventLoop).assumeIsolatedUnsafeUnchecked().whenFailure {
            [weak self] error in
            self?.connectFailed(attempt: attempt, error)
        }
    }

    private func connectFailed(attempt: Int, _ error: any Error) {
        guard case .connecting(attempt) = state else { return }
        failed(described(error))
    }

    func channelActive(_ handler: Handler) {
        guard case .connecting(handler.attempt) = state, let connector else { return handler.close() }
        var handshake = settings.handshake(role, connector.url)
        handshake.checksLibrary = handshake.checksLibrary && codec != nil
        var machine = RedisHandshakeStateMachine(handshake)
        let action = machine.connected()
        state = .settingUp(handler, machine)
        after(settings.connectTimeout) { [weak self] in self?.setupTimedOut(handler) }
        switch action {
        case .send(let commands):
            var writer = RESPWriter(capacity: 512)
            for command in commands { writer.command(words: command) }
            handler.write(writer.take())
        }
    }

    private func setupTimedOut(_ handler: Handler) {
        guard case .settingUp(let current, _) = state, current === handler else { return }
        let text = "took the connection, but did not answer in \(settings.connectTimeout)\(setupHint)"
        drop(RedisSetupError(.timedOut, "\(place) \(text)"))
    }

    // MARK: Channel events

    func readBegan() { readAt = Self.now() }

    func readEnded() {
        if case .up = state { owner?.connectionReadEnded(role) }
    }

    /// Returns false if nothing more must be read from this channel.
    func replied(_ arena: RESPArena, from handler: Handler) -> Bool {
        switch state {
        case .up(let current, _) where current === handler:
            guard let owner else {
                stop()
                return false
            }
            return owner.connectionReplied(role, arena, readAt: readAt)
        case .settingUp(let current, var machine) where current === handler:
            let reply = handshakeReply(RESPReplies(arena: arena)[0], machine.expectation)
            arena.removeAll()
            let action = machine.received(reply)
            state = .settingUp(handler, machine)
            return run(action, handler)
        case .idle, .connecting, .settingUp, .up, .waiting, .stopped:
            handler.close()
            return false
        }
    }

    private func handshakeReply(
        _ reply: RESPReply, _ expectation: RedisHandshakeStateMachine.Expectation
    ) -> RedisHandshakeStateMachine.Reply {
        let refusal = reply.errorCode.map { RedisErrors.refusals.contains(String($0)) } ?? false
        if let codec, !refusal {
            switch expectation {
            case .libraryCheck: return .library(codec.libraryVerdict(ofCheck: reply))
            case .libraryLoad: return .library(codec.libraryVerdict(ofLoad: reply))
            case .plain, .nothing: break
            }
        }
        if let error = reply.error { return .error(error) }
        return reply.string.map { .text($0) } ?? .other
    }

    private func run(_ action: RedisHandshakeStateMachine.ReplyAction, _ handler: Handler) -> Bool {
        switch action {
        case .wait:
            return true
        case .checkLibrary:
            write(handler) { codec, writer in codec.encodeLibraryCheck(into: &writer) }
            return true
        case .loadLibrary:
            write(handler) { codec, writer in codec.encodeLibraryLoad(replacing: true, into: &writer) }
            return true
        case .ready(let info):
            timer?.cancel()
            state = .up(handler, since: Self.now())
            owner?.connectionUp(role, info)
            attempt = 0
            return isUp
        case .fail(let error):
            drop(error)
            return false
        }
    }

    private func write(_ handler: Handler, _ encode: (any RedisCodecProtocol, inout RESPWriter) -> Void) {
        guard let codec else { return }
        var writer = RESPWriter()
        encode(codec, &writer)
        handler.write(writer.take())
    }

    func broke(_ error: RESPError, from handler: Handler) {
        guard isCurrent(handler) else { return handler.close() }
        drop(RedisSetupError(.notRedis, "\(place): \(error.description)\(isUp ? "" : setupHint)"))
    }

    func channelFailed(_ error: any Error, from handler: Handler) {
        guard isCurrent(handler) else { return handler.close() }
        guard let error = error as? IOError else { return drop(described(error)) }
        let hint = isUp ? "" : setupHint
        drop(RedisSetupError(.closed, "\(place) broke the connection: \(error.plainText)\(hint)"))
    }

    func channelInactive(_ handler: Handler) {
        guard isCurrent(handler) else { return }
        let when = isUp ? "" : " during set-up\(setupHint)"
        drop(RedisSetupError(.closed, "\(place) closed the connection\(when)"))
    }

    /// Likely causes if the connection was closed before it ever became ready.
    private var setupHint: String {
        connector?.url.tls == nil ? " (is it a Redis? does it want rediss://?)" : " (is it a Redis? does it speak TLS?)"
    }

    private func described(_ error: any Error) -> RedisSetupError {
        connector?.describe(error) ?? RedisSetupError(.closed, "\(place): \(error)")
    }

    private func isCurrent(_ handler: Handler) -> Bool {
        switch state {
        case .settingUp(let current, _), .up(let current, _): current === handler
        case .idle, .connecting, .waiting, .stopped: false
        }
    }

    // MARK: Failing

    /// `pause` is the time until the next attempt; nil uses the backoff.
    private func failed(_ error: RedisSetupError, again pause: Duration? = nil) {
        timer?.cancel()
        var wasUp = false
        if case .up(_, let since) = state {
            wasUp = true
            if Self.now() - since >= settings.stableAfter { backoff.succeeded() }
        }
        guard retries else {
            state = .stopped
            owner?.connectionDown(role, error, wasUp: wasUp)
            return
        }
        state = .waiting
        after(pause ?? backoff.failed(using: &generator)) { [weak self] in
            guard let self, case .waiting = self.state else { return }
            self.connect()
        }
        owner?.connectionDown(role, error, wasUp: wasUp)
    }

    private func after(_ duration: Duration, _ body: @escaping () -> Void) {
        timer?.cancel()
        timer = eventLoop.assumeIsolatedUnsafeUnchecked().scheduleTask(in: TimeAmount(duration), body)
    }
}
