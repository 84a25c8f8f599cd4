"""Rooms that say little: what a room costs Redis and a node. One message is said over HTTP in each room in which nobody is;
then a hundred sessions, each in its share of other rooms, say one in each."""

import base64
import http.client
import json
import os
import socket
import struct
import time

from stage import Redis, StageError, memory


class Session:
    """A WebSocket that speaks Martlet's protocol, one request at a time. With a token it says who it is by that alone."""

    def __init__(self, port, user, token=None):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET /ws{'' if token else '?user=' + user} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\n{'Authorization: Bearer ' + token + chr(13) + chr(10) if token else ''}"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        self.file = self.socket.makefile("rb")
        if b" 101 " not in self.file.readline():
            raise StageError("the node refuses a WebSocket")
        while self.file.readline().strip():
            pass

    def say(self, request):
        payload = json.dumps(request, separators=(",", ":")).encode()
        length = struct.pack("!B", 0x80 | len(payload)) if len(payload) < 126 else struct.pack("!BH", 0xFE, len(payload))
        self.socket.sendall(b"\x81" + length + b"\0\0\0\0" + payload)

    def hear(self, kind):
        """The next event of that kind; others are passed over."""
        while True:
            head = self.file.read(2)
            if len(head) < 2:
                raise StageError("the node closed a connection")
            length = head[1] & 0x7F
            if length == 126:
                length = struct.unpack("!H", self.file.read(2))[0]
            elif length == 127:
                length = struct.unpack("!Q", self.file.read(8))[0]
            payload = self.file.read(length)
            if head[0] & 0xF != 1:
                continue
            event = json.loads(payload)
            if event["type"] == "error":
                raise StageError(f"the node refuses: {event}")
            if event["type"] == kind:
                return event

    def close(self):
        self.file.close()
        self.socket.close()


def measure(stage, node, rooms):
    """Bytes a room: with nobody in it, with a member, and after that one left. Sessions are there before, so that they do not
    count."""
    port = stage.port + 1
    found = {"rooms": rooms, **alone(stage, node, rooms)}
    redis = Redis(stage.port)
    sessions = [Session(port, f"quiet{number}") for number in range(100)]
    try:
        for session in sessions:
            session.hear("welcome")
        time.sleep(1)
        before = look(redis, node)
        shares = [[f"quiet-{number}" for number in range(index, rooms, len(sessions))]
                  for index in range(len(sessions))]
        for session, share in zip(sessions, shares):
            for room in share:
                session.say({"type": "join", "ref": 1, "room": room})
                session.hear("joined")
        joined = look(redis, node)
        for session, share in zip(sessions, shares):
            for room in share:
                session.say({"type": "send", "ref": 1, "room": room, "text": "x" * 100})
                session.hear("sent")
        time.sleep(3)
        held = look(redis, node)
        for session, share in zip(sessions, shares):
            for room in share:
                session.say({"type": "leave", "ref": 1, "room": room})
                session.hear("left")
        time.sleep(3)
        left = look(redis, node)
    finally:
        for session in sessions:
            session.close()
        redis.close()
    for name, after in (("Joined", joined), ("Held", held), ("Left", left)):
        found.update(grown(before, after, rooms, name))
    return found


def alone(stage, node, rooms):
    redis = Redis(stage.port)
    connection = http.client.HTTPConnection("127.0.0.1", stage.port + 1, timeout=30)
    try:
        before = look(redis, node)
        for number in range(rooms):
            body = json.dumps({"user": "bot", "text": "x" * 100})
            connection.request("POST", f"/api/rooms/alone-{number}/messages", body)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status >= 300:
                raise StageError(f"the node refuses: {answer.status} {text.decode(errors='replace')}")
        time.sleep(3)
        return grown(before, look(redis, node), rooms, "Alone")
    finally:
        connection.close()
        redis.close()


def grown(before, after, rooms, name):
    return {f"{what}BytesPerRoom{name}": round((after[what] - before[what]) / rooms) for what in before}


def look(redis, node):
    return {"redis": int(redis.info("memory")["used_memory"]), "node": memory(node.pid)}

