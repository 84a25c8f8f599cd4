import ChatCore
import HTTPTypes
import Hummingbird
import HummingbirdCore
import NIOCore

/// A static file, ready to be sent, both uncompressed and compressed. Clients revalidate it each time by its entity tag
/// (RFC 9110 §8.8.3), so a new version of the node is never used with an old page.
struct StaticPage: Sendable {
    /// The file in one content coding.
    private struct Form: Sendable {
        var body: ByteBuffer
        var headers: HTTPFields
    }

    private let plain: Form
    /// Nil if compression would not make it shorter.
    private let compressed: Form?
    /// The entity tags of both forms.
    private let tags: Set<String>

    init(_ file: StaticFile) {
        // Only tells versions apart; it need not be secure.
        var hash = StableHash()
        hash.add(bytes: file.bytes)
        let name = String(hash.value, radix: 16)
        // Each form has a tag of its own (RFC 9110 §8.8.3.3).
        let (tag, compressedTag) = ("\"\(name)\"", "\"\(name)-gzip\"")
        tags = [tag, compressedTag]
        var headers = HTTPFields()
        headers[.contentType] = file.contentType
        headers[.cacheControl] = "no-cache"
        headers[.eTag] = tag
        headers[.contentSecurityPolicy] = file.contentSecurityPolicy
        // Modules and their types: they are public, and pages of other origins use them.
        let isShared = ["text/javascript", "application/typescript"].contains { file.contentType.hasPrefix($0) }
        if isShared, let name = HTTPField.Name("Access-Control-Allow-Origin") { headers[name] = "*" }
        headers[.vary] = "accept-encoding"
        plain = Form(body: ByteBuffer(bytes: file.bytes), headers: headers)
        headers[.eTag] = compressedTag
        headers[.contentEncoding] = "gzip"
        compressed = Gzip.compressed(file.bytes).map { Form(body: ByteBuffer(bytes: $0), headers: headers) }
    }

    func response(to request: Request) -> Response {
        let form = Gzip.isAccepted(request.headers[.acceptEncoding]) ? compressed ?? plain : plain
        if isKnown(request.headers[.ifNoneMatch]) { return Response(status: .notModified, headers: form.headers) }
        return Response(status: .ok, headers: form.headers, body: ResponseBody(byteBuffer: form.body))
    }

    /// Whether the client has one of the forms, according to a list of tags. Weak tags count as well (RFC 9110
    /// §13.1.2), because proxies that compress weaken a tag.
    private func isKnown(_ header: String?) -> Bool {
        guard let header else { return false }
        return header.split(whereSeparator: { $0 == "," || $0 == " " }).contains { tag in
            tag == "*" || tags.contains(String(tag.hasPrefix("W/") ? tag.dropFirst(2) : tag))
        }
    }
}
