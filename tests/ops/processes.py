"""The real command in processes of its own, each with its own folder and nothing inherited from the tests."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from django.db import connection

from tests.elapsed import PATIENCE
from tests.forked import Forked

ROOT = Path(__file__).parents[2]

# Hashing a password is slow by design: a demonstration with its sign-ins takes a process seconds of it.
QUICKLY = """
import sys
from django.contrib.auth.hashers import PBKDF2PasswordHasher
PBKDF2PasswordHasher.iterations = 1
from bursary.config.cli import main
sys.exit(main())
"""

Environment = Mapping[str, str]
Started = Forked | subprocess.Popen[bytes]


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


def demonstrated(folder: Path, *, port: str = "8123") -> Demonstration:
    """Make a folder a demonstration, or do so again; return it, and what was printed."""
    ran = bursary("demo", "--no-serve", "--json", "--weeks", "0", env=environment(folder, PORT=port))
    assert (ran.returncode, ran.stderr) == (0, "")
    return Demonstration(folder, json.loads(ran.stdout))


def python(*arguments: str, env: Environment, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python to its end, with the libraries loaded; in the data folder, or in another."""
    with TemporaryDirectory() as kept:
        out, err = Path(kept, "stdout"), Path(kept, "stderr")
        ran = Forked(*arguments, env=env, folder=folder or Path(env["BURSARY_VAR_DIR"]), out=out, err=err)
        try:
            status = ran.wait(PATIENCE)
        finally:
            ran.kill()
        return subprocess.CompletedProcess(arguments, status, out.read_text(), err.read_text())


def new_python(*arguments: str, env: Environment, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python to its end where the imports are what is tested."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def start(*arguments: str, env: Environment) -> Forked:
    """Start `bursary …`; what it says goes to files in its folder."""
    folder = Path(env["BURSARY_VAR_DIR"])
    command = ("-m", "bursary.config.cli", *arguments)
    return Forked(*command, env=env, folder=folder, out=folder / "stdout", err=folder / "stderr")


def start_anew(program: str, *arguments: str, env: Environment) -> subprocess.Popen[bytes]:
    """Start a program in a new interpreter; what it says goes to files in its folder."""
    folder = Path(env["BURSARY_VAR_DIR"])
    with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
        return subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            cwd=folder,
            env=env,
            stdout=stdout,
            stderr=stderr,
        )
