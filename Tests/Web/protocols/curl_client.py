"""`curl -N` on an event stream, started again with the last `id`, and `curl` for the sends: curl_client.py URL ROOM USER"""
import json
import subprocess
import sys
import threading
import time
import urllib.parse

from lines import say_all, tell

url, room, user = sys.argv[1:]
stream = f"{url}/api/events?{urllib.parse.urlencode({'room': room, 'user': user, 'device': 'curl', 'history': 0})}"
messages = f"{url}/api/rooms/{urllib.parse.quote(room)}/messages"


def listen():
    last = None
    while True:
        command = ["curl", "-sSN", stream] + (["-H", f"Last-Event-ID: {last}"] if last else [])
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as curl:
            fields = {}
            for line in curl.stdout:
                name, _, value = line.rstrip("\n").partition(": ")
                if name:
                    fields[name] = value
                    continue
                # The end of an event.
                last = fields.get("id", last)
                kind, data = fields.get("event"), fields.get("data")
                if kind == "joined":
                    tell(**{"is": "ready"})
                elif kind == "message":
                    tell(**{"is": "message", **json.loads(data)})
                elif kind in ("gap", "reset", "failure"):
                    tell(**{"is": kind, "text": data})
                fields = {}
        tell(**{"is": "lost", "text": f"curl ended with status {curl.returncode}"})
        time.sleep(0.3)


def send(text, key):
    body = json.dumps({"user": user, "text": text, "key": key})
    command = ["curl", "-sSf", "-m", "5", "-o", "/dev/null", "-d", body, messages]
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0


threading.Thread(target=listen, daemon=True).start()
say_all(send)
