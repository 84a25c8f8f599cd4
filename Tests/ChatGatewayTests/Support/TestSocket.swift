import NIOCore
import NIOPosix
import NIOSSL

/// A TCP connection for tests. After `deadline` it is closed, and whatever waits on it gets nil.
final class TestSocket {
    private final class Collector: ChannelInboundHandler, Sendable {
        typealias InboundIn = ByteBuffer
        let bytes: AsyncStream<[UInt8]>.Continuation

        init(_ bytes: AsyncStream<[UInt8]>.Continuation) {
            self.bytes = bytes
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            bytes.yield(Array(unwrapInboundIn(data).readableBytesView))
        }

        func channelInactive(context: ChannelHandlerContext) { bytes.finish() }
        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }

    let channel: any Channel
    private var iterator: AsyncStream<[UInt8]>.Iterator
    private var leftover: [UInt8] = []

    private init(channel: any Channel, stream: AsyncStream<[UInt8]>) {
        self.channel = channel
        iterator = stream.makeAsyncIterator()
    }

    deinit { channel.close(promise: nil) }

    /// With `tls`, the handshake begins at once, and what is written waits for its end. `source`: the address to
    /// connect from.
    static func connect(
        port: Int, autoRead: Bool = true, deadline: TimeAmount = .seconds(90), tls: NIOSSLContext? = nil,
        from source: String? = nil
    ) async throws -> TestSocket {
        let (stream, continuation) = AsyncStream.makeStream(of: [UInt8].self)
        var bootstrap = ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
        if let source { bootstrap = bootstrap.bind(to: try SocketAddress(ipAddress: source, port: 0)) }
        let channel = try await bootstrap.channelOption(.autoRead, value: autoRead)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelOption(.socketOption(.so_rcvbuf), value: autoRead ? 1 << 20 : 4_096)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    if let tls { try pipeline.addHandler(NIOSSLClientHandler(context: tls, serverHostname: nil)) }
                    try pipeline.addHandler(Collector(continuation))
                }
            }
            .connect(host: "127.0.0.1", port: port).get()
        channel.eventLoop.scheduleTask(in: deadline) { channel.close(promise: nil) }
        return TestSocket(channel: channel, stream: stream)
    }

    /// Reads again until the end. With its small buffer, the window can stay below one segment of the peer, whose
    /// kernel then sends one segment each time its persist timer fires (RFC 9293 §3.8.6.2.1), which is 10 KB a second.
    func readOn() async throws {
        try await channel.setOption(.socketOption(.so_rcvbuf), value: 1 << 20).get()
        try await channel.setOption(.autoRead, value: true).get()
    }

    func write(_ bytes: [UInt8]) async throws {
        try await channel.writeAndFlush(ByteBuffer(bytes: bytes)).get()
    }

    func write(_ text: String) async throws { try await write(Array(text.utf8)) }

    /// The next bytes that have arrived; nil if the connection has ended.
    func read() async -> [UInt8]? {
        if !leftover.isEmpty {
            defer { leftover = [] }
            return leftover
        }
        return await iterator.next()
    }

    /// Everything up to the end of the connection.
    func readToEnd() async -> String {
        var all: [UInt8] = []
        while let bytes = await read() { all += bytes }
        return String(decoding: all, as: UTF8.self)
    }

    /// One HTTP answer: its head, and as much of a body as it announces.
    func readAnswer(hasBody: Bool = true) async -> (head: String, body: String)? {
        var all: [UInt8] = []
        let end = Array("\r\n\r\n".utf8)
        while true {
            if let place = all.indices.first(where: { all[$0...].starts(with: end) }) {
                let head = String(decoding: all[..<place], as: UTF8.self)
                let length = hasBody ? Self.contentLength(head) : 0
                if all.count >= place + 4 + length {
                    let body = all[(place + 4)..<(place + 4 + length)]
                    leftover = Array(all[(place + 4 + length)...])
                    return (head, String(decoding: body, as: UTF8.self))
                }
            }
            guard let bytes = await read() else { return nil }
            all += bytes
        }
    }

    private static func contentLength(_ head: String) -> Int {
        for line in head.split(separator: "\r\n") where line.lowercased().hasPrefix("content-length:") {
            return Int(line.split(separator: ":")[1].drop(while: { $0 == " " })) ?? 0
        }
        return 0
    }
}
