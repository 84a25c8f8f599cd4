"""python-socketio, as it comes: socketio_client.py URL ROOM USER"""
import sys
import threading

import socketio
from lines import say_all, tell

url, room, user = sys.argv[1:]
client = socketio.Client(reconnection_delay=0.2, reconnection_delay_max=1)
last = None
lock = threading.Lock()


@client.event
def connect():
    client.emit("join", {"room": room, "history": 0, **({"after": last} if last else {})}, callback=joined)


def joined(answer):
    global last
    last = last or answer.get("position")
    tell(**{"is": "failed" if "error" in answer else "ready", "text": str(answer)})


@client.event
def disconnect(reason=None):
    tell(**{"is": "lost", "text": str(reason)})


def place(position):
    return [int(number) for number in position.split("-")]


@client.on("message")
def message(what, _offset):
    # The library handles each event in a thread of its own, so a later one may come first.
    global last
    with lock:
        last = max(last or "0-0", what["position"], key=place)
        tell(**{"is": "message", **what})


@client.on("gap")
def gap(what):
    tell(**{"is": "gap", "text": str(what)})


@client.on("reset")
def reset(what):
    tell(**{"is": "reset", "text": str(what)})


def send(text, key):
    try:
        return "error" not in client.call("send", {"room": room, "text": text, "key": key}, timeout=5)
    except socketio.exceptions.SocketIOError:
        return False


client.connect(url, auth={"user": user, "device": "python"}, wait_timeout=10, retry=True)
say_all(send)
client.disconnect()
