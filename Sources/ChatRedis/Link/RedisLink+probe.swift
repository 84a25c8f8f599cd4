import ChatCore
import NIOCore
import NIOPosix

extension RedisLink {
    /// Connects once, performs the set-up of a command connection, and closes: determines at the start whether a node
    /// can work with that Redis.
    ///
    /// Throws the problem; ``RedisSetupError/mayHeal`` says whether waiting may help. With a `codec` the function
    /// library is checked too, and loaded if it is missing or old. Takes at most twice `timeout`.
    public static func probe(
        _ url: RedisURL, kind: RedisServerKind = .single, codec: (any RedisCodecProtocol)? = nil,
        timeout: Duration = .seconds(5),
        on eventLoop: any EventLoop = MultiThreadedEventLoopGroup.singleton.any()
    ) async throws(RedisSetupError) -> RedisServerInfo {
        var whole = RedisLinkSettings(url: url, nodeName: "probe", connectTimeout: timeout)
        whole.kind = kind
        let settings = whole
        let connector = try RedisConnector(url: url, timeout: timeout)
        let future = eventLoop.flatSubmit {
            let probe = Probe(eventLoop.makePromise(of: RedisServerInfo.self))
            let connection = RedisConnection(
                role: .commands, settings: settings, connector: connector, eventLoop: eventLoop, codec: codec,
                retries: false)
            probe.connection = connection
            connection.owner = probe
            connection.start()
            // Keeps the probe alive until it has its result.
            probe.promise.futureResult.assumeIsolatedUnsafeUnchecked().whenComplete { _ in probe.end() }
            return probe.promise.futureResult
        }
        do {
            return try await future.get()
        } catch let error as RedisSetupError {
            throw error
        } catch {
            throw RedisSetupError(.closed, "redis at \(url): the probe ended early: \(error)")
        }
    }

    private final class Probe: RedisConnectionOwner {
        let promise: EventLoopPromise<RedisServerInfo>
        var connection: RedisConnection?

        init(_ promise: EventLoopPromise<RedisServerInfo>) { self.promise = promise }

        func end() {
            connection?.stop()
            connection = nil
        }

        func connectionUp(_ role: RedisConnectionRole, _ info: RedisServerInfo) { promise.succeed(info) }

        func connectionDown(_ role: RedisConnectionRole, _ error: RedisSetupError, wasUp: Bool) { promise.fail(error) }

        func connectionReplied(_ role: RedisConnectionRole, _ arena: RESPArena, readAt: Moment) -> Bool {
            arena.removeAll()
            return true
        }

        func connectionReadEnded(_ role: RedisConnectionRole) {}
    }
}
