import CLibcrypto
import ChatJSON

/// The SHA-256 of some bytes. Printing it does not show it.
struct SHA256Digest: Hashable, Sendable, CustomStringConvertible, CustomReflectable {
    private var first: UInt64 = 0
    private var second: UInt64 = 0
    private var third: UInt64 = 0
    private var fourth: UInt64 = 0

    init(of bytes: UnsafeRawBufferPointer) {
        let isHashed = withUnsafeMutableBytes(of: &self) { own in
            EVP_Digest(
                bytes.baseAddress, bytes.count, own.assumingMemoryBound(to: UInt8.self).baseAddress, nil,
                HashFunction.sha256.digest, nil)
        }
        // Fails only without memory. Going on would make all tokens equal.
        precondition(isHashed == 1, "libcrypto cannot compute a SHA-256")
    }

    init(of bytes: [UInt8]) {
        self = bytes.withUnsafeBytes { SHA256Digest(of: $0) }
    }

    init(of text: String) {
        var text = text
        self = text.withUTF8 { SHA256Digest(of: UnsafeRawBufferPointer($0)) }
    }

    /// Reads 64 hexadecimal digits; nil for anything else.
    init?(hexadecimal text: Substring) {
        let digits = text.utf8.compactMap { hexDigit($0).map { UInt8($0) } }
        guard digits.count == 64, text.utf8.count == 64 else { return nil }
        withUnsafeMutableBytes(of: &self) { own in
            for place in 0..<own.count { own[place] = digits[2 * place] << 4 | digits[2 * place + 1] }
        }
    }

    var bytes: [UInt8] { withUnsafeBytes(of: self) { Array($0) } }

    var description: String { "SHA-256" }
    var customMirror: Mirror { Mirror(self, children: [:]) }

    /// The first eight bytes.
    var word: UInt64 { first }

    /// The first half, by which a cache tells digests apart.
    var prefix: SHA256Prefix { SHA256Prefix(first: first, second: second) }

    /// The time does not depend on where the digests differ.
    func isEqualInConstantTime(to other: SHA256Digest) -> Bool {
        (first ^ other.first) | (second ^ other.second) | (third ^ other.third) | (fourth ^ other.fourth) == 0
    }

    /// The bytes are as good as random already.
    func hash(into hasher: inout Hasher) { hasher.combine(first) }
}

/// 128 bits of a SHA-256: nobody finds other bytes with the same (2^128 attempts).
struct SHA256Prefix: Hashable, Sendable {
    fileprivate var first: UInt64
    fileprivate var second: UInt64

    func hash(into hasher: inout Hasher) { hasher.combine(first) }
}
