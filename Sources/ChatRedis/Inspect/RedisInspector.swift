import ChatCore
public import NIOCore
import NIOPosix

/// One connection to Redis for inspection tools: any commands in, their replies out. It loads no function library,
/// subscribes to nothing, and does not reconnect: the tool decides when to try again.
///
/// Safe to use from any task; batches are answered in the order in which they were submitted. RESP has no request IDs,
/// so the connection is closed if a batch is not answered in time.
public final class RedisInspector: Sendable {
    /// What Redis reported when the connection was set up.
    public let server: RedisServerInfo
    private let pipe: NIOLoopBound<InspectorPipe>
    private let timeout: Duration

    /// Connects. Throws the reason if that fails, also if the server is a replica or older than 7.0. `name` is shown in
    /// CLIENT LIST; `timeout` applies to connecting and to each batch.
    public static func connect(
        _ url: RedisURL, name: String, kind: RedisServerKind = .single, timeout: Duration = .seconds(5),
        on loop: any EventLoop = MultiThreadedEventLoopGroup.singleton.any()
    ) async throws(RedisSetupError) -> RedisInspector {
        let connector = try RedisConnector(url: url, timeout: timeout)
        return try await connect(connector, name: name, kind: kind, timeout: timeout, on: loop)
    }

    static func connect(
        _ connector: RedisConnector, name: String, kind: RedisServerKind, timeout: Duration, on loop: any EventLoop
    ) async throws(RedisSetupError) -> RedisInspector {
        var whole = RedisLinkSettings(url: connector.url, nodeName: name, connectTimeout: timeout)
        whole.kind = kind
        let settings = whole
        let made = loop.flatSubmit {
            let pipe = InspectorPipe(settings, connector, loop)
            let bound = NIOLoopBound(pipe, eventLoop: loop)
            pipe.start()
            return pipe.ready.futureResult.map { (bound, $0) }
        }
        let (pipe, server) = try await unwrapped(made)
        return RedisInspector(server: server, pipe: pipe, timeout: timeout)
    }

    private init(server: RedisServerInfo, pipe: NIOLoopBound<InspectorPipe>, timeout: Duration) {
        self.server = server
        self.pipe = pipe
        self.timeout = timeout
    }

    deinit { close() }

    /// Sends the commands in one write and returns a reply for each, errors included. Throws if the connection is lost.
    public func ask(_ commands: [[String]]) async throws(RedisSetupError) -> [RedisValue] {
        guard !commands.isEmpty else { return [] }
        let loop = pipe.eventLoop
        let answered = loop.flatSubmit { [pipe, timeout] in pipe.value.ask(commands, timeout: timeout) }
        return try await Self.unwrapped(answered)
    }

    /// Sends one command.
    public func ask(_ words: String...) async throws(RedisSetupError) -> RedisValue {
        try await ask([words]).first ?? .null
    }

    public func close() {
        pipe.eventLoop.execute { [pipe] in pipe.value.close() }
    }

    private static func unwrapped<Value: Sendable>(_ future: EventLoopFuture<Value>) async throws(RedisSetupError)
        -> Value
    {
        do {
            return try await future.get()
        } catch let error as RedisSetupError {
            throw error
        } catch {
            throw RedisSetupError(.closed, "the connection to redis ended: \(error)")
        }
    }
}

/// The part of an inspector that runs on the connection's loop.
private final class InspectorPipe: RedisConnectionOwner {
    private struct Batch {
        var wanted: Int
        var replies: [RedisValue] = []
        var promise: EventLoopPromise<[RedisValue]>
        var deadline: Scheduled<Void>
    }

    let ready: EventLoopPromise<RedisServerInfo>
    private let connection: RedisConnection
    private let loop: any EventLoop
    private let url: RedisURL
    private var batches: [Batch] = []
    private var failure: RedisSetupError?

    init(_ settings: RedisLinkSettings, _ connector: RedisConnector, _ loop: any EventLoop) {
        self.loop = loop
        url = settings.url
        ready = loop.makePromise()
        connection = RedisConnection(
            role: .commands, settings: settings, connector: connector, eventLoop: loop, codec: nil, retries: false)
        connection.owner = self
    }

    func start() { connection.start() }

    func ask(_ commands: [[String]], timeout: Duration) -> EventLoopFuture<[RedisValue]> {
        if let failure { return loop.makeFailedFuture(failure) }
        var writer = RESPWriter()
        for command in commands { writer.command(words: command) }
        let promise = loop.makePromise(of: [RedisValue].self)
        let deadline = loop.assumeIsolatedUnsafeUnchecked().scheduleTask(in: TimeAmount(timeout)) { [self] in
            connection.drop(RedisSetupError(.timedOut, "redis at \(url) did not answer in \(timeout)"))
        }
        batches.append(Batch(wanted: commands.count, promise: promise, deadline: deadline))
        connection.write(writer.take())
        return promise.futureResult
    }

    func close() {
        end(RedisSetupError(.closed, "the connection to redis at \(url) was closed"))
        connection.stop()
    }

    private func end(_ error: RedisSetupError) {
        failure = failure ?? error
        ready.fail(error)
        let open = batches
        batches = []
        for batch in open {
            batch.deadline.cancel()
            batch.promise.fail(error)
        }
    }

    func connectionUp(_ role: RedisConnectionRole, _ info: RedisServerInfo) { ready.succeed(info) }

    func connectionDown(_ role: RedisConnectionRole, _ error: RedisSetupError, wasUp: Bool) { end(error) }

    func connectionReplied(_ role: RedisConnectionRole, _ arena: RESPArena, readAt: Moment) -> Bool {
        let value = RedisValue(RESPReplies(arena: arena)[0])
        arena.removeAll()
        guard !batches.isEmpty else {
            connection.drop(RedisSetupError(.notRedis, "redis at \(url) answered what was not asked"))
            return false
        }
        batches[0].replies.append(value)
        if batches[0].replies.count == batches[0].wanted {
            let batch = batches.removeFirst()
            batch.deadline.cancel()
            batch.promise.succeed(batch.replies)
        }
        return true
    }

    func connectionReadEnded(_ role: RedisConnectionRole) {}
}
