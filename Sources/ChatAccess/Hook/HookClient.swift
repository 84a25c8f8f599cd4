import ChatCore
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL

/// An operator's hook: where it is asked, and how.
public struct HookTarget: Sendable {
    let url: KeySetURL
    let secret: HookSecret
    let tls: NIOSSLContext?
    let timeout: TimeAmount

    /// `authorityFile`: as of ``KeySetFetcher``. `timeout`: for opening a connection.
    public init(
        _ url: KeySetURL, secret: HookSecret, authorityFile: String? = nil, timeout: Duration
    ) throws(KeySetFetcher.Failure) {
        self.url = url
        self.secret = secret
        self.timeout = TimeAmount(timeout)
        tls = url.isSecure ? try KeySetFetcher.makeContext(authorityFile) : nil
    }
}

/// Asks an operator's hook: POST over HTTP/1.1, on connections that are kept open. It follows no redirect, accepts
/// status 200 and 204 only, and bounds what it reads. ``HookQueue`` decides how many questions are asked at once, and
/// for how long.
///
/// Confined to its loop.
public final class HookClient {
    /// Why there is no answer, without anything that the server sent.
    public struct Failure: Error, Hashable, Sendable, CustomStringConvertible {
        public let trouble: HookDecision.Trouble
        public let description: String
    }

    public typealias Answer = Result<[UInt8], Failure>

    private struct Question {
        var head: HTTPRequestHead
        var body: ByteBuffer
        /// The most bytes of an answer that are read.
        var longest: Int
        var then: (Answer) -> Void
        /// The connection on which it is asked; nil while that is opened.
        var connection: HookConnection?
        /// Whether it may be asked once more, because the server may have closed the kept connection meanwhile.
        var mayRepeat = false
    }

    private let target: HookTarget
    private let loop: any EventLoop
    private var questions: [UInt64: Question] = [:]
    /// Open connections without a question, the one that was used last at the end.
    private var idle: [HookConnection] = []

    public init(_ target: HookTarget, on loop: any EventLoop) {
        self.target = target
        self.loop = loop
    }

    /// The number of connections that are open and not used now.
    package var idleCount: Int { idle.count }

    /// Asks about a message. `then` is called once, on the loop, unless the question is abandoned: with the decision,
    /// and with what is wrong, if there is none. `id` identifies the question for the hook; `now`: in milliseconds
    /// since 1970; `maxBytes`: of a text that replaces the message's.
    public func ask(
        _ number: UInt64, id: String, about content: MessageContent, in room: RoomName, now: UInt64, maxBytes: Int,
        then: @escaping (_ decision: HookDecision, _ problem: String?) -> Void
    ) {
        let body = HookMessage.body(content, in: room)
        let fields = HookMessage.fields(id: id, now: now, body: body, secret: target.secret)
        // JSON may take six bytes for one of the text.
        let longest = 6 * maxBytes + 1_024
        ask(number, fields: fields, body: body, longest: longest) { answer in
            do throws(Failure) {
                then(try HookMessage.decision(try answer.get(), maxBytes: maxBytes), nil)
            } catch {
                then(.none(error.trouble), error.description)
            }
        }
    }

    private func ask(
        _ number: UInt64, fields: [(name: String, value: String)], body: [UInt8], longest: Int,
        then: @escaping (Answer) -> Void
    ) {
        loop.assertInEventLoop()
        var head = HTTPRequestHead(version: .http1_1, method: .POST, uri: target.url.target)
        head.headers.add(name: "Host", value: target.url.authority)
        head.headers.add(name: "User-Agent", value: "martlet")
        head.headers.add(name: "Content-Type", value: "application/json")
        head.headers.add(name: "Accept", value: "application/json")
        head.headers.add(name: "Content-Length", value: "\(body.count)")
        for field in fields { head.headers.add(name: field.name, value: field.value) }
        questions[number] = Question(head: head, body: ByteBuffer(bytes: body), longest: longest, then: then)
        while let connection = idle.popLast() {
            guard connection.isOpen else { continue }
            questions[number]?.mayRepeat = true
            return send(number, on: connection)
        }
        connect(number)
    }

    /// The answer no longer matters. The connection is closed, as the answer may still come on it.
    public func abandon(_ number: UInt64) {
        loop.assertInEventLoop()
        questions.removeValue(forKey: number)?.connection?.close()
    }

    private func send(_ number: UInt64, on connection: HookConnection) {
        guard let question = questions[number] else { return keep(connection) }
        questions[number]?.connection = connection
        connection.ask(question.head, question.body, longest: question.longest) { [weak self] outcome in
            self?.ended(number, outcome, on: connection)
        }
    }

    private func ended(_ number: UInt64, _ outcome: HookConnection.Outcome, on connection: HookConnection) {
        if outcome.isReusable { keep(connection) } else { connection.close() }
        guard let question = questions[number] else { return }
        if outcome.isUnheard, question.mayRepeat {
            questions[number]?.mayRepeat = false
            questions[number]?.connection = nil
            return connect(number)
        }
        questions[number] = nil
        question.then(outcome.answer)
    }

