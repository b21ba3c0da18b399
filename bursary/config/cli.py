"""The `bursary` command: Django's management commands under the product's own name."""

import importlib
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line

PRIVATE = 0o077  # what is made below var/ holds people's addresses: nobody else reads it


def main() -> None:
    """Run `bursary COMMAND …`; without a command, list what there is."""
    os.umask(PRIVATE)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bursary.config.settings")
    arguments = sys.argv[1:]
    _require_text(arguments)
    if arguments in (["--version"], ["version"]):
        sys.stdout.write(f"{version('bursary')}\n")
        return
    _require_settings()
    try:
        execute_from_command_line(["bursary", *arguments])
    except ImproperlyConfigured as error:
        sys.exit(f"bursary: {error}{_driver_hint(error)}")


def _require_text(arguments: Sequence[str]) -> None:
    """End with a sentence where an argument is no text: no database could look it up."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            said = argument.encode("utf-8", "backslashreplace").decode()
            sys.stderr.write(f"bursary: the argument {said} is no UTF-8 text. Type it again.\n")
            sys.exit(2)


def _require_settings() -> None:
    """End with a sentence where a setting cannot be read: nobody should have to find it in a stack trace."""
    try:
        importlib.import_module(os.environ["DJANGO_SETTINGS_MODULE"])
    except Exception as error:  # noqa: BLE001  # whatever a value does to whoever parses it
        sys.exit(f"bursary: a setting cannot be read: {error} (docs/operations.md lists them all)")


def _driver_hint(error: ImproperlyConfigured) -> str:
    return "\nFor PostgreSQL, install bursary[postgres]." if "psycopg" in str(error) else ""


if __name__ == "__main__":
    main()
