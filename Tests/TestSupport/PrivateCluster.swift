import Foundation

/// A Redis Cluster of a test's own: masters with even shares of the slots, each with its replicas. It ends with
/// `stop()`, or when the object is released.
package final class PrivateCluster: Sendable {
    /// The masters first, as they are at the start.
    package let servers: [PrivateRedis]
    package let masters: Int
    private let password: String?

    package var url: String {
        let user = password.map { ":\($0)@" } ?? ""
        return "redis+cluster://\(user)\(servers.map { "127.0.0.1:\($0.port)" }.joined(separator: ","))"
    }

    private init(servers: [PrivateRedis], masters: Int, password: String?) {
        self.servers = servers
        self.masters = masters
        self.password = password
    }

    deinit { stop() }

    /// Returns when every node says that all slots are served. `timeout`: milliseconds after which a node counts as
    /// failed. `configuration`: lines for all servers.
    package static func start(
        masters: Int = 3, replicas: Int = 0, timeout: Int = 1_000, password: String? = nil, configuration: [String] = []
    ) async throws -> PrivateCluster {
        let auth = password.map { ["masterauth \($0)"] } ?? []
        var servers: [PrivateRedis] = []
        for _ in 0..<masters * (1 + replicas) {
            let all = [
                "cluster-enabled yes", "cluster-port \(try PrivateRedis.freePort())", "cluster-node-timeout \(timeout)",
                "cluster-replica-validity-factor 0", "repl-diskless-sync-delay 0",
                // As in redis/redis.conf: with the default, a lost master stops the other ones too.
                "cluster-require-full-coverage no",
            ]
            servers.append(
                try await PrivateRedis.start(.init(password: password, configuration: all + auth + configuration)))
        }
        let cluster = PrivateCluster(servers: servers, masters: masters, password: password)
        for (index, server) in servers.enumerated() {
            try server.cli("CLUSTER", "SET-CONFIG-EPOCH", "\(index + 1)")
            if index < masters {
                let (first, next) = (16_384 * index / masters, 16_384 * (index + 1) / masters)
                try server.cli("CLUSTER", "ADDSLOTSRANGE", "\(first)", "\(next - 1)")
            }
        }
        for server in servers.dropFirst() {
            let bus = try servers[0].busPort()
            try server.cli("CLUSTER", "MEET", "127.0.0.1", "\(servers[0].port)", bus)
        }
        for server in servers {
            try await eventually("all know each other", within: .seconds(60)) {
                let nodes = try server.cli("CLUSTER", "NODES").split(separator: "\n")
                return nodes.count == servers.count && !nodes.contains { $0.contains("handshake") }
            }
        }
        for index in masters..<servers.count {
            let master = try servers[(index - masters) % masters].cli("CLUSTER", "MYID")
            try servers[index].cli("CLUSTER", "REPLICATE", master)
        }
        for server in servers {
            try await eventually("the cluster is served", within: .seconds(60)) {
                let info = try server.cli("CLUSTER", "INFO")
                return info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384")
            }
        }
        for server in servers.dropFirst(masters) {
            try await eventually("the replica follows", within: .seconds(60)) {
                try server.cli("INFO", "replication").contains("master_link_status:up")
            }
        }
        return cluster
    }

    /// The server that has the slot, as the others see it.
    package func master(of slot: Int) throws -> PrivateRedis {
        for server in servers where server.pid != nil {
            let lines = try server.cli("CLUSTER", "NODES").split(separator: "\n")
            for line in lines {
                let words = line.split(separator: " ")
                let serves = words.dropFirst(8).contains { range in
                    let ends = range.split(separator: "-").compactMap { Int($0) }
                    return !range.hasPrefix("[") && (ends.first.map { $0 <= slot } ?? false)
                        && (ends.last.map { slot <= $0 } ?? false)
                }
                guard serves, words[2].contains("master"), !words[2].contains("fail") else { continue }
                let port = words[1].prefix { $0 != "@" }.split(separator: ":").last.flatMap { Int($0) }
                if let found = servers.first(where: { $0.port == port && $0.pid != nil }) { return found }
            }
        }
        throw TestFailure("nobody serves slot \(slot)")
    }

    /// Moves a slot with its keys, as `redis-cli --cluster reshard` does. `meanwhile` runs when half of it has moved.
    package func move(_ slot: Int, to target: PrivateRedis, meanwhile: () async throws -> Void = {}) async throws {
        let source = try master(of: slot)
        let (from, to) = (try source.cli("CLUSTER", "MYID"), try target.cli("CLUSTER", "MYID"))
        try target.cli("CLUSTER", "SETSLOT", "\(slot)", "IMPORTING", from)
        try source.cli("CLUSTER", "SETSLOT", "\(slot)", "MIGRATING", to)
        func keys() throws -> [String] {
            try source.cli("CLUSTER", "GETKEYSINSLOT", "\(slot)", "1000").split(separator: "\n").map(String.init)
        }
        let all = try keys()
        try migrate(Array(all.prefix(all.count / 2)), from: source, to: target)
        try await meanwhile()
        while case let rest = try keys(), !rest.isEmpty { try migrate(rest, from: source, to: target) }
        try target.cli("CLUSTER", "SETSLOT", "\(slot)", "NODE", to)
        try source.cli("CLUSTER", "SETSLOT", "\(slot)", "NODE", to)
    }

    private func migrate(_ keys: [String], from source: PrivateRedis, to target: PrivateRedis) throws {
        guard !keys.isEmpty else { return }
        let login = password.map { ["AUTH", $0] } ?? []
        try source.cli(["MIGRATE", "127.0.0.1", "\(target.port)", "", "0", "5000"] + login + ["KEYS"] + keys)
    }

    package func stop() { for server in servers { server.stop() } }
}

extension PrivateRedis {
    fileprivate func busPort() throws -> String {
        try cli("CONFIG", "GET", "cluster-port").split(separator: "\n").last.map(String.init) ?? ""
    }
}
