import ChatCore
import ChatRedis
import ChatRelay
import Hummingbird
import Logging
import RedisSchema

/// The relay's port for operators: `/metrics`, `/healthz` and `/readyz`.
actor RelayMonitor {
    private let relay: Relay
    private let keys: RedisKeys
    private let find: @Sendable () async throws -> RedisTarget
    private var servers: RedisServers?

    init(_ relay: Relay, keys: RedisKeys, find: @escaping @Sendable () async throws -> RedisTarget) {
        self.relay = relay
        self.keys = keys
        self.find = find
    }

    /// Serves until the task is cancelled. Throws if it cannot listen there.
    nonisolated func serve(host: String, port: Int, _ logger: Logger) async throws {
        let router = Router()
        router.get("/healthz") { _, _ in "ok\n" }
        router.get("/readyz") { _, _ in
            let isReady = await self.relay.report().reachesRedis
            return Response(
                status: isReady ? .ok : .serviceUnavailable, headers: [.contentType: "text/plain; charset=utf-8"],
                body: ResponseBody(byteBuffer: ByteBuffer(string: isReady ? "ok\n" : "redis does not answer\n")))
        }
        router.get("/metrics") { _, _ in
            Response(
                status: .ok, headers: [.contentType: RelayMetrics.contentType],
                body: ResponseBody(byteBuffer: ByteBuffer(string: await self.metrics())))
        }
        var quiet = logger
        quiet.logLevel = .warning
        let server = Application(
            router: router, configuration: .init(address: .hostname(host, port: port)),
            onServerRunning: { channel in
                logger.notice(
                    "the relay listens for operators",
                    metadata: ["address": "\(channel.localAddress?.description ?? "")"])
            }, logger: quiet)
        try await server.run()
    }

    private func metrics() async -> String { RelayMetrics.text(await relay.report(), await queues()) }

    /// What waits in Redis; nil if it cannot be read. One look at a time, over a connection of its own.
    private func queues() async -> TopEvents? {
        do {
            let servers = try await connected()
            let queries = TopEventQueries(keys: keys)
            let first = try await servers.ask([["TIME"]] + queries.beginning)
            guard let time = first.first?.array, time.count == 2, let seconds = time[0].string.flatMap({ UInt64($0) }),
                var events = queries.begin(Array(first.dropFirst()), at: seconds * 1_000)
            else { return nil }
            queries.read(try await servers.ask(queries.partitions(events)), at: seconds * 1_000, into: &events)
            return events
        } catch {
            let lost = servers
            servers = nil
            await lost?.close()
            return nil
        }
    }

    private func connected() async throws -> RedisServers {
        if let servers { return servers }
        let made = try await RedisServers.connect(try await find(), name: "martlet-relay-monitor")
        guard servers == nil else {
            await made.close()
            return try await connected()
        }
        servers = made
        return made
    }
}
