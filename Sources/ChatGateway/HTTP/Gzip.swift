import CGzip

/// gzip (RFC 1952) for data that is compressed once and sent often.
enum Gzip {
    /// Nil if the result would not be shorter.
    static func compressed(_ bytes: [UInt8]) -> [UInt8]? {
        let output = [UInt8](unsafeUninitializedCapacity: bytes.count) { output, count in
            count = bytes.withUnsafeBufferPointer {
                gzip_compress($0.baseAddress, $0.count, output.baseAddress, output.count)
            }
        }
        return output.isEmpty ? nil : output
    }

    /// Whether a client that sends this `Accept-Encoding` accepts gzip (RFC 9110 §12.5.3).
    static func isAccepted(_ header: String?) -> Bool {
        guard let header else { return false }
        var anything: Bool?
        for part in header.split(separator: ",") {
            let words = part.split(separator: ";").map { $0.trimmed.lowercased() }
            guard let coding = words.first else { continue }
            let quality = words.dropFirst().first { $0.hasPrefix("q=") }.map { Double($0.dropFirst(2)) ?? 0 } ?? 1
            if coding == "gzip" || coding == "x-gzip" { return quality > 0 }
            if coding == "*" { anything = quality > 0 }
        }
        return anything ?? false
    }
}

extension Substring {
    fileprivate var trimmed: Substring {
        let isSpace = { (character: Character) in character == " " || character == "\t" }
        var rest = self.drop(while: isSpace)
        while let last = rest.last, isSpace(last) { rest.removeLast() }
        return rest
    }
}
