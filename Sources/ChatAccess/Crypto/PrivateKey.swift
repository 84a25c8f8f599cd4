import CLibcrypto

/// A private key that signs tokens, for ``TokenSigner``.
final class PrivateKey: Sendable {
    private let key: KeyHandle
    let algorithm: TokenAlgorithm

    /// The public key as SubjectPublicKeyInfo in DER.
    var publicKey: [UInt8] { key.publicKey }

    /// Reads PKCS #8 in DER (RFC 5958), without a pass phrase.
    init(pkcs8 bytes: [UInt8]) throws(KeyProblem) {
        let pointer = bytes.withUnsafeBufferPointer { buffer in
            var place = Libcrypto.isReady ? buffer.baseAddress : nil
            return d2i_AutoPrivateKey(nil, &place, buffer.count)
        }
        guard let pointer else {
            ERR_clear_error()
            throw KeyProblem("no private key of a supported kind")
        }
        key = try KeyHandle(owning: pointer)
        switch key.kind {
        case .rsa: algorithm = .rs256
        case .p256: algorithm = .es256
        case .p384: algorithm = .es384
        case .p521: algorithm = .es512
        case .ed25519: algorithm = .edDSA
        case .secret: throw KeyProblem("no private key of a supported kind")
        }
    }

    /// The signature in the form of JWS.
    func signature(of message: [UInt8]) throws(KeyProblem) -> [UInt8] {
        guard let context = EVP_MD_CTX_new() else { throw failure() }
        defer { EVP_MD_CTX_free(context) }
        let digest = key.kind == .ed25519 ? nil : algorithm.hash.digest
        var count = 0
        guard EVP_DigestSignInit(context, nil, digest, nil, key.pointer) == 1,
            EVP_DigestSign(context, nil, &count, message, message.count) == 1
        else { throw failure() }
        var signature = [UInt8](repeating: 0, count: count)
        guard EVP_DigestSign(context, &signature, &count, message, message.count) == 1 else { throw failure() }
        signature = Array(signature.prefix(count))
        guard let half = key.kind.coordinateBytes else { return signature }
        return try Self.numbers(signature, half)
    }

    /// The two numbers of an ECDSA signature in DER, each with as many bytes as the curve needs.
    private static func numbers(_ signature: [UInt8], _ half: Int) throws(KeyProblem) -> [UInt8] {
        let decoded = signature.withUnsafeBufferPointer { buffer in
            var place = buffer.baseAddress
            return d2i_ECDSA_SIG(nil, &place, buffer.count)
        }
        defer { ECDSA_SIG_free(decoded) }
        var first = [UInt8](repeating: 0, count: half)
        var second = first
        guard let decoded, BN_bn2binpad(ECDSA_SIG_get0_r(decoded), &first, Int32(half)) == half,
            BN_bn2binpad(ECDSA_SIG_get0_s(decoded), &second, Int32(half)) == half
        else { throw KeyProblem("libcrypto cannot sign with this key") }
        return first + second
    }

    private func failure() -> KeyProblem {
        ERR_clear_error()
        return KeyProblem("libcrypto cannot sign with this key")
    }
}
