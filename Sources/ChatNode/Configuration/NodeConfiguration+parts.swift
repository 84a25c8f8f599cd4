import ChatCore
import ChatGateway

extension NodeConfiguration {
    /// What the rooms are told.
    var roomSettings: RoomSettings {
        var settings = RoomSettings()
        settings.historyLength = rooms.historyLength
        settings.memoryBytes = rooms.memoryBytes
        settings.linger = rooms.linger
        settings.presenceInterval = rooms.presenceInterval
        settings.viewInterval = rooms.viewInterval
        settings.limits = limits
        // A node's first try to come back may hang for one deadline, and its second one begins a moment later.
        settings.returnGrace = min(redis.deadline * 2 + .seconds(1), limits.sendWait / 2)
        return settings
    }

    /// What the gateway is told.
    func gatewayOptions(_ node: NodeID) -> GatewayOptions {
        var options = GatewayOptions(nodeName: self.node.name, nodeID: node)
        options.gatherTime = self.node.gatherTime
        options.host = listener.host
        options.port = listener.port
        options.limits = limits
        options.heartbeatSeconds = max(1, Int(listener.sessionHeartbeat.components.seconds))
        options.handshakeTimeout = listener.handshakeTimeout
        options.trustedProxies = listener.trustedProxies
        options.sendBufferBytes = Int32(clamping: listener.sendBuffer)
        options.receiveSocketBytes = Int32(clamping: listener.receiveBuffer)
        switch listener.allowedOrigins {
        case .any: options.allowedOrigins = nil
        case .only(let origins): options.allowedOrigins = Set(origins)
        }
        options.maxConnections = limits.sessionsPerNode + 10_000
        options.staticFiles = WebPage.files
        return options
    }
}
