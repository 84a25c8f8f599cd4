"""A loop of long polls, with nothing but the standard library: poll_client.py URL ROOM USER"""
import json
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

from lines import say_all, tell

url, room, user = sys.argv[1:]
messages = f"{url}/api/rooms/{urllib.parse.quote(room)}/messages"


def get(**fields):
    with urllib.request.urlopen(f"{messages}?{urllib.parse.urlencode(fields)}", timeout=20) as answer:
        return json.load(answer)


def poll():
    after, page = None, None
    while True:
        try:
            if after is None:
                page = get(wait="100ms", limit=1)
                after = page["newest"]
                tell(**{"is": "ready"})
            page = get(after=after, wait="10s")
        except (OSError, ValueError, KeyError) as error:
            tell(**{"is": "lost", "text": repr(error)})
            time.sleep(0.2)
            continue
        for name in ("gap", "reset"):
            if name in page:
                tell(**{"is": name, "text": str(page[name])})
        for message in page["messages"]:
            after = message["position"]
            tell(**{"is": "message", **message})


def send(text, key):
    body = json.dumps({"user": user, "text": text, "key": key}).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(messages, data=body), timeout=5) as answer:
            return answer.status in (200, 201)
    except OSError:
        return False


threading.Thread(target=poll, daemon=True).start()
say_all(send)
