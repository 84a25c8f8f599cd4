import NIOCore

/// Reads what may precede HTTP on a connection, and then leaves the pipeline. First comes the header of a trusted proxy
/// (PROXY protocol). Then it looks at the first byte of the client, and adds TLS if the client speaks it; the memory of
/// a TLS connection is thus needed only for clients that say something.
///
/// Limits and deadlines are those of ``ConnectionHandler``, which comes behind this handler from the beginning.
final class PrefaceHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    private enum State {
        /// Nothing was received. Can transition to all others.
        case new
        /// A header of the PROXY protocol may come, or is being received. Can transition to `payload`, `over`.
        case proxyHeader(ProxyHeaderReader)
        /// The bytes that follow belong to TLS or HTTP. Can transition to `over`.
        case payload
        /// The next handlers have taken over, or the connection was refused: what still comes is dropped.
        case over
    }

    /// The first byte of a TLS connection: a handshake record (RFC 8446 §5.1).
    private static let tlsHandshake: UInt8 = 22

    private let connection: ConnectionHandler
    private let port: GatewayPort
    private var state = State.new

    init(_ connection: ConnectionHandler, port: GatewayPort) {
        self.connection = connection
        self.port = port
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        if case .new = state {
            let mayBeNamed = port.takesProxyHeaders && connection.isFromTrustedProxy
            state = mayBeNamed ? .proxyHeader(ProxyHeaderReader()) : .payload
        }
        if case .proxyHeader(var reader) = state {
            state = .over
            switch reader.received(bytes.readableBytesView) {
            case .incomplete:
                state = .proxyHeader(reader)
                return
            case .absent(let all): bytes = ByteBuffer(bytes: all)
            case .header(let header, let rest):
                if let client = header.client { connection.becomeClient(client) }
                bytes = ByteBuffer(bytes: rest)
            case .malformed(let why): return connection.refuseProxyHeader(why)
            }
            state = .payload
        }
        guard case .payload = state, let first = bytes.readableBytesView.first else { return }
        state = .over
        handOver(bytes, first, context)
    }

    private func handOver(_ bytes: ByteBuffer, _ first: UInt8, _ context: ChannelHandlerContext) {
        if let tls = port.tls {
            guard first == Self.tlsHandshake else {
                return connection.refusePlaintext(isHTTP: (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(first))
            }
            guard connection.mayBeginTLS() else { return }
            do {
                try context.pipeline.syncOperations.addHandler(tls.makeHandler(), position: .after(self))
            } catch {
                return connection.cut()
            }
        }
        context.fireChannelRead(wrapInboundOut(bytes))
        context.pipeline.syncOperations.removeHandler(context: context, promise: nil)
    }
}
