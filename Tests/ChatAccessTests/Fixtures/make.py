#!/usr/bin/env python3
"""Makes tokens.json: tokens of two other implementations, and the keys that verify them.

    python3 -m venv /tmp/tokens && /tmp/tokens/bin/pip install PyJWT==2.15.1 joserfc==1.8.0 cryptography
    /tmp/tokens/bin/python Tests/ChatAccessTests/Fixtures/make.py

The keys are made anew each time. The private ones of `signing` and `tls` are for tests that sign and serve.
"""

import datetime
import ipaddress
import json
import pathlib
import secrets

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, ed448, padding, rsa
from joserfc import jwk
from joserfc import jwt as jose

ISSUED = 1_795_000_000
EXPIRES = 4_102_444_800  # the year 2100
CLAIMS = {
    "sub": "ana",
    "iss": "https://issuer.example",
    "aud": ["chat", "shop"],
    "iat": ISSUED,
    "nbf": ISSUED,
    "exp": EXPIRES,
    "jti": "token-1",
    "name": "Ana Ñandú",
    "device": "phone",
    "martlet": {
        "rooms": {"lobby": ["read", "send"], "team:*": ["read", "send", "signal", "amend"], "news:**": ["read"]},
        "deny": ["team:secret"],
        "roles": ["helper"],
    },
}


def public_pem(key):
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


def private_pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def certificate(key, digest):
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "martlet test")])
    start = datetime.datetime(2026, 1, 1)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(start).not_valid_after(start + datetime.timedelta(days=36_500)).sign(key, digest)
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


def tls():
    """An authority, and a certificate of a server on loopback."""
    def name(text):
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    authority, server = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    start = datetime.datetime(2026, 1, 1)
    end = start + datetime.timedelta(days=36_500)

    def build(subject, key):
        return (
            x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name("martlet test authority"))
            .public_key(key.public_key()).serial_number(x509.random_serial_number()).not_valid_before(start)
            .not_valid_after(end)
        )

    top = build("martlet test authority", authority).add_extension(x509.BasicConstraints(True, None), True)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    leaf = build("localhost", server).add_extension(names, False)
    return {
        "authority": top.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode(),
        "certificate": leaf.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode(),
        "key": private_pem(server),
    }


def main():
    secret = secrets.token_urlsafe(64)
    keys = {
        "rsa": rsa.generate_private_key(65537, 2048),
        "p256": ec.generate_private_key(ec.SECP256R1()),
        "p384": ec.generate_private_key(ec.SECP384R1()),
        "p521": ec.generate_private_key(ec.SECP521R1()),
        "ed25519": ed25519.Ed25519PrivateKey.generate(),
    }
    others = {
        "rsa1024": rsa.generate_private_key(65537, 1024),
        "rsa8200": rsa.generate_private_key(65537, 8200),
        "secp256k1": ec.generate_private_key(ec.SECP256K1()),
        "ed448": ed448.Ed448PrivateKey.generate(),
    }
    kinds = {
        "HS256": "secret", "HS384": "secret", "HS512": "secret",
        "RS256": "rsa", "RS384": "rsa", "RS512": "rsa", "PS256": "rsa", "PS384": "rsa", "PS512": "rsa",
        "ES256": "p256", "ES384": "p384", "ES512": "p521", "EdDSA": "ed25519",
    }

    tokens = []
    for algorithm, kind in kinds.items():
        key = secret if kind == "secret" else private_pem(keys[kind])
        tokens.append({
            "maker": "PyJWT", "algorithm": algorithm, "key": kind, "token": jwt.encode(CLAIMS, key, algorithm=algorithm),
        })
        kid = None if kind == "secret" else kind
        header = {"alg": algorithm, "typ": "at+jwt"} | ({"kid": kid} if kid else {})
        tokens.append({
            "maker": "joserfc", "algorithm": algorithm, "key": kind, "kid": kid,
            "token": jose.encode(
                header, CLAIMS,
                jwk.OctKey.import_key(secret) if kind == "secret" else jwk.import_key(key, "RSA" if kind == "rsa" else (
                    "OKP" if kind == "ed25519" else "EC")),
                algorithms=[algorithm]),
        })

    # An ES256 signature as DER, where JWS wants two numbers of fixed length; a PS256 signature with another salt.
    def signing_input(algorithm):
        return jwt.encode(CLAIMS, private_pem(keys[kinds[algorithm]]), algorithm=algorithm).rpartition(".")[0]

    def with_signature(text, signature):
        return text + "." + jwt.utils.base64url_encode(signature).decode()

    es256, ps256 = signing_input("ES256"), signing_input("PS256")
    mac_by_pem = hmac.HMAC(public_pem(keys["rsa"]).encode(), hashes.SHA256())
    confused = jwt.utils.base64url_encode(b'{"alg":"HS256","typ":"JWT"}').decode() + "." + ps256.partition(".")[2]
    mac_by_pem.update(confused.encode())
    der = keys["rsa"].public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    mac_by_der = hmac.HMAC(der, hashes.SHA256())
    mac_by_der.update(confused.encode())
    forged = {
        "ES256 in DER": with_signature(es256, keys["p256"].sign(es256.encode(), ec.ECDSA(hashes.SHA256()))),
        "PS256 with a salt of 20 bytes": with_signature(ps256, keys["rsa"].sign(
            ps256.encode(), padding.PSS(padding.MGF1(hashes.SHA256()), 20), hashes.SHA256())),
        "HS256 by the PEM of the RSA key": with_signature(confused, mac_by_pem.finalize()),
        "HS256 by the DER of the RSA key": with_signature(confused, mac_by_der.finalize()),
    }

    newer = jose.encode(
        {"alg": "Ed25519"}, CLAIMS, jwk.import_key(private_pem(keys["ed25519"]), "OKP"), algorithms=["Ed25519"])

    def public_jwk(name, key):
        kind = "RSA" if name.startswith("rsa") else ("OKP" if name.startswith("ed") else "EC")
        return jwk.import_key(public_pem(key), kind).as_dict(private=False) | {"kid": name}

    made = {
        "issuedAt": ISSUED, "expiresAt": EXPIRES, "secret": secret,
        "pem": {name: public_pem(key) for name, key in (keys | others).items()},
        "signing": {
            "rsa": private_pem(rsa.generate_private_key(65537, 2048)),
            "p256": private_pem(ec.generate_private_key(ec.SECP256R1())),
            "p384": private_pem(ec.generate_private_key(ec.SECP384R1())),
            "p521": private_pem(ec.generate_private_key(ec.SECP521R1())),
            "ed25519": private_pem(ed25519.Ed25519PrivateKey.generate()),
        },
        "tls": tls(),
        "certificates": {
            "rsa": certificate(keys["rsa"], hashes.SHA256()), "p256": certificate(keys["p256"], hashes.SHA256()),
            "ed25519": certificate(keys["ed25519"], None),
        },
        "jwk": {name: public_jwk(name, key) for name, key in (keys | others).items()},
        "privateJWK": jwk.ECKey.generate_key("P-256", private=True).as_dict(private=True) | {"kid": "private"},
        "tokens": tokens, "newer": newer, "forged": forged,
    }
    path = pathlib.Path(__file__).with_name("tokens.json")
    path.write_text(json.dumps(made, indent=1) + "\n")
    print(f"{path}: {len(tokens)} tokens")


if __name__ == "__main__":
    main()
