import ChatCore
import ChatWire
import HTTPTypes
import HummingbirdCore
import NIOConcurrencyHelpers
import NIOCore
import NIOHTTP1

/// Encodes answers as bytes (RFC 9112).
enum HTTPAnswer {
    /// The head of an answer and, if `body` is given, all of the body; if it is nil, the parts of the body follow.
    static func bytes(_ response: Response, _ body: ByteBuffer?, _ request: Answering) -> ByteBuffer {
        let status = response.status.code
        var buffer = ByteBuffer()
        buffer.writeString("HTTP/1.1 \(status) \(HTTPResponseStatus(statusCode: status).reasonPhrase)\r\n")
        // RFC 9110 §8.6: no Content-Length with these statuses.
        let mayHaveLength = status >= 200 && status != 204 && status != 304
        for field in response.headers {
            switch field.name {
            case .connection, .transferEncoding: continue
            case .contentLength where !mayHaveLength: continue
            default: buffer.writeString("\(field.name.rawName): \(field.value)\r\n")
            }
        }
        if mayHaveLength, response.headers[.contentLength] == nil {
            if let body { buffer.writeString("Content-Length: \(body.readableBytes)\r\n") }
            if request.isChunked { buffer.writeString("Transfer-Encoding: chunked\r\n") }
        }
        if !request.isPersistent {
            buffer.writeString("Connection: close\r\n")
        } else if request.isOld {
            buffer.writeString("Connection: keep-alive\r\n")
        }
        buffer.writeString("\r\n")
        if mayHaveLength, !request.isHead, var body { buffer.writeBuffer(&body) }
        return buffer
    }

    static func chunk(_ part: ByteBuffer) -> ByteBuffer {
        var part = part
        var buffer = ByteBuffer(string: String(part.readableBytes, radix: 16) + "\r\n")
        buffer.writeBuffer(&part)
        buffer.writeString("\r\n")
        return buffer
    }

    /// An error answer after which the connection ends.
    static func refusal(_ status: Int, _ error: WireError, _ fields: [(name: String, value: String)]) -> ByteBuffer {
        let body = HTTPRoutes.body(of: error)
        var head = "HTTP/1.1 \(status) \(HTTPResponseStatus(statusCode: status).reasonPhrase)\r\n"
        for field in fields { head += "\(field.name): \(field.value)\r\n" }
        head += "Content-Type: application/json; charset=utf-8\r\nContent-Length: \(body.count)\r\n"
        head += "Connection: close\r\n\r\n"
        var buffer = ByteBuffer(string: head)
        buffer.writeBytes(body)
        return buffer
    }
}

/// Collects a body.
final class GatheredBody: ResponseBodyWriter, Sendable {
    let buffer = NIOLockedValueBox(ByteBuffer())

    func write(_ part: ByteBuffer) async throws {
        buffer.withLockedValue { buffer in
            if buffer.readableBytes == 0 {
                buffer = part
            } else {
                var part = part
                buffer.writeBuffer(&part)
            }
        }
    }

    consuming func finish(_ trailingHeaders: HTTPFields?) async throws {}
}

extension HTTPRequest {
    /// The request as the routes receive it; nil if a field has an invalid name.
    init?(_ head: RequestHead) {
        guard let method = Method(rawValue: head.method) else { return nil }
        var fields = HTTPFields()
        var isFine = true
        head.forEachField { name, value in
            guard let name = HTTPField.Name(String(decoding: name, as: UTF8.self)) else {
                isFine = false
                return
            }
            // Bytes that are not UTF-8 are kept as they are.
            fields.append(HTTPField(name: name, value: value))
        }
        guard isFine else { return nil }
        let host = head.only("host")
        self.init(method: method, scheme: "http", authority: host, path: head.target, headerFields: fields)
    }
}
