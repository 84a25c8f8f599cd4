import NIOCore

/// Reads what precedes HTTP on a connection, and then leaves the pipeline: it looks at the first byte, and adds TLS if
/// the client speaks it. The memory of a TLS connection is thus needed only for clients that say something.
///
/// Limits and deadlines are those of ``ConnectionHandler``, which comes behind this handler from the beginning.
final class PrefaceHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    private enum State {
        /// The bytes that follow belong to TLS or HTTP. Can transition to `over`.
        case payload
        /// Nothing is read any more: the next handlers have taken over, or the connection was refused.
        case over
    }

    /// The first byte of a TLS connection: a handshake record (RFC 8446 §5.1).
    private static let tlsHandshake: UInt8 = 22

    private let connection: ConnectionHandler
    private let port: GatewayPort
    private var state = State.payload

    init(_ connection: ConnectionHandler, port: GatewayPort) {
        self.connection = connection
        self.port = port
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = unwrapInboundIn(data)
        guard case .payload = state, let first = bytes.readableBytesView.first else { return }
        state = .over
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
