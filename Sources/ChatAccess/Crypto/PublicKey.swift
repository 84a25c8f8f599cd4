import CLibcrypto

/// A public key that verifies signatures: RSA, EC (P-256, P-384, P-521) or Ed25519. May be used on any thread.
final class PublicKey: Sendable {
    private let key: KeyHandle
    /// SubjectPublicKeyInfo in DER; equal keys have equal bytes.
    let encoded: [UInt8]

    var kind: KeyKind { key.kind }

    /// For logs.
    var description: String {
        switch kind {
        case .secret: "shared secret"
        case .rsa: "RSA, \(key.bits) bits"
        case .p256: "EC P-256"
        case .p384: "EC P-384"
        case .p521: "EC P-521"
        case .ed25519: "Ed25519"
        }
    }

    /// Reads a SubjectPublicKeyInfo in DER, and nothing after it.
    init(subjectPublicKeyInfo bytes: [UInt8]) throws(KeyProblem) {
        let pointer = Self.read(bytes) { place, count in
            d2i_PUBKEY(nil, &place, count)
        } drop: {
            EVP_PKEY_free($0)
        }
        guard let pointer else { throw KeyProblem("no public key of a supported kind, or more than one") }
        key = try KeyHandle(owning: pointer)
        encoded = key.publicKey
    }

    /// Reads the public key of an X.509 certificate in DER. Whether the certificate is valid is not looked at.
    init(certificate bytes: [UInt8]) throws(KeyProblem) {
        let certificate = Self.read(bytes) { place, count in
            d2i_X509(nil, &place, count)
        } drop: {
            X509_free($0)
        }
        guard let certificate else { throw KeyProblem("no X.509 certificate") }
        let pointer = X509_get_pubkey(certificate)
        X509_free(certificate)
        ERR_clear_error()
        guard let pointer else { throw KeyProblem("a certificate without a public key of a supported kind") }
        key = try KeyHandle(owning: pointer)
        encoded = key.publicKey
    }

    /// An RSA key of its numbers, as big-endian bytes.
    convenience init(rsaModulus modulus: [UInt8], exponent: [UInt8]) throws(KeyProblem) {
        let numbers = (DER.integer(modulus), DER.integer(exponent))
        // Before libcrypto computes with a number of a megabyte.
        let bits = Self.bits(modulus)
        guard (KeyHandle.minRSABits...KeyHandle.maxRSABits).contains(bits) else {
            throw KeyProblem(
                "an RSA key of \(bits) bits, \(KeyHandle.minRSABits) to \(KeyHandle.maxRSABits) are accepted")
        }
        try self.init(
            subjectPublicKeyInfo: DER.sequence(
                DER.sequence(DER.rsaEncryption, DER.null), DER.bitString(DER.sequence(numbers.0, numbers.1))))
    }

    /// A point of a curve.
    convenience init(_ kind: KeyKind, x: [UInt8], y: [UInt8]) throws(KeyProblem) {
        let curve: [UInt8]
        switch kind {
        case .p256: curve = DER.p256
        case .p384: curve = DER.p384
        case .p521: curve = DER.p521
        case .secret, .rsa, .ed25519: throw KeyProblem("not a curve of points")
        }
        guard x.count == kind.coordinateBytes, y.count == kind.coordinateBytes else {
            throw KeyProblem("x or y has not the length of its curve")
        }
        do throws(KeyProblem) {
            try self.init(
                subjectPublicKeyInfo: DER.sequence(
                    DER.sequence(DER.ecPublicKey, curve), DER.bitString([0x04] + x + y)))
        } catch {
            throw KeyProblem("no public key: not a point of its curve")
        }
    }

    convenience init(ed25519 bytes: [UInt8]) throws(KeyProblem) {
        guard bytes.count == 32 else { throw KeyProblem("x has not the length of its curve") }
        try self.init(subjectPublicKeyInfo: DER.sequence(DER.sequence(DER.ed25519), DER.bitString(bytes)))
    }

    /// Whether the signature of the message, in the form of JWS (RFC 7518 §3), is right. A signature of any other
    /// length than the algorithm's is not.
    func isValid(_ signature: [UInt8], for message: UnsafeRawBufferPointer, _ algorithm: TokenAlgorithm) -> Bool {
        guard algorithm.keyKind == kind, signature.count == signatureBytes else { return false }
        var signature = signature
        if let half = kind.coordinateBytes {
            // JWS has the two numbers side by side, libcrypto wants them in DER.
            signature = DER.sequence(DER.integer(signature[..<half]), DER.integer(signature[half...]))
        }
        guard let context = EVP_MD_CTX_new() else { return false }
        defer { EVP_MD_CTX_free(context) }
        var parameters: OpaquePointer?
        let digest = kind == .ed25519 ? nil : algorithm.hash.digest
        guard EVP_DigestVerifyInit(context, &parameters, digest, nil, key.pointer) == 1,
            !algorithm.isPSS || Self.setPSS(parameters)
        else {
            ERR_clear_error()
            return false
        }
        let bytes = message.assumingMemoryBound(to: UInt8.self)
        let isRight =
            EVP_DigestVerify(context, signature, signature.count, bytes.baseAddress, bytes.count) == 1
        // The reason of a refusal stays in a queue of the thread otherwise.
        if !isRight { ERR_clear_error() }
        return isRight
    }

    private var signatureBytes: Int {
        switch kind {
        case .rsa: (key.bits + 7) / 8
        case .p256, .p384, .p521: 2 * (kind.coordinateBytes ?? 0)
        case .ed25519: 64
        case .secret: 0
        }
    }

    /// The salt is as long as the hash (RFC 7518 §3.5).
    private static func setPSS(_ parameters: OpaquePointer?) -> Bool {
        EVP_PKEY_CTX_set_rsa_padding(parameters, RSA_PKCS1_PSS_PADDING) == 1
            && EVP_PKEY_CTX_set_rsa_pss_saltlen(parameters, RSA_PSS_SALTLEN_DIGEST) == 1
    }

    private static func bits(_ bytes: [UInt8]) -> Int {
        let number = bytes.drop { $0 == 0 }
        return number.count * 8 - (number.first?.leadingZeroBitCount ?? 0)
    }

    /// What `decode` makes of the bytes, if it used all of them.
    private static func read(
        _ bytes: [UInt8], _ decode: (inout UnsafePointer<UInt8>?, Int) -> OpaquePointer?,
        drop: (OpaquePointer) -> Void
    ) -> OpaquePointer? {
        bytes.withUnsafeBufferPointer { buffer in
            guard Libcrypto.isReady, let start = buffer.baseAddress else { return nil }
            var place: UnsafePointer<UInt8>? = start
            guard let read = decode(&place, buffer.count) else {
                ERR_clear_error()
                return nil
            }
            guard place == start + buffer.count else {
                drop(read)
                return nil
            }
            return read
        }
    }
}
