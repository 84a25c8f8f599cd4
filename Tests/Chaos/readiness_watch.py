"""Asks /readyz of nodes as a proxy does, and tells each change, until it is killed. A process of its own: whoever has
hundreds of clients to serve is late when they are told at once what they have missed, and would call nodes late.

Arguments: ports. On standard output a line for each change: the time (CLOCK_MONOTONIC), the port, and 1 if it is ready.
"""

import asyncio
import sys
import time

from processes import status

# As a proxy asks: no answer within this is no green.
PATIENCE = 1.0
PAUSE = 0.05


async def watch(port):
    before = None
    while True:
        ready = (await status(port, seconds=PATIENCE))[0] == 200
        if ready != before:
            before = ready
            print(time.monotonic(), port, int(ready), flush=True)
        await asyncio.sleep(PAUSE)


async def main():
    await asyncio.gather(*(watch(int(port)) for port in sys.argv[1:]))


if __name__ == "__main__":
    asyncio.run(main())
