import CLibcrypto

/// A hash function of the SHA-2 family.
enum HashFunction: Hashable, Sendable {
    case sha256, sha384, sha512

    /// libcrypto's function. It is fetched once, because fetching takes longer than hashing a token.
    var digest: OpaquePointer? {
        switch self {
        case .sha256: Self.fetched256.pointer
        case .sha384: Self.fetched384.pointer
        case .sha512: Self.fetched512.pointer
        }
    }

    private struct Fetched: @unchecked Sendable {
        // Proof for @unchecked: libcrypto's objects of this type never change, and any thread may use them.
        let pointer: OpaquePointer?

        init(_ name: String, _ standard: () -> OpaquePointer?) {
            _ = Libcrypto.isReady
            pointer = EVP_MD_fetch(nil, name, nil) ?? standard()
        }
    }

    private static let fetched256 = Fetched("SHA256", EVP_sha256)
    private static let fetched384 = Fetched("SHA384", EVP_sha384)
    private static let fetched512 = Fetched("SHA512", EVP_sha512)
}

/// HMAC (RFC 2104).
enum SecretMAC {
    /// The code of the message; empty if libcrypto cannot compute it, which no message causes.
    static func code(for message: UnsafeRawBufferPointer, secret: [UInt8], _ hash: HashFunction) -> [UInt8] {
        var code = [UInt8](repeating: 0, count: Int(EVP_MAX_MD_SIZE))
        var count: UInt32 = 0
        let bytes = message.assumingMemoryBound(to: UInt8.self)
        guard HMAC(hash.digest, secret, Int32(secret.count), bytes.baseAddress, bytes.count, &code, &count) != nil
        else {
            ERR_clear_error()
            return []
        }
        return Array(code.prefix(Int(count)))
    }

    /// Whether `code` is the code of the message; the time does not depend on how much of it is right.
    static func isValid(
        _ code: [UInt8], for message: UnsafeRawBufferPointer, secret: [UInt8], _ hash: HashFunction
    ) -> Bool {
        let right = self.code(for: message, secret: secret, hash)
        return !right.isEmpty && right.count == code.count && CRYPTO_memcmp(right, code, code.count) == 0
    }
}
