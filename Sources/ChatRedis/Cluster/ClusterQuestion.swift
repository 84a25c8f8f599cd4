import NIOCore

/// Queries a node of a Cluster for the topology.
struct ClusterQuestion: Sendable {
    let connector: RedisConnector
    let loop: any EventLoop

    /// On a connection of its own.
    func ask(_ target: RedisURL) async throws(RedisSetupError) -> ClusterTopology {
        let inspector = try await RedisInspector.connect(
            RedisConnector(connector, url: target), name: "cluster", kind: .clusterNode, timeout: connector.timeout,
            on: loop)
        defer { inspector.close() }
        return try await Self.ask(inspector, at: target)
    }

    /// On an existing connection.
    static func ask(_ inspector: RedisInspector, at target: RedisURL) async throws(RedisSetupError) -> ClusterTopology {
        let reply = try await inspector.ask("CLUSTER", "NODES")
        if case .error(let text) = reply {
            throw RedisSetupError(.notPermitted, "redis at \(target) does not tell who serves what: \(text)")
        }
        guard let text = reply.string, case .tcp(let host, let port) = target.address else {
            throw RedisSetupError(.notRedis, "redis at \(target) answers CLUSTER NODES with something that is no text")
        }
        let topology: ClusterTopology
        do throws(ClusterTopologyError) {
            topology = try ClusterTopology(
                nodes: text, from: ClusterAddress(host: host, port: port), names: target.tls != nil)
        } catch {
            throw RedisSetupError(.notRedis, "redis at \(target): \(error)")
        }
        // A node that was removed from the Cluster (CLUSTER RESET) is a Cluster of its own: its answer does not concern
        // ours.
        guard !topology.masters.isEmpty else {
            throw RedisSetupError(
                .noCluster,
                "redis at \(target) knows nobody that serves any slot (redis-cli --cluster create, or CLUSTER MEET)")
        }
        return topology
    }
}
