# SPDX-License-Identifier: Apache-2.0
"""The packages of PyPI that tests and benches compare with, in a virtual environment of their pinned versions, and what
lines of bench/results say about the machine and the code."""

import importlib.metadata
import os
import pathlib
import platform
import re
import subprocess
import sys
import venv

ROOT = pathlib.Path(__file__).resolve().parent.parent
PINNED = pathlib.Path(__file__).resolve().parent / "requirements.txt"
FOLDER = ROOT / "build" / "venv"


def missing():
    """Names of pinned packages that this Python lacks or has in another version."""
    found = []
    for name, version in re.findall(r"^(\S+)==(\S+)$", PINNED.read_text(encoding="utf-8"), re.M):
        try:
            if importlib.metadata.version(name) != version:
                found.append(name)
        except importlib.metadata.PackageNotFoundError:
            found.append(name)
    return found


def require():
    """Starts the running script again in build/venv, which is made when it is missing, unless all packages are here."""
    lacking = missing()
    if not lacking:
        return
    python = FOLDER / "bin" / "python"
    if pathlib.Path(sys.prefix) == FOLDER or not python.exists():
        print(f"{', '.join(lacking)}: from PyPI into {FOLDER}", file=sys.stderr, flush=True)
        venv.create(FOLDER, with_pip=True)
        done = subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", PINNED],
                              check=False)
        if done.returncode != 0:
            sys.exit(f"cannot install the packages of {PINNED}: check the network and pip's index settings")
    os.execv(python, [python, *sys.argv])


def output(*command):
    """What a command prints, in the root of the repository."""
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()
