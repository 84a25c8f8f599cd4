"""HTTP/1.1 for the protocols that speak it: each request on a connection of its own, so that a proxy may pass each to
another node, and answers that do not end.
"""

import asyncio
import contextlib


class Answer:
    def __init__(self, status, fields, body):
        self.status, self.fields, self.body = status, fields, body


class Stream:
    """An answer whose body comes piece by piece: `read()` returns the next one, and nothing at the end."""

    def __init__(self, reader, writer, status, fields):
        self.reader, self.writer, self.status, self.fields = reader, writer, status, fields
        self.is_chunked = fields.get("transfer-encoding", "").lower() == "chunked"

    async def read(self):
        if not self.is_chunked:
            return await self.reader.read(65536)
        size = int((await self.reader.readline()).split(b";")[0] or b"0", 16)
        piece = await self.reader.readexactly(size) if size else b""
        await self.reader.readline()
        return piece

    def close(self):
        self.writer.transport.abort()


async def open_stream(port, method, path, fields=None, body=None, host="127.0.0.1", receive_buffer=1 << 16):
    """Sends a request, and returns when the head of the answer is there. All failures are of OSError."""
    reader, writer = await asyncio.open_connection(host, port, limit=receive_buffer)
    try:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}:{port}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in (fields or {}).items()]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        writer.write("\r\n".join(lines + ["", ""]).encode() + (body or b""))
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(head[0].split(" ", 2)[1])
        named = [line.partition(":") for line in head[1:] if line]
        return Stream(reader, writer, status, {name.lower(): value.strip() for name, _, value in named})
    except BaseException as error:
        writer.transport.abort()
        if isinstance(error, (EOFError, ValueError, IndexError, asyncio.LimitOverrunError)):
            raise OSError(f"no answer to {method}: {error!r}") from None
        raise


async def ask(port, method, path, fields=None, body=None, seconds=10, host="127.0.0.1"):
    """The whole answer, within so many seconds. All failures are of OSError."""
    stream = None
    try:
        async with asyncio.timeout(seconds):
            stream = await open_stream(port, method, path, fields, body, host)
            length = stream.fields.get("content-length")
            if length is not None:
                whole = await stream.reader.readexactly(int(length))
            else:
                whole = b""
                while piece := await stream.read():
                    whole += piece
            return Answer(stream.status, stream.fields, whole)
    except (EOFError, ValueError) as error:
        raise OSError(f"half an answer to {method}: {error!r}") from None
    finally:
        if stream:
            with contextlib.suppress(OSError):
                stream.close()
