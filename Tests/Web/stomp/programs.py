"""stomp.py (PyPI), over WebSocket and TCP, beside a client of martlet.v1."""
import asyncio
import json
import threading
import time
import urllib.request

import stomp
import websockets

from ground import check

PATIENCE = 30


class Client(stomp.ConnectionListener):
    """One connection of stomp.py, with all that came."""

    def __init__(self, connection, user):
        self.messages, self.errors, self.receipts = [], [], []
        self.changed = threading.Condition()
        self.connection = connection
        connection.set_listener("", self)
        connection.connect(user, "", wait=True)

    def _add(self, to, what):
        with self.changed:
            to.append(what)
            self.changed.notify_all()

    def on_message(self, frame):
        self._add(self.messages, frame)

    def on_error(self, frame):
        self._add(self.errors, frame)

    def on_receipt(self, frame):
        self._add(self.receipts, frame.headers["receipt-id"])

    def wait(self, isTrue, what):
        with self.changed:
            check(self.changed.wait_for(isTrue, PATIENCE), f"{what}: {len(self.messages)} messages, errors {[e.body for e in self.errors]}")

    def subscribe(self, room, **headers):
        self.connection.subscribe(f"/topic/{room}", id="1", headers={"receipt": "subscribed", **headers.pop("headers", {})}, **headers)
        self.wait(lambda: "subscribed" in self.receipts, "SUBSCRIBE")


def clients(ground):
    """All versions over TCP, on different nodes, and the newest over WebSocket."""
    first, last = ground.tcp[0], ground.tcp[-1]
    return [
        Client(stomp.WSStompConnection([(ground.host, ground.port)], ws_path="/stomp"), "web"),
        Client(stomp.StompConnection10([first]), "ten"),
        Client(stomp.StompConnection11([last], heartbeats=(2000, 2000)), "eleven"),
        Client(stomp.StompConnection12([first]), "twelve"),
    ]


async def check_order(ground):
    """stomp.py in all versions and martlet.v1 see one order, which is that of the log"""
    room = ground.room("order")
    everyone = clients(ground)
    for client in everyone:
        client.subscribe(room)
    address = f"{ground.url.replace('http', 'ws', 1)}/ws?user=native&room={room}"
    async with websockets.connect(address) as native:
        while json.loads(await native.recv())["type"] != "joined":
            pass
        for number in range(25):
            for client in everyone:
                client.connection.send(f"/topic/{room}", f"{number} 가", receipt=f"r{number}", headers={"x-head": "a:b"})
            await native.send(json.dumps({"type": "send", "room": room, "text": f"native {number}"}))
        order = []
        while len(order) < 125:
            event = json.loads(await asyncio.wait_for(native.recv(), PATIENCE))
            if event["type"] == "message":
                order.append((event["position"], event["text"]))
    for client in everyone:
        await asyncio.to_thread(client.wait, lambda client=client: len(client.messages) >= 125 and len(client.receipts) >= 26, "all")
        check([(m.headers["message-id"], m.body) for m in client.messages] == order, "another order")
        check(client.messages[0].headers.get("destination") == f"/topic/{room}", "destination")
    check(any(m.headers.get("x-head") == "a:b" for m in everyone[3].messages), "a header did not come back")
    with urllib.request.urlopen(f"{ground.url}/api/rooms/{room}/messages?limit=100") as answer:
        stored = [(m["position"], m["text"]) for m in json.load(answer)["messages"]]
    check(stored == order[-100:], "not the order of the log")
    time.sleep(5)
    check(everyone[2].connection.is_connected(), "the connection with heart-beats is gone")
    for client in everyone:
        client.connection.disconnect(receipt="bye")
        client.wait(lambda client=client: "bye" in client.receipts, "DISCONNECT")


async def check_resume(ground):
    """a subscription continues on another node, and a burst beyond the rate is stored in order"""
    room = ground.room("resume")
    speaker = Client(stomp.StompConnection12([ground.tcp[0]]), "speaker")
    speaker.subscribe(room)
    for number in range(1500):
        speaker.connection.send(f"/topic/{room}", str(number), receipt=str(number))
    speaker.wait(lambda: len(speaker.receipts) >= 1501 and len(speaker.messages) >= 1500, "all stored")
    check([m.body for m in speaker.messages] == [str(n) for n in range(1500)], "another order")
    position = speaker.messages[699].headers["message-id"]
    other = Client(stomp.StompConnection11([ground.tcp[-1]]), "other")
    other.subscribe(room, headers={"x-stream-offset": f"offset={position}"})
    other.wait(lambda: len(other.messages) >= 800, "what was missed")
    check([m.body for m in other.messages] == [str(n) for n in range(700, 1500)], "a hole or a repetition")
    slow = Client(stomp.StompConnection12([ground.tcp[-1]]), "slow")
    slow.subscribe(room, ack="client-individual", headers={"x-stream-offset": f"offset={position}", "prefetch-count": "20"})
    for number in range(300):
        slow.wait(lambda number=number: len(slow.messages) > number, "the next one")
        check(len(slow.messages) <= number + 20, "more than prefetch-count")
        slow.connection.ack(slow.messages[number].headers["ack"])
    check([m.body for m in slow.messages[:300]] == [str(n) for n in range(700, 1000)], "a hole or a repetition")
    for client in (speaker, other, slow):
        check(not client.errors, client.errors)
        client.connection.disconnect()


async def check_transactions(ground):
    """a transaction is shown at COMMIT, and not after ABORT"""
    room = ground.room("transactions")
    client = Client(stomp.StompConnection12([ground.tcp[0]]), "ana")
    client.subscribe(room)
    for ends in ("abort", "commit"):
        transaction = client.connection.begin()
        for number in range(3):
            client.connection.send(f"/topic/{room}", f"{ends} {number}", transaction=transaction)
        getattr(client.connection, ends)(transaction)
    client.connection.send(f"/topic/{room}", "last")
    client.wait(lambda: len(client.messages) >= 4, "all")
    check([m.body for m in client.messages] == ["commit 0", "commit 1", "commit 2", "last"], [m.body for m in client.messages])
    client.connection.disconnect()


async def check_refusals(ground):
    """what a log cannot offer is an ERROR with the reason"""
    for destination, message in (("/queue/a", "Invalid destination"), ("/topic/a.*", "Invalid destination"), ("/nowhere", "Unknown destination")):
        client = Client(stomp.StompConnection12([ground.tcp[0]]), "ana")
        client.connection.send(destination, "x", receipt="r")
        client.wait(lambda client=client: client.errors, "ERROR")
        check(client.errors[0].headers["message"] == message, client.errors[0].headers)
        check(client.errors[0].headers["receipt-id"] == "r", client.errors[0].headers)
