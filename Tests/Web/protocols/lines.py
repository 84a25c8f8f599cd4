"""A client in a process of its own: commands come in lines of JSON, and what it is shown goes out so."""
import json
import sys
import threading
import time

lock = threading.Lock()


def tell(**what):
    with lock:
        print(json.dumps(what), flush=True)


def say_all(send):
    """Says what comes on standard input, each message again with its key until `send(text, key)` says that it is stored."""
    for line in sys.stdin:
        asked = json.loads(line)
        while not send(asked["text"], asked["key"]):
            time.sleep(0.2)
        tell(**{"is": "stored", "key": asked["key"]})
