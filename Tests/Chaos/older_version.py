"""The version that an upgrade begins with: a commit that is built once and kept outside the repository, or a binary."""

import os
import pathlib
import shutil
import subprocess
import sys

from processes import Broken
from redis_server import ROOT


def older_binary(options):
    """The path of the older `martlet`."""
    if options.old_binary:
        binary = pathlib.Path(options.old_binary).resolve()
        if not binary.is_file():
            raise Broken(f"{binary} does not exist")
        return str(binary)
    if not options.from_commit:
        raise Broken("upgrade needs --from COMMIT (the version to begin with) or --old-binary FILE")
    return str(built(commit_of(options.from_commit)))


def git(*words, folder=ROOT):
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True)
    if done.returncode:
        raise Broken(f"git {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()


def commit_of(name):
    return git("rev-parse", "--verify", f"{name}^{{commit}}")


def cache():
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "martlet-upgrade"


def built(commit):
    """The binary of a commit. It is built in a worktree, which is removed when the build has succeeded; a build that
    was interrupted continues in the same worktree.
    """
    folder = cache() / commit[:12]
    binary, source = folder / "martlet", folder / "source"
    if binary.is_file():
        return binary
    folder.mkdir(parents=True, exist_ok=True)
    git("worktree", "prune")
    if not (source / ".git").exists():
        shutil.rmtree(source, ignore_errors=True)
        git("worktree", "add", "--force", "--detach", str(source), commit)
    print(f"chaos: building {commit[:12]} in {source} (release; this takes some minutes)", file=sys.stderr)
    command = ["swift", "build", "-c", "release", "--product", "martlet"]
    if subprocess.run(command, cwd=source, stdout=sys.stderr).returncode:
        raise Broken(f"the build of {commit[:12]} failed")
    shown = subprocess.run(command[:4] + ["--show-bin-path"], cwd=source, capture_output=True, text=True)
    # The name appears only when the file is complete.
    part = folder / "martlet.part"
    shutil.copy2(pathlib.Path(shown.stdout.strip()) / "martlet", part)
    part.rename(binary)
    git("worktree", "remove", "--force", str(source))
    return binary
