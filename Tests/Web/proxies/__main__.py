#!/usr/bin/env python3
"""A node behind proxies that keep their connections to it: the page and a WebSocket in turn, many times, as one browser after the other.

    python3 Tests/Web/proxies --node 127.0.0.1:8081 [--times 200]

nginx with `keepalive`, HAProxy with `http-reuse always`, and HAProxy with HTTP/2 before it (a WebSocket is then an extended CONNECT,
RFC 8441). All of it on loopback; what is started is ended.
"""
import argparse
import base64
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import h2.config
import h2.connection
import h2.events
import h2.settings

NGINX = """
daemon off; master_process off; worker_processes 1; pid {state}/nginx.pid; error_log {state}/nginx.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {state}/body; proxy_temp_path {state}/proxy; fastcgi_temp_path {state}/fastcgi;
    uwsgi_temp_path {state}/uwsgi; scgi_temp_path {state}/scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    upstream chat {{ server {node}; keepalive 8; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://chat;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header Host $host;
        }}
    }}
}}
"""
HAPROXY = """
defaults
    mode http
    timeout connect 2s
    timeout client 30s
    timeout server 30s
    timeout tunnel 1h
frontend people
    bind 127.0.0.1:{port}{options}
    default_backend chat
backend chat
    http-reuse always
    server node {node}
"""


class Failure(Exception):
    """Something that a proxy should not have answered."""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Proxy:
    """A proxy of our own before the node, ended at the end of its block."""

    def __init__(self, kind, node, options=""):
        self.kind, self.node, self.options = kind, node, options

    def __enter__(self):
        self.state = tempfile.mkdtemp(prefix="martlet-proxy-")
        self.port = free_port()
        text = {"nginx": NGINX, "haproxy": HAPROXY}[self.kind]
        file = pathlib.Path(self.state, "conf")
        file.write_text(text.format(state=self.state, node=self.node, port=self.port, options=self.options))
        program = shutil.which(self.kind, path=os.environ["PATH"] + ":/usr/sbin")
        if program is None:
            raise Failure(f"{self.kind} is not installed: scripts/install test")
        command = [program, "-c", str(file)] if self.kind == "nginx" else [program, "-db", "-f", str(file)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    self.__exit__()
                    raise Failure(f"{self.kind} did not start") from None
                time.sleep(0.05)

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(10)
        shutil.rmtree(self.state, ignore_errors=True)


def head_of(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            raise Failure(f"the connection ended after {data[:80]!r}")
        data += more
    return data


def read_page(port):
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: chat.example\r\nConnection: close\r\n\r\n")
        return int(head_of(connection).split()[1])


def open_socket(port, user):
    """The status of a handshake; with 101 the session's welcome has come."""
    key = base64.b64encode(os.urandom(16)).decode()
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall((
            f"GET /ws?user={user} HTTP/1.1\r\nHost: chat.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n").encode())
        data = head_of(connection)
        status = int(data.split()[1])
        while status == 101 and b'"welcome"' not in data:
            more = connection.recv(65536)
            if not more:
                raise Failure("the session ended before its welcome")
            data += more
        return status


class HTTP2:
    """One HTTP/2 connection to a proxy, without TLS."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.connection.initiate_connection()
        self.events = []
        while not self.connection.remote_settings.get(h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL):
            self.exchange()

    def exchange(self):
        self.socket.sendall(self.connection.data_to_send())
        data = self.socket.recv(65536)
        if not data:
            raise Failure("the HTTP/2 connection ended")
        for event in self.connection.receive_data(data):
            if isinstance(event, h2.events.DataReceived):
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self.events.append(event)
        self.socket.sendall(self.connection.data_to_send())

    def ask(self, fields, is_whole, until):
        """The status that a stream is answered with, once its body holds `until` or is at its end."""
        stream = self.connection.get_next_available_stream_id()
        self.connection.send_headers(stream, fields, end_stream=is_whole)
        status, body = None, b""
        while True:
            for event in self.events:
                if getattr(event, "stream_id", None) != stream:
                    continue
                if isinstance(event, h2.events.ResponseReceived):
                    status = int(dict(event.headers)[b":status"])
                elif isinstance(event, h2.events.DataReceived):
                    body += event.data
                elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
                    return status
            self.events = []
            if status is not None and until is not None and until in body:
                self.connection.reset_stream(stream)
                self.socket.sendall(self.connection.data_to_send())
                return status
            self.exchange()

    def fields(self, method, path):
        return [(":method", method), (":scheme", "http"), (":authority", "chat.example"), (":path", path)]

    def read_page(self):
        return self.ask(self.fields("GET", "/"), True, None)

    def open_socket(self, user):
        """101 for what HTTP/2 says with 200."""
        fields = self.fields("CONNECT", f"/ws?user={user}") + [(":protocol", "websocket")]
        status = self.ask(sorted(fields, key=lambda field: field[0][0] != ":") + [("sec-websocket-version", "13")], False, b'"welcome"')
        return 101 if status == 200 else status


def turns(times, page, web_socket):
    """Page and WebSocket in turn; the second must be 101 each time."""
    seen = {}
    for number in range(times):
        pair = (page(), web_socket(f"u{number}"))
        seen[pair] = seen.get(pair, 0) + 1
    if seen != {(200, 101): times}:
        raise Failure(f"page and WebSocket were answered {seen}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--node", required=True, help="host:port of a node")
    parser.add_argument("--times", type=int, default=200)
    options = parser.parse_args()
    failed = False
    for name, proxy, is_http2 in (
        ("nginx, keepalive", Proxy("nginx", options.node), False),
        ("HAProxy, http-reuse always", Proxy("haproxy", options.node), False),
        ("HAProxy, HTTP/2 before it", Proxy("haproxy", options.node, " proto h2"), True),
    ):
        try:
            with proxy:
                if is_http2:
                    connection = HTTP2(proxy.port)
                    turns(options.times, connection.read_page, connection.open_socket)
                else:
                    turns(options.times, lambda: read_page(proxy.port), lambda user: open_socket(proxy.port, user))
            print(f"ok: {name}: page, then WebSocket, {options.times} times")
        except (Failure, OSError) as error:
            failed = True
            print(f"FAILED: {name}: {error}", file=sys.stderr)
    sys.exit(failed)


if __name__ == "__main__":
    main()
