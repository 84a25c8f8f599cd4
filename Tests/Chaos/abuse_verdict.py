"""What an abused phase may cost others and the machine, and whether it did: numbers in, words out."""

from ledger import quantile

# The honest 99th percentile may be so many times what it was just before, and so much more.
MOST_RATIO, MOST_MORE = 2.0, 0.020
# µs of a core a second that the abuser may cost each process, and the noise of two measurements that is forgiven.
MOST_COST, COST_NOISE = 100_000, 30_000
# Seconds after which all memory must be as it was, and how exactly: an allocator keeps some pages for the next time.
MOST_RETURN = 60
NODE_TOLERANCE, REDIS_TOLERANCE = 48e6, 8e6
# A generator that ran later than this, or had to wait for its own bound on CPU for this share, was itself the limit.
MOST_LATE, MOST_THROTTLED = 0.25, 0.1
# What others on this machine may take of it, and how late the honest clients' own process may be, before the figures
# say more about that than about the nodes.
MOST_FOREIGN, MOST_OWN_LAG = 0.3, 0.010


class Phase:
    """What was seen between two moments. Times are in seconds, CPU in seconds of a core."""

    def __init__(self):
        self.seconds = 0.0
        # Deliveries of what honest sessions said in this phase, and what their own process was late.
        self.times, self.lag = [], []
        self.cpu = {}
        self.foreign = 0.0
        self.reconnects = 0
        self.not_ready = []
        self.honest_losses = self.honest_errors = 0
        self.violations = 0
        self.members_lost = 0
        self.refused = 0
        # As abuser.py tells it.
        self.generator = {}

    @property
    def p99(self):
        return quantile(self.times, 0.99)

    def share(self, name):
        """µs of a core a second."""
        return 1e6 * self.cpu.get(name, 0.0) / max(1e-9, self.seconds)


