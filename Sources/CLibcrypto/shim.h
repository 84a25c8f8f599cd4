#pragma once
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/opensslv.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

// The EVP functions that ask a key for its kind, its curve and its numbers came with OpenSSL 3 (Debian 12).
#if OPENSSL_VERSION_MAJOR < 3
#error "CLibcrypto: OpenSSL 3 or newer is needed"
#endif
