import ChatCore
import NIOCore
import NIOHTTPTypes

/// Tells a connection's ``HTTPClock`` when requests and answers are complete.
final class HTTPWatch: ChannelDuplexHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    private let clock: HTTPClock

    init(clock: HTTPClock) {
        self.clock = clock
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head, .body: break
        case .end: clock.requestEnded(now: .now)
        }
        context.fireChannelRead(data)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        switch unwrapOutboundIn(data) {
        case .head, .body: break
        case .end: clock.responseEnded(now: .now)
        }
        context.write(data, promise: promise)
    }
}
