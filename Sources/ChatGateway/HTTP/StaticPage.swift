import ChatCore
import HTTPTypes
import Hummingbird
import HummingbirdCore
import NIOCore

/// A static file, ready to be sent: revalidated each time by its entity tag (RFC 9110 §8.8.3), so a new version of the
/// node is never shown with an old page.
struct StaticPage: Sendable {
    private let body: ByteBuffer
    private let tag: String
    private let headers: HTTPFields

    init(_ file: StaticFile) {
        body = ByteBuffer(bytes: file.bytes)
        // To tell versions apart, nothing more.
        var hash = StableHash()
        hash.add(bytes: file.bytes)
        tag = "\"\(String(hash.value, radix: 16))\""
        var headers = HTTPFields()
        headers[.contentType] = file.contentType
        headers[.cacheControl] = "no-cache"
        headers[.eTag] = tag
        headers[.xContentTypeOptions] = "nosniff"
        headers[.contentSecurityPolicy] = file.contentSecurityPolicy
        if let name = HTTPField.Name("Referrer-Policy") { headers[name] = "no-referrer" }
        // Modules and their types: pages of other origins are made with them, and nothing in them is secret.
        let isShared = ["text/javascript", "application/typescript"].contains { file.contentType.hasPrefix($0) }
        if isShared, let name = HTTPField.Name("Access-Control-Allow-Origin") { headers[name] = "*" }
        self.headers = headers
    }

    func response(to request: Request) -> Response {
        if request.headers[.ifNoneMatch] == tag { return Response(status: .notModified, headers: headers) }
        return Response(status: .ok, headers: headers, body: ResponseBody(byteBuffer: body))
    }
}