class Case:
    """An undisturbed phase, an abused one just behind it, and what was left afterwards."""

    def __init__(self, name, before, during, nodes, budgets=1):
        self.name, self.before, self.during, self.nodes = name, before, during, nodes
        # In development mode nobody has proven who reads over HTTP, so an address has a budget beside its users'.
        self.most_cost = budgets * MOST_COST
        # Of the generator: as abuser.py tells it.
        self.generator = {}
        # name of a process -> bytes before, at most, and after; gauges that had not gone back; seconds until all had.
        self.memory = {}
        self.left_over = []
        self.returned = 0.0
        self.stored = 0

    def cost(self, name):
        return max(0.0, self.during.share(name) - self.before.share(name))

    @property
    def bound(self):
        return MOST_RATIO * self.before.p99 + MOST_MORE

    def faults(self):
        """What did not hold: [(promise, text)]."""
        found, during = [], self.during
        if during.p99 > self.bound:
            found.append(
                (
                    "isolation",
                    f"the 99th percentile of others went from {1000 * self.before.p99:.0f} to "
                    f"{1000 * during.p99:.0f} ms; {1000 * self.bound:.0f} ms are allowed",
                )
            )
        if during.reconnects:
            found.append(("isolation", f"nodes lost {during.reconnects:.0f} connections to Redis"))
        if during.not_ready:
            found.append(("readiness", f"/readyz was not 200 {len(during.not_ready)} times, as {during.not_ready[0]}"))
        if during.honest_losses:
            found.append(("isolation", f"{during.honest_losses} connections of others were lost"))
        if during.honest_errors:
            found.append(("isolation", f"{during.honest_errors} requests of others were answered with an error"))
        if during.members_lost:
            found.append(("isolation", f"{during.members_lost} members of the abuser's room were closed"))
        if during.violations:
            found.append(("isolation", f"{during.violations} promises to others were broken"))
        for name in self.nodes + ["redis"]:
            if self.cost(name) > self.most_cost + COST_NOISE:
                found.append(("bounds", f"costs {name} {self.cost(name) / 1e4:.0f} % of a core"))
        for name, (before, _, after) in self.memory.items():
            tolerance = REDIS_TOLERANCE if name == "redis" else NODE_TOLERANCE
            if after > before + tolerance:
                found.append(
                    (
                        "bounds",
                        f"{name} is {(after - before) / 1e6:.0f} MB larger {MOST_RETURN} s later "
                        f"({tolerance / 1e6:.0f} MB are allowed)",
                    )
                )
        if self.left_over:
            found.append(("bounds", f"{MOST_RETURN} s later there are still: {', '.join(self.left_over)}"))
        return found

    @property
    def may_be_noise(self):
        """Something else on this machine may have made others late, or what it costs dearer, but not so much."""
        dearest = max(self.cost(name) for name in self.nodes + ["redis"])
        late, dear = self.during.p99 > self.bound, dearest > self.most_cost + COST_NOISE
        return (
            bool(self.beware())
            and len(self.faults()) == late + sum(1 for _, text in self.faults() if text.startswith("costs "))
            and self.during.p99 < 5 * self.bound
            and (not dear or dearest < 2 * self.most_cost)
        )

    def beware(self):
        """Why the figures may not say what they seem to."""
        words, generator = [], self.generator
        if generator.get("latest", 0) > MOST_LATE:
            words.append(f"the generator was {1000 * generator['latest']:.0f} ms late")
        if generator.get("throttled", 0) > MOST_THROTTLED * self.during.seconds:
            words.append("the generator reached its own bound on CPU")
        for phase, when in ((self.before, "before"), (self.during, "meanwhile")):
            if phase.foreign > MOST_FOREIGN:
                words.append(f"others took {100 * phase.foreign:.0f} % of the machine {when}")
            if quantile(phase.lag, 0.99) > MOST_OWN_LAG:
                words.append(f"the honest clients' process was {1000 * quantile(phase.lag, 0.99):.0f} ms late {when}")
        return words

    def row(self):
        """For the table, and for machines."""
        generator = self.generator
        nodes = [self.cost(name) for name in self.nodes]
        return {
            "abuse": self.name,
            "p99 before, ms": round(1000 * self.before.p99, 1),
            "p99, ms": round(1000 * self.during.p99, 1),
            "allowed, ms": round(1000 * self.bound, 1),
            "node, us/s": round(max(nodes)),
            "Redis, us/s": round(self.cost("redis")),
            "node at most, MB": round(max(self.memory[name][1] for name in self.nodes) / 1e6) if self.memory else 0,
            "Redis at most, MB": round(self.memory["redis"][1] / 1e6) if self.memory else 0,
            "stored, MB": round(self.stored / 1e6),
            "back after, s": round(self.returned),
            "offered/s": round(generator.get("offered", 0) / max(1e-9, self.during.seconds)),
            "left out": generator.get("left out", 0),
            "refused": round(self.during.refused),
            "heard, MB": round(generator.get("bytes heard", 0) / 1e6),
            "generator, us/s": round(self.during.share("abuser") + self.during.share("crowd")),
            "faults": [text for _, text in self.faults()],
            "beware": self.beware(),
        }


COLUMNS = [
    ("abuse", 24),
    ("p99 before, ms", 10),
    ("p99, ms", 8),
    ("allowed, ms", 8),
    ("node, us/s", 9),
    ("Redis, us/s", 9),
    ("offered/s", 9),
    ("refused", 8),
    ("stored, MB", 7),
    ("back after, s", 6),
]
SHORT = {"p99 before, ms": "before ms", "allowed, ms": "allowed", "stored, MB": "MB", "back after, s": "back s"}


def heading():
    return " ".join(
        SHORT.get(name, name).ljust(width) if name == "abuse" else SHORT.get(name, name).rjust(width)
        for name, width in COLUMNS
    )


def line(row):
    words = [str(row[name]).ljust(width) if name == "abuse" else str(row[name]).rjust(width) for name, width in COLUMNS]
    return " ".join(words) + ("  ok" if not row["faults"] else "  " + "; ".join(row["faults"]))
