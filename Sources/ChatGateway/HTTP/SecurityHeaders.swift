import HTTPTypes

/// Fields that every answer has, so that browsers take it for nothing else than it is (Fetch standard, "nosniff" and
/// "Cross-Origin-Resource-Policy"), tell other sites nothing about it, and do not let other pages frame a page or hold
/// its window (HTML standard, "Cross-origin opener policies").
struct SecurityHeaders: Sendable {
    /// Whether the port speaks TLS; then browsers insist on it from the first answer on (RFC 6797).
    let isTLS: Bool

    private static let oneYear = "max-age=31536000"
    private static let referrerPolicy = HTTPField.Name("Referrer-Policy")
    private static let frameOptions = HTTPField.Name("X-Frame-Options")
    private static let openerPolicy = HTTPField.Name("Cross-Origin-Opener-Policy")

    /// Adds the fields to those of an answer.
    func add(to headers: inout HTTPFields) {
        headers[.xContentTypeOptions] = "nosniff"
        set(Self.referrerPolicy, "no-referrer", &headers)
        // What every page may read by CORS may be used in every page.
        let isShared = headers[.accessControlAllowOrigin] == "*"
        headers[.crossOriginResourcePolicy] = isShared ? "cross-origin" : "same-origin"
        if isTLS { headers[.strictTransportSecurity] = Self.oneYear }
        guard headers[.contentType]?.hasPrefix("text/html") ?? false else { return }
        set(Self.frameOptions, "DENY", &headers)
        set(Self.openerPolicy, "same-origin", &headers)
    }

    private func set(_ name: HTTPField.Name?, _ value: String, _ headers: inout HTTPFields) {
        if let name { headers[name] = value }
    }

    /// The fields of an answer that is neither a page nor shared.
    var fields: [(name: String, value: String)] {
        var headers = HTTPFields()
        add(to: &headers)
        return headers.map { ($0.name.rawName, $0.value) }
    }
}
