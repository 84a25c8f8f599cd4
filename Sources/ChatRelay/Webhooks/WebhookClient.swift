import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL

/// Sends one delivery: POST over HTTP/1.1 on a connection of its own, to an address that was checked, with a deadline
/// for everything together. It follows no redirect, and reads no more of an answer than its head.
///
/// (A name is resolved here and not by a client library, because the connection has to go to exactly the address that
/// was checked: a second resolution may give another one.)
struct WebhookClient: Sendable {
    /// What a server answered.
    struct Answer: Hashable, Sendable {
        var status: Int
        /// The field Retry-After, as the server wrote it; see ``RetryAfter``.
        var retryAfter: String?
    }

    /// Why there is no answer, without anything that the server sent.
    struct Failure: Error, Hashable, Sendable, CustomStringConvertible {
        let description: String
    }

    /// Hosts that may be on this machine or in a private network, and may be spoken to without TLS.
    let allowedHosts: Set<String>
    let timeout: Duration
    private let tls: NIOSSLContext

    /// `authorityFile`: a PEM file of the authorities that are trusted in place of the system's.
    init(allowedHosts: Set<String>, timeout: Duration, authorityFile: String? = nil) throws {
        self.allowedHosts = allowedHosts
        self.timeout = timeout
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.applicationProtocols = ["http/1.1"]
        if let authorityFile { configuration.trustRoots = .file(authorityFile) }
        tls = try NIOSSLContext(configuration: configuration)
    }

    func post(_ url: WebhookURL, _ fields: [(name: String, value: String)], _ body: [UInt8]) async throws(Failure)
        -> Answer
    {
        let isAllowed = allowedHosts.contains(url.host)
        guard url.isSecure || isAllowed else { throw Failure(description: "http:// is not allowed for \(url.host)") }
        let loop = MultiThreadedEventLoopGroup.singleton.any()
        let promise = loop.makePromise(of: Answer.self)
        let end = loop.scheduleTask(in: TimeAmount(timeout)) {
            promise.fail(Failure(description: "no answer within \(timeout)"))
        }
        resolve(url, isAllowed).hop(to: loop).whenComplete { result in
            switch result {
            case .failure(let error): promise.fail(error)
            case .success(let address): connect(to: address, url, fields, body, loop, promise)
            }
        }
        defer { end.cancel() }
        do {
            return try await promise.futureResult.get()
        } catch let failure as Failure {
            throw failure
        } catch {
            throw Failure(description: Self.text(of: error))
        }
    }

    /// The first address of the host that may be spoken to.
    private func resolve(_ url: WebhookURL, _ isAllowed: Bool) -> EventLoopFuture<SocketAddress> {
        NIOThreadPool.singleton.runIfActive(eventLoop: MultiThreadedEventLoopGroup.singleton.any()) {
            let found: [SocketAddress]
            if let address = try? SocketAddress(ipAddress: url.host, port: url.port) {
                found = [address]
            } else {
                found = HostAddresses.of(url.host, port: url.port)
            }
            guard !found.isEmpty else { throw Failure(description: "the name \(url.host) does not resolve") }
            guard let address = found.first(where: { isAllowed || AddressGuard.isPublic($0) }) else {
                throw Failure(description: "\(url.host) is not a public address")
            }
            return address
        }
    }

    private func connect(
        to address: SocketAddress, _ url: WebhookURL, _ fields: [(name: String, value: String)], _ body: [UInt8],
        _ loop: any EventLoop, _ promise: EventLoopPromise<Answer>
    ) {
        var head = HTTPRequestHead(version: .http1_1, method: .POST, uri: url.target)
        head.headers.add(name: "Host", value: url.authority)
        head.headers.add(name: "User-Agent", value: "martlet")
        head.headers.add(name: "Content-Type", value: "application/json")
        head.headers.add(name: "Content-Length", value: "\(body.count)")
        head.headers.add(name: "Connection", value: "close")
        for field in fields { head.headers.add(name: field.name, value: field.value) }
        let request = head
        ClientBootstrap(group: loop)
            .connectTimeout(TimeAmount(timeout))
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    if url.isSecure {
                        let name = (try? SocketAddress(ipAddress: url.host, port: 0)) == nil ? url.host : nil
                        try pipeline.addHandler(NIOSSLClientHandler(context: tls, serverHostname: name))
                    }
                    try pipeline.addHTTPClientHandlers(leftOverBytesStrategy: .dropBytes)
                    try pipeline.addHandler(DeliveryHandler(request, body, promise))
                }
            }
            .connect(to: address)
            .whenComplete { result in
                switch result {
                case .success(let channel): promise.futureResult.whenComplete { _ in channel.close(promise: nil) }
                case .failure(let error): promise.fail(Failure(description: Self.text(of: error)))
                }
            }
    }

    fileprivate static func text(of error: any Error) -> String {
        switch error {
        case let failure as Failure: failure.description
        case let error as NIOSSLError: "TLS: \(error)"
        case is NIOConnectionError, is IOError: "the connection failed: \(error)"
        case ChannelError.connectTimeout: "the connection was not made in time"
        default: "\(error)"
        }
    }
}

/// Sends the request, and completes the promise with the head of the answer.
private final class DeliveryHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundOut = HTTPClientRequestPart

    private let head: HTTPRequestHead
    private let body: [UInt8]
    private let promise: EventLoopPromise<WebhookClient.Answer>

    init(_ head: HTTPRequestHead, _ body: [UInt8], _ promise: EventLoopPromise<WebhookClient.Answer>) {
        self.head = head
        self.body = body
        self.promise = promise
    }

    func channelActive(context: ChannelHandlerContext) {
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: body)))), promise: nil)
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        context.fireChannelActive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        // (The status 100 and others of its kind come before the answer.)
        guard case .head(let answer) = unwrapInboundIn(data), answer.status.code >= 200 else { return }
        promise.succeed(
            WebhookClient.Answer(
                status: Int(answer.status.code), retryAfter: answer.headers.first(name: "Retry-After")))
        // The body says nothing, and may be endless.
        context.close(promise: nil)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        promise.fail(WebhookClient.Failure(description: WebhookClient.text(of: error)))
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        promise.fail(WebhookClient.Failure(description: "the connection was closed before an answer"))
        context.fireChannelInactive()
    }
}
