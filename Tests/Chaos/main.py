"""The command line of scripts/chaos."""

import argparse
import asyncio
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile

from abuse import abuse
from cluster_failover import cluster_failover
from cluster_reshard import cluster_reshard
from cluster_self_test import cluster_self_test
from conversations import conversations
from conversations_self_test import conversations_self_test
from failover import failover
from faults import KINDS
from limits_self_test import limits_self_test
from lost_tail import lost_tail
from mass_return import mass_return
from processes import Broken
from protocols import PROTOCOLS, SETTINGS, parse_protocols
from protocols_self_test import protocols_self_test
from redis_wire import RedisError
from refusals import refusals
from relay import relay, unnoted
from rolling import rolling
from show import Show
from self_test import self_test
from sentinel import sentinel
from silent_death import silent_death
from slow_reader import slow_reader
from storm import storm
from tokens import Issuer
from upgrade import upgrade
from upgrade_record import upgrade_record
from upgrade_self_test import upgrade_self_test

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCENARIOS = {
    "storm": (storm, "everything at once, at random from one seed (the default)"),
    "lost-tail": (
        lost_tail,
        "kill -9 of Redis that loses its last second: nothing acknowledged is lost while its nodes live",
    ),
    "silent-death": (
        silent_death,
        "connections to Redis stay open and say nothing: noticed, told by /readyz, repaired",
    ),
    "rolling": (rolling, "a rolling restart of all nodes under load: nothing lost or repeated, reconnects spread"),
    "upgrade": (
        upgrade,
        "a cluster of the version of --from is upgraded node by node, goes back, and forward again; nodes die while it "
        "is mixed",
    ),
    "failover": (failover, "a lagging replica takes over, again and again"),
    "sentinel": (sentinel, "three sentinels; the master, with a lagging replica, is killed, frozen, cut off alive"),
    "slow-reader": (
        slow_reader,
        "one that never reads among 1,000: the others do not notice, it is closed and resumes",
    ),
    "abuse": (
        abuse,
        "one user does what the limits allow, and two such things at once: nobody else notices, at a bounded cost",
    ),
    "refusals": (
        refusals,
        "Redis refuses writes, a node has no descriptors, nobody reads its log: told by /readyz, and nobody has left",
    ),
    "mass-return": (
        mass_return,
        "10,000 sessions come back at once after their node died: a read per room, not per session",
    ),
    "cluster-failover": (
        cluster_failover,
        "masters of a Redis Cluster are killed and frozen; rooms of the others do not notice",
    ),
    "cluster-reshard": (
        cluster_reshard,
        "slots with rooms that talk move from master to master of a Redis Cluster: nobody notices",
    ),
    "conversations": (
        conversations,
        "users send, amend, read, invite and remove while nodes die and Redis fails over: unread counts, folded pages, "
        "participants and erased text are right",
    ),
    "relay": (
        relay,
        "the storm, and relays that are killed and frozen: everything is in the event streams and in the archive, in "
        "order",
    ),
    "unnoted": (
        unnoted,
        "nodes are killed between an answer and their notice to relays: everything is in the streams and in the archive",
    ),
    "self-test": (self_test, "breaks each promise behind the nodes' backs, and looks whether it is noticed"),
    "limits-self-test": (
        limits_self_test,
        "plants what abuse and refusals look for, and looks whether it is noticed",
    ),
    "upgrade-self-test": (
        upgrade_self_test,
        "plants what upgrade looks for, and looks whether it is noticed",
    ),
    "upgrade-record": (
        upgrade_record,
        "breaks nothing: writes down what this version leaves in Redis, asks and publishes (Tests/Upgrade)",
    ),
    "protocols-self-test": (
        protocols_self_test,
        "plants what --protocols must notice, in a session of each protocol",
    ),
    "conversations-self-test": (
        conversations_self_test,
        "plants what conversations must notice in what it has recorded",
    ),
    "cluster-self-test": (
        cluster_self_test,
        "what the scenarios on a Redis Cluster stand on, without nodes; builds nothing",
    ),
}
WITHOUT_NODES = {"cluster-self-test"}
SESSIONS = {"mass-return": 10_000, "slow-reader": 1_000, "conversations": 18, "conversations-self-test": 18}
WITH_TOKENS = {"storm", "rolling"}
WITH_PROTOCOLS = {"protocols-self-test", "storm", "rolling", "lost-tail", "silent-death", "failover", "sentinel"}


