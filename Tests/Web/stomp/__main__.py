#!/usr/bin/env python3
"""Other people's STOMP clients against real nodes: stomp.py over WebSocket and TCP, stomp.js over sockjs-client, and RabbitMQ's own pages.

    python3 Tests/Web/stomp --url http://127.0.0.1:8081 --tcp 127.0.0.1:61613 --tcp 127.0.0.1:61614 [--only NAME]

--url is a proxy's or a node's, --tcp each node's port for STOMP. The scripts and pages come from Debian's packages rabbitmq-server,
node-sockjs-client and libjs-jquery, which are fetched and not installed. Needs Debian's chromium, and from PyPI playwright, stomp-py
and websockets. Exits 1 if a check fails, 2 if something that it needs is missing.
"""
import argparse
import asyncio
import sys
import time

try:
    import browser
    import programs
    from ground import Ground, Missing
except ImportError as error:
    print(f"the checks need playwright, stomp-py and websockets from PyPI: {error}", file=sys.stderr)
    sys.exit(2)

CHECKS = {name.removeprefix("check_"): value for module in (programs, browser) for name, value in vars(module).items()
          if name.startswith("check_")}


async def main():
    parser = argparse.ArgumentParser(prog="stomp", description=__doc__.split("\n")[0])
    parser.add_argument("--url", required=True, help="a node's or a proxy's http address")
    parser.add_argument("--tcp", action="append", required=True, help="address of a port for STOMP")
    parser.add_argument("--only", action="append", choices=sorted(CHECKS), help="these checks only")
    arguments = parser.parse_args()
    failed = 0
    with Ground(arguments.url, arguments.tcp) as ground:
        for name in arguments.only or CHECKS:
            began = time.monotonic()
            try:
                await CHECKS[name](ground)
                print(f"ok   {name} ({time.monotonic() - began:.1f} s): {CHECKS[name].__doc__}", flush=True)
            except Missing as error:
                print(f"what is needed is missing: {error}", file=sys.stderr)
                sys.exit(2)
            except Exception as error:  # One check's failure, of whatever kind, must not hide the others'.
                failed += 1
                print(f"FAIL {name}: {type(error).__name__}: {error}", flush=True)
    sys.exit(1 if failed else 0)


asyncio.run(main())
