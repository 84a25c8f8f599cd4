"""Sessions that say by tokens who they are. The tokens live for a few seconds, and the sessions renew them for as long as
they live.
"""

import base64
import hashlib
import hmac
import json
import secrets
import time

from session import Session, serials


class Issuer:
    """A back end that signs tokens of HS256 (RFC 7515), each for `life` seconds."""

    def __init__(self, life):
        self.life = life
        self.secret = secrets.token_hex(32)

    def settings(self):
        """For the nodes: a session that did not renew its token in time is closed five seconds after its end."""
        return {
            "MARTLET_TOKEN_HMAC_SECRET": self.secret, "MARTLET_TOKEN_LEEWAY": "0s", "MARTLET_TOKEN_GRACE": "5s",
        }

    def sign(self, user, device):
        now = int(time.time())
        claims = {
            "sub": user, "device": device, "iat": now, "exp": now + self.life, "jti": secrets.token_hex(8),
            "martlet": {"rooms": {"**": ["read", "send", "signal"]}},
        }
        signed = f"{encode({'alg': 'HS256', 'typ': 'JWT'})}.{encode(claims)}"
        return f"{signed}.{base64_of(hmac.new(self.secret.encode(), signed.encode(), hashlib.sha256).digest())}"


def encode(value):
    return base64_of(json.dumps(value, separators=(",", ":")).encode())


def base64_of(value):
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


class TokenSession(Session):
    """A session whose connections begin with a token in their first frame, and which renews it when half of it is over."""

    def __init__(self, issuer, *arguments):
        super().__init__(*arguments)
        self.issuer = issuer
        self.renewal = None

    def path(self):
        return "/ws?auth=frame"

    def opened(self):
        self.socket.send(json.dumps({"type": "hello", "token": self.token()}))

    def token(self):
        return self.issuer.sign(self.user, self.device)

    def welcomed(self, frame):
        super().welcomed(frame)
        self.renew_in(frame.get("expires"))

    def renew_in(self, left):
        if left is None:
            return self.ledger.broken("tokens", "", self.name, "the node does not say when the token ends")
        if left > self.issuer.life:
            self.ledger.broken("tokens", "", self.name, f"{left} s are left of a token of {self.issuer.life} s")
        if self.renewal:
            self.renewal.cancel()
        self.renewal = self.loop.call_later(left / 2, self.renew)

    def renew(self):
        if self.welcome is None or self.socket is None:
            return
        ref = next(serials)
        self.refs[ref] = (None, "token")
        self.socket.send(json.dumps({"type": "token", "ref": ref, "token": self.token()}))

    def renewed(self, frame):
        self.refs.pop(frame.get("ref"), None)
        self.ledger.count["tokens renewed"] += 1
        self.renew_in(frame.get("expires"))

    def expiring(self, frame):
        self.ledger.count["tokens that ended"] += 1

    def refused(self, frame):
        asked = self.refs.get(frame.get("ref"))
        if asked is not None and asked[1] != "token":
            return super().refused(frame)
        self.refs.pop(frame.get("ref"), None)
        self.ledger.count[f"error {frame.get('code')} {frame.get('name')}"] += 1
        if asked is None and self.welcome is not None or not frame.get("retry"):
            self.ledger.broken("tokens", "", self.name, f"refused: {frame}")
        elif asked is not None:
            self.renew_in(1)

    def closed(self, code, text):
        if self.renewal:
            self.renewal.cancel()
        super().closed(code, text)

    def stop(self):
        if self.renewal:
            self.renewal.cancel()
        super().stop()

    handlers = {**Session.handlers, "error": refused, "token": renewed, "expiring": expiring, "welcome": welcomed}