def parser():
    lines = [f"  {name:17} {text}" for name, (_, text) in SCENARIOS.items()]
    lines += ["", "faults of the storm (all down to wander, if --faults does not say; the next six are those of refusals too):"]
    lines += [f"  {name:17} {text}" for name, (_, text) in KINDS.items()]
    made = argparse.ArgumentParser(
        prog="scripts/chaos",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Breaks a Martlet cluster on purpose and looks whether it keeps its promises. Starts and ends "
        "everything itself, on loopback. Exit status: 0 all promises kept, 1 one was broken, 2 the scenario could not be "
        "carried out.",
        epilog="scenarios:\n" + "\n".join(lines),
    )
    made.add_argument("scenario", nargs="?", default="storm", choices=list(SCENARIOS), metavar="SCENARIO")
    made.add_argument("--conversations", action="store_true", help="the scenario `conversations`")
    made.add_argument("--seed", type=int, help="what is done to whom when (a random one, printed)")
    made.add_argument(
        "--seconds",
        type=float,
        help="how long things break (60), each abuse and each outage of refusals lasts (20), upgrade stays mixed (8)",
    )
    made.add_argument(
        "--runs", type=int, default=1, help="so many runs in a row, with seed, seed + 1, …; stops at the first failure"
    )
    made.add_argument("--faults", "--fault", help="only these, with commas between them, or `all`")
    made.add_argument("--outages", type=int, default=10, help="refusals: how often each fault comes, unnoted: how many nodes are killed (10)")
    made.add_argument(
        "--only",
        help="abuse: only these, with commas between them: an abuse, several with + between them, or the groups singles, "
        "outage, pairs, covering",
    )
    made.add_argument("--sessions", type=int, help="how many (storm 300, mass-return 10,000, slow-reader 1,000, conversations 18)")
    made.add_argument("--rooms", type=int, default=30)
    made.add_argument(
        "--rate", type=float, help="messages said each second, all together (150); requests of conversations (40)"
    )
    made.add_argument(
        "--from",
        dest="from_commit",
        metavar="COMMIT",
        help="upgrade: the version to begin with; built once, and kept in ~/.cache",
    )
    made.add_argument("--old-binary", metavar="FILE", help="upgrade: this martlet is the version to begin with")
    made.add_argument("--postgres", action="store_true", help="relay: the archive is in a private PostgreSQL")
    made.add_argument("--redis-cluster", action="store_true", help="upgrade: on a Redis Cluster of three masters")
    made.add_argument("--out", metavar="FOLDER", help="upgrade-record: where the files go")
    made.add_argument("--binary", help="this martlet; otherwise a release build is made")
    made.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting for the nodes, such as "
        "MARTLET_ACK_REPLICAS=1: then nothing acknowledged may be lost in a failover either",
    )
    made.add_argument(
        "--tokens",
        type=int,
        metavar="SECONDS",
        help="storm and rolling: sessions have tokens that live so long, and renew them (6 or more)",
    )
    made.add_argument(
        "--protocols",
        nargs="?",
        const="all",
        metavar="NAMES",
        help=f"{', '.join(sorted(WITH_PROTOCOLS))}: sessions of all protocols mixed, or of these, with commas between them: "
        + ", ".join(PROTOCOLS),
    )
    made.add_argument("--state-dir", help="logs and data go there and stay; otherwise they stay only after a failure")
    made.add_argument("--port-base", type=int, default=25000, help="takes free ports from here on (25000)")
    made.add_argument("--json", action="store_true", help="the result as one JSON object on standard output")
    return made


def build():
    print("chaos: building (release; the first time takes some minutes)", file=sys.stderr)
    command = ["swift", "build", "-c", "release", "--product", "martlet"]
    if subprocess.run(command, cwd=ROOT, stdout=sys.stderr).returncode:
        raise Broken("the build failed")
    shown = subprocess.run(
        ["swift", "build", "-c", "release", "--show-bin-path"], cwd=ROOT, capture_output=True, text=True
    )
    return str(pathlib.Path(shown.stdout.strip()) / "martlet")


def raise_file_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def one_run(options, show, seed):
    options.seed = seed
    state = pathlib.Path(options.state_dir or tempfile.mkdtemp(prefix="martlet-chaos."))
    state.mkdir(parents=True, exist_ok=True)
    show.line(f"chaos {options.scenario}: seed {seed}, state in {state}")
    passed = False
    try:
        ledger, figures = asyncio.run(guarded(SCENARIOS[options.scenario][0](options, show, state)))
        passed = not ledger.violations
        if not passed:
            tell(ledger, show, state)
        if ledger.slow:
            tell_slow(ledger, state)
        if ledger.lost:
            tell_lost(ledger, state)
        options.results.append((seed, figures))
        show.result(
            options.scenario,
            passed,
            figures,
            seed,
            {"violations": [violation.line() for violation in ledger.violations]},
        )
        return 0 if passed else 1
    except (Broken, RedisError, OSError) as error:
        show.line(f"chaos: {options.scenario} could not be carried out: {error}")
        return 2
    finally:
        if passed and not options.state_dir:
            shutil.rmtree(state, ignore_errors=True)
        else:
            show.line(f"chaos: logs are in {state}")


