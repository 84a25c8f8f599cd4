"""stomp.py, over a WebSocket or over TCP: stomp_client.py (ws|tcp) ROOM USER HOST:PORT…"""
import logging
import sys
import threading
import time

import stomp
from lines import say_all, tell

kind, room, user, *addresses = sys.argv[1:]
hosts = [(address.split(":")[0], int(address.split(":")[1])) for address in addresses]
destination = f"/topic/{room}"
last = None
receipts = {}
# stomp.py says by itself that a node does not answer.
logging.disable()


def connection():
    if kind == "ws":
        return stomp.WSStompConnection(hosts, ws_path="/stomp", heartbeats=(4000, 4000), reconnect_attempts_max=1)
    return stomp.StompConnection12(hosts, heartbeats=(4000, 4000), reconnect_attempts_max=1)


class Listener(stomp.ConnectionListener):
    """Of one connection. A connection that never was one is tried again by whoever made it."""

    is_connected = False

    def on_connected(self, frame):
        self.is_connected = True

    def on_message(self, frame):
        global last
        last = frame.headers["message-id"]
        tell(**{"is": "message", "position": last, "user": frame.headers.get("user"), "text": frame.body})

    def on_receipt(self, frame):
        if frame.headers["receipt-id"] == "joined":
            tell(**{"is": "ready"})
        elif done := receipts.get(frame.headers["receipt-id"]):
            done.set()

    def on_error(self, frame):
        tell(**{"is": "refused", "text": f"{frame.headers} {frame.body}"})

    def on_disconnected(self):
        if not self.is_connected:
            return
        self.is_connected = False
        tell(**{"is": "lost", "text": "disconnected"})
        threading.Thread(target=enter, daemon=True).start()


def enter():
    """Connects, and subscribes behind the last message."""
    global client
    while True:
        try:
            client = connection()
            client.set_listener("", Listener())
            client.connect(user, "", headers={"device": f"python-{kind}", "heart-beat": "4000,4000"})
            # `wait=True` waits without end if the connection is lost before CONNECTED. With a time limit, stomp.py looks in between.
            client.transport.wait_for_connection(timeout=10)
            after = {"martlet-after": last} if last else {}
            client.subscribe(destination, id="1", ack="auto", headers={"receipt": "joined", **after})
            return
        except (stomp.exception.StompException, OSError) as error:
            tell(**{"is": "refused", "text": repr(error)})
            hosts.append(hosts.pop(0))
            time.sleep(0.3)


def send(text, key):
    done = receipts[key] = threading.Event()
    try:
        client.send(destination, text, headers={"receipt": key, "martlet-key": key})
        return done.wait(5)
    except (stomp.exception.StompException, OSError):
        return False
    finally:
        del receipts[key]


client = None
enter()
say_all(send)
