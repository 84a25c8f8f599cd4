import ChatCore
import ChatWire
import NIOCore

/// All settings of the gateway. The defaults are defined here only.
public struct GatewayOptions: Sendable {
    /// Name or address to listen on.
    public var host = "127.0.0.1"
    /// 0 means any free port; ``GatewayServer/boundPort`` returns which.
    public var port = 8080
    /// Name or address of the port for operators, and its number: `/metrics` is served there only, in plaintext. Nil
    /// means that there is none; 0 means any free port, ``GatewayServer/boundAdminPort`` returns which.
    public var adminHost = "127.0.0.1"
    public var adminPort: Int?
    /// Ports of protocols without HTTP, by the names under which the protocols are registered
    /// (``ProtocolRegistry/registerPort(_:_:)``), on the same address. 0 means any free port.
    public var protocolPorts: [String: Int] = [:]
    public var limits = Limits()
    /// How often a quiet session is pinged, and how long it may take to answer. Whole seconds, at least 1.
    public var heartbeatSeconds = 25
    /// The value of `node` in `welcome`.
    public var nodeName: String
    /// Makes session names unique across all nodes and over time.
    public var nodeID: NodeID

    /// How long a connection may take from its first byte (or from being accepted) to a complete request head or
    /// handshake, and an HTTP request to be complete.
    public var handshakeTimeout: Duration = .seconds(10)
    /// How long an HTTP answer may take.
    public var responseTimeout: Duration = .seconds(30)
    /// How long an HTTP connection may stay open between requests.
    public var idleTimeout: Duration = .seconds(75)
    /// How long a peer may take to read what was queued and to answer a close frame before the connection is closed.
    public var closeTimeout: Duration = .seconds(5)

    /// How long a connection to a full node may take to send its request.
    public var doorwayTime: Duration = .milliseconds(500)
    /// The maximum number of connections of all kinds; further ones are refused as the node is full.
    public var maxConnections = 110_000
    /// How many files and sockets the process may have open, and how many of them are reserved; nil disables the check.
    public var descriptors: DescriptorBudget?
    /// The maximum size of a request's head: first line and all fields.
    public var maxHeaderBytes: Int { limits.headBytes }
    /// The maximum size of an HTTP request's body: the same as for a frame on a WebSocket.
    public var maxBodyBytes: Int { limits.frameBytes }
    /// Connections from these addresses are exempt from the limits for addresses, and their `X-Forwarded-For` is
    /// trusted.
    public var trustedAddresses = AddressRange.loopback + AddressRange.local
    /// Whether connections from these addresses may begin with a header of the PROXY protocol, version 1 or 2, which
    /// names the client.
    public var takesProxyHeaders = false
    /// Connections that the kernel queues before they are accepted.
    public var backlog: Int32 = 4_096
    /// The most bytes that one read of a WebSocket takes. The buffer lives as long as the read; up to about this size,
    /// memory comes from the thread's own cache.
    public var receiveBufferBytes = 1_024
    /// The kernel's send buffer of a connection, in bytes; nil leaves it to the kernel (it grows to megabytes for a
    /// peer that reads slowly).
    public var sendBufferBytes: Int32?
    /// The kernel's receive buffer of a connection, in bytes; nil leaves it to the kernel.
    public var receiveSocketBytes: Int32?
    /// Whether sessions are written to directly, bypassing the channel (see `RawSocket`). For plaintext only: a handler
    /// that transforms bytes would be bypassed. Has no effect with a ``certificate``.
    public var writesToDescriptor = true
    /// The certificate for TLS; nil means that the port speaks plaintext.
    public var certificate: CertificateFiles?
    /// How often the files of the certificate are checked for changes. Tests make it short.
    public var certificateCheck: Duration = .seconds(2)
    /// Origins whose pages may connect and post; nil means all. Compared in lower case.
    public var allowedOrigins: Set<String>?
    /// The name of the cookie that may carry a token; nil if none may. Requires ``allowedOrigins``.
    public var tokenCookie: String?
    /// Pages and scripts by path, such as `/` and `/martlet.js`.
    public var staticFiles: [String: StaticFile] = [:]
    /// What other services may post; nil: nothing.
    public var incomingHooks: (any IncomingHooks)?
    /// How often a loop checks deadlines. Tests make it short.
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
    /// Allows scripts, styles and connections of the page's own origin, and nothing else.
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
