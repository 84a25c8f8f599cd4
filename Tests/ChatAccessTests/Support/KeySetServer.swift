import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import NIOSSL

/// A server on loopback that answers every request with the same bytes, well formed or not.
final class KeySetServer: Sendable {
    /// What is done when a request has come.
    enum Answer: Sendable {
        /// Sends this.
        case send(String)
        /// Sends this and closes the connection.
        case sendAndClose(String)
        /// Sends one byte of this every 20 ms.
        case drip(String)
        /// Sends the head, and then bytes without end.
        case endless(String)
        case silence
        /// Sends this as soon as somebody connects.
        case greet(String)
    }

    private let channel: any Channel
    private let requests = NIOLockedValueBox<[String]>([])
    private let answer: NIOLockedValueBox<Answer>

    var port: Int { channel.localAddress?.port ?? 0 }
    var heard: [String] { requests.withLockedValue { $0 } }

    init(_ answer: Answer, tls: NIOSSLContext? = nil) async throws {
        let requests = requests
        let box = NIOLockedValueBox(answer)
        self.answer = box
        channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    if let tls { try pipeline.addHandler(NIOSSLServerHandler(context: tls)) }
                    try pipeline.addHandler(Handler(box, requests))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
    }

    func answer(_ answer: Answer) { self.answer.withLockedValue { $0 = answer } }

    func close() async { try? await channel.close() }

    /// A good answer with this body.
    static func ok(_ body: String) -> Answer {
        .send("HTTP/1.1 200 OK\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)")
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer

        private let answer: NIOLockedValueBox<Answer>
        private let requests: NIOLockedValueBox<[String]>
        private var request = ""

        init(_ answer: NIOLockedValueBox<Answer>, _ requests: NIOLockedValueBox<[String]>) {
            self.answer = answer
            self.requests = requests
        }

        func channelActive(context: ChannelHandlerContext) {
            if case .greet(let text) = answer.withLockedValue({ $0 }) { send(context, Array(text.utf8)) }
            context.fireChannelActive()
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            request += String(buffer: unwrapInboundIn(data))
            guard request.hasSuffix("\r\n\r\n") else { return }
            requests.withLockedValue { $0.append(request) }
            switch answer.withLockedValue({ $0 }) {
            case .send(let text): send(context, Array(text.utf8))
            case .sendAndClose(let text):
                send(context, Array(text.utf8))
                context.close(promise: nil)
            case .drip(let text): drip(context, Array(text.utf8)[...])
            case .endless(let head):
                send(context, Array(head.utf8))
                endless(context)
            case .silence, .greet: break
            }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

        private func send(_ context: ChannelHandlerContext, _ bytes: [UInt8]) {
            context.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: bytes)), promise: nil)
        }

        private func drip(_ context: ChannelHandlerContext, _ bytes: ArraySlice<UInt8>) {
            guard let byte = bytes.first, context.channel.isActive else { return }
            send(context, [byte])
            context.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(20)) {
                self.drip(context, bytes.dropFirst())
            }
        }

        private func endless(_ context: ChannelHandlerContext) {
            guard context.channel.isActive else { return }
            send(context, Array(repeating: UInt8(ascii: " "), count: 10_000))
            context.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(1)) { self.endless(context) }
        }
    }
}
