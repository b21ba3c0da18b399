"""The `bursary` command: Django's management commands under the product's own name."""

import importlib
import os
import re
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import ManagementUtility
from django.core.management.base import BaseCommand, CommandError, OutputWrapper, SystemCheckError
from django.db import Error, connection, connections

from bursary.config import commands
from bursary.config.secret_key import kept_secret
from bursary.ops.console import SETTINGS
from bursary.ops.database import NotReady, in_words, refuse_unknown_migrations

PRIVATE = 0o077  # the umask: only the owner may read the data folder, which has personal data
SETS_UP = frozenset({"demo", "migrate"})
"""The commands that may make a data folder and a secret key, unless an option lets them change nothing."""
CHANGES_NOTHING = frozenset({"--check", "--dry-run", "--plan"})
DRIVERS = {
    "psycopg": "For PostgreSQL, install bursary[postgres].",
    "MySQLdb": "For MySQL and MariaDB, install bursary[mysql].",
}
_PREFIX = "CommandError: "
_EMPTY = re.compile(r"(?:--[a-z-]+=)?\s*")
READS_NO_DATA = frozenset({"check", "help"})
INTERRUPTED = 130
"""The status of a command that ends by Ctrl-C, as shells have it."""


def main() -> None:
    """Run `bursary COMMAND …`; without a command, list the commands."""
    os.umask(PRIVATE)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bursary.config.settings")
    arguments = sys.argv[1:]
    _require_text(arguments)
    if arguments in (["--version"], ["version"]):
        sys.stdout.write(f"{version('bursary')}\n")
        return
    _require_command(arguments)
    _require_values(arguments)
    reads_data = not _asks_for_help(arguments) and arguments[0] not in READS_NO_DATA
    sets_up = reads_data and _sets_up_data_folder(arguments)
    has_key = _has_key()
    if not has_key:  # the settings need one; this one signs nothing
        os.environ["BURSARY_SECRET_KEY"] = secrets.token_urlsafe(64)
    _require_settings()
    with _errors_in_words():
        django.setup()
        _require_arguments(arguments)
        if sets_up:
            _set_up(with_key=not has_key)
        elif reads_data:
            _require_known_migrations()
        if arguments in ([], ["help"], ["--help"], ["-h"]):
            sys.stdout.write(f"{commands.overview()}\n")
            return
        _Utility(["bursary", *arguments]).execute()


@contextmanager
def _errors_in_words() -> Iterator[None]:
    """Exit in a sentence after Ctrl-C, and errors of Django's commands: other commands handle theirs."""
    try:
        yield
    except Error as error:
        sys.exit(f"bursary: {in_words(error)}")
    except ImproperlyConfigured as error:
        hints = [hint for module, hint in DRIVERS.items() if module in str(error)]
        sys.exit("\n".join([f"bursary: {error}", *hints]))
    except KeyboardInterrupt:  # at a question, or during work that is done in steps
        sys.stderr.write("\nbursary: interrupted. Only what was finished before is done.\n")
        sys.exit(INTERRUPTED)


class _Errors(OutputWrapper):
    """The error output of a command. It begins an error with `bursary`, not with the name of its class."""

    # The stubs declare the class as a TextIOBase, which it is not.
    def write(self, msg: str = "", *style: Any, **options: Any) -> None:  # type: ignore[override]  # so
        if msg.startswith(_PREFIX):
            msg = f"bursary: {msg.removeprefix(_PREFIX)}"
        super().write(msg, *style, **options)


class _Utility(ManagementUtility):
    """Django's commands, with `_Errors` as their error output."""

    def fetch_command(self, subcommand: str) -> BaseCommand:
        command = super().fetch_command(subcommand)
        command.stderr = _Errors(sys.stderr)
        command.stderr.style_func = command.style.ERROR
        return command