    private func keep(_ connection: HookConnection) {
        if connection.isOpen { idle.append(connection) }
    }

    private func connect(_ number: UInt64) {
        let connection = HookConnection(
            isSecure: target.url.isSecure,
            onClose: { [weak self] closed in self?.idle.removeAll { $0 === closed } })
        // Everything happens on the loop.
        let held = NIOLoopBound((self, connection), eventLoop: loop)
        let (tls, url) = (target.tls, target.url)
        let bootstrap = ClientBootstrap(group: loop)
            .connectTimeout(target.timeout)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    if let tls { try pipeline.addHandler(KeySetFetcher.makeHandler(tls, url)) }
                    try pipeline.addHTTPClientHandlers(leftOverBytesStrategy: .dropBytes)
                    try pipeline.addHandler(held.value.1)
                }
            }
        let connected: EventLoopFuture<any Channel>
        if let address = url.address {
            connected = bootstrap.connect(to: address)
        } else {
            connected = bootstrap.connect(host: url.host, port: url.port)
        }
        connected.hop(to: loop).whenComplete { result in
            let (client, connection) = held.value
            switch result {
            case .success: client.send(number, on: connection)
            case .failure(let error): client.failed(number, FetchErrorText.of(error))
            }
        }
    }

    private func failed(_ number: UInt64, _ problem: String) {
        guard let question = questions.removeValue(forKey: number) else { return }
        question.then(.failure(Failure(trouble: .unreachable, description: problem)))
    }
}

/// A connection to the hook, which asks one question at a time.
final class HookConnection: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundOut = HTTPClientRequestPart

    struct Outcome {
        var answer: HookClient.Answer
        /// Whether another question may be asked on the connection.
        var isReusable = false
        /// Whether the connection was closed before anything of the answer came.
        var isUnheard = false
    }

    private let isSecure: Bool
    private let onClose: (HookConnection) -> Void
    private var context: ChannelHandlerContext?
    private var then: ((Outcome) -> Void)?
    private var head: HTTPResponseHead?
    private var body: [UInt8] = []
    private var maxBytes = 0

    init(isSecure: Bool, onClose: @escaping (HookConnection) -> Void) {
        self.isSecure = isSecure
        self.onClose = onClose
    }

    var isOpen: Bool { context?.channel.isActive ?? false }

    func ask(_ head: HTTPRequestHead, _ body: ByteBuffer, longest: Int, then: @escaping (Outcome) -> Void) {
        self.then = then
        maxBytes = longest
        self.head = nil
        self.body.removeAll(keepingCapacity: true)
        guard let context, context.channel.isActive else {
            return fail(.unreachable, "the connection was closed", isUnheard: true)
        }
        // A name may resolve to anything.
        guard isSecure || context.remoteAddress?.isLoopback == true else {
            return fail(.unreachable, "the host is not this machine: use https://")
        }
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        context.write(wrapOutboundOut(.body(.byteBuffer(body))), promise: nil)
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
    }

    func close() { context?.close(promise: nil) }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        fail(.unreachable, "the connection was closed", isUnheard: head == nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        // What nobody asked for.
        guard then != nil else { return close() }
        switch unwrapInboundIn(data) {
        case .head(let head):
            // (The status 100 and others of its kind come before the answer.)
            guard head.status.code >= 200 else { return }
            self.head = head
            guard head.status == .ok || head.status == .noContent else {
                let redirect = (300...399).contains(head.status.code) ? ", a redirect, which is not followed" : ""
                return fail(.badAnswer, "status \(head.status.code)\(redirect)")
            }
        case .body(let buffer):
            guard body.count + buffer.readableBytes <= maxBytes else {
                return fail(.badAnswer, "the answer is longer than \(maxBytes) bytes")
            }
            body.append(contentsOf: buffer.readableBytesView)
        case .end:
            guard let head else { return }
            finish(Outcome(answer: .success(body), isReusable: head.isKeepAlive && isOpen))
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        switch error as? HTTPParserError {
        case nil: fail(.unreachable, FetchErrorText.of(error))
        case .invalidEOFState: fail(.unreachable, "the connection was closed before the end of the answer")
        default: fail(.badAnswer, FetchErrorText.of(error))
        }
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        onClose(self)
        fail(.unreachable, "the connection was closed before the end of the answer", isUnheard: head == nil)
        context.fireChannelInactive()
    }

    /// The first outcome counts.
    private func fail(_ trouble: HookDecision.Trouble, _ problem: String, isUnheard: Bool = false) {
        finish(
            Outcome(
                answer: .failure(HookClient.Failure(trouble: trouble, description: problem)), isUnheard: isUnheard))
    }

    private func finish(_ outcome: Outcome) {
        guard let then else { return }
        self.then = nil
        then(outcome)
    }
}
