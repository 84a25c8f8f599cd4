import ChatCore
import ChatWire
import NIOCore

/// Everything about the gateway that can be set. Defaults are written here once.
public struct GatewayOptions: Sendable {
    /// Name or address to listen on.
    public var host = "127.0.0.1"
    /// 0: any free port; ``GatewayServer/boundPort`` tells which.
    public var port = 8080
    public var limits = Limits()
    /// How often a quiet session is pinged, and how long it may take to answer. Whole seconds, at least 1.
    public var heartbeatSeconds = 25
    /// What `welcome` says in `node`.
    public var nodeName: String
    /// Makes session names unique over all nodes and times.
    public var nodeID: NodeID

    /// How long a connection may take from its first byte (or from being accepted) to a complete request head or
    /// handshake, and an HTTP request to be complete.
    public var handshakeTimeout: Duration = .seconds(10)
    /// How long an HTTP answer may take.
    public var responseTimeout: Duration = .seconds(30)
    /// How long an HTTP connection may stay open between requests.
    public var idleTimeout: Duration = .seconds(75)
    /// How long a peer may take to answer a close frame, and to read what was queued before it, before the connection
    /// is cut.
    public var closeTimeout: Duration = .seconds(5)

    /// How long a connection to a node that is full may take to say what it wants.
    public var doorwayTime: Duration = .milliseconds(500)
    /// Connections of all kinds; more are told that the node is full.
    public var maxConnections = 110_000
    /// How many files and sockets the process may have open, and what of them is not for connections; nil: nobody looks.
    public var descriptors: DescriptorBudget?
    /// Bytes of a request's head, first line and all fields.
    public var maxHeaderBytes: Int { limits.headBytes }
    /// Bytes of an HTTP request's body: what is said over HTTP may be as long as what is said over a WebSocket.
    public var maxBodyBytes: Int { limits.frameBytes }
    /// Connections from here are not counted by their address, and believed in what they say of the client's (`X-Forwarded-For`).
    public var trustedAddresses = AddressRange.loopback + AddressRange.local
    /// Connections that the kernel holds before they are accepted.
    public var backlog: Int32 = 4_096
    /// Bytes that one read of a WebSocket takes at most. The buffer lives as long as the read; up to about this size, memory comes
    /// from the thread's own cache.
    public var receiveBufferBytes = 1_024
    /// The kernel's send buffer of a connection, in bytes; nil: as the kernel sees fit (it grows to megabytes for a
    /// peer that is slow to read).
    public var sendBufferBytes: Int32?
    /// The kernel's receive buffer of a connection, in bytes; nil: as the kernel sees fit.
    public var receiveSocketBytes: Int32?
    /// Whether sessions are written to past the channel (see `RawSocket`). Only for plaintext: a handler that changes
    /// bytes on their way would be passed by.
    public var writesToDescriptor = true
    /// Origins whose pages may connect and post; nil: all. Compared in lower case.
    public var allowedOrigins: Set<String>?
    /// Pages and scripts by path, such as `/` and `/martlet.js`.
    public var staticFiles: [String: StaticFile] = [:]
    /// How often a loop looks at what is due. Tests make it short.
    public var tick: Duration = .seconds(1)

    public init(nodeName: String, nodeID: NodeID) {
        self.nodeName = nodeName
        self.nodeID = nodeID
    }
}

extension GatewayOptions {
    var requestLimits: RequestReader.Limits {
        .init(headBytes: maxHeaderBytes, headFields: limits.headFields, bodyBytes: maxBodyBytes)
    }

    var requestTimes: RequestClock.Times {
        .init(receiving: handshakeTimeout, answering: responseTimeout, idle: idleTimeout, closing: closeTimeout)
    }
}

/// A file that the gateway serves from memory.
public struct StaticFile: Sendable {
    /// Scripts, styles and connections of the page's own origin, nothing else.
    public static let defaultPolicy =
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        + "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

    public var contentType: String
    public var bytes: [UInt8]
    public var contentSecurityPolicy: String

    public init(contentType: String, bytes: [UInt8], contentSecurityPolicy: String = StaticFile.defaultPolicy) {
        self.contentType = contentType
        self.bytes = bytes
        self.contentSecurityPolicy = contentSecurityPolicy
    }
}

extension Moment {
    package static var now: Moment { Moment(nanoseconds: NIODeadline.now().uptimeNanoseconds) }
}
