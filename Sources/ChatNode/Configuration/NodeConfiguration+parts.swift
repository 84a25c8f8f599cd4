import ChatCore
import ChatGateway

extension NodeConfiguration {
    /// The settings of the rooms.
    var roomSettings: RoomSettings {
        var settings = RoomSettings()
        settings.historyLength = rooms.historyLength
        settings.historyBytes = rooms.historyBytes
        settings.holdsForSinks = !rooms.heldFor.isEmpty && !redis.address.isMemory
        settings.pageBytes = rooms.pageBytes
        settings.memoryBytes = rooms.memoryBytes
        settings.linger = rooms.linger
        settings.presenceInterval = rooms.presenceInterval
        settings.viewInterval = rooms.viewInterval
        settings.limits = limits
        // After a lost connection, the first attempt to reconnect may hang for one deadline, and the second one begins
        // a moment later.
        settings.returnGrace = min(redis.deadline * 2 + .seconds(1), limits.sendWait / 2)
        return settings
    }

    /// How long a session may stay after its token has expired, in milliseconds.
    var tokenGrace: UInt64 { UInt64(clamping: access.grace.wholeMilliseconds) }

    /// The settings of the gateway. `plan` is nil where the system does not say how many files may be open.
    func gatewayOptions(_ node: NodeID, _ plan: DescriptorPlan? = nil) -> GatewayOptions {
        var options = GatewayOptions(nodeName: self.node.name, nodeID: node)
        options.host = listener.host
        options.port = listener.port
        options.adminHost = listener.adminHost
        options.adminPort = listener.adminPort
        if listener.speaksStomp, let port = listener.stompPort {
            options.protocolPorts[ProtocolRegistry.stompPort] = port
        }
        options.certificate = certificateFiles
        options.limits = limits
        options.heartbeatSeconds = max(1, Int(listener.sessionHeartbeat.components.seconds))
        options.handshakeTimeout = listener.handshakeTimeout
        options.sendBufferBytes = Int32(clamping: listener.sendBuffer)
        options.receiveSocketBytes = Int32(clamping: listener.receiveBuffer)
        switch listener.allowedOrigins {
        case .any: options.allowedOrigins = nil
        case .only(let origins): options.allowedOrigins = Set(origins)
        }
        options.responseTimeout = listener.responseTimeout
        options.idleTimeout = listener.idleTimeout
        options.closeTimeout = listener.closeTimeout
        options.backlog = Int32(clamping: listener.backlog)
        options.trustedAddresses = listener.trustedAddresses.ranges
        options.takesProxyHeaders = listener.proxyProtocol == .accept
        options.maxConnections = plan?.connections ?? limits.allConnections
        options.descriptors = plan?.budget
        options.tokenCookie = access.cookie
        options.staticFiles = WebPage.files
        return options
    }
}