async def guarded(scenario):
    """SIGTERM and Ctrl-C end the scenario in order, so that it ends what it has started."""
    task = asyncio.ensure_future(scenario)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    return await task


def tell(ledger, show, state):
    """The first broken promises with their history; all of them in a file."""
    with (state / "violations.txt").open("w") as out:
        for violation in ledger.violations:
            print("\n".join(ledger.report(violation)), file=out)
            print(file=out)
        print("faults:", file=out)
        for at, text in ledger.timeline:
            print(f"{at:7.2f} s  {text}", file=out)
    seen = set()
    for violation in ledger.violations:
        if violation.promise in seen or len(seen) >= 3:
            continue
        seen.add(violation.promise)
        show.line()
        for line in ledger.report(violation):
            show.line(line)
    more = len(ledger.violations) + ledger.suppressed - len(seen)
    if more > 0:
        show.line(f"… and {more} more: {state / 'violations.txt'}")


def tell_slow(ledger, state):
    """Which answers took very long, and what their sessions saw meanwhile."""
    slow = sorted(ledger.slow, key=lambda one: -one[0])
    with (state / "slow.txt").open("w") as out:
        for took, room, who, key, _ in slow:
            print(f"{took:7.2f} s  {key} in {room}, said by {who}", file=out)
        for took, room, who, key, history in slow[:20]:
            print(f"\n{room} as {who} saw it until {key} had its answer:", *history, sep="\n    ", file=out)


def tell_lost(ledger, state):
    """Which acknowledged messages are gone for good, as everybody was told, and how that came about."""
    with (state / "lost.txt").open("w") as out:
        for at, room, who, key, place, history in ledger.lost:
            print(f"{at:7.2f} s  {key} at {place} in {room}, acknowledged to {who}", file=out)
        for at, room, who, key, place, history in ledger.lost[:20]:
            print(f"\n{room} as {who} saw it ({key} at {place}):", *history, sep="\n    ", file=out)


def main(arguments):
    options = parser().parse_args(arguments)
    if options.conversations:
        options.scenario = "conversations"
    show = Show(options.json)
    wrong = [text for text in options.set if not text.startswith("MARTLET_") or "=" not in text]
    if wrong:
        show.line(f"chaos: --set takes MARTLET_…=VALUE, not {wrong[0]!r}")
        return 2
    if options.tokens is not None and (options.scenario not in WITH_TOKENS or options.tokens < 6):
        show.line(f"chaos: --tokens takes 6 seconds or more, with {' or '.join(sorted(WITH_TOKENS))}")
        return 2
    if options.protocols is not None and (options.scenario not in WITH_PROTOCOLS or options.tokens):
        show.line(f"chaos: --protocols goes with {', '.join(sorted(WITH_PROTOCOLS))}, without --tokens")
        return 2
    if options.scenario == "protocols-self-test":
        options.protocols = options.protocols or "all"
    try:
        options.protocols = parse_protocols(options.protocols) if options.protocols else []
    except Broken as error:
        show.line(f"chaos: {error}")
        return 2
    if options.protocols:
        options.set = [f"{name}={value}" for name, value in SETTINGS.items()] + options.set
    options.issuer = Issuer(options.tokens) if options.tokens else None
    if options.issuer:
        options.set += [f"{name}={value}" for name, value in options.issuer.settings().items()]
    options.file_limit = raise_file_limit()
    try:
        if options.scenario not in WITHOUT_NODES:
            options.binary = str(pathlib.Path(options.binary or build()).resolve())
            if not pathlib.Path(options.binary).is_file():
                raise Broken(f"{options.binary} is not there")
    except Broken as error:
        show.line(f"chaos: {error}")
        return 2
    if options.sessions is None:
        options.sessions = SESSIONS.get(options.scenario, 300)
    if options.rate is None:
        options.rate = 40 if options.scenario in ("conversations", "conversations-self-test") else 150
    if options.seconds is None:
        options.seconds = {"abuse": 20, "refusals": 20, "upgrade": 8}.get(options.scenario, 60)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 31)
    options.results = []
    for run in range(options.runs):
        try:
            status = one_run(options, show, seed + run)
        except (KeyboardInterrupt, asyncio.CancelledError):
            show.line("chaos: ended by a signal")
            return 130
        if status:
            return status
    if options.runs > 1:
        show.line(
            f"chaos {options.scenario}: {options.runs} runs in a row passed "
            f"(seeds {seed} to {seed + options.runs - 1}): "
            + ", ".join(f"{sum(values)} {name}" for name, values in sums(options.results).items())
        )
    return 0


def sums(results):
    """What can be added up over the runs."""
    names = [name for name, value in results[0][1].items() if isinstance(value, int)] if results else []
    return {name: [figures.get(name, 0) for _, figures in results] for name in names}
