import CLibcrypto

/// libcrypto as a whole.
enum Libcrypto {
    /// Prepares libcrypto, once. At the end of the process it is not to free what other threads still use.
    static let isReady = OPENSSL_init_crypto(UInt64(OPENSSL_INIT_NO_ATEXIT), nil) == 1
}
