"""What a run says: one line that is written over on a terminal, plain lines in a pipe, JSON at the end if wanted."""

import json
import sys
import time


class Show:
    def __init__(self, as_json, quiet=False):
        self.as_json, self.quiet = as_json, quiet
        # With --json standard output is the result alone.
        self.out = sys.stderr if as_json else sys.stdout
        self.live = self.out.isatty()
        self.last = 0.0
        self.dirty = False

    def line(self, text=""):
        if self.dirty:
            self.out.write("\r\033[K")
            self.dirty = False
        print(text, file=self.out, flush=True)

    def progress(self, text):
        """Called often; a pipe gets a line every five seconds."""
        if self.live:
            self.out.write("\r\033[K" + text[:118])
            self.out.flush()
            self.dirty = True
        elif time.monotonic() - self.last >= 5:
            self.last = time.monotonic()
            self.line(text)

    def result(self, name, passed, figures, seed, extra=None):
        if self.as_json:
            print(json.dumps({"scenario": name, "passed": passed, "seed": seed, "figures": figures, **(extra or {})}))
            return
        width = max((len(key) for key in figures), default=0)
        self.line()
        for key, value in figures.items():
            self.line(f"  {key.ljust(width)}  {value}")
        self.line(f"chaos {name}: {'passed' if passed else 'FAILED'} (seed {seed})")
