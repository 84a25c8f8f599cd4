import ChatWire
import HTTPTypes
import Hummingbird
import HummingbirdCore
import NIOCore

/// The way back to a request of the polling transport, from whatever loop answers it.
struct EngineResponder: Sendable {
    let handler: NIOLoopBound<ConnectionHandler>
    /// The connection of the request.
    let connection: ObjectIdentifier
    let loop: any EventLoop
    /// Fields for pages of other origins.
    let fields: [(name: String, value: String)]

    /// The packets of an answer to GET.
    func answer(_ payload: EnginePayload) { answer(200, "text/plain; charset=UTF-8", payload.bytes) }

    func answer(_ packet: EnginePacket) { answer(EnginePayload([packet])) }

    /// The packets of a POST were taken.
    func accept() { answer(200, "text/html", Array("ok".utf8)) }

    func refuse(_ error: EngineError, status: Int = 400) { answer(status, "application/json", error.body) }

    func answer(_ status: Int, _ type: String, _ body: [UInt8]) {
        if loop.inEventLoop { return handler.value.answered(status, type, body, fields) }
        loop.execute { handler.value.answered(status, type, body, fields) }
    }
}

extension ConnectionHandler {
    fileprivate func answered(
        _ status: Int, _ type: String, _ body: [UInt8], _ fields: [(name: String, value: String)]
    ) {
        guard case .answering(var answering) = state else { return }
        answering.abandon = nil
        state = .answering(answering)
        var headers = HTTPFields()
        headers[.contentType] = type
        headers[.cacheControl] = "no-store"
        for field in fields + port.routes.security.fields {
            if let name = HTTPField.Name(field.name) { headers[name] = field.value }
        }
        let response = Response(
            status: .init(code: status), headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(bytes: body)))
        answered(response, ByteBuffer(bytes: body))
    }
}
