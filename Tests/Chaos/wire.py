"""A WebSocket client on asyncio's protocols: small, and fast enough for ten thousand sessions in one process.

It reads what RFC 6455 lets a server send (fragments, pings, a close with code and reason) and refuses the rest. Client
frames are masked with the key 0: the mask protects proxies that do not know WebSocket, and there is none here.
"""

import asyncio
import base64
import os
import socket
import struct


class WebSocket(asyncio.Protocol):
    """`owner` is told `opened()`, `received(payload: bytes)` and, exactly once, `closed(code or None, text)`."""

    MOST_FRAME = 32 << 20

    def __init__(self, owner, path, host="127.0.0.1", subprotocol="martlet.v1"):
        self.owner, self.path, self.host, self.subprotocol = owner, path, host, subprotocol
        self.transport = None
        self.buffer = bytearray()
        self.is_open = False
        self.is_closed = False
        self.fragments = None
        self.close_code, self.close_text = None, ""
        self.heard_at = 0.0

    @classmethod
    async def connect(cls, owner, port, path, receive_buffer=None, host="127.0.0.1", subprotocol="martlet.v1"):
        """Opens the TCP connection; `owner.opened` comes when the node has accepted the upgrade."""
        loop = asyncio.get_running_loop()
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        connection.setblocking(False)
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            await loop.sock_connect(connection, (host, port))
            made = cls(owner, path, f"{host}:{port}", subprotocol)
            _, protocol = await loop.create_connection(lambda: made, sock=connection)
        except BaseException:
            connection.close()
            raise
        return protocol

    # What asyncio says.

    def connection_made(self, transport):
        self.transport = transport
        self.loop = asyncio.get_running_loop()
        self.heard_at = self.loop.time()
        key = base64.b64encode(os.urandom(16)).decode()
        asked = f"Sec-WebSocket-Protocol: {self.subprotocol}\r\n" if self.subprotocol else ""
        transport.write(
            f"GET {self.path} HTTP/1.1\r\nHost: {self.host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{asked}\r\n".encode()
        )

    def data_received(self, data):
        self.heard_at = self.loop.time()
        self.buffer += data
        if not self.is_open and not self.read_head():
            return
        self.read_frames()

    def connection_lost(self, error):
        if not self.is_closed:
            self.is_closed = True
            self.owner.closed(self.close_code, self.close_text or (str(error) if error else "the connection ended"))

    # What the owner asks for.

    def send(self, text):
        self.write(0x81, text.encode())

    def drop(self):
        """Ends the connection without a word, as a phone does that lost its network."""
        if self.transport:
            self.transport.abort()

    def close(self):
        """Ends it in order."""
        if self.transport and not self.transport.is_closing():
            if self.is_open:
                self.write(0x88, struct.pack("!H", 1000))
            self.transport.close()

    def pause(self):
        if self.transport and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume(self):
        if self.transport and not self.transport.is_closing():
            self.transport.resume_reading()

    # The protocol.

    def write(self, first, payload):
        if self.transport is None or self.transport.is_closing():
            return
        size = len(payload)
        if size < 126:
            head = bytes((first, 0x80 | size, 0, 0, 0, 0))
        elif size < 1 << 16:
            head = struct.pack("!BBHI", first, 0xFE, size, 0)
        else:
            head = struct.pack("!BBQI", first, 0xFF, size, 0)
        self.transport.write(head + payload)

    def read_head(self):
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self.buffer[:end]).decode("latin-1")
        status = head.split("\r\n", 1)[0]
        if " 101 " not in status + " ":
            self.close_text = status
            self.transport.abort()
            return False
        del self.buffer[: end + 4]
        self.is_open = True
        self.owner.opened()
        return True

    def read_frames(self):
        buffer, at = self.buffer, 0
        while len(buffer) - at >= 2 and not self.transport.is_closing():
            first, second = buffer[at], buffer[at + 1]
            size, start = second & 0x7F, at + 2
            if second & 0x80 or first & 0x70:
                return self.refuse("a masked frame or reserved bits from the node")
            if size == 126:
                if len(buffer) - at < 4:
                    break
                size, start = int.from_bytes(buffer[at + 2 : at + 4], "big"), at + 4
            elif size == 127:
                if len(buffer) - at < 10:
                    break
                size, start = int.from_bytes(buffer[at + 2 : at + 10], "big"), at + 10
            if size > self.MOST_FRAME:
                return self.refuse(f"a frame of {size} bytes from the node")
            if len(buffer) < start + size:
                break
            at = start + size
            self.take(first & 0x80, first & 0x0F, bytes(buffer[start:at]))
        del buffer[:at]

    def take(self, final, opcode, payload):
        if opcode == 9:
            self.write(0x8A, payload)
        elif opcode == 8:
            if len(payload) >= 2:
                self.close_code = int.from_bytes(payload[:2], "big")
                self.close_text = payload[2:].decode("utf-8", "replace")
            self.write(0x88, payload[:2])
            self.transport.close()
        elif opcode == 1 and final:
            self.owner.received(payload)
        elif opcode in (0, 1):
            self.fragments = (self.fragments or b"") + payload
            if final:
                payload, self.fragments = self.fragments, None
                self.owner.received(payload)
        elif opcode != 10:
            self.refuse(f"a frame with opcode {opcode} from the node")

    def refuse(self, text):
        self.close_text = text
        self.transport.abort()
