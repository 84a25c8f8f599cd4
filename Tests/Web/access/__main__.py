#!/usr/bin/env python3
"""Access as users meet it: tokens of other programs, keys that change, revocation on several nodes, and browsers.

    python3 Tests/Web/access --url http://127.0.0.1:8080 --secret SECRET --redis-port 6390 --node NODE --binary MARTLET \
        --nodes 4001,4002,4003 --state DIR

The nodes behind --url run with that secret, with the cookie `chat`, and allow pages of --url alone; --state is the directory of
scripts/up that started them. Needs Debian's chromium, and playwright, PyJWT, joserfc and websockets from PyPI. Exits 1 if a check fails.
"""
import argparse
import asyncio
import functools
import http.server
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

import jwt
import joserfc.jwk
import joserfc.jwt
import websockets
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from playwright.async_api import async_playwright

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.append(str(ROOT / "Tests/Web/browser"))

from bench import holds  # noqa: E402

PAGE = ROOT / "Sources/ChatAccess/README.md"
#: What runs each snippet of the page; the programs that are not there are said and left out.
RUNNERS = {"sign.py": [sys.executable], "sign.mjs": ["node"], "Sign.java": ["java"], "sign.sh": ["sh"], "sign.pl": ["perl"]}
ROOMS = {"rooms": {"lobby": ["read", "send", "signal"]}}


class Failure(Exception):
    """A check that did not hold."""


def check(condition, what):
    if not condition:
        raise Failure(what)
    return condition


def claims(user="ana", lives=3600, **more):
    now = int(time.time())
    return {"sub": user, "iat": now, "exp": now + lives, "martlet": ROOMS, **more}


def status(url, token=None, body=None, headers=None):
    fields = {**({"Authorization": f"Bearer {token}"} if token else {}), **(headers or {})}
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=data, headers=fields), timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


# ------------------------------------------------------------------------------------------------ tokens of the documents

def snippets(url, secret, node):
    """Each snippet of the page makes a token that nodes accept."""
    text = PAGE.read_text()
    ran = []
    with tempfile.TemporaryDirectory() as folder:
        for name, runner in RUNNERS.items():
            found = check(re.search(rf"<!-- tutorial: {re.escape(name)} -->\n```\w+\n(.*?)```", text, re.DOTALL), f"no {name}")
            file = pathlib.Path(folder, name)
            file.write_text(found[1])
            program = node if runner == ["node"] else runner[0]
            if not shutil.which(program):
                print(f"skip {name}: no {program}")
                continue
            made = subprocess.run(
                [program, str(file)], env={**os.environ, "MARTLET_TOKEN_HMAC_SECRET": secret}, capture_output=True, text=True,
                timeout=60, check=False)
            check(made.returncode == 0, f"{name}: {made.stderr}")
            token = made.stdout.strip()
            lobby, hall = (f"{url}/api/rooms/{room}/messages" for room in ("lobby", "hall"))
            check(status(lobby, token) == 200 and status(hall, token) == 403, f"{name}: its token is not accepted")
            ran.append(name)
    check({"sign.py", "sign.mjs", "sign.sh"} <= set(ran), f"only {ran} ran")
    print(f"ok   tokens of {', '.join(ran)}")


# ---------------------------------------------------------------------------------------------- keys of an identity provider

