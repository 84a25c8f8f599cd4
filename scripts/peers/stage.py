"""Where a measurement happens: a directory, ports of loopback, and processes that are all ended by their numbers."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
#: From the stage's port on.
PORTS = 50


class StageError(Exception):
    """What could not be set up, with what to look at."""


class Stage:
    def __init__(self, port, martlet):
        self.port = port
        self.martlet = martlet
        self.directory = tempfile.mkdtemp(prefix="martlet-bench-")
        self.processes = []
        self.keep = False

    def path(self, *names):
        return os.path.join(self.directory, *names)

    def start(self, name, command, environment=None):
        """A process in a session of its own, so that what it starts can be ended with it."""
        log = open(self.path(name + ".log"), "ab")
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, **(environment or {})}, cwd=self.directory)
        log.close()
        process.name = name
        self.processes.append(process)
        return process

    def wait_until(self, process, what, condition, seconds=30):
        end = time.monotonic() + seconds
        while True:
            if process.poll() is not None:
                raise StageError(f"{process.name} ended with {process.returncode}: {self.tail(process.name)}")
            if condition():
                return
            if time.monotonic() > end:
                raise StageError(f"{process.name}: {what} not within {seconds} s: {self.tail(process.name)}")
            time.sleep(0.05)

    def wait_for_port(self, process, port, seconds=30):
        self.wait_until(process, f"port {port}", lambda: answers(port), seconds)

    def tail(self, name):
        try:
            with open(self.path(name + ".log"), errors="replace") as log:
                return log.read()[-600:].strip() or "it said nothing"
        except OSError:
            return "it said nothing"

    def end(self, processes):
        """Ends them and whatever is left in their process groups, and waits for it."""
        for process in processes:
            if process.poll() is None:
                process.terminate()
        end = time.monotonic() + 15
        for process in processes:
            try:
                process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass
            kill_group(process.pid)
            process.wait()
            self.processes.remove(process)

    def close(self):
        self.end(list(reversed(self.processes)))
        if self.keep:
            print(f"bench: logs are in {self.directory}", file=sys.stderr)
        else:
            shutil.rmtree(self.directory, ignore_errors=True)

    def redis(self):
        """A fresh Redis, with the settings that Martlet brings and nothing on disk. No server runs yet, so whatever listens is
        none of ours: it would be measured in place of what is started."""
        foreign = next((port for port in range(self.port, self.port + PORTS) if answers(port)), None)
        if foreign:
            raise StageError(f"something listens on port {foreign} already: end it, or give BENCH_PORT other {PORTS} ports")
        directory = self.path("redis")
        shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(directory)
        process = self.start("redis", [
            "redis-server", os.path.join(ROOT, "redis", "redis.conf"), "--port", str(self.port), "--bind", "127.0.0.1",
            "--dir", directory, "--appendonly", "no", "--save", "", "--daemonize", "no"])
        self.wait_for_port(process, self.port)
        return process


def kill_group(group, seconds=2):
    """What is left of a process group, and waits until it is gone."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            return
        time.sleep(0.01)


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def family(pid):
    """A process and all that it started, as far as they live."""
    found = [pid]
    for each in found:
        try:
            with open(f"/proc/{each}/task/{each}/children") as children:
                found += [int(child) for child in children.read().split()]
        except OSError:
            pass
    return found


def memory(pid):
    """Bytes of a process' memory that no file stands behind."""
    with open(f"/proc/{pid}/status") as status:
        return sum(int(line.split()[1]) * 1024 for line in status if line.startswith(("RssAnon:", "RssShmem:")))


class Redis:
    """Just enough of a client to ask for figures."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.file = self.socket.makefile("rb")

    def ask(self, *words):
        parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self.socket.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
        return self.answer()

    def answer(self):
        line = self.file.readline()
        if line[:1] == b"-":
            raise StageError("redis: " + line[1:].decode(errors="replace").strip())
        if line[:1] == b"$":
            length = int(line[1:])
            return None if length < 0 else self.file.read(length + 2)[:-2].decode(errors="replace")
        if line[:1] == b"*":
            return [self.answer() for _ in range(int(line[1:]))]
        return int(line[1:]) if line[:1] == b":" else line[1:].decode().strip()

    def info(self, section):
        pairs = (line.split(":", 1) for line in self.ask("INFO", section).splitlines() if ":" in line)
        return {name: value.strip() for name, value in pairs}

    def calls(self, command):
        text = self.info("commandstats").get("cmdstat_" + command, "calls=0")
        return int(text.split(",")[0].split("=")[1])

    def close(self):
        self.file.close()
        self.socket.close()


def run_json(command, seconds, on_line=lambda line: None):
    """The last line of what a command prints, which is one JSON object; its exit code judges what was measured, not whether.
    Lines of its standard error are told as they come."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        said = []
        for line in process.stderr:
            said.append(line)
            on_line(line)
        output = process.stdout.read()
        process.wait()
    finally:
        process.kill()
        process.wait()
        timer.cancel()
    if process.returncode == -signal.SIGKILL:
        raise StageError(f"not done in {seconds} s: {' '.join(command)}")
    lines = output.strip().splitlines()
    if not lines or not lines[-1].startswith("{"):
        raise StageError(f"{' '.join(command)} ended with {process.returncode}: {''.join(said).strip()[-600:]}")
    return json.loads(lines[-1])
