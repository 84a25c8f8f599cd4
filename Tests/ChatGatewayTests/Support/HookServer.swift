import ChatJSON
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import TestSupport

/// A hook on loopback: an HTTP server that answers each question as the test says, at once or when the test says so.
final class HookServer: Sendable {
    enum Answer: Sendable {
        /// Status 200 with this body.
        case say(String)
        /// These bytes.
        case raw(String)
        /// These bytes, then the connection is closed.
        case rawAndClose(String)
        /// Bytes without end behind a good head.
        case endless
        /// Nothing, until ``HookServer/answer(_:_:)``.
        case hold
    }

    struct Question: Sendable {
        let head: String
        let body: String
        /// The text of the message.
        var text: String { json["text"]?.string ?? "" }
        var json: JSONValue { (try? JSONValue(parsing: Array(body.utf8))) ?? .null }

        func header(_ name: String) -> String? {
            for line in head.split(separator: "\r\n").dropFirst() {
                let parts = line.split(separator: ":", maxSplits: 1)
                if parts.count == 2, parts[0].lowercased() == name {
                    return String(parts[1].drop { $0 == " " })
                }
            }
            return nil
        }
    }

    private struct State {
        var questions: [Question] = []
        var held: [(question: Question, channel: any Channel)] = []
        var connections = 0
    }

    private let channel: any Channel
    private let state: NIOLockedValueBox<State>

    var port: Int { channel.localAddress?.port ?? 0 }
    /// All questions, in the order in which they came.
    var questions: [Question] { state.withLockedValue { $0.questions } }
    /// The connections that were opened.
    var connections: Int { state.withLockedValue { $0.connections } }

    init(_ answer: @escaping @Sendable (Question) -> Answer) async throws {
        let state = NIOLockedValueBox(State())
        self.state = state
        channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    state.withLockedValue { $0.connections += 1 }
                    try channel.pipeline.syncOperations.addHandler(Handler(answer, state))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
    }

    func close() async { try? await channel.close() }

    /// Waits until the question about the message with that text has come.
    func heard(_ text: String) async throws {
        try await eventually("a question about \(text)") { questions.contains { $0.text == text } }
    }

    /// Answers the question about that text, which was held.
    func answer(_ text: String, _ body: String) throws {
        let found = state.withLockedValue { state in
            state.held.firstIndex { $0.question.text == text }.map { state.held.remove(at: $0) }
        }
        guard let found else { throw TestFailure("no question about \(text) is held") }
        let bytes = ByteBuffer(string: Self.ok(body))
        found.channel.writeAndFlush(bytes, promise: nil)
    }

    private static func ok(_ body: String) -> String {
        "HTTP/1.1 200 OK\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)"
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer

        private let answer: @Sendable (Question) -> Answer
        private let state: NIOLockedValueBox<State>
        private var bytes: [UInt8] = []

        init(_ answer: @escaping @Sendable (Question) -> Answer, _ state: NIOLockedValueBox<State>) {
            self.answer = answer
            self.state = state
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            bytes += Array(buffer: unwrapInboundIn(data))
            let text = String(decoding: bytes, as: UTF8.self)
            guard let end = text.firstRange(of: "\r\n\r\n") else { return }
            let head = String(text[..<end.lowerBound])
            let body = String(text[end.upperBound...])
            let question = Question(head: head, body: body)
            guard let length = question.header("content-length").flatMap({ Int($0) }), body.utf8.count >= length
            else { return }
            bytes = []
            state.withLockedValue { $0.questions.append(question) }
            switch answer(question) {
            case .say(let body): send(context, HookServer.ok(body))
            case .raw(let text): send(context, text)
            case .rawAndClose(let text):
                send(context, text)
                context.close(promise: nil)
            case .endless:
                send(context, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                endless(context)
            case .hold:
                let channel = context.channel
                state.withLockedValue { $0.held.append((question, channel)) }
            }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

        private func send(_ context: ChannelHandlerContext, _ text: String) {
            context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: text)), promise: nil)
        }

        private func endless(_ context: ChannelHandlerContext) {
            guard context.channel.isActive else { return }
            send(context, "400\r\n\(String(repeating: " ", count: 1_024))\r\n")
            context.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(1)) { self.endless(context) }
        }
    }
}