class KeySet(http.server.BaseHTTPRequestHandler):
    """A key set that changes, and counts who asks."""
    keys = []
    asked = []

    def do_GET(self):  # pylint: disable=invalid-name
        self.asked.append(time.monotonic())
        body = json.dumps({"keys": self.keys}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        pass


def kind(key):
    """The type of the key, as a key set calls it."""
    names = {rsa.RSAPrivateKey: "RSA", ec.EllipticCurvePrivateKey: "EC"}
    return next((name for base, name in names.items() if isinstance(key, base)), "OKP")


def public(key, kid):
    """A key as a key set has it."""
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return {**joserfc.jwk.JWKRegistry.import_key(pem, kind(key)).as_dict(private=False), "kid": kid, "use": "sig"}


def provider(binary):
    """Tokens of two libraries in every algorithm, by a key set; then a key that is new."""
    keys = {
        "rsa": rsa.generate_private_key(public_exponent=65537, key_size=2048), "p256": ec.generate_private_key(ec.SECP256R1()),
        "p384": ec.generate_private_key(ec.SECP384R1()), "p521": ec.generate_private_key(ec.SECP521R1()),
        "ed": ed25519.Ed25519PrivateKey.generate(),
    }
    algorithms = {
        "rsa": ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"], "p256": ["ES256"], "p384": ["ES384"], "p521": ["ES512"],
        "ed": ["EdDSA"],
    }
    # One that a node cannot use must not keep it from the others.
    KeySet.keys = [{"kty": "oct", "k": "AAAA", "kid": "secret"}] + [public(key, kid) for kid, key in keys.items()]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), KeySet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = free_port()
    node = subprocess.Popen(
        [binary, "serve"], stderr=subprocess.DEVNULL, env={
            "PATH": os.environ["PATH"], "MARTLET_REDIS_URL": "memory:", "MARTLET_PORT": str(port), "MARTLET_DRAIN_TIME": "0s",
            "MARTLET_TOKEN_JWKS_URL": f"http://127.0.0.1:{server.server_port}/jwks", "MARTLET_TOKEN_AUDIENCE": "chat",
            "MARTLET_LIMIT_COST_PER_SECOND": "10000000", "MARTLET_LIMIT_COST_BURST": "100000000",
        })
    try:
        url = f"http://127.0.0.1:{port}/api/rooms/lobby/messages"
        wait_until(lambda: is_ready(f"http://127.0.0.1:{port}/readyz"), "the node is ready")
        count = 0
        for kid, names in algorithms.items():
            for name in names:
                said = claims(aud=["shop", "chat"])
                tokens = [jwt.encode(said, keys[kid], algorithm=name, headers={"kid": kid})]
                own = joserfc.jwk.JWKRegistry.import_key(private_pem(keys[kid]), kind(keys[kid]))
                tokens.append(joserfc.jwt.encode({"alg": name, "kid": kid}, said, own, algorithms=[name]))
                for token in tokens:
                    check(status(url, token) == 200, f"{name}: not accepted")
                    check(status(url, token[:-8] + "AAAAAAAA") == 401, f"{name}: a wrong signature is accepted")
                    count += 1
        check(status(url, jwt.encode(claims(aud="shop"), keys["p256"], algorithm="ES256", headers={"kid": "p256"})) == 401,
              "a token for another audience is accepted")
        check(len(KeySet.asked) == 1, f"the key set was fetched {len(KeySet.asked)} times")
        print(f"ok   {count} tokens of PyJWT and joserfc in {sum(map(len, algorithms.values()))} algorithms")

        new = ec.generate_private_key(ec.SECP256R1())
        # The node may have fetched less than 10 s ago.
        time.sleep(max(0, KeySet.asked[-1] + 10.2 - time.monotonic()))
        KeySet.keys = KeySet.keys + [public(new, "new")]
        token = jwt.encode(claims(aud="chat"), new, algorithm="ES256", headers={"kid": "new"})
        began = time.monotonic()
        check(status(url, token) == 200, "a token of a new key is not accepted at its first use")
        took = time.monotonic() - began
        check(took < 1, f"that took {took:.1f} s")
        for number in range(30):
            unknown = jwt.encode(claims(aud="chat"), new, algorithm="ES256", headers={"kid": f"unknown {number}"})
            check(status(url, unknown) == 401, "a token of an unknown key is accepted")
        check(len(KeySet.asked) == 2, f"made-up keys made the node fetch {len(KeySet.asked) - 1} times")
        server.shutdown()
        check(status(url, token) == 200, "known keys stay valid without the key set")
        print(f"ok   a new key is accepted at its first use, in {took * 1000:.0f} ms; 30 made-up ones cost no fetch")
    finally:
        node.kill()
        node.wait()


def private_pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


def is_ready(url):
    try:
        return status(url) == 200
    except OSError:
        return False


