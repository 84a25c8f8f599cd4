import ChatCore
import ChatRedis
import Logging
import RedisSchema

/// Whoever answers a relay's commands. A request may be sent twice after a failure, so all of them are safe to repeat.
protocol RelayStore: Sendable {
    /// A reply for each command, errors of single commands included. Throws if it is not certain that they were
    /// carried out.
    func ask(_ commands: [[String]]) async throws(RelayTrouble) -> [RedisValue]
}

/// The relay's connection to Redis, whichever server that is now: it is found and connected again when it was lost, and
/// the function library is loaded where none or an older one is.
actor RelayRedis: RelayStore {
    /// Finds the present address: a fixed one, that of the master which the sentinels name, or the Cluster.
    private let find: @Sendable () async throws -> RedisTarget
    private let name: String
    private var servers: RedisServers?
    /// The attempt to connect that is under way; all requests wait for the same one.
    private var connecting: Task<RedisServers, any Error>?
    /// The function library's version was checked on these servers.
    private var prepared: Set<String> = []

    init(name: String, find: @escaping @Sendable () async throws -> RedisTarget) {
        self.name = name
        self.find = find
    }

    /// A reply for each command, errors of single commands included. Throws a ``RelayTrouble`` if Redis cannot be
    /// asked, or answers that it is not the master any more.
    func ask(_ commands: [[String]]) async throws(RelayTrouble) -> [RedisValue] {
        guard !commands.isEmpty else { return [] }
        let servers = try await connected()
        let replies: [RedisValue]
        do throws(RedisSetupError) {
            replies = try await servers.ask(commands)
        } catch {
            await drop(servers)
            throw RelayTrouble("redis: \(error)")
        }
        for reply in replies {
            guard let text = reply.error else { continue }
            if text.hasPrefix("READONLY") || text.hasPrefix("LOADING") || text.contains("Function not found") {
                await drop(servers)
                throw RelayTrouble("redis refuses: \(text)")
            }
        }
        return replies
    }

    /// All servers with keys.
    func all() async throws(RelayTrouble) -> [RedisServers.Server] {
        await (try connected()).all
    }

    func close() async {
        await servers?.close()
        servers = nil
    }

    private func drop(_ lost: RedisServers) async {
        guard servers === lost else { return }
        servers = nil
        prepared = []
        await lost.close()
    }

    private func connected() async throws(RelayTrouble) -> RedisServers {
        if let servers, !(await needsLibrary(servers)) { return servers }
        let task = connecting ?? Task { try await connect() }
        connecting = task
        do {
            let made = try await task.value
            connecting = nil
            servers = made
            return made
        } catch {
            connecting = nil
            throw RelayTrouble("redis: \(error)")
        }
    }

    /// A master may have been added to the Cluster.
    private func needsLibrary(_ servers: RedisServers) async -> Bool {
        guard servers.target.isCluster else { return false }
        for server in await servers.all where !prepared.contains(server.name) {
            if case .success = server.inspector { return true }
        }
        return false
    }

    private func connect() async throws -> RedisServers {
        let made: RedisServers
        if let servers { made = servers } else { made = try await RedisServers.connect(try await find(), name: name) }
        for server in await made.all where !prepared.contains(server.name) {
            guard case .success(let inspector) = server.inspector else { continue }
            try await Self.loadLibrary(inspector)
            prepared.insert(server.name)
        }
        return made
    }

    private static func loadLibrary(_ inspector: RedisInspector) async throws {
        let version = try await inspector.ask("FCALL", "martlet_version", "0")
        if let number = version.integer, number >= FunctionLibrary.version { return }
        if let text = version.error, !text.contains("Function not found") {
            throw RelayTrouble("FCALL martlet_version: \(text)")
        }
        let source = String(decoding: FunctionLibrary.source, as: UTF8.self)
        let loaded = try await inspector.ask("FUNCTION", "LOAD", "REPLACE", source)
        if let text = loaded.error { throw RelayTrouble("FUNCTION LOAD: \(text)") }
    }
}

/// Why something cannot be done now. It is tried again.
public struct RelayTrouble: Error, Hashable, Sendable, CustomStringConvertible {
    public let description: String
    /// For how long nothing is to be tried; nil: a usual pause.
    let pause: Duration?

    init(_ description: String, pause: Duration? = nil) {
        self.description = description
        self.pause = pause
    }
}
