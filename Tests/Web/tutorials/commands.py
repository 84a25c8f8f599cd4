"""The commands of the documents: those for redis-cli and curl are run as they stand, against real nodes; of all others the
options must exist."""
import dataclasses
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[3]
README, PROTOCOL, SCHEMA = "README.md", "Sources/ChatWire/README.md", "redis/README.md"
#: Of the page redis/README.md: needs a Redis Cluster.
CLUSTER_SECTION = "Redis Cluster"
#: A command that listens until somebody ends it.
ENDLESS = re.compile(r"\b[PS]?SUBSCRIBE\b")
ENDLESS_SECONDS = 1
COMMAND_SECONDS = 30
#: `redis-cli -e` ends with 1 if Redis answers with an error; `curl -f` with 22 if a node does, but where the page shows the error.
SHELL = """set -o pipefail
redis-cli() {{ {limit} redis-cli -e -p {redis} "$@"; }}
curl() {{ command curl {fail} -sS --max-time 20 "$@"; }}
"""
PROGRAM = re.compile(r"(?:\bmartlet (serve|chat|top|doctor|bench|replay)|\b(martlet-sim)|(scripts/(?:up|test|check|bench|chaos)))\b(.*)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


#: Commands about a message. The position on the page stands for that of one that is there.
ABOUT_A_MESSAGE = re.compile(r"/amendments |/read |/stars -d|martlet_(?:amend|read|stars) ")
POSITION = re.compile(r"\b1[0-9]{12}-[0-9]+\b")
ROOM = re.compile(r"/rooms/([^/ ]+)/|martlet:\{([^}]+)\}:log|\"room\":\"([^\"]+)\"")


class CommandFailure(Exception):
    """A command that does not do what its page says."""


@dataclasses.dataclass
class Command:
    """A line of a page's code, and the output that the page shows for it; None: it shows none."""
    page: str
    line: int
    section: str
    text: str
    output: str | None = None


def code(page):
    """The lines of a page's code blocks: line number, section, text. A line that ends with a backslash goes on in the next one."""
    section, fence, begun, start = "", None, "", 0
    for number, line in enumerate((ROOT / page).read_text().splitlines(), 1):
        if line.startswith("```"):
            fence = None if fence else line[3:] or "text"
            yield number, section, ""
        elif fence in ("sh", "text") or (not fence and line.startswith("    ")):
            start = start if begun else number
            begun += line.strip().removesuffix("\\")
            if not line.endswith("\\"):
                yield start, section, begun
                begun = ""
        elif line.startswith("#") and not fence:
            section = line.lstrip("# ")


def commands(page):
    """What is run of a page."""
    found, shown = [], None
    for number, section, text in code(page):
        if shown is not None and text:
            shown.output = "\n".join(part for part in (shown.output, text) if part)
            continue
        shown = None
        if text.startswith("$ curl "):
            shown = Command(page, number, section, text[2:], "")
            found.append(shown)
        elif text.startswith("curl ") or "redis-cli " in text and not text.startswith("$ "):
            found.append(Command(page, number, section, text))
    return found


def with_a_message(text, redis_port):
    """The command with the position of a message that ana has just said in its room, whatever its rules are by now."""
    place = ROOM.search(text)
    if not place or not ABOUT_A_MESSAGE.search(text) or not POSITION.search(text):
        return text
    room = next(group for group in place.groups() if group)
    words = ["redis-cli", "-e", "-p", str(redis_port), "FCALL", "martlet_say", "1", f"martlet:{{{room}}}:log", "ana", "hello"]
    said = subprocess.run(words, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
    if said.returncode:
        raise CommandFailure(f"nothing can be said in {room}: {said.stdout}{said.stderr}")
    return POSITION.sub(said.stdout.split()[0], text)


def run(command, redis_port, url, folder):
    """Runs one command as a shell does, with the addresses of the nodes and of the Redis that are there."""
    text = command.text.replace("http://127.0.0.1:8080", url).replace("localhost:8080", url)
    text = with_a_message(text, redis_port)
    endless = ENDLESS.search(text)
    head = SHELL.format(limit=f"timeout {ENDLESS_SECONDS}" if endless else "command", redis=redis_port,
                        fail="-f" if command.output is None else "")
    where = f"{command.page}:{command.line}: {command.text}"
    # Files are read relative to the repository, and written to a folder that goes.
    done = subprocess.run(
        ["bash", "-c", f"{head}\n{text}"], cwd=folder if " -O " in text else ROOT, capture_output=True, text=True,
        timeout=COMMAND_SECONDS, check=False)
    if done.returncode != (124 if endless else 0):
        raise CommandFailure(f"{where}\nended with status {done.returncode}: {done.stdout}{done.stderr}")
    if command.output is not None and done.stdout.strip() != command.output:
        raise CommandFailure(f"{where}\nthe page says {command.output}\nthe node says {done.stdout}")


def run_all(redis_port, url, folder):
    """Everything that can be run against some nodes with one Redis."""
    for page in (README, PROTOCOL, SCHEMA):
        mine = [command for command in commands(page) if (page, command.section) != (SCHEMA, CLUSTER_SECTION)]
        if not mine:
            raise CommandFailure(f"no command was found in {page}")
        for command in mine:
            run(command, redis_port, url, folder)
        print(f"ok   {len(mine)} commands of {page}")


def run_cluster(redis_port, url, folder):
    """What the schema says about a Redis Cluster, on one."""
    mine = [command for command in commands(SCHEMA) if command.section == CLUSTER_SECTION]
    if not mine:
        raise CommandFailure(f"no command for a Redis Cluster was found in {SCHEMA}")
    for command in mine:
        run(command, redis_port, url, folder)
    print(f"ok   {len(mine)} commands of {SCHEMA} for a Redis Cluster")


def documented(page):
    """The options that a page names behind a command, in code or in the running text: line number, program, option. In
    the section of a tool those that stand alone count as the tool's."""
    section_tool = None
    lines = {number: text for number, _, text in code(page)}
    for number, line in enumerate((ROOT / page).read_text().splitlines(), 1):
        heading = re.fullmatch(r"#+ martlet (\w+)", line)
        if line.startswith("#") and number not in lines:
            section_tool = heading[1] if heading else None
        pieces = [lines[number]] if lines.get(number) else re.findall(r"`([^`]+)`", line)
        for piece in pieces:
            program = PROGRAM.search(piece)
            if program:
                name, options = next(part for part in program.groups()[:3] if part), program[4]
            elif section_tool and piece.startswith("--"):
                name, options = section_tool, piece
            else:
                continue
            yield from ((number, name, option) for option in OPTION.findall(options))


def help_of(program, binary):
    """What a program says of its options; of a script without --help its head."""
    if program in ("scripts/up", "scripts/test", "scripts/check"):
        return "\n".join(line for line in (ROOT / program).read_text().splitlines() if line.startswith("#"))
    command = {"martlet-sim": [binary.parent / "martlet-sim"]}.get(program, [binary, program])
    if program.startswith("scripts/"):
        command = [ROOT / program]
    return subprocess.run([*command, "--help"], capture_output=True, text=True, timeout=COMMAND_SECONDS, check=True).stdout


def check_options(binary):
    """Every option that a page names exists."""
    helps, count = {}, 0
    for path in sorted(ROOT.glob("**/*.md")):
        page = str(path.relative_to(ROOT))
        if page.startswith("."):
            continue
        for number, program, option in documented(page):
            if program not in helps:
                helps[program] = set(OPTION.findall(help_of(program, binary)))
            if option not in helps[program]:
                raise CommandFailure(f"{page}:{number}: {program} has no option {option}")
            count += 1
    if count < 20:
        raise CommandFailure(f"only {count} options were found in the documents")
    print(f"ok   {count} options of {len(helps)} programs")
