"""Webhooks: outgoing ones, received by a server in Python that verifies them with the official library of Standard
Webhooks, and incoming ones, signed with it and as GitHub, Stripe and Slack sign.

Two nodes and Redis run already; relays are started here, and `martlet webhooks` is called as an operator would.
"""

import argparse
import base64
import collections
import concurrent.futures
import contextlib
import datetime
import hmac
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks.webhooks import Webhook

KEY = "an operator's key of more than 24 bytes"


class Failure(Exception):
    pass


def until(what, condition, seconds=20):
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise Failure(f"not within {seconds} s: {what}")
        time.sleep(0.05)
    return value


def verify(secret, body, headers):
    """With a secret by the official library, which does not know public keys; with one of those here."""
    if not secret.startswith("whpk_"):
        return Webhook(secret).verify(body.decode(), headers)
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(secret.removeprefix("whpk_")))
    message = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    kind, _, signature = headers["webhook-signature"].split()[0].partition(",")
    if kind != "v1a":
        raise Failure(f"signed with {kind}")
    key.verify(base64.b64decode(signature), message)
    return json.loads(body)


class Receiver:
    """An endpoint: it verifies each delivery, and answers what a test has told it to."""

    def __init__(self):
        self.secrets, self.deliveries, self.broken = [], [], []
        # Answers for the next deliveries: a status, (status, headers), or a number of seconds to say nothing.
        self.answers = collections.deque()
        # The same for messages with a text, whatever else comes between: a relay that was killed delivers some once more.
        self.answers_to = collections.defaultdict(collections.deque)
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.take(self, body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"

    def take(self, handler, body):
        headers = {name.lower(): value for name, value in handler.headers.items()}
        verified = []
        for secret in self.secrets:
            try:
                verified.append(verify(secret, body, headers))
            except Exception as error:  # noqa: BLE001
                self.broken.append(f"{headers.get('webhook-id')}: {error!r}") if len(self.secrets) == 1 else None
        event = json.loads(body)
        answers = self.answers_to[event["data"].get("text")] or self.answers
        answer = answers.popleft() if answers else 204
        if isinstance(answer, float):
            time.sleep(answer)
            answer = 204
        status, fields = answer if isinstance(answer, tuple) else (answer, {})
        self.deliveries.append((headers["webhook-id"], status, event, time.monotonic(), len(verified)))
        handler.send_response(status)
        for name, value in fields.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def accepted(self, room=None):
        """The IDs that were accepted, each once, in order."""
        seen = {}
        for identifier, status, event, *_ in self.deliveries:
            if 200 <= status < 300 and (room is None or event["data"].get("room") == room):
                seen.setdefault(identifier)
        return list(seen)

    def attempts(self, identifier):
        return [status for other, status, *_ in self.deliveries if other == identifier]


class Test:
    def __init__(self, options):
        self.options = options
        self.environment = {
            "PATH": os.environ["PATH"],
            "MARTLET_REDIS_URL": f"redis://127.0.0.1:{options.redis_port}",
            "MARTLET_WEBHOOKS_KEY": KEY,
            "MARTLET_WEBHOOKS_HOSTS": "127.0.0.1",
            "MARTLET_WEBHOOKS_RETRIES": "200ms,300ms,400ms",
            "MARTLET_WEBHOOKS_TIMEOUT": "1s",
            "MARTLET_RELAY_LEASE": "1s",
            "MARTLET_RELAY_SCAN": "1s",
        }
        self.relays = []

    def martlet(self, *words, code=0, **environment):
        result = subprocess.run(
            [self.options.binary, *words], env={**self.environment, **environment}, capture_output=True, text=True, timeout=30
        )
        if result.returncode != code:
            raise Failure(f"martlet {' '.join(words)}: code {result.returncode}: {result.stdout}{result.stderr}")
        return result.stdout + result.stderr

    def relay(self, **environment):
        log = pathlib.Path(self.options.logs, f"relay{len(self.relays)}.log").open("wb")
        child = subprocess.Popen(
            [shutil.which("setpriv"), "--pdeathsig", "KILL", self.options.binary, "relay"],
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        self.relays.append(child)
        return child

    def end(self):
        for child in self.relays:
            if child.poll() is None:
                child.kill()
                child.wait()

    def add(self, receiver, *more):
        lines = self.martlet("webhooks", "add", receiver.url, *more).split()
        identifier, secret = lines[1], lines[3]
        receiver.secrets = [secret]
        return identifier

    def say(self, room, text, **more):
        body = json.dumps({"user": "ana", "text": text, **more}).encode()
        request = urllib.request.Request(
            f"{self.options.url}/api/rooms/{room}/messages", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return f"{room}~{json.load(answer)['position']}"

    def redis(self, *words):
        command = ["redis-cli", "-p", str(self.options.redis_port), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    # What has to hold

    def everything_is_verified_and_in_order(self):
        receiver = Receiver()
        self.add(receiver)
        said = [self.say("orders", f"text {number}") for number in range(10)]
        said.append(self.say("orders", "for ben", mentions=["ben"]))
        until("all is delivered", lambda: len(receiver.accepted("orders")) == 12)
        assert receiver.accepted("orders") == [*said, said[-1] + "~ben"], receiver.accepted()
        assert not receiver.broken, receiver.broken
        event = receiver.deliveries[0][2]
        assert event["type"] == "message.created" and event["data"]["user"] == "ana", event

    def failures_are_tried_again_and_later_ones_of_the_room_wait(self):
        receiver = Receiver()
        self.add(receiver, "--room", "retry")
        receiver.answers.extend([500, 500])
        first, second = self.say("retry", "one"), self.say("retry", "two")
        until("both are delivered", lambda: len(receiver.accepted()) == 2)
        assert receiver.accepted() == [first, second]
        assert receiver.attempts(first) == [500, 500, 204], receiver.deliveries
        assert receiver.attempts(second) == [204], receiver.deliveries

    def an_unordered_endpoint_is_sent_what_comes_behind_a_failure(self):
        receiver = Receiver()
        identifier = self.add(receiver, "--room", "unordered", "--unordered")
        assert "unordered" in next(
            line for line in self.martlet("webhooks", "list").splitlines() if line.startswith(identifier)
        )
        receiver.answers.extend([500, 500])
        first, second = self.say("unordered", "one"), self.say("unordered", "two")
        until("both are delivered", lambda: set(receiver.accepted()) == {first, second})
        # Both were tried at once, or the second one was not held up by the first.
        assert receiver.attempts(first).count(500) + receiver.attempts(second).count(500) == 2, receiver.deliveries
        # What waits for another attempt is not lost with the relay.
        receiver.answers_to["three"].append((503, {"Retry-After": "1"}))
        waiting = self.say("unordered", "three")
        until("it was refused", lambda: receiver.attempts(waiting) == [503])
        for child in self.relays:
            child.kill()
            child.wait()
        self.relay()
        until("it is delivered", lambda: receiver.attempts(waiting)[-1] == 204)
        # After the last attempt it is a dead letter.
        receiver.answers_to["four"].extend([500] * 4)
        lost = self.say("unordered", "four")
        until("all attempts were made", lambda: receiver.attempts(lost) == [500] * 4)
        last = self.say("unordered", "five")
        until("the next one is delivered", lambda: last in receiver.accepted())
        sink = f"hook-{identifier}"
        until("there is a dead letter", lambda: lost in self.martlet("relay", "dead", "list", sink))
        assert not receiver.broken, receiver.broken

    def a_server_that_hangs_is_given_up_and_tried_again(self):
        receiver = Receiver()
        self.add(receiver, "--room", "hang")
        receiver.answers.append(3.0)
        said = self.say("hang", "one")
        until("it is delivered", lambda: len(receiver.attempts(said)) == 2)

    def redirects_are_not_followed(self):
        target, receiver = Receiver(), Receiver()
        self.add(receiver, "--room", "redirect")
        receiver.answers.append((302, {"Location": target.url}))
        said = self.say("redirect", "one")
        until("it is delivered", lambda: receiver.accepted() == [said])
        assert receiver.attempts(said) == [302, 204]
        assert not target.deliveries

    def retry_after_is_honoured(self):
        receiver = Receiver()
        self.add(receiver, "--room", "later")
        receiver.answers.append((429, {"Retry-After": "2"}))
        said = self.say("later", "one")
        until("it is delivered", lambda: receiver.accepted() == [said])
        times = [at for identifier, _, _, at, _ in receiver.deliveries if identifier == said]
        assert times[1] - times[0] >= 1.9, times

    def after_the_last_attempt_it_is_a_dead_letter_and_the_room_goes_on(self):
        receiver = Receiver()
        identifier = self.add(receiver, "--room", "dead")
        receiver.answers.extend([400] * 4)
        first, second = self.say("dead", "one"), self.say("dead", "two")
        until("the second one is delivered", lambda: receiver.accepted() == [second])
        assert receiver.attempts(first) == [400] * 4
        listed = self.martlet("relay", "dead", "list", f"hook-{identifier}")
        assert first in listed and "status 400" in listed, listed
        self.martlet("relay", "dead", "replay", f"hook-{identifier}")
        until("it is delivered after all", lambda: receiver.accepted() == [second, first])
        assert self.martlet("relay", "dead", "list", f"hook-{identifier}").strip() == "no dead letters"

    def an_endpoint_that_is_gone_is_disabled_until_somebody_enables_it(self):
        receiver = Receiver()
        identifier = self.add(receiver, "--room", "gone")
        receiver.answers.append(410)
        said = self.say("gone", "one")
        until("it is disabled", lambda: "disabled: the server answered 410" in self.martlet("webhooks", "list"))
        assert receiver.attempts(said) == [410]
        later = self.say("gone", "two")
        self.martlet("webhooks", "enable", identifier)
        until("what was missed is delivered", lambda: receiver.accepted() == [said, later])

    def both_secrets_sign_during_a_rotation(self):
        receiver = Receiver()
        identifier = self.add(receiver, "--room", "rotate")
        self.say("rotate", "one")
        until("it is delivered", lambda: len(receiver.accepted()) == 1)
        old = receiver.secrets[0]
        new = self.martlet("webhooks", "rotate", identifier, "--overlap", "1h").split()[1]
        assert new != old
        receiver.secrets = [old, new]

        def both_verify():
            self.say("rotate", "again")
            return any(count == 2 for *_, count in receiver.deliveries)

        until("a delivery has both signatures", both_verify)
        assert all(count >= 1 for *_, count in receiver.deliveries), receiver.deliveries
        assert old not in self.redis("HGETALL", "martlet:events:{0}:webhooks"), "no secret is in Redis"

    def a_key_pair_signs_for_whoever_wants_that(self):
        receiver = Receiver()
        identifier = self.add(receiver, "--room", "keys", "--asymmetric")
        assert receiver.secrets[0].startswith("whpk_"), receiver.secrets
        said = self.say("keys", "one")
        until("it is delivered", lambda: receiver.accepted() == [said])
        assert not receiver.broken, receiver.broken
        rotated = self.martlet("webhooks", "rotate", identifier, "--overlap", "0s").split()
        assert rotated[0] == "public" and rotated[1] != receiver.secrets[0], rotated

    def addresses_that_are_not_public_are_refused(self):
        refused = self.martlet("webhooks", "add", "http://192.168.0.1/hook", code=64)
        assert "MARTLET_WEBHOOKS_HOSTS" in refused, refused
        # A name that leads to this machine: allowed to be added, and refused when it resolves.
        lines = self.martlet("webhooks", "add", "https://localhost:1/hook", "--room", "nowhere").split()
        answer = self.martlet("webhooks", "test", lines[1], code=1)
        assert "localhost is not a public address" in answer, answer
        self.martlet("webhooks", "remove", lines[1])

    def a_dead_endpoint_costs_the_others_nothing(self):
        dead, well = Receiver(), Receiver()
        dead.server.shutdown()
        dead.server.server_close()
        self.add(dead)
        self.add(well, "--room", "busy")
        said = [self.say("busy", f"text {number}") for number in range(20)]
        until("the other one has all", lambda: well.accepted() == said, 10)

    def a_relay_that_is_killed_loses_nothing(self):
        receiver = Receiver()
        self.add(receiver, "--room", "killed")
        said = []
        for number in range(5):
            said += [self.say("killed", f"text {number}.{part}") for part in range(5)]
            self.relays[-1].send_signal(signal.SIGKILL)
            self.relays[-1].wait()
            self.relay()
        until("all is delivered", lambda: len(receiver.accepted()) == len(said), 30)
        assert receiver.accepted() == said

    def a_room_can_be_replayed(self):
        receiver = Receiver()
        identifier = self.add(receiver, "--room", "replay")
        said = [self.say("replay", f"text {number}") for number in range(4)]
        until("all is delivered", lambda: receiver.accepted() == said)
        position = said[1].partition("~")[2]
        self.martlet("webhooks", "replay", identifier, "--room", "replay", "--after", position)
        until("the rest is delivered again", lambda: len(receiver.deliveries) == 6)
        assert [delivery[0] for delivery in receiver.deliveries[4:]] == said[2:]

    def workers_of_the_document_share_the_streams(self):
        self.workers_share_the_streams("python", [sys.executable, self.python_worker()])

    def workers_in_swift_share_the_streams(self):
        self.workers_share_the_streams("swift", [pathlib.Path(self.options.binary).parent / "tutorial-worker"])

    def python_worker(self):
        page = pathlib.Path(__file__).resolve().parents[3] / "Sources/ChatRelay/README.md"
        code = re.search(r"<!-- tutorial: worker.py -->\n```python\n(.*?)```", page.read_text(), re.DOTALL)[1]
        worker = pathlib.Path(self.options.logs) / "worker.py"
        worker.write_text(code)
        return worker

    def workers_share_the_streams(self, language, command):
        folder = pathlib.Path(self.options.logs)
        database = folder / f"{language}.db"
        port = str(self.options.redis_port)
        environment = {**os.environ, "REDIS_URL": f"redis://127.0.0.1:{port}", "REDIS_PORT": port}
        # One at a time at first, as two would make the table at once.
        workers = {}

        def start(name):
            log = (folder / f"{language}-{name}.log").open("wb")
            workers[name] = subprocess.Popen([*command, name, database], env=environment, stdout=log, stderr=log)

        def done():
            with contextlib.closing(sqlite3.connect(database, timeout=30)) as connection:
                return [row[0] for row in connection.execute("SELECT id FROM effects WHERE id LIKE ?", (f"{language}%~%",))]

        try:
            start("one")
            said = [self.say(f"{language}0", "first")]
            until("the first worker works", lambda: database.exists() and len(done()) == 1)
            start("two")
            for number in range(300):
                said.append(self.say(f"{language}{number % 5}", f"text {number}"))
                if number == 150:
                    workers["one"].kill()
            until("every event has its effect", lambda: len(done()) == len(said), 40)
            assert sorted(done()) == sorted(said)
            assert workers["two"].poll() is None, (folder / f"{language}-two.log").read_text()
        finally:
            for worker in workers.values():
                worker.kill()
                worker.wait()

    def a_test_says_what_the_endpoint_answers(self):
        receiver = Receiver()
        identifier = self.add(receiver, "--room", "none")
        assert "answered 204" in self.martlet("webhooks", "test", identifier)
        receiver.answers.append(503)
        assert "answered 503" in self.martlet("webhooks", "test", identifier, code=1)
        assert not receiver.broken, receiver.broken

    def the_signature_is_that_of_the_specification(self):
        # HMAC-SHA256 by hand, for a library may be as wrong as we are.
        receiver = Receiver()
        identifier = self.add(receiver, "--room", "none")
        seen = []
        take = receiver.take
        receiver.take = lambda handler, body: (seen.append((dict(handler.headers), body)), take(handler, body))
        self.martlet("webhooks", "test", identifier)
        headers, body = seen[0]
        secret = base64.b64decode(receiver.secrets[0].removeprefix("whsec_"))
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        code = base64.b64encode(hmac.digest(secret, signed, "sha256")).decode()
        assert headers["webhook-signature"] == f"v1,{code}", headers

    # Incoming

    def post(self, name, body, fields, node=0):
        port = self.options.nodes.split(",")[node]
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/hooks/{name}", body, {"Content-Type": "application/json", **fields}
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def messages(self, room):
        with urllib.request.urlopen(f"{self.options.url}/api/rooms/{room}/messages", timeout=10) as answer:
            return [message["text"] for message in json.load(answer)["messages"]]

    def a_delivery_takes_effect_once_on_whatever_nodes_it_arrives(self):
        hook = Webhook("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        for number in range(3):
            body = json.dumps({"order": {"id": number, "items": ["a", "b"]}})
            now = datetime.datetime.now(tz=datetime.UTC)
            fields = {
                "webhook-id": f"msg-{number}",
                "webhook-timestamp": str(int(now.timestamp())),
                "webhook-signature": hook.sign(f"msg-{number}", now, body),
            }
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                answers = list(pool.map(lambda node: self.post("shop", body.encode(), fields, node), [0, 1, 0, 1]))
            assert sorted(status for status, _ in answers) == [200, 200, 200, 201], answers
            assert len({json.loads(text)["position"] for _, text in answers}) == 1, answers
        assert self.messages("orders-in") == [f"order {number}: a" for number in range(3)]
        old = str(int(time.time()) - 360)
        fields = {
            "webhook-id": "old",
            "webhook-timestamp": old,
            "webhook-signature": hook.sign("old", datetime.datetime.fromtimestamp(int(old), tz=datetime.UTC), "{}"),
        }
        assert self.post("shop", b"{}", fields)[0] == 401

    def github_stripe_and_slack_are_understood(self):
        def code(secret, message):
            return hmac.new(secret.encode(), message, "sha256").hexdigest()

        body = json.dumps({"action": "opened", "issue": {"title": "It is late"}}).encode()
        fields = {"X-GitHub-Delivery": "d1", "X-Hub-Signature-256": "sha256=" + code("It's a Secret to Everybody", body)}
        assert self.post("github", body, fields)[0] == 201
        assert self.post("github", body, fields, 1)[0] == 200
        assert self.post("github", body + b" ", fields)[0] == 401
        assert self.messages("github-in") == ["opened: It is late"]

        now = str(int(time.time()))
        body = json.dumps({"id": "evt_1", "type": "invoice.paid"}).encode()
        fields = {"Stripe-Signature": f"t={now},v1={code('whsec_stripe_secret_of_ours', f'{now}.'.encode() + body)}"}
        assert self.post("stripe", body, fields)[0] == 201
        assert self.post("stripe", body, fields)[0] == 200
        assert self.messages("stripe-in") == ["invoice.paid"]

        def slack(body):
            body = json.dumps(body).encode()
            signature = "v0=" + code("8f742231b10e8888abcd99yyyzzz85a5", f"v0:{now}:".encode() + body)
            return self.post("slack", body, {"X-Slack-Request-Timestamp": now, "X-Slack-Signature": signature})

        assert slack({"type": "url_verification", "challenge": "c4"}) == (200, "c4")
        assert slack({"type": "event_callback", "event_id": "Ev1", "event": {"text": "hello"}})[0] == 201
        assert slack({"type": "event_callback", "event_id": "Ev1", "event": {"text": "hello"}})[0] == 200
        assert slack({"type": "event_callback", "event_id": "Ev2", "event": {}})[0] == 204
        assert self.messages("slack-in") == ["hello"]
        assert self.post("nobody", b"{}", {})[0] == 401

    TESTS = [
        a_delivery_takes_effect_once_on_whatever_nodes_it_arrives,
        github_stripe_and_slack_are_understood,
        everything_is_verified_and_in_order,
        failures_are_tried_again_and_later_ones_of_the_room_wait,
        an_unordered_endpoint_is_sent_what_comes_behind_a_failure,
        a_server_that_hangs_is_given_up_and_tried_again,
        redirects_are_not_followed,
        retry_after_is_honoured,
        after_the_last_attempt_it_is_a_dead_letter_and_the_room_goes_on,
        an_endpoint_that_is_gone_is_disabled_until_somebody_enables_it,
        both_secrets_sign_during_a_rotation,
        addresses_that_are_not_public_are_refused,
        a_relay_that_is_killed_loses_nothing,
        workers_of_the_document_share_the_streams,
        workers_in_swift_share_the_streams,
        a_room_can_be_replayed,
        a_test_says_what_the_endpoint_answers,
        the_signature_is_that_of_the_specification,
        a_dead_endpoint_costs_the_others_nothing,
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="of the proxy or a node")
    parser.add_argument("--nodes", required=True, help="the ports of two nodes, with a comma between them")
    parser.add_argument("--redis-port", type=int, required=True)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--logs", required=True, help="a folder")
    parser.add_argument("--only", help="a word of the tests to run")
    options = parser.parse_args()
    test = Test(options)
    failed = 0
    try:
        test.relay()
        for case in Test.TESTS:
            name = case.__name__.replace("_", " ")
            if options.only and options.only not in name:
                continue
            began = time.monotonic()
            try:
                case(test)
                print(f"ok      {name} ({time.monotonic() - began:.1f} s)", flush=True)
            except (Failure, AssertionError) as error:
                failed += 1
                print(f"FAILED  {name}: {error!r}", flush=True)
    finally:
        test.end()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
