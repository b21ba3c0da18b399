"""The real command in processes of its own, each with its own folder and nothing inherited from the tests."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from django.db import connection

ROOT = Path(__file__).parents[2]
PATIENCE = 600  # seconds, for a machine that is busy with much else

# Hashing a password is slow by design: a demonstration with its sign-ins takes a process seconds of it.
QUICKLY = """
import sys
from django.contrib.auth.hashers import PBKDF2PasswordHasher
PBKDF2PasswordHasher.iterations = 1
from bursary.config.cli import main
sys.exit(main())
"""

Environment = Mapping[str, str]


class Demonstration(NamedTuple):
    """The folder of a demonstration, and what `bursary demo --json` printed of it."""

    folder: Path
    printed: dict[str, Any]


def database_url() -> str:
    """Return the address of the tests' database on whichever engine, for processes of their own."""
    name = connection.settings_dict["NAME"]
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    server, _, options = os.environ["BURSARY_DATABASE_URL"].partition("?")
    return f"{server.rpartition('/')[0]}/{name}{'?' if options else ''}{options}"


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return the environment of a machine on which nothing is set but the folder."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("BURSARY_", "DJANGO_", "PYTEST_", "PYTHON"))
    }
    return clean | {"BURSARY_VAR_DIR": str(folder), "PYTHONPATH": str(ROOT)} | more


def bursary(*arguments: str, env: Environment) -> subprocess.CompletedProcess[str]:
    """Run `bursary …` to its end."""
    return python("-c", QUICKLY, *arguments, env=env)


def demonstrated(folder: Path) -> Demonstration:
    """Make a folder a demonstration, or do so again; return it, and what was printed."""
    ran = bursary("demo", "--no-serve", "--json", "--weeks", "0", env=environment(folder, PORT="8123"))
    assert (ran.returncode, ran.stderr) == (0, "")
    return Demonstration(folder, json.loads(ran.stdout))


def python(*arguments: str, env: Environment) -> subprocess.CompletedProcess[str]:
    """Run Python to its end."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=env["BURSARY_VAR_DIR"],
        env=env,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def start(*arguments: str, env: Environment) -> subprocess.Popen[bytes]:
    """Start `bursary …`; what it says goes to files in its folder."""
    folder = Path(env["BURSARY_VAR_DIR"])
    with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
        return subprocess.Popen(
            [sys.executable, "-m", "bursary.config.cli", *arguments],
            cwd=folder,
            env=env,
            stdout=stdout,
            stderr=stderr,
        )
