"""What the checks share: the nodes' addresses, files of Debian's packages, and a web server for pages."""
import functools
import http.server
import os
import pathlib
import sys
import tempfile
import threading
import urllib.parse

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))

from debian import NotFetched, unpack  # noqa: E402

PACKAGES = {
    "rabbitmq-server": "usr/lib/rabbitmq/lib/*/plugins/rabbitmq_web_stomp_examples-*/priv/*",
    "node-sockjs-client": "usr/share/nodejs/sockjs-client/dist/sockjs.min.js",
    "libjs-jquery": "usr/share/javascript/jquery/jquery.min.js",
}

# The usual page of tutorials for chats with Spring, without its widgets.
PAGE = """<!DOCTYPE html><meta charset="utf-8"><script src="sockjs.min.js"></script><script src="stomp.js"></script><script>
const query = new URLSearchParams(location.search), room = query.get('room'), seen = [];
const socket = new SockJS(query.get('url'));
const client = Stomp.over(socket);
client.debug = () => {};
let ready = false, failure = null;
client.connect({}, () => { client.subscribe('/sub/chat/room/' + room, (m) => seen.push(JSON.parse(m.body))); ready = true; },
    (error) => { failure = String(error); });
const enter = () => client.send('/pub/chat/enter', {}, JSON.stringify({ roomId: room, sender: 'x' }));
const say = (text) => client.send('/pub/chat/message', {}, JSON.stringify({ type: 'TALK', roomId: room, sender: 'x', message: text }));
</script>
"""


class Missing(Exception):
    """Something that the checks need is not there."""


class Ground:
    def __init__(self, url, tcp):
        self.url = url.rstrip("/")
        parts = urllib.parse.urlsplit(self.url)
        self.host, self.port = parts.hostname, parts.port
        self.tcp = [(host, int(port)) for host, port in (address.rsplit(":", 1) for address in tcp)]
        self._files = None
        self._server = None
        self._folder = tempfile.TemporaryDirectory()
        # Rooms of an earlier run are full.
        self.mark = os.urandom(3).hex()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._server:
            self._server.shutdown()
        self._folder.cleanup()

    def room(self, name):
        return f"{name}-{self.mark}"

    @property
    def files(self):
        """The packages' files and our page, in one folder."""
        if self._files:
            return self._files
        folder = pathlib.Path(self._folder.name)
        served = folder / "served"
        served.mkdir()
        for package, pattern in PACKAGES.items():
            unpacked = folder / package
            unpacked.mkdir()
            try:
                unpack(package, unpacked)
            except NotFetched as error:
                raise Missing(str(error)) from error
            for file in unpacked.glob(pattern):
                (served / file.name).write_bytes(file.read_bytes())
        for name in ("echo.html", "bunny.html"):
            # The port is all that changes.
            page = (served / name).read_text()
            changed = page.replace(":15674/ws'", f":{self.port}/ws'")
            if changed == page:
                raise Missing(f"RabbitMQ's {name} does not connect as expected")
            (served / name).write_text(changed)
        (served / "tutorial.html").write_text(PAGE)
        self._files = served
        return served

    @property
    def pages(self):
        """The address of a web server with these files: another origin than the nodes'."""
        if not self._server:
            class Quiet(http.server.SimpleHTTPRequestHandler):
                def log_message(self, *_):
                    pass

            self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=self.files))
            threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}"


def check(condition, what):
    if not condition:
        raise AssertionError(what)