def wait_until(condition, what, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        check(time.monotonic() < end, f"in {seconds} s it did not happen that {what}")
        time.sleep(0.05)


# ------------------------------------------------------------------------------------------------------------- revocation

class Listener:
    """A session that only listens, over one of the protocols. `ended` is set when its connection is over, or it was told so."""

    def __init__(self, user):
        self.user = user
        self.ended = None
        self.task = None

    async def listen(self, messages):
        try:
            async for message in messages:
                # Socket.IO tells a client that it is disconnected before the connection is closed.
                if isinstance(message, str) and message.startswith("41"):
                    break
        except (websockets.ConnectionClosed, ConnectionError):
            pass
        self.ended = time.monotonic()

    def begin(self, messages):
        self.task = asyncio.create_task(self.listen(messages))
        return self


async def over_martlet(user, token, port):
    one = await websockets.connect(
        f"ws://127.0.0.1:{port}/ws?room=lobby", additional_headers={"Authorization": f"Bearer {token}"})
    listener = Listener(user).begin(one)
    listener.socket = one
    return listener


async def over_events(user, token, port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /api/events?room=lobby HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    check(head.startswith(b"HTTP/1.1 200"), f"event stream: {head[:60]!r}")

    async def body():
        # It ends with the connection.
        while part := await reader.read(65_536):
            yield part

    listener = Listener(user).begin(body())
    # A writer that nobody holds closes the connection.
    listener.writer = writer
    return listener


async def over_socketio(user, token, port):
    one = await websockets.connect(f"ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket")
    check((await one.recv()).startswith("0{"), "Engine.IO does not open")
    await one.send("40" + json.dumps({"token": token}))
    answer = await one.recv()
    check(answer.startswith("40{"), f"Socket.IO refuses the token: {answer}")
    return Listener(user).begin(one)


async def over_stomp(user, token, port):
    one = await websockets.connect(f"ws://127.0.0.1:{port}/stomp", subprotocols=["v12.stomp"])
    await one.send(f"CONNECT\naccept-version:1.2\nhost:chat\nlogin:{user}\npasscode:{token}\n\n\0")
    answer = await one.recv()
    text = answer if isinstance(answer, str) else answer.decode()
    check(text.startswith("CONNECTED"), f"STOMP refuses the token: {text[:80]}")
    await one.send("SUBSCRIBE\nid:1\ndestination:/topic/lobby\n\n\0")
    return Listener(user).begin(one)


async def revocation(nodes, secret, binary, redis_port, state):
    """300 sessions of ten users, over four protocols and on all nodes; one user's tokens are revoked: hers end within a second, no
    others, and restarted nodes refuse them as well."""
    def token(user):
        return jwt.encode(claims(user), secret, algorithm="HS256")

    tokens = {f"user{number}": token(f"user{number}") for number in range(10)}
    ways = [over_martlet, over_events, over_socketio, over_stomp]
    sessions = []
    for number in range(300):
        user = f"user{number % 10}"
        # Each user has sessions over each protocol on each node.
        way, port = ways[number // 10 % len(ways)], nodes[number // 40 % len(nodes)]
        sessions.append(await way(user, tokens[user], port))
    await asyncio.sleep(1.1)  # iat has whole seconds
    check(all(one.ended is None for one in sessions), "sessions ended by themselves")
    began = time.monotonic()
    made = await asyncio.to_thread(
        subprocess.run, [binary, "user", "revoke", "user3", "--redis", f"redis://127.0.0.1:{redis_port}"], capture_output=True,
        text=True, timeout=20, check=False)
    check(made.returncode == 0 and made.stdout.startswith("revoked"), f"user revoke: {made.stdout}{made.stderr}")
    await asyncio.wait([one.task for one in sessions if one.user == "user3"], timeout=3)
    ended = [one for one in sessions if one.ended]
    check(sorted(one.user for one in ended) == ["user3"] * 30, f"{len(ended)} sessions ended, not 30")
    codes = [one.socket.close_code for one in ended if hasattr(one, "socket")]
    check(codes and all(code == 4012 for code in codes), f"over martlet.v1 they end with {codes}, not 4012")
    latest = max(one.ended for one in ended) - began
    check(latest < 1.5, f"the last one ended {latest:.1f} s after the command began")

    def refused():
        for port in nodes:
            url = f"http://127.0.0.1:{port}/api/rooms/lobby/messages"
            check(status(url, tokens["user3"]) == 401, "a revoked token is accepted over HTTP")
            check(status(url, tokens["user4"]) == 200, "another user's token is refused")

    await asyncio.to_thread(refused)
    await asyncio.sleep(1.1)  # A token of the second in which the command was given counts as an old one.
    check(status(f"http://127.0.0.1:{nodes[0]}/api/rooms/lobby/messages", token("user3")) == 200, "a new token is refused")
    listed = subprocess.run(
        [binary, "commands", "--redis", f"redis://127.0.0.1:{redis_port}"], capture_output=True, text=True, timeout=20, check=True)
    check("revoke user user3" in listed.stdout, f"martlet commands: {listed.stdout}")
    check(sum(one.ended is not None for one in sessions) == 30, "other sessions ended later")
    for one in sessions:
        one.task.cancel()
    await asyncio.gather(*(one.task for one in sessions), return_exceptions=True)
    print(f"ok   30 of 300 sessions over {len(ways)} protocols ended {latest * 1000:.0f} ms after the command began, the others go on")
    rolled = await asyncio.to_thread(
        subprocess.run, [ROOT / "scripts/up", "--roll", state], capture_output=True, text=True, timeout=300, check=False)
    check(rolled.returncode == 0, f"up --roll: {rolled.stdout}{rolled.stderr}")
    await asyncio.to_thread(refused)
    print("ok   restarted nodes refuse the revoked tokens, and take those of others")


# --------------------------------------------------------------------------------------------------------------- browsers

async def browsers(url, secret, shots):
    def token(user):
        more = {"martlet": {"rooms": {"lobby": ["read", "send", "signal", "moderate"]}}} if user == "ana" else {}
        return jwt.encode(claims(user, **more), secret, algorithm="HS256")

    async with async_playwright() as play:
        browser = await play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        try:
            pages = {}
            for user in ("ana", "bob"):
                page = await (await browser.new_context()).new_page()
                await page.goto(f"{url}/?user={user}&room=lobby#token={token(user)}")
                await page.wait_for_selector("#app:not([hidden])")
                check(token(user)[:20] not in page.url, "the token stays in the address")
                pages[user] = page
            await holds(pages["ana"], "document.querySelector('#me-name').textContent === 'ana'")
            await pages["ana"].wait_for_selector("#text:not([disabled])")
            await pages["ana"].fill("#text", "hello with a token")
            await pages["ana"].press("#text", "Enter")
            await pages["bob"].wait_for_selector("text=hello with a token")
            if shots:
                await pages["bob"].screenshot(path=str(pathlib.Path(shots, "access.png")))
            stranger = await (await browser.new_context()).new_page()
            await stranger.goto(f"{url}/?user=eve&room=lobby")
            await stranger.wait_for_selector("text=does not take this")
            print("ok   two browsers talk with tokens, and one without is told why it cannot")
            await moderated(pages["ana"], pages["bob"], f"{url}/?user=bob&room=lobby#token={token('bob')}", shots)
            await foreign(browser, url, token("ana"))
        finally:
            await browser.close()


async def moderated(ana, bob, address, shots):
    """A moderator mutes somebody, who sees why and for how long; then slow mode, and a kick, all by the page."""
    check(await bob.locator(".member-more").count() == 0, "who may not moderate is not offered it")

    async def sanction(operation, minutes, reason):
        await ana.click("[aria-label='Moderate bob']")
        await ana.select_option("#sanction-operation", operation)
        if minutes:
            await ana.select_option("#sanction-time", str(minutes * 60_000))
            await ana.fill("#sanction-reason", reason)
        await ana.click("#sanction-form button.primary")
        await ana.wait_for_selector("#sanction-dialog:not([open])", state="attached")

    await ana.wait_for_selector("[aria-label='Moderate bob']")
    await sanction("mute", 10, "too loud")
    await holds(bob, "document.querySelector('#notice').textContent.startsWith('You are muted for another 10 min')")
    told = await bob.inner_text("#notice")
    check(told.endswith(": too loud"), f"the muted one is told: {told}")
    check(await bob.is_disabled("#text"), "who is muted cannot write")
    await bob.wait_for_selector("text=You were muted for 10 min: too loud")
    await ana.wait_for_selector("text=bob was muted for 10 min: too loud")
    if shots:
        await bob.screenshot(path=str(pathlib.Path(shots, "muted.png")))
    # On another page the same.
    twin = await bob.context.new_page()
    await twin.goto(address)
    await twin.wait_for_selector("#notice:not([hidden])")
    check("too loud" in await twin.inner_text("#notice"), "who enters muted is told")
    await twin.close()
    await ana.wait_for_selector("[aria-label='Moderate bob']")
    await sanction("unmute", 0, "")
    await bob.wait_for_selector("#text:not([disabled])")
    check(await bob.is_hidden("#notice"), "the notice goes with the mute")
    await ana.click("#room-rules")
    await ana.select_option("#rules-slow", "5000")
    await ana.check("#rules-frozen")
    await ana.click("#rules-form button.primary")
    await bob.wait_for_selector("#text[disabled]")
    check("frozen" in await bob.inner_text("#notice"), "a frozen room says so")
    check(await ana.is_enabled("#text"), "a moderator may write into a frozen room")
    await ana.click("#room-rules")
    await ana.uncheck("#rules-frozen")
    await ana.click("#rules-form button.primary")
    await bob.wait_for_selector("text=Slow mode: one message in 5 s")
    await bob.wait_for_selector("#text:not([disabled])")
    await sanction("kick", 1, "enough")
    await holds(bob, "document.querySelector('#subtitle').textContent === 'you were sent out'")
    await bob.wait_for_selector("text=/a moderator banned you, until .*: enough/")
    check(await bob.is_disabled("#text"), "who was sent out cannot write")
    print("ok   the page mutes, sends out and slows down, and tells everybody whom it concerns, why and for how long")


class Foreign(http.server.SimpleHTTPRequestHandler):
    """A page of another origin."""

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        pass


async def foreign(browser, url, token):
    """A page of another origin cannot use the visitor's cookie."""
    with tempfile.TemporaryDirectory() as folder:
        # Without an icon of its own the browser asks for one, sometimes after the page has begun, and is answered 404.
        pathlib.Path(folder, "index.html").write_text(
            '<!doctype html><title>another page</title><link rel="icon" href="data:,">')
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Foreign, directory=folder))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        context = await browser.new_context()
        await context.add_cookies([{"name": "chat", "value": token, "url": url, "httpOnly": True, "sameSite": "Lax"}])
        own = await context.new_page()
        await own.goto(f"{url}/openapi.json")
        got = await own.evaluate("fetch('/api/rooms/lobby/messages').then((answer) => answer.status)")
        check(got == 200, f"the page of the node's own origin gets {got} with the cookie")
        page = await context.new_page()
        await page.goto(f"http://127.0.0.1:{server.server_port}/")
        # The browser hides the answer from the page, and from Playwright as well.
        seen = []
        devtools = await context.new_cdp_session(page)
        devtools.on("Network.responseReceivedExtraInfo", lambda answer: seen.append(answer["statusCode"]))
        await devtools.send("Network.enable")
        await page.evaluate(
            "(url) => fetch(url, { credentials: 'include' }).catch(() => 0)", f"{url}/api/rooms/lobby/messages")
        code = await page.evaluate(
            "(url) => new Promise((done) => { const socket = new WebSocket(url);"
            " socket.onclose = (event) => done(event.code); socket.onopen = () => done(0); })",
            url.replace("http", "ws", 1) + "/ws?room=lobby")
        check(seen in ([403], [403, 403]), f"the page of another origin gets {seen}")
        check(code == 1006, f"its WebSocket ends with {code}")
        server.shutdown()
    print("ok   a page of another origin with the visitor's cookie gets 403, and no WebSocket")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True)
    parser.add_argument("--secret", required=True)
    parser.add_argument("--redis-port", required=True)
    parser.add_argument("--node", required=True)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--nodes", required=True, type=lambda text: [int(port) for port in text.split(",")])
    parser.add_argument("--state", required=True)
    parser.add_argument("--shots")
    options = parser.parse_args()
    try:
        snippets(options.url, options.secret, options.node)
        provider(options.binary)
        asyncio.run(revocation(options.nodes, options.secret, options.binary, options.redis_port, options.state))
        asyncio.run(browsers(options.url, options.secret, options.shots))
    except Failure as failure:
        print(f"FAILED: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
