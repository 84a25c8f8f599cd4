"""Just enough RESP2 to look into Redis: one command after the other, on a connection of its own."""

import asyncio


class RedisError(Exception):
    pass


class Shapes:
    """What Redis answers with, as Python has it; for whatever can be asked as `await self(word, …)`."""

    async def hash(self, key):
        flat = await self("HGETALL", key)
        return dict(zip(flat[::2], flat[1::2]))

    async def stream(self, key):
        """[(id, {field: value})], oldest first."""
        entries = await self("XRANGE", key, "-", "+")
        return [(name, dict(zip(fields[::2], fields[1::2]))) for name, fields in entries]

    async def info(self, section):
        text = await self("INFO", section)
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    async def keys(self, pattern):
        found, cursor = [], "0"
        while True:
            cursor, some = await self("SCAN", cursor, "MATCH", pattern, "COUNT", "1000")
            found += some
            if cursor == "0":
                return sorted(set(found))


class Redis(Shapes):
    """`await redis("XRANGE", key, "-", "+")`: strings are decoded, nil is None, errors raise RedisError."""

    def __init__(self, port, deadline=5.0):
        self.port, self.deadline = port, deadline
        self.reader = self.writer = None
        self.lock = asyncio.Lock()

    async def __call__(self, *words):
        async with self.lock:
            # A server that changes its role drops its clients; all that is asked here may be asked twice.
            is_old = self.writer is not None
            try:
                return await asyncio.wait_for(self.ask(words), self.deadline)
            except asyncio.CancelledError:
                # The answer that still comes would be taken for that of the next question.
                self.close()
                raise
            except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError, EOFError) as error:
                self.close()
                if is_old and not isinstance(error, asyncio.TimeoutError):
                    return await self.again(words)
                raise RedisError(f"{words[0]}: Redis on port {self.port} does not answer ({error!r})") from error

    async def again(self, words):
        try:
            return await asyncio.wait_for(self.ask(words), self.deadline)
        except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError, EOFError) as error:
            self.close()
            raise RedisError(f"{words[0]}: Redis on port {self.port} does not answer ({error!r})") from error

    async def ask(self, words):
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        parts = [b"*%d\r\n" % len(words)]
        for word in words:
            raw = word if isinstance(word, bytes) else str(word).encode()
            parts.append(b"$%d\r\n%s\r\n" % (len(raw), raw))
        self.writer.write(b"".join(parts))
        return await self.reply()

    async def reply(self):
        line = (await self.reader.readuntil(b"\r\n"))[:-2]
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            raise RedisError(rest.decode("utf-8", "replace"))
        if kind == b":":
            return int(rest)
        if kind == b"$":
            if rest == b"-1":
                return None
            data = await self.reader.readexactly(int(rest) + 2)
            return data[:-2].decode("utf-8", "replace")
        if kind == b"*":
            return None if rest == b"-1" else [await self.reply() for _ in range(int(rest))]
        raise EOFError(f"not RESP2: {line[:40]!r}")

    def close(self):
        if self.writer is not None:
            self.writer.transport.abort()
        self.reader = self.writer = None
