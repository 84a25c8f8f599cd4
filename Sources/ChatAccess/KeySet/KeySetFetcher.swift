import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL

/// Fetches a key set: one GET over HTTP/1.1 and a connection of its own, with a deadline and a limit of bytes. It
/// follows no redirect and accepts status 200 only. (async-http-client would do, for minutes more of a first build.)
public struct KeySetFetcher: Sendable {
    /// Why there is no key set, without anything that the server sent.
    public struct Failure: Error, Hashable, Sendable, CustomStringConvertible {
        public let description: String
    }

    public let url: KeySetURL
    private let tls: NIOSSLContext?
    private let deadline: TimeAmount
    private let maxBytes: Int

    /// `authorityFile`: a PEM file of the authorities that are trusted in place of the system's, for private ones.
    public init(
        _ url: KeySetURL, authorityFile: String? = nil, deadline: Duration = .seconds(5), maxBytes: Int = 262_144
    ) throws(Failure) {
        self.url = url
        self.deadline = TimeAmount(deadline)
        self.maxBytes = maxBytes
        tls = url.isSecure ? try Self.makeContext(authorityFile) : nil
    }

    /// TLS for requests, with the authorities of that file in place of the system's.
    static func makeContext(_ authorityFile: String?) throws(Failure) -> NIOSSLContext {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.applicationProtocols = ["http/1.1"]
        do {
            if let authorityFile {
                let certificates = try NIOSSLCertificate.fromPEMFile(authorityFile)
                guard !certificates.isEmpty else { throw Failure(description: "it holds no PEM certificate") }
                configuration.trustRoots = .certificates(certificates)
            }
            return try NIOSSLContext(configuration: configuration)
        } catch {
            let file = authorityFile.map { ", file \($0)" } ?? ""
            throw Failure(description: "TLS cannot be set up\(file): \(FetchErrorText.of(error))")
        }
    }

    /// The bytes of the key set. The future fails with ``Failure``, at the latest at the deadline.
    public func fetch(on loop: any EventLoop) -> EventLoopFuture<[UInt8]> {
        let promise = loop.makePromise(of: [UInt8].self)
        // The host's own resolver, connecting and TLS are all part of the time.
        let end = loop.scheduleTask(in: deadline) {
            promise.fail(Failure(description: "no complete answer within \(deadline.nanoseconds / 1_000_000) ms"))
        }
        // A loop that shuts down runs no tasks.
        end.futureResult.whenFailure { _ in promise.fail(Failure(description: "the node is leaving")) }
        connect(loop, promise)
        promise.futureResult.whenComplete { _ in end.cancel() }
        return promise.futureResult
    }

    private func connect(_ loop: any EventLoop, _ promise: EventLoopPromise<[UInt8]>) {
        let bootstrap = ClientBootstrap(group: loop)
            .connectTimeout(deadline)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    if let tls { try pipeline.addHandler(Self.makeHandler(tls, url)) }
                    try pipeline.addHTTPClientHandlers(leftOverBytesStrategy: .dropBytes)
                    try pipeline.addHandler(KeySetHandler(url: url, maxBytes: maxBytes, promise))
                }
            }
        let connected: EventLoopFuture<any Channel>
        if let address = url.address {
            connected = bootstrap.connect(to: address)
        } else {
            connected = bootstrap.connect(host: url.host, port: url.port)
        }
        connected.whenComplete { result in
            switch result {
            case .success(let channel): promise.futureResult.whenComplete { _ in channel.close(promise: nil) }
            case .failure(let error): promise.fail(Failure(description: FetchErrorText.of(error)))
            }
        }
    }

    static func makeHandler(_ context: NIOSSLContext, _ url: KeySetURL) throws -> NIOSSLClientHandler {
        // Server name indication takes names only (RFC 6066 §3); NIOSSL verifies an address against the certificate.
        try NIOSSLClientHandler(context: context, serverHostname: url.address == nil ? url.host : nil)
    }
}

/// Sends the request, and completes the promise with the body of a good answer.
private final class KeySetHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundOut = HTTPClientRequestPart

    private let url: KeySetURL
    private let maxBytes: Int
    private let promise: EventLoopPromise<[UInt8]>
    private var body: [UInt8] = []
    private var wasActive = false

    init(url: KeySetURL, maxBytes: Int, _ promise: EventLoopPromise<[UInt8]>) {
        self.url = url
        self.maxBytes = maxBytes
        self.promise = promise
    }

    func channelActive(context: ChannelHandlerContext) {
        wasActive = true
        // A name may resolve to anything.
        guard url.isSecure || context.remoteAddress?.isLoopback == true else {
            return fail(context, "the host is not this machine: use https://")
        }
        var head = HTTPRequestHead(version: .http1_1, method: .GET, uri: url.target)
        head.headers.add(name: "Host", value: url.authority)
        head.headers.add(name: "Accept", value: "application/jwk-set+json, application/json")
        head.headers.add(name: "User-Agent", value: "martlet")
        head.headers.add(name: "Connection", value: "close")
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        context.fireChannelActive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            if (300...399).contains(head.status.code) {
                return fail(
                    context, "status \(head.status.code), a redirect, which is not followed: give the final address")
            }
            guard head.status == .ok else { return fail(context, "status \(head.status.code)") }
        case .body(let buffer):
            guard body.count + buffer.readableBytes <= maxBytes else {
                return fail(context, "the answer is longer than \(maxBytes) bytes")
            }
            body.append(contentsOf: buffer.readableBytesView)
        case .end:
            promise.succeed(body)
            context.close(promise: nil)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        fail(context, FetchErrorText.of(error))
    }

    func channelInactive(context: ChannelHandlerContext) {
        fail(context, "the connection was closed before the end of the answer")
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        // Whoever connects is told why there is no connection, sometimes after the channel has lost its handlers.
        if wasActive { fail(context, "the connection was closed") }
    }

    /// The first outcome counts; later ones, and those after the deadline, do nothing.
    private func fail(_ context: ChannelHandlerContext, _ problem: String) {
        promise.fail(KeySetFetcher.Failure(description: problem))
        context.close(promise: nil)
    }
}
