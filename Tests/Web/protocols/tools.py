"""The clients that other people wrote: fetched once into the cache, never kept in this repository."""
import fcntl
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))

from debian import NotFetched, unpack  # noqa: E402

#: file -> (where it comes from, its place there)
FILES = {
    "socket.io.min.js": ("nicegui==3.18.0", "nicegui/static/socket.io.min.js"),
    "sockjs.min.js": ("node-sockjs-client", "usr/share/nodejs/sockjs-client/dist/sockjs.min.js"),
    "stomp.js": ("rabbitmq-server", "usr/lib/rabbitmq/lib/*/plugins/rabbitmq_web_stomp_examples-*/priv/stomp.js"),
}


def clients():
    """The folder with these files: the official Socket.IO client from the Python package nicegui, which contains it, and
    sockjs-client and stomp.js as Debian ships them."""
    base = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "martlet"
    base.mkdir(parents=True, exist_ok=True)
    folder = base / "clients-1"
    with (base / "clients.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=base) as scratch:
                fetch(pathlib.Path(scratch))
                made = pathlib.Path(scratch, "made")
                made.rename(folder)
    return folder


def fetch(scratch):
    made = scratch / "made"
    made.mkdir()
    for name, (source, place) in FILES.items():
        folder = scratch / name
        folder.mkdir()
        if "==" in source:
            run(folder, sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "-q", "--no-deps", source)
            with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
                wheel.extract(place, folder)
        else:
            try:
                unpack(source, folder)
            except NotFetched as error:
                raise SystemExit(f"protocols: {error}") from error
        shutil.copy(next(folder.glob(place)), made / name)


def run(folder, *command):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"protocols: {' '.join(command)}: {done.stderr}")
