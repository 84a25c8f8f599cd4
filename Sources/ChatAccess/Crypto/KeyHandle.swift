import CLibcrypto

/// Owns a key of libcrypto (`EVP_PKEY`).
final class KeyHandle: @unchecked Sendable {
    // Proof for @unchecked: the key is not changed after it was read, and libcrypto allows any number of threads to use
    // such a key at the same time (openssl-threads(7)).

    let pointer: OpaquePointer
    let kind: KeyKind
    /// The size of an RSA key's modulus, or of the curve's field.
    let bits: Int

    static let minRSABits = 2_048
    static let maxRSABits = 8_192
    /// More bits make verifying slow and nothing safer; 65537 has 17.
    private static let maxExponentBits: Int32 = 33

    /// Takes the ownership of the key, and checks whether it is one that is supported.
    init(owning pointer: OpaquePointer) throws(KeyProblem) {
        do throws(KeyProblem) {
            kind = try Self.kind(pointer)
            bits = Int(EVP_PKEY_get_bits(pointer))
            if kind == .rsa { try Self.checkRSA(pointer, bits) }
            if kind.coordinateBytes != nil { try Self.checkPoint(pointer) }
        } catch {
            EVP_PKEY_free(pointer)
            ERR_clear_error()
            throw error
        }
        // Decoding tries several forms, and leaves word of each that failed.
        ERR_clear_error()
        self.pointer = pointer
    }

    deinit { EVP_PKEY_free(pointer) }

    /// The public key as SubjectPublicKeyInfo (RFC 5280 §4.1.2.7).
    var publicKey: [UInt8] {
        let count = i2d_PUBKEY(pointer, nil)
        guard count > 0 else { return [] }
        var bytes = [UInt8](repeating: 0, count: Int(count))
        let written = bytes.withUnsafeMutableBufferPointer { buffer in
            var place = buffer.baseAddress
            return i2d_PUBKEY(pointer, &place)
        }
        return written == count ? bytes : []
    }

    private static func kind(_ key: OpaquePointer) throws(KeyProblem) -> KeyKind {
        if EVP_PKEY_is_a(key, "RSA") == 1 { return .rsa }
        if EVP_PKEY_is_a(key, "ED25519") == 1 { return .ed25519 }
        guard EVP_PKEY_is_a(key, "EC") == 1 else { throw KeyProblem("a kind of key that is not supported") }
        var name = [CChar](repeating: 0, count: 64)
        var count = 0
        let isNamed = EVP_PKEY_get_group_name(key, &name, name.count, &count) == 1
        let curve = String(decoding: name.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
        switch isNamed ? curve : "" {
        case "prime256v1", "P-256": return .p256
        case "secp384r1", "P-384": return .p384
        case "secp521r1", "P-521": return .p521
        default: throw KeyProblem("an EC key of a curve that is not supported")
        }
    }

    private static func checkRSA(_ key: OpaquePointer, _ bits: Int) throws(KeyProblem) {
        guard (minRSABits...maxRSABits).contains(bits) else {
            throw KeyProblem("an RSA key of \(bits) bits, \(minRSABits) to \(maxRSABits) are accepted")
        }
        guard
            number(key, "n", { BN_is_odd($0) == 1 }),
            number(key, "e", { BN_is_odd($0) == 1 && (2...maxExponentBits).contains(BN_num_bits($0)) })
        else { throw KeyProblem("an RSA key whose modulus or exponent is none") }
    }

    private static func number(_ key: OpaquePointer, _ name: String, _ isGood: (OpaquePointer) -> Bool) -> Bool {
        var number: OpaquePointer?
        guard EVP_PKEY_get_bn_param(key, name, &number) == 1, let number else { return false }
        defer { BN_free(number) }
        return isGood(number)
    }

    /// Whether the point is on the curve, and is not its point at infinity.
    private static func checkPoint(_ key: OpaquePointer) throws(KeyProblem) {
        let context = EVP_PKEY_CTX_new(key, nil)
        defer { EVP_PKEY_CTX_free(context) }
        guard let context, EVP_PKEY_public_check(context) == 1 else {
            throw KeyProblem("no public key: not a point of its curve")
        }
    }
}
