#!/usr/bin/env python3
"""Drives the chat page in headless Chromium against real nodes.

    python3 Tests/Web/browser --url http://127.0.0.1:8081 [--url http://127.0.0.1:8082] [--shots DIR] [--only NAME] [--node n1=PID ...]
                              [--redis-port PORT]

The first page uses the first --url, the second page the last one. With --node the one that the first page is on is killed
(-9) in mid-talk; the --url must then be a proxy's. Needs Debian's chromium and from PyPI playwright, websockets and
axe-core-python. Exits 1 if a check fails, 2 if something that it needs is missing.
"""
import argparse
import asyncio
import os
import shutil
import sys
import time

try:
    from playwright.async_api import async_playwright

    import converse
    import dates
    import flood
    import look
    import talk
    from bench import Bench, check
except ImportError as error:
    print(f"the browser's checks need playwright, websockets and axe-core-python from PyPI: {error}", file=sys.stderr)
    sys.exit(2)

CHECKS = {name.removeprefix("check_"): value for module in (talk, converse, dates, flood, look) for name, value in vars(module).items()
          if name.startswith("check_")}


async def main():
    parser = argparse.ArgumentParser(prog="browser", description=__doc__.split("\n")[0])
    parser.add_argument("--url", action="append", required=True, help="a node's or a proxy's http address")
    parser.add_argument("--node", action="append", default=[], metavar="NAME=PID", help="a node that may be killed")
    parser.add_argument("--redis-port", type=int, help="the nodes' Redis, through which messages of earlier days are said")
    parser.add_argument("--only", action="append", choices=sorted(CHECKS), help="these checks only")
    parser.add_argument("--files", help="a folder whose files are shown instead of the node's own of that name")
    parser.add_argument("--shots", help="a folder for screenshots")
    arguments = parser.parse_args()
    chromium = shutil.which("chromium")
    if not chromium:
        print("the browser's checks need Debian's chromium (apt-get install chromium)", file=sys.stderr)
        sys.exit(2)
    if arguments.shots:
        os.makedirs(arguments.shots, exist_ok=True)
    failed = 0
    async with async_playwright() as playwright:
        # A page from a file is of no network, and would not be let into this one.
        flags = ["--no-sandbox", "--disable-dev-shm-usage", *(["--disable-features=LocalNetworkAccessChecks"] if arguments.files else [])]
        # The order of a date field's parts follows the language of the browser itself.
        browser = await playwright.chromium.launch(executable_path=chromium, args=flags, env={**os.environ, "LANGUAGE": "en_US"})
        bench = Bench(browser, arguments)
        # The kill comes last: what follows would miss the node.
        for name in sorted(arguments.only or CHECKS, key=lambda name: name == "kill"):
            began = time.monotonic()
            try:
                await CHECKS[name](bench)
                check(not bench.errors, f"the page's console: {bench.errors[:3]}")
                print(f"ok   {name} ({time.monotonic() - began:.1f} s): {CHECKS[name].__doc__}", flush=True)
            except Exception as error:  # One check's failure, of whatever kind, must not hide the others'.
                failed += 1
                print(f"FAIL {name} ({time.monotonic() - began:.1f} s): {CHECKS[name].__doc__}\n     {error}", flush=True)
                for context in bench.contexts[-2:]:
                    for page in context.pages:
                        await bench.picture(page, f"failed-{name}-{bench.contexts.index(context)}")
            bench.errors.clear()
            await bench.close()
        await browser.close()
    sys.exit(1 if failed else 0)


asyncio.run(main())