def _require_text(arguments: Sequence[str]) -> None:
    """Exit with status 2 if an argument is not UTF-8, which no database could store or find."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            shown = argument.encode("utf-8", "backslashreplace").decode()
            sys.stderr.write(f"bursary: the argument {shown} is not UTF-8 text. Type it again.\n")
            sys.exit(2)


def _require_command(arguments: Sequence[str]) -> None:
    """Exit with status 2 if the command does not exist, and suggest the nearest one."""
    asked = [argument for argument in arguments if argument != "help"][:1]
    for name in asked:
        if not name.startswith("-") and name not in commands.names():
            nearest = commands.nearest(name)
            hint = f"Did you mean `bursary {nearest}`?" if nearest else "`bursary help` lists them."
            sys.stderr.write(f"bursary: there is no command {name}. {hint}\n")
            sys.exit(2)


def _require_values(arguments: Sequence[str]) -> None:
    """Exit with status 2 if a command of this service gets an empty value, as from an unset variable.

    An empty id is invalid, and an option with an empty value might be taken for one that is not given.
    """
    name = arguments[0] if arguments else ""
    for before, value in pairwise(arguments):
        if name in commands.own_names() and _EMPTY.fullmatch(value):
            after = value.strip() or before
            sys.stderr.write(
                f"bursary: the value after {after} is empty. Is a variable unset? {_see_help(name)}\n"
            )
            sys.exit(2)


def _see_help(name: str) -> str:
    return f"`bursary {name} --help` lists what it takes."


def _asks_for_help(arguments: Sequence[str]) -> bool:
    command = arguments[0] if arguments else "help"
    return command == "help" or command.startswith("-") or not {"-h", "--help"}.isdisjoint(arguments)


def _data_folder() -> Path:
    return Path(os.environ.get("BURSARY_VAR_DIR", "var")).resolve()


def _has_key() -> bool:
    return bool(os.environ.get("BURSARY_SECRET_KEY")) or Path(_data_folder(), "secret.key").exists()


def _sets_up_data_folder(arguments: Sequence[str]) -> bool:
    """Return whether the command makes the data folder or its key; exit with status 1 if it may not.

    A command in the wrong folder must not set up a second, empty installation there. So only the commands in
    `SETS_UP` make a folder. The others need the folder, unless the database is a server, and a secret key
    there or in the environment.
    """
    folder = _data_folder()
    database = os.environ.get("BURSARY_DATABASE_URL", "")
    server = bool(database) and not database.startswith("sqlite")
    try:
        is_there = _has_key() and (server or folder.is_dir())
    except OSError as error:
        sys.exit(f"bursary: the data folder cannot be used: {error}. Check BURSARY_VAR_DIR.")
    if is_there:
        # Only on a terminal: cron would send the line as a mail, every time.
        if sys.stderr.isatty() and folder != Path("var").resolve():
            sys.stderr.write(f"bursary: the data folder is {folder}\n")
        return False
    if arguments[0] in SETS_UP and CHANGES_NOTHING.isdisjoint(arguments):
        return True
    sys.exit(
        f"bursary: {folder} is not a data folder of Bursary. Change to the folder that Bursary runs "
        "in, or set BURSARY_VAR_DIR. `bursary migrate` sets up a new one."
    )


def _set_up(*, with_key: bool) -> None:
    """Make the data folder and its key once the settings are valid and the database has answered.

    A refused command leaves neither.
    """
    try:
        BaseCommand(stderr=StringIO()).check(tags=[SETTINGS])  # the command asks again, and warns
    except SystemCheckError as wrong:
        sys.exit(str(wrong))
    if connection.vendor == "sqlite":
        _make_data_folder(with_key=False)  # the database is made there
    _require_known_migrations()
    _make_data_folder(with_key=with_key)


def _make_data_folder(*, with_key: bool) -> None:
    """Make the data folder if it is missing, and use the key that is made there; or exit with status 1."""
    folder = _data_folder()
    try:
        if not folder.exists():
            sys.stderr.write(f"bursary: setting up the data folder {folder}\n")
            folder.mkdir(mode=0o700, parents=True)
        if with_key:
            del os.environ["BURSARY_SECRET_KEY"]
            settings.SECRET_KEY = kept_secret(folder / "secret.key")
    except OSError as error:
        sys.exit(f"bursary: the data folder cannot be used: {error}. Check BURSARY_VAR_DIR.")


def _require_settings() -> None:
    """Exit with status 1 and one sentence if a setting cannot be read, instead of a stack trace."""
    try:
        importlib.import_module(os.environ["DJANGO_SETTINGS_MODULE"])
    except Exception as error:  # noqa: BLE001  # a value may raise anything in the library that parses it
        sys.exit(f"bursary: a setting cannot be read: {error} (docs/operations.md lists them all)")


def _require_arguments(arguments: Sequence[str]) -> None:
    """Exit with status 2 and a sentence if a command's arguments are wrong, before the database is asked."""
    if _asks_for_help(arguments):
        return
    name, *options = arguments
    parser = _Utility(["bursary"]).fetch_command(name).create_parser("bursary", name)
    try:
        parser.parse_args(options)
    except CommandError as wrong:
        problem = str(wrong).removeprefix("Error: ")
        sys.stderr.write(f"bursary {name}: {problem}. {_see_help(name)}\n")
        sys.exit(2)


def _require_known_migrations() -> None:
    """Exit with status 1 and one sentence if another version of Bursary made the database.

    Django's own commands, such as `flush`, are refused here, too.
    """
    try:
        refuse_unknown_migrations()
    except NotReady as why:
        sys.exit(f"bursary: {why}")
    connections.close_all()


if __name__ == "__main__":
    main()
