import ChatCore
import ChatGateway
import ChatRedis
import RedisSchema

/// The single Redis, or a master of the Cluster, that could be connected.
struct DoctorTarget: Sendable {
    var server: RedisServers.Server
    var inspector: RedisInspector
    /// For findings; nil if there is only one server.
    var name: String?
}

/// The checks that are made on each server by itself.
extension DoctorLook {
    /// Returns the servers that can be reached. An unreachable one is a finding.
    mutating func present(_ redis: RedisServers, replicas: Int) async -> [DoctorTarget] {
        let all = await redis.all
        var servers: [DoctorTarget] = []
        for server in all {
            let name = all.count > 1 ? server.name : nil
            switch server.inspector {
            case .success(let inspector):
                servers.append(DoctorTarget(server: server, inspector: inspector, name: name))
                report.add(DoctorServer.replicas(inspector.server.replicas, wanted: replicas, at: name))
            case .failure(let error):
                report.add([DoctorServer.away(server.name, server.slots, error)])
            }
        }
        report.add(DoctorServer.unserved(await redis.unserved, at: servers.first?.server.name))
        let versions = Set(servers.map(\.inspector.server.version)).sorted().joined(separator: " and ")
        let masters = redis.target.isCluster ? ", \(all.count == 1 ? "1 master" : "\(all.count) masters")" : ""
        report.fine(.redis, "Redis \(versions)\(masters) at \(redis.target) answers")
        return servers
    }

    mutating func settings(_ servers: [DoctorTarget]) async throws {
        var isSeen = true
        for server in servers {
            let (advice, configuration, _, refused) = try await RedisAdvice.ask(server.inspector)
            report.add(DoctorServer.findings(advice, at: server.name))
            for text in refused { report.unseen.append("settings\(Self.at(server.name)): \(text)") }
            isSeen = isSeen && !configuration.isEmpty
        }
        if isSeen, !servers.isEmpty {
            report.fine(.settings, "all settings that Martlet depends on are as in redis/redis.conf")
        }
    }

    /// Checks whether anything can be stored.
    mutating func writes(_ servers: [DoctorTarget], _ keys: RedisKeys) async throws {
        for server in servers {
            // In a Cluster, all masters but one reply that the room belongs to another one.
            let reply = try await server.inspector.ask([DoctorServer.write(keys)]).first ?? .null
            if let error = reply.error, error.hasPrefix("MOVED") || error.hasPrefix("ASK") { continue }
            report.add(DoctorServer.written(reply, at: server.name))
        }
    }

    /// By how many ms this machine's clock is ahead of Redis', as far as the measurement shows; in a Cluster, of the
    /// master that serves the nodes' keys.
    mutating func clock(_ servers: [DoctorTarget]) async throws -> Int? {
        var skews: [(server: RedisServers.Server, skew: Int)] = []
        for server in servers {
            if let skew = try await Self.clock(server.inspector) { skews.append((server.server, skew)) }
        }
        guard let here = skews.first(where: { $0.server.hasNodes })?.skew else { return nil }
        let others = skews.filter { !$0.server.hasNodes }
        report.add(
            DoctorNodes.findings(
                masters: others.map { DoctorNodes.Clock(node: $0.server.name, skew: here - $0.skew) }))
        return here
    }

    private static func clock(_ inspector: RedisInspector) async throws -> Int? {
        let before = WallClock.milliseconds
        let time = TopQueries.time(try await inspector.ask("TIME"))
        let after = WallClock.milliseconds
        guard time > 0, after >= before else { return nil }
        return time > after ? -Int(time - after) : time < before ? Int(before - time) : 0
    }

    mutating func library(_ servers: [DoctorTarget], _ nodes: Int) async throws {
        var isSeen = true
        for server in servers {
            let list = try await server.inspector.ask(
                "FUNCTION", "LIST", "LIBRARYNAME", FunctionLibrary.name, "WITHCODE")
            if let error = list.error {
                report.unseen.append("the function library\(Self.at(server.name)): \(error)")
                isSeen = false
                continue
            }
            let found = DoctorServer.library(list, nodes: nodes, at: server.name)
            // That the library is not loaded yet is reported only once.
            report.add(found.filter { !report.findings.contains($0) })
        }
        if isSeen, !servers.isEmpty, !report.findings.contains(where: { $0.area == .library }) {
            report.fine(.library, "version \(FunctionLibrary.version) is loaded, as this martlet brings it")
        }
    }

    /// Uses separate connections, which are closed with the transaction that is never executed.
    mutating func rights(_ servers: [DoctorTarget], _ keys: RedisKeys, user: String) async throws {
        var isSeen = true
        for server in servers {
            let inspector = try await RedisInspector.connect(
                server.server.url, name: "doctor-rights", kind: server.server.kind)
            defer { inspector.close() }
            let replies = try await inspector.ask([["MULTI"]] + DoctorServer.rehearsal(keys))
            if let findings = DoctorServer.rights(replies, keys, user: user, at: server.name) {
                report.add(findings)
            } else {
                isSeen = false
                let error = replies.first?.error ?? "MULTI is not answered"
                report.unseen.append("the rights of user \(user)\(Self.at(server.name)): \(error)")
            }
        }
        if isSeen, !servers.isEmpty { report.fine(.rights, "user \(user) may do all that a node does") }
    }

    private static func at(_ server: String?) -> String { server.map { " at \($0)" } ?? "" }
}
