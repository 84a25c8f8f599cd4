"""Files of Debian's packages, without installing them."""
import os
import pathlib
import subprocess


class NotFetched(Exception):
    """A package cannot be had."""


def unpack(package, folder):
    """Unpacks the package into the folder. The list of packages is renewed if the package is not found in it."""
    try:
        if run(["apt-get", "-q", "download", package], folder).returncode:
            root = [] if os.getuid() == 0 else ["sudo", "-n"]
            run([*root, "apt-get", "-q", "update"], folder).check_returncode()
            run(["apt-get", "-q", "download", package], folder).check_returncode()
        archive = next(pathlib.Path(folder).glob("*.deb"))
        run(["dpkg-deb", "-x", str(archive), "."], folder).check_returncode()
    except subprocess.CalledProcessError as error:
        raise NotFetched(f"Debian's package {package} cannot be fetched: {error}: {error.stderr}") from error
    except (OSError, StopIteration) as error:
        raise NotFetched(f"Debian's package {package} cannot be fetched: {error}") from error


def run(command, folder):
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
